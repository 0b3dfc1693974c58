"""`kerasxai report`: one file from runs on disk, with the maps that Python makes."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from run_folders import (
    CLASSES,
    HOSTILE,
    IMAGES,
    SIZE,
    write_epochs,
    write_photos,
    write_run,
    write_run_of_several_labels,
)
from test_multi_label_evaluation import LABELS
from test_report import Page

import kerasxai
from kerasxai import data, models
from kerasxai.cli import main
from kerasxai.evaluation.evaluated_runs import read_runs
from kerasxai.explainer import Explainer
from kerasxai.refinements import RefinementChoice
from kerasxai.report import page
from kerasxai.report.build import write_report
from kerasxai.report.charts import line_chart
from kerasxai.report.config import ReportConfig
from kerasxai.report.gallery import Group, _SmallMaps
from kerasxai.report.packing import MAP_SIDE, PICTURE_SIDE, eight_bits, enlarged, packed, packed_picture, small_map
from kerasxai.report.runs import model_of, read_reported
from kerasxai.report.sections import Table, training_section
from kerasxai.report.variants import variants_of
from kerasxai.tools.errors import KerasxaiError


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("report")
    boxes = write_photos(root / "photos")
    folders = [write_run(root / name, root / "photos", boxes, seed) for seed, name in enumerate(("one", "two"))]
    write_epochs(folders[0])
    return folders


@pytest.fixture(scope="module")
def html(runs: list[Path]) -> str:
    config = ReportConfig(runs=[str(run) for run in runs], batch_size=5, out=runs[0].parent / "report.html")
    return write_report(config).read_text(encoding="utf-8")


def content_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


def unpacked(text: str) -> np.ndarray:
    shape, code = text.split(":")
    height, width = (int(one) for one in shape[:-1].split("x"))
    kind = np.int8 if shape.endswith("s") else np.uint8
    return np.frombuffer(base64.b64decode(code), kind).reshape(height, width)


def test_only_the_style_and_the_script_of_the_page_may_run(html: str) -> None:
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-") and "unsafe" not in policy
    blocks = re.findall(r"<(style|script)>(.*?)</\1>", html, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for _, text in blocks]
    assert re.findall(r"'sha256-([^']+)'", policy) == hashes and len(hashes) == 2
    for attributes in (attributes for _, attributes in Page(html).elements):
        assert "style" not in attributes and not any(name.startswith("on") for name in attributes)
        assert str(attributes.get("src", "data:")).startswith("data:")


def test_a_hostile_class_name_stays_text(html: str) -> None:
    page = Page(html)
    assert len(page.all("script")) == 2 and page.text.count(HOSTILE) > 3
    assert "alert(1)<" not in html.replace("\\u003c", "").replace("&lt;", "")
    assert content_of(html)["groups"][0]["classes"] == list(CLASSES)


def test_runs_on_the_same_images_share_a_gallery_and_epochs_have_their_own(html: str, runs: list[Path]) -> None:
    split, epochs = content_of(html)["groups"]
    assert [model["name"] for model in split["models"]] == ["one", "two"]
    assert [(row["name"], row["model"]) for row in split["variants"]] == [
        ("cam", 0),
        ("gradient*input", 0),
        ("cam", 1),
        ("gradient*input", 1),
    ]
    assert len(split["images"]) == 2 * IMAGES and {image["size"] for image in split["images"]} <= {"small", "medium"}
    evaluations = read_runs([str(run) for run in runs])
    assert [row["threshold"] for row in split["variants"]] == [run.chosen["threshold"] for run in evaluations]
    (steps,) = [row["steps"] for row in epochs["variants"]]
    assert [step["epoch"] for step in steps] == [1, 2, 3] and len(epochs["images"]) == 4
    assert [[target for target, _ in maps] for maps in steps[0]["maps"]] == [[1], [1], [0], [1]]


def test_maps_predictions_and_commands_are_those_of_the_library(html: str, runs: list[Path]) -> None:
    group = content_of(html)["groups"][0]
    model = models.load_classifier(str(runs[0] / "model.keras"))
    dataset = data.open(str(runs[0].parent / "photos"))
    samples = list(dataset.samples("test", SIZE).as_numpy_iterator())
    images = np.stack([sample["image"] for sample in samples]).astype(np.float32)
    for variant in group["variants"][:2]:
        explainer = kerasxai.Explainer(model, variant["name"], resize=False)
        predicted = explainer.predict(images)
        assert [[one] for one in predicted.classes] == group["models"][0]["predicted"]
        expected = explainer(images, [sample["label"] for sample in samples]).heatmaps
        for row, maps in enumerate(variant["steps"][0]["maps"]):
            label = int(samples[row]["label"])
            assert {target for target, _ in maps} == {label, int(predicted.classes[row])}
            # A batch of another size may round otherwise.
            np.testing.assert_allclose(unpacked(dict(maps)[label]), eight_bits(expected[row]), atol=1)
    kinds = [re.match(r"\d+x\d+[us]", row["steps"][0]["maps"][0][0][1]) for row in group["variants"]]
    assert [kind and kind[0] for kind in kinds] == ["10x10s", "40x40s"] * 2
    command = " ".join([group["variants"][0]["command"][0], group["images"][0]["file"]])
    assert command.startswith(f"kerasxai explain {runs[0] / 'model.keras'} ") and f"{HOSTILE}/0.png'" in command


def test_text_figures_and_curves_are_on_the_page(html: str) -> None:
    text = Page(html).text
    for part in (
        "Runs side by side",
        "GT-known Loc",
        "baseline: centered gaussian",
        "Differences, image by image",
        "side by side",
    ):
        assert part in text
    for part in (
        "one: cam: by object size",
        "Automatic choices",
        "kerasxai train --data photos",
        "heights 48 to 48",
    ):
        assert part in text
    assert html.count("<polyline") >= 4 + 2 * 3 + 2 * 2 and len(Page(html).all("figure")) >= 6


def test_all_figures_and_pictures_name_their_split(html: str, runs: list[Path]) -> None:
    text = " ".join(Page(html).text.split())
    split, epochs = content_of(html)["groups"]
    assert split["title"].endswith("photos, test images") and epochs["title"].endswith("training, validation images")
    assert f"Pictures: {split['title']}; {epochs['title']}. Figures of trainings are of training and" in text
    assert re.search(r"Where it looks: \S*photos, test images", text)
    assert re.search(r"is kept.*: on training images .*loss [\d.]+.*; on validation images .*loss [\d.]+", text)
    charts = [one for run in read_reported([str(runs[0])]) for one in training_section(run).lines]
    assert {line.name for chart in charts for line in chart.lines} == {"training", "validation"}
    alone = [chart for chart in charts if len(chart.lines) == 1]
    assert alone and all(chart.title.endswith(", validation") for chart in alone)


def test_a_second_report_reads_what_the_first_explained(runs: list[Path], html: str, monkeypatch: Any) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("explained again")

    monkeypatch.setattr("kerasxai.report.gallery.Explainer", refuse)
    config = ReportConfig(runs=[str(run) for run in runs], batch_size=5, out=runs[0].parent / "report.html")
    again = write_report(config).read_text(encoding="utf-8")
    assert content_of(again) == content_of(html)


def test_maps_of_auto_are_those_of_one_choice(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []

    def record(self: Explainer, images: np.ndarray) -> None:
        chosen.append(len(images))

    monkeypatch.setattr(Explainer, "choose_refinement", record)
    config = ReportConfig(runs=[str(runs[1])], method=["cam"], refine="auto", out=tmp_path / "report.html")
    for _ in range(2):
        write_report(config)
        assert len(chosen) == 1, "the second report reads the maps"
    # Of a test split that has grown, other images are looked at.
    monkeypatch.setattr("kerasxai.report.gallery.MOST", chosen[0] - 1)
    write_report(config)
    assert chosen[1:] == [chosen[0] - 1]


def test_the_choice_of_an_evaluation_is_used_with_its_threshold(
    runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    choice: RefinementChoice = {"auto": "graphcut", "agreement": 0.1}
    run = read_reported([str(runs[1])])[0]
    evaluated = run.evaluations[0]
    assert isinstance(evaluated.evaluation, dict)
    evaluated.evaluation.update(refinement=choice)
    evaluated.evaluation["settings"]["refine"] = "auto"
    variant = variants_of(run, ReportConfig(runs=[]))[0]
    assert variant.refinement == choice
    chosen: list[object] = []
    monkeypatch.setattr("kerasxai.explainer.set_choice", lambda _, given: chosen.append(given))
    explain = _SmallMaps(models.load(model_of(run)), variant, 4, lambda: pytest.fail("chosen again"))
    explain(np.zeros((1, SIZE, SIZE, 3), np.float32), np.array([0]))
    assert chosen == [choice]


def test_an_evaluation_alone_and_a_training_alone(runs: list[Path], tmp_path: Path, capsys: Any) -> None:
    one = runs[0] / "evaluation_methods" / "cam"
    assert main(["report", str(one), "--images", "0", "--out", str(tmp_path / "r.html")]) == 0
    assert "MB)" in capsys.readouterr().out
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Training of cam" in page and "by object size" in page and "Differences" not in page
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("config.json", "history.csv", "model.keras"):
        (alone / name).write_bytes((runs[1] / name).read_bytes())
    config = ReportConfig(runs=[str(alone)], images=4, method=["gradcam"], out=tmp_path / "alone.html")
    html = write_report(config).read_text(encoding="utf-8")
    (group,) = content_of(html)["groups"]
    assert len(group["images"]) == 4 and {image["truth"][0] for image in group["images"]} == {0, 1}
    assert group["variants"][0]["chosen_by"] == "rule, without boxes" and group["images"][0]["boxes"] == []
    assert "No heatmaps were logged while training" in html


def test_mistakes_are_refused(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(KerasxaiError, match="expected a folder of `kerasxai train` or `kerasxai evaluate`, got"):
        read_reported([str(tmp_path)])
    with pytest.raises(KerasxaiError, match="out must be an HTML file"):
        write_report(ReportConfig(runs=[str(runs[0])], out=tmp_path / "report.txt"))
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    with pytest.raises(KerasxaiError, match="expected a new file or a report"):
        write_report(ReportConfig(runs=[str(runs[0])], out=tmp_path / "mine.html"))
    with pytest.raises(KerasxaiError, match="expected a known method"):
        ReportConfig(runs=[str(runs[0])], method=["nothing"])
    (below,) = read_reported([str(runs[0] / "evaluation_methods")])
    assert below.training is not None and [one.name for one in below.evaluations] == ["cam", "gradient*input"]
    assert [run.name for run in read_reported([str(runs[0].parent)])] == ["one", "two"]
    (run,) = read_reported([str(runs[0])])
    assert model_of(run) == str(runs[0] / "model.keras")
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.json", "history.csv"):
        (other / name).write_bytes((runs[0] / name).read_bytes())
    with pytest.raises(KerasxaiError, match="--images 0"):
        model_of(read_reported([str(other)])[0])
    (other / "model.keras").write_bytes((runs[1] / "model.keras").read_bytes())
    evaluation = other / "evaluation"
    evaluation.mkdir()
    for name in ("evaluation.json", "records.json"):
        (evaluation / name).write_bytes((runs[0] / "evaluation_methods" / "cam" / name).read_bytes())
    with pytest.raises(KerasxaiError, match="expected the model that was evaluated"):
        model_of(read_reported([str(other)])[0])
    second = tmp_path / "other" / "second"
    second.mkdir()
    for name in ("evaluation.json", "records.json"):
        (second / name).write_bytes((runs[1] / "evaluation_methods" / "cam" / name).read_bytes())
    with pytest.raises(KerasxaiError, match="expected evaluations of one model"):
        read_reported([str(other)])


def test_packed_maps() -> None:
    chance = np.random.default_rng(0)
    for heatmap in (chance.random((7, 5)), chance.normal(size=(7, 5))):
        stored = unpacked(packed(heatmap))
        np.testing.assert_array_equal(stored, eight_bits(heatmap))
        scale = np.abs(heatmap).max() / (127 if heatmap.min() < 0 else 255)
        np.testing.assert_allclose(stored * scale, heatmap, atol=0.51 * scale)
    large = small_map(chance.random((130, 65)))
    assert large.shape == (64, 32)
    values = chance.integers(0, 255, (6, 9))
    expected = tf.image.resize(values[..., None], (40, 33)).numpy()[..., 0]
    np.testing.assert_allclose(enlarged(values, (40, 33)), expected, rtol=1e-4)


def test_charts_break_at_missing_values() -> None:
    chart = line_chart("loss", [1, 2, 3, 4], {"loss": [1.0, float("nan"), 0.5, 0.4], "val_loss": [2.0] * 4}, "epoch")
    assert chart is not None and [len(line.pieces) for line in chart.lines] == [2, 1]
    assert [line.dashed for line in chart.lines] == [False, True]
    assert line_chart("loss", [1], {"loss": [float("nan")]}, "epoch") is None


def test_names_below_a_chart_do_not_overlap() -> None:
    names: dict[float, str] = {1: "probe", 18: "average", 19: "average", 20: "final size"}
    chart = line_chart("loss", range(1, 21), {"loss": [1.0] * 20}, "epoch", x_names=names)
    assert chart is not None
    named = [(tick.text, tick.row) for tick in chart.x_ticks if not tick.text.isdecimal()]
    assert named == [("probe", 0), ("average", 0), ("final size", 1)]


def test_several_labels_an_image(tmp_path: Path) -> None:
    run = write_run_of_several_labels(tmp_path)
    html = write_report(ReportConfig(runs=[str(run)], out=tmp_path / "report.html")).read_text(encoding="utf-8")
    (group,) = content_of(html)["groups"]
    assert group["multi"] and sorted(image["truth"] for image in group["images"]) == sorted(map(sorted, LABELS))
    for image, predicted, sure, maps in zip(
        group["images"],
        group["models"][0]["predicted"],
        group["models"][0]["probability"],
        group["variants"][0]["steps"][0]["maps"],
        strict=True,
    ):
        assert sorted(image["box_labels"]) == image["truth"] == sorted(predicted)
        assert sure == sorted(sure, reverse=True) and sure[-1] >= 0.5
        assert maps[0][0] == predicted[0] and {target for target, _ in maps} == set(predicted)
    text = Page(html).text
    assert "pairs of image and class" in text and "mAP 1.000" in text and "cam: mean over the classes" in text


def test_a_page_of_200_photographs_and_two_methods_has_less_than_10_megabytes() -> None:
    """Of photographs and maps of the largest size that are stored, with the maps of two classes."""
    chance = np.random.default_rng(0)
    photos = [data.example(name) for name in data.EXAMPLES]

    def cut(photo: np.ndarray) -> np.ndarray:
        y, x = (int(chance.integers(length - PICTURE_SIDE)) for length in photo.shape[:2])
        return photo[y : y + PICTURE_SIDE, x : x + PICTURE_SIDE]

    images = [
        {"name": f"{number}.jpg", "picture": packed_picture(cut(photos[number % len(photos)]))} for number in range(200)
    ]
    maps = [[(label, packed(chance.random((MAP_SIDE, MAP_SIDE)))) for label in (0, 1)] for _ in images]
    variants = [{"name": name, "steps": [{"epoch": None, "maps": maps}]} for name in ("cam", "gradcam")]
    group = Group("photographs", ["a", "b"], images, variants=variants)
    html = page.render(page.Page("Report", "kerasxai report", {}, Table([], []), [group.content()]))
    assert len(content_of(html)["groups"][0]["images"]) == 200
    assert 1_000_000 < len(html) < 10_000_000

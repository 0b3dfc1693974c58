"""`kerasxai evaluate` with several methods and refinements: one table, the figures of single evaluations."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo
from PIL import Image

import kerasxai
from kerasxai import data, models
from kerasxai.cli import main
from kerasxai.evaluation.config import EvaluateConfig
from kerasxai.evaluation.evaluate import evaluate, evaluate_methods
from kerasxai.evaluation.found_thresholds import find_threshold
from kerasxai.evaluation.method_rows import folder_name, rows_of, split_refinements
from kerasxai.tools.errors import KerasxaiError

ROWS = {
    "gradcam": "gradcam",
    "gradcam+flip": "gradcam + flip",
    "saliency": "saliency",
    "saliency+flip": "saliency + flip",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a model, `photos` of 4 classes, and their boxes as YOLO text."""
    folder = tmp_path_factory.mktemp("place")
    zoo.build("functional").save(folder / "model.keras")
    generator = np.random.default_rng(0)
    (folder / "labels").mkdir()
    for number in range(16):
        split = "validation" if number < 8 else "test"
        path = folder / "photos" / split / f"class{number % 4}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(path)
        width, height = generator.uniform(0.3, 0.9, 2)
        (folder / "labels" / f"{number}.txt").write_text(f"{number % 4} 0.5 0.5 {width:.4f} {height:.4f}\n")
    (folder / "data.yaml").write_text("names: [class0, class1, class2, class3]\n")
    return folder


@pytest.fixture(scope="module")
def written(place: Path) -> Path:
    """Returns the folder of an evaluation of two methods with two refinements each, with a report."""
    assert run(place, "--out", str(place / "evaluation_methods"), "--report", "4") == 0
    return place / "evaluation_methods"


def run(place: Path, *words: str) -> int:
    given = ["--data", str(place / "photos"), "--boxes", str(place / "labels"), "--input-range", "0,255"]
    names = ["--method", "gradcam,saliency", "--refine", "none,flip", "--report", "0"]
    return main(["evaluate", str(place / "model.keras"), *names, *given, *words])


def figures(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "evaluation.json").read_text())
    return {key: value for key, value in found.items() if key not in ("command", "settings", "model")}


def test_each_row_has_the_figures_of_a_single_evaluation(place: Path, written: Path, tmp_path: Path) -> None:
    table = json.loads((written / "methods.json").read_text())
    assert {row["folder"]: row["name"] for row in table["methods"]} == ROWS
    assert len({row["threshold"] for row in table["methods"]}) > 1, "each row has its own threshold"
    model = models.load_classifier(str(place / "model.keras"))
    for row in table["methods"][1:3]:
        config = EvaluateConfig(
            str(place / "photos"),
            method=row["method"],
            refine=row["refine"],
            boxes_csv=str(place / "labels"),
            preprocess="0,255",
        )
        evaluate(model, config, out=tmp_path / row["folder"], progress=False)
        assert figures(tmp_path / row["folder"]) == figures(written / row["folder"])
        assert (row["threshold"], row["gt_known_loc"]) == tuple(
            figures(written / row["folder"])["chosen"][key] for key in ("threshold", "gt_known_loc")
        )
        for name in ("records.json", "cases.png", "threshold.png"):
            assert (tmp_path / row["folder"] / name).read_bytes() == (written / row["folder"] / name).read_bytes()


def test_a_report_is_written_at_the_end(written: Path) -> None:
    page = (written / "report.html").read_text()
    assert all(name in page for name in ROWS.values())
    assert "class3" in page


def test_a_report_that_fails_leaves_the_results(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Path:
        raise ValueError("expected a report")

    monkeypatch.setattr("kerasxai.cli.end_report.write_report", fail)
    words = ["--data", str(place / "photos"), "--boxes", str(place / "labels"), "--out", str(tmp_path)]
    assert main(["evaluate", str(place / "model.keras"), "--method", "gradcam", "--input-range", "0,255", *words]) == 0
    assert "no report: expected a report" in capsys.readouterr().err
    assert (tmp_path / "evaluation.json").is_file() and not (tmp_path / "report.html").exists()


def test_images_are_read_and_classes_predicted_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits: list[str] = []
    batches = data.ImageDataset.batches

    def counted(dataset: data.ImageDataset, split: str, *rest: Any, **more: Any) -> Any:
        splits.append(split)
        return batches(dataset, split, *rest, **more)

    monkeypatch.setattr(data.ImageDataset, "batches", counted)
    monkeypatch.setattr(kerasxai.Explainer, "predict", lambda *_: pytest.fail("the outputs are known"))
    config = EvaluateConfig(str(place / "photos"), boxes_csv=str(place / "labels"), preprocess="0,255", limit=4)
    model = models.load_classifier(str(place / "model.keras"))
    rows = evaluate_methods(model, config, ["gradcam", "saliency"], progress=False)
    assert splits == ["validation", "test"] and len(rows) == 2
    assert rows[0]["top1_accuracy"] == rows[1]["top1_accuracy"]


def test_classes_alone_are_measured_without_boxes(
    place: Path, written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(place / "photos"), "--input-range", "0,255", "--out", str(tmp_path)]
    assert main(["evaluate", str(place / "model.keras"), *words]) == 0
    assert "photos has no boxes: the predicted classes alone are measured" in capsys.readouterr().err
    evaluation, located = figures(tmp_path), figures(written / "gradcam")
    for name in ("images", "top1_accuracy", "top5_accuracy", "balanced_accuracy"):
        assert evaluation[name] == located[name]
    records, others = (json.loads((folder / "records.json").read_text()) for folder in (tmp_path, written / "gradcam"))
    assert records == [{name: one[name] for name in ("name", "label", "predicted", "place")} for one in others]


def test_the_printed_table_has_the_rows_and_the_baselines_once(
    place: Path, written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place, "--out", str(written)) == 0
    printed = capsys.readouterr().out
    assert (
        printed.count("baseline: centered gaussian") == 1 and "threshold of each method: boxes of validation" in printed
    )
    cells = [line.split("│")[1].strip() for line in printed.splitlines() if line.startswith("│")]
    assert cells[:8] == [row for name in ROWS.values() for row in (name, f"{name}, at 20 %")]
    assert all(cell.startswith("baseline: ") for cell in cells[8:])
    assert f"kerasxai compare {written}" in printed


def test_rows_are_compared_by_their_folder(written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(written), "--resamples", "100", "--images", "2", "--out", str(tmp_path / "out")]) == 0
    assert "8 images in all runs" in capsys.readouterr().out
    table = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert {run["name"] for run in table["runs"]} == set(ROWS.values()) and len(table["differences"]) == 6
    for run_, folder in zip(table["runs"], sorted(ROWS), strict=True):
        assert run_["figures"]["gt_known_loc"]["value"] == pytest.approx(
            figures(written / folder)["chosen"]["gt_known_loc"]
        )
    assert (tmp_path / "out" / "images.png").is_file()


def test_the_threshold_of_a_row_is_found_for_localize(place: Path, written: Path) -> None:
    for folder in ROWS:
        evaluation = json.loads((written / folder / "evaluation.json").read_text())
        found = find_threshold([place], evaluation["model"], evaluation["settings"])
        assert found is not None
        assert found[:2] == (evaluation["tuned"]["threshold"], written / folder / "evaluation.json")


def test_figures_of_other_settings_are_kept(place: Path, written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in written.rglob("*") if path.is_file()}
    assert run(place, "--limit", "4", "--out", str(written)) == 2
    assert "whose figures were made with other settings" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in written.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, [None]),
        ("none", [None]),
        ("flip,best", ["flip,best"]),
        ("auto,flip", ["auto,flip"]),
        ("best,auto", ["best", "auto"]),
        ("none,auto", [None, "auto"]),
        ("none,best,flip,enlarge:factors=[1.5,2],auto", [None, "best", "flip,enlarge:factors=[1.5,2]", "auto"]),
    ],
)
def test_refinements_are_rows_next_to_none_and_if_all_are_presets(text: str | None, expected: list[str | None]) -> None:
    assert split_refinements(text) == expected


def test_settings_go_to_the_methods_that_have_them() -> None:
    config = EvaluateConfig("shapes", layer="a", score="logit", method_options={"samples": 9, "smooth": "smoothgrad"})
    cam, gradcam, lime = rows_of(config, ["cam", "gradcam", "lime"], [None])
    assert (cam.layer, gradcam.layer, lime.layer) == (None, "a", None)
    assert [one.method_options for one in (gradcam, lime)] == [{"smooth": "smoothgrad"}, config.method_options]
    assert rows_of(config, ["cam"], ["flip"])[0].layer == "a", "which the method refuses"
    assert folder_name(rows_of(config, ["gradient*input"], ["flip"])[0]) == "gradient_input+flip"
    with pytest.raises(KerasxaiError, match="expected a known method, got 'gradcm'; nearest: gradcam"):
        rows_of(config, ["gradcm"], [None])


def test_an_unknown_method_is_refused_before_anything_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "none.keras", "--data", "shapes", "--method", "cam,gradcm"])
    assert "argument --method: expected a known method, got 'gradcm'; nearest: gradcam" in capsys.readouterr().err

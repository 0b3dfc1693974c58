"""`kerasxai audit` on a tiny model: figures, page, stored parts, exit status, mistakes."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import zoo
from PIL import Image

from kerasxai import models
from kerasxai.audit import measuring
from kerasxai.audit.audit import Audit, audit
from kerasxai.audit.config import AuditConfig
from kerasxai.audit.images import name_of_sample
from kerasxai.audit.measuring import energy_on
from kerasxai.audit.opening import open_audit, read_samples
from kerasxai.cli import main
from kerasxai.explainer import Explainer
from kerasxai.explanation import Explanation
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.progress import Bar

ROWS = ["gradcam", "saliency", "random", "constant", "centered_gaussian", "edges", "object"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a model, `photos` of 4 classes, and their boxes."""
    folder = tmp_path_factory.mktemp("place")
    zoo.build("functional").save(folder / "model.keras")
    generator = np.random.default_rng(0)
    lines = ["filename,x_min,y_min,x_max,y_max"]
    for number in range(12):
        name = f"test/class{number % 4}/{number}.png"
        path = folder / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path)
        lines.append(f"{name},3,4,10,12")
    (folder / "boxes.csv").write_text("\n".join(lines))
    return folder


def run(place: Path, out: Path, *words: str) -> int:
    given = ["--data", str(place / "photos"), "--boxes", str(place / "boxes.csv"), "--input-range", "0,255"]
    return main(
        ["audit", str(place / "model.keras"), *given, "--methods", "gradcam,saliency", "--out", str(out), *words]
    )


@pytest.fixture(scope="module")
def written(place: Path) -> Path:
    """Returns the folder of a finished audit."""
    assert run(place, place / "audit", "--images", "8") == 0
    return place / "audit"


def figures_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "audit.json").read_text())


def test_figures_are_complete(written: Path) -> None:
    found = figures_in(written)
    assert [row["name"] for row in found["methods"]] == ROWS
    assert {"confusions", "shortcuts", "recommendation", "settings", "command", "calibration"} <= found.keys()
    assert found["images"] == 8 and found["accuracy"]["images"] == 12
    assert [row["method"] for row in found["sanity"]] == ["gradcam", "saliency"]
    by_name = {row["name"]: row for row in found["methods"]}
    assert by_name["object"]["figures"]["localization"]["value"] == 1.0
    assert by_name["constant"]["figures"]["average_drop"]["value"] == 0.0
    assert by_name["constant"]["figures"]["localization"]["value"] == pytest.approx(7 * 8 / 256, abs=0.01)
    assert "stability" in by_name["gradcam"]["figures"] and "stability" not in by_name["edges"]["figures"]
    assert len(by_name["edges"]["curves"]["deletion"]) == 11
    for row in found["methods"][:2]:
        assert row["verdict"]["status"] in ("fails", "no better", "mixed", "better") and row["verdict"]["sentences"]
    for pair in found["confusions"]:
        assert pair["true"] != pair["predicted"] and 1 <= len(pair["examples"]) <= 2


def test_progress_counts_every_part_once(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached: dict[str, list[tuple[float, float]]] = {}
    skipped: list[float] = []

    class Recorded(Bar):
        def advance(self, amount: float) -> None:
            reached.setdefault(self._description, []).append((self.done + amount, self.total))
            super().advance(amount)

        def skip(self, amount: float) -> None:
            skipped.append(amount)
            super().skip(amount)

    monkeypatch.setattr("kerasxai.audit.audit.Bar", Recorded)
    assert run(place, tmp_path, "--images", "4") == 0
    done, totals = zip(*reached["auditing"], strict=True)
    assert set(totals) == {totals[0]}
    assert done == tuple(range(1, int(totals[0]) + 1)) and not skipped
    for file in ("audit.json", "audit.html"):
        (tmp_path / file).unlink()
    assert run(place, tmp_path, "--images", "4") == 0
    assert sum(skipped) == totals[0], "all parts are read"


def test_the_page_is_one_file_with_text(written: Path) -> None:
    page = (written / "audit.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    for text in ("Verdicts", "Sanity", "When it is wrong", "an edge detector", "Calibration"):
        assert text in page
    assert figures_in(written)["recommendation"]["sentence"] in page.replace("&#39;", "'")


def test_a_stopped_audit_continues(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Path) -> None:
    calls: list[str] = []

    def stop(images: Any, maps: Any, scorer: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "average_drop", stop)
    assert run(place, tmp_path, "--images", "8") == 130
    assert not (tmp_path / "audit.json").exists()
    monkeypatch.undo()
    original = measuring.deletion

    def counted(images: Any, maps: Any, scorer: Any) -> Any:
        calls.append(maps.name)
        return original(images, maps, scorer)

    monkeypatch.setattr(measuring, "deletion", counted)
    assert run(place, tmp_path, "--images", "8") == 0
    # That of Grad-CAM was stored before the stop.
    assert calls[:2] == ["saliency", "random"]
    again, before = figures_in(tmp_path), figures_in(written)
    for found in (again, before):
        del found["command"]
    assert again == before


def test_other_settings_need_another_folder(place: Path, written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (written / "audit.json").read_bytes()
    assert run(place, written, "--images", "4") == 2
    assert "images was 8, is 4" in capsys.readouterr().err
    assert (written / "audit.json").read_bytes() == before


def test_the_exit_status_is_1_for_what_fail_on_names(
    place: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kerasxai.audit.verdicts.MARGIN", -2.0)  # Every method fails.
    assert run(place, written, "--images", "8", "--fail-on", "insane") == 1


@pytest.mark.parametrize(
    ("passed", "shortcuts", "failures"),
    [(True, [], set()), (False, [], {"insane"}), (True, [{"class": "a"}], {"shortcut"})],
)
def test_failures_are_methods_that_fail_and_confirmed_shortcuts(
    passed: bool, shortcuts: list[Any], failures: set[str]
) -> None:
    figures = {"sanity": [{"passed": True}, {"passed": passed}], "shortcuts": shortcuts}
    nothing: Any = None
    assert Audit(figures, nothing, [], "gradcam", nothing, nothing).failures() == failures


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "gradcm"], "nearest: gradcam"),
        (["--measures", "deletio"], "nearest: deletion"),
        (["--fail-on", "shortcuts"], "nearest: shortcut"),
        (["--split", "train"], "expected a split"),
        (["--images", "2"], "must be a whole number, 4 or more"),
        (["--layer", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    try:
        status = run(place, tmp_path / "out", *words)
    except SystemExit as error:
        status = int(error.code or 0)
    text = capsys.readouterr().err
    assert status == 2 and message in text and text.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_a_folder_images_are_explained_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explained, advanced = Counter[int](), [0.0]
    explain = Explainer.__call__

    def counted(self: Explainer, images: Any, targets: Any = None) -> Explanation:
        explained[len(images)] += 1
        return explain(self, images, targets)

    class Recorded(Bar):
        def advance(self, amount: float) -> None:
            advanced[0] += amount
            super().advance(amount)

    monkeypatch.setattr(Explainer, "__call__", counted)
    monkeypatch.setattr("kerasxai.audit.audit.Bar", Recorded)
    config = AuditConfig(
        data=str(place / "photos"), methods=("saliency",), measures=("complexity",), images=8, input_range="0,255"
    )
    found = audit(models.load(str(place / "model.keras")), config)
    assert found.shown == "saliency" and found.heatmaps.shape[0] == 8
    assert explained[8] == 1, "confusions and shortcuts explain other images"
    references = len(found.rows) - 1
    assert advanced[0] == 2 + references, "maps and figures of the method, figures of the references"


def test_data_of_other_classes_are_audited_without_labels(place: Path) -> None:
    model = models.load(str(place / "model.keras"))
    few = place / "few" / "test"
    if not few.exists():
        for name in ("class0", "class1"):
            (few / name).mkdir(parents=True)
            for path in (place / "photos" / "test" / name).iterdir():
                (few / name / path.name).write_bytes(path.read_bytes())
    config: dict[str, Any] = {
        "data": str(place / "few"),
        "methods": ("saliency",),
        "measures": ("complexity",),
        "input_range": "0,255",
    }
    with pytest.raises(KerasxaiError, match=r"expected a model with the 2 classes.*--ignore-labels"):
        audit(model, AuditConfig(**config))
    found = audit(model, AuditConfig(**config, ignore_labels=True)).figures
    assert found["accuracy"] is None and found["confusions"] == [] and found["shortcuts"] == []
    with pytest.raises(KerasxaiError, match="expected data with boxes or masks for localization"):
        audit(model, AuditConfig(**{**config, "measures": ("localization",)}, ignore_labels=True))


def test_models_of_several_labels_are_audited_without_confusions(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = keras.Input((32, 32, 3))
    features = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(inputs))
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    model = keras.Model(inputs, keras.layers.Dense(8, activation="sigmoid")(pooled))
    model.save(tmp_path / "model.keras")
    words = ["--data", "shapes_two", "--images", "6", "--predicted", "6", "--methods", "gradcam"]
    words += ["--measures", "complexity,localization", "--out", str(tmp_path / "out")]
    assert main(["audit", str(tmp_path / "model.keras"), *words]) == 0
    assert "mean average precision 0." in capsys.readouterr().out
    figures = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert figures["accuracy"] is None and figures["confusions"] == [] and figures["shortcuts"] == []
    opened = open_audit(model, AuditConfig(data="shapes_two", images=6, predicted=6))
    assert opened.images.boxes is not None and opened.images.masks is not None
    samples = read_samples(opened.images, opened.numbers.tolist())
    by_name = {name_of_sample(sample, number): sample for number, sample in samples.items()}
    for row, name in enumerate(opened.images.names):
        own = by_name[name]["box_labels"] == opened.images.predicted[row]
        np.testing.assert_array_equal(opened.images.boxes[row], by_name[name]["boxes"][own])
        assert (opened.images.masks[row] == 1).any() == own.any()
    assert main(["audit", str(tmp_path / "model.keras"), *words, "--fail-on", "shortcut"]) == 2
    assert "shortcuts are not searched" in capsys.readouterr().err


def test_energy_on_the_object() -> None:
    mask = np.array([[True, False], [False, False]])
    assert energy_on(np.array([[3.0, 1.0], [-5.0, 0.0]]), mask) == 0.75
    assert energy_on(np.zeros((2, 2)), mask) == 0.0
    assert np.isnan(energy_on(np.ones((2, 2)), ~np.ones((2, 2), bool)))

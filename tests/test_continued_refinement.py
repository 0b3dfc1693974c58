"""`--refine auto` in a folder of results that is continued: one choice for all of its images."""

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from test_automatic_refinement import of_contrast

from kerasxai.cli import explain as explain_module
from kerasxai.cli import localize as localize_module
from kerasxai.cli import main
from kerasxai.cli.ledger import Ledger
from kerasxai.explainer import Explainer
from kerasxai.streaming.images import REFINEMENT

TABLES = {"explain": "explanations.json", "localize": "boxes.json"}
WRITERS = {"explain": (explain_module, "write_explained"), "localize": (localize_module, "write_mask")}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows images of weak and of strong contrast when they are enlarged, but not those between."""
    path = tmp_path_factory.mktemp("model") / "model.keras"
    inputs = keras.Input((32, 32, 3))
    scaled = keras.layers.Rescaling(1 / 10, -12.8)(inputs)
    keras.Model(inputs, of_contrast(2.0)(scaled)).save(path)
    return path


def draw(folder: Path, contrasts: list[float]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    begun = len(list(folder.iterdir()))
    for number, contrast in enumerate(contrasts, begun):
        noise = np.random.default_rng(number).normal(128, contrast, (32, 32, 3))
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / f"{number:02}.png")
    return folder


def known(folder: Path) -> Path:
    return draw(folder, [0.1, 100, 0.1])


def grown(folder: Path) -> Path:
    return draw(folder, [10.0] * 9)


def call(command: str, model: Path, folder: Path, out: Path, *more: str) -> int:
    words = ["--method", "saliency", "--refine", "auto", "--batch-size", "2"]
    return main([command, str(model), str(folder), "--out", str(out), *words, *more])


def choice(command: str, out: Path) -> dict[str, Any]:
    content = json.loads((out / TABLES[command]).read_text())
    found: dict[str, Any] = content.get("info", content)["refinement"]
    return found


def chosen(command: str, model: Path, folder: Path, out: Path) -> str:
    assert call(command, model, folder, out) == 0
    return str(choice(command, out)["auto"])


@pytest.mark.parametrize("command", TABLES)
def test_a_folder_that_has_grown_keeps_the_first_choice(
    command: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, out = known(tmp_path / "photos"), tmp_path / "out"
    assert chosen(command, model, photos, out) == "best"
    assert capsys.readouterr().out.count("choosing the refinement on 3 images") == 1
    before = choice(command, out)
    grown(photos)
    assert chosen(command, model, photos, tmp_path / "new") == "graphcut", "the choice on all images is another"
    capsys.readouterr()
    used: list[Any] = []
    explain = Explainer.__call__

    def recorded(self: Explainer, *arguments: Any) -> Any:
        found = explain(self, *arguments)
        used.append(found.notes["auto"])
        return found

    monkeypatch.setattr(Explainer, "__call__", recorded)
    assert chosen(command, model, photos, out) == "best" and choice(command, out) == before
    assert len(used) >= 5 and set(used) == {"best"}
    assert "choosing" not in capsys.readouterr().out


@pytest.mark.parametrize("command", TABLES)
def test_a_killed_call_keeps_its_choice(
    command: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, out, written = known(tmp_path / "photos"), tmp_path / "out", []
    module, name = WRITERS[command]
    write = getattr(module, name)

    def stopped(*arguments: Any) -> Any:
        written.append(1)
        if len(written) == 3:
            raise KeyboardInterrupt
        return write(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(module, name, stopped)
        patched.setattr(Ledger, "__exit__", lambda ledger, *_: ledger.close())
        assert call(command, model, photos, out) == 130
    # The table, too, may be lost.
    (out / TABLES[command]).unlink(missing_ok=True)
    assert chosen(command, model, grown(photos), out) == "best"


@pytest.mark.parametrize("command", TABLES)
def test_results_without_a_choice_are_not_continued(
    command: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = known(tmp_path / "photos"), tmp_path / "out"
    assert call(command, model, photos, out) == 0
    content = json.loads((out / TABLES[command]).read_text())
    del content.get("info", content)["refinement"]
    (out / TABLES[command]).write_text(json.dumps(content))
    assert call(command, model, grown(photos), out) == 2
    assert "expected the choice of --refine auto in" in capsys.readouterr().err


def test_other_settings_have_a_choice_of_their_own(model: Path, tmp_path: Path) -> None:
    photos, out = known(tmp_path / "photos"), tmp_path / "out"
    assert chosen("explain", model, photos, out) == "best"
    assert call("explain", model, grown(photos), out, "--target", "1") == 0
    assert choice("explain", out)["auto"] == "graphcut"
    assert json.loads((out / "explanations-1.json").read_text())["refinement"]["auto"] == "best"
    assert chosen("explain", model, photos, out) == "best"


def test_methods_of_one_call_share_the_choice(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    choose = Explainer.choose_refinement

    def recorded(self: Explainer, images: Any) -> None:
        seen.append(self.method.name)
        choose(self, images)

    monkeypatch.setattr(Explainer, "choose_refinement", recorded)
    photos, out = known(tmp_path / "photos"), tmp_path / "out"
    assert call("explain", model, photos, out, "--method", "saliency,occlusion") == 0 and seen == ["saliency"]


@pytest.mark.parametrize("command", ["explain", "localize"])
def test_shards_keep_the_choice_of_the_first(
    command: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = known(tmp_path / "photos"), tmp_path / "out"
    words = [command, str(model), "--data", str(photos), "--out", str(out), "--shards", "3", "--method", "saliency"]
    assert main([*words, "--refine", "auto", "--shard", "0"]) == 0
    assert "choosing the refinement on 3 images" in capsys.readouterr().out
    before = (out / REFINEMENT).read_text()
    assert json.loads(before)["auto"] == "best"
    # Files of these names with other pixels.
    for path in photos.iterdir():
        path.unlink()
    draw(photos, [10.0] * 3)
    assert main([*words, "--refine", "auto"]) == 0
    assert "choosing" not in capsys.readouterr().out and (out / REFINEMENT).read_text() == before


@pytest.mark.parametrize("shards", [[], ["--shards", "2"]])
def test_a_threshold_of_an_evaluation_is_used_with_its_refinement(
    shards: list[str], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Of the evaluated images, all of the contrast that the model does not know, and of the photographs.
    photos, run = known(tmp_path / "photos"), tmp_path / "run"
    run.mkdir()
    shutil.copy(model, run / "model.keras")
    rows = []
    for split in ("validation", "test"):
        for name in "ab":
            folder = draw(tmp_path / "data" / split / name, [10.0] * 4)
            rows += [f"{path.relative_to(tmp_path / 'data')},4,4,20,20" for path in sorted(folder.iterdir())]
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("\n".join(["image,x0,y0,x1,y1", *rows]))
    words = ["evaluate", str(run / "model.keras"), "--data", str(tmp_path / "data"), "--boxes", str(boxes)]
    words += ["--method", "saliency", "--refine", "auto", "--out", str(run / "evaluation"), *shards]
    assert main(words) == 0
    evaluation = json.loads((run / "evaluation" / "evaluation.json").read_text())
    assert evaluation["refinement"]["auto"] == "graphcut"
    assert chosen("explain", run / "model.keras", photos, tmp_path / "explained") == "best"
    capsys.readouterr()
    assert chosen("localize", run / "model.keras", photos, tmp_path / "out") == "graphcut"
    printed = capsys.readouterr()
    assert "with the refinement graphcut" in printed.err and "choosing" not in printed.out
    assert choice("localize", tmp_path / "out") == evaluation["refinement"]
    out = tmp_path / "shards"
    data = ["localize", str(run / "model.keras"), "--data", str(photos), "--shards", "2", "--out", str(out)]
    assert main([*data, "--method", "saliency"]) == 0
    assert json.loads((out / REFINEMENT).read_text()) == evaluation["refinement"]


def test_a_choice_without_a_usable_image_is_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Explainer, "choose_refinement", lambda *_: None)
    assert chosen("localize", model, known(tmp_path / "photos"), tmp_path / "out") == "graphcut"
    assert "none of the 3 images" in choice("localize", tmp_path / "out")["without_best"]

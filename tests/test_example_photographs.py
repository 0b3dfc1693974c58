"""Photographs that are installed with kerasxai, by name in Python and on the command line."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

import kerasxai
from kerasxai.cli import main
from kerasxai.data import EXAMPLES, example
from kerasxai.data.examples import example_or_file, shown_path
from kerasxai.tools.errors import KerasxaiError

FOLDER = Path(kerasxai.__file__).parent / "data" / "examples"


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_photograph_is_in_color(name: str) -> None:
    pixels = example(name)
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and min(pixels.shape[:2]) >= 300
    assert pixels.shape[-1] == 3 and np.ptp(pixels.astype(int), axis=-1).mean() > 5


def test_each_file_has_a_license_and_they_are_small() -> None:
    files = {path.stem: path for path in FOLDER.glob("*.jpg")}
    assert set(files) == set(EXAMPLES)
    assert sum(path.stat().st_size for path in files.values()) < 300_000
    assert {row.license for row in EXAMPLES.values()} == {"CC0", "public domain"}
    assert all(row.author and row.source for row in EXAMPLES.values())


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(KerasxaiError, match="expected a known example, got 'rockt'; nearest: rocket"):
        example("rockt")
    with pytest.raises(KerasxaiError, match=r"expected a known example, got '\.\./cat'"):
        example_or_file("example:../cat")


def test_files_have_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert example_or_file("cat") == Path("cat")
    assert example_or_file("example:cat") == FOLDER / "cat.jpg" and shown_path(FOLDER / "cat.jpg") == "example:cat"
    assert shown_path(FOLDER / "other.jpg") == str(FOLDER / "other.jpg") and shown_path("cat.jpg") == "cat.jpg"
    Path("example:cat").touch()
    assert example_or_file("example:cat") == Path("example:cat")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    tower = [layers.Rescaling(1 / 255), layers.Conv2D(3, 3, strides=8), layers.GlobalAveragePooling2D()]
    path = tmp_path_factory.mktemp("model") / "model.keras"
    keras.Sequential([keras.Input((32, 32, 3)), *tower, layers.Dense(2)]).save(path)
    return path


def test_they_are_explained_by_name(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explanation = kerasxai.explain(str(model), ["example:cat", "example:rocket"])
    assert explanation.names == ("cat", "rocket")
    out = tmp_path / "out"
    assert main(["explain", str(model), "example:coffee", "--out", str(out)]) == 0
    (record,) = json.loads((out / "explanations.json").read_text())["images"]
    assert Path(record["image"]).name == "coffee.jpg" and (out / record["files"][-1]).exists()
    assert main(["explain", str(model), "example:cup", "--out", str(out)]) == 2
    assert "expected a known example, got 'cup'" in capsys.readouterr().err

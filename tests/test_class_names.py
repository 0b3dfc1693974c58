"""`--class-names`: names for models without any."""

import json
from pathlib import Path

import numpy as np
import pytest
import zoo
from PIL import Image

import kerasxai
from kerasxai import models
from kerasxai.cli import main
from kerasxai.cli.models_in import read_class_names
from kerasxai.tools.errors import KerasxaiError

NAMES = ["bird", "cat", "vehicle", "zebra"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a model of four classes without names, a photograph, and the names in three forms."""
    folder = tmp_path_factory.mktemp("place")
    zoo.build("functional").save(folder / "model.keras")
    for name in NAMES:
        (folder / "photos" / name).mkdir(parents=True)
        pixels = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / name / f"{name}.png")
    (folder / "names.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    return folder


def call(place: Path, command: str, out: Path, *words: str) -> int:
    image = str(place / "photos" / "cat" / "cat.png")
    return main([command, str(place / "model.keras"), image, "--method", "cam", "--out", str(out), *words])


def test_names_are_a_list_a_file_or_the_folder_of_the_images(place: Path) -> None:
    for given in ("bird, cat,vehicle,zebra", str(place / "names.txt"), str(place / "photos")):
        assert read_class_names(given) == NAMES


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nams.txt", "a text file or a folder, got nams.txt"),
        ("cat,dog,cat", "got 'cat' twice"),
        ("cat,,dog", "got an empty one"),
        ("cat,dog", "expected 4 class names, one for each class of the model, got 2"),
    ],
)
def test_mistakes_end_in_one_line(
    given: str, message: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(place, "explain", tmp_path / "out", "--class-names", given) == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_target_by_name_is_explained(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(place, "explain", tmp_path / "a", "--target", "vehicle") == 2
    assert "--class-names gives them" in capsys.readouterr().err
    words = ("--target", "vehicle", "--class-names", str(place / "photos"))
    assert call(place, "explain", tmp_path / "a", *words) == 0
    (record,) = json.loads((tmp_path / "a" / "explanations.json").read_text())["images"]
    assert record["explanations"][0]["target"] == 2 and record["explanations"][0]["target_name"] == "vehicle"
    assert {one["name"] for one in record["predicted"]} <= set(NAMES)
    assert call(place, "localize", tmp_path / "b", *words, "--refine", "none") == 0
    settings = json.loads((tmp_path / "b" / "boxes.json").read_text())["info"]["settings"]
    assert settings["class_names"] == NAMES, "the names, not where they were read"


def test_results_without_names_keep_their_settings(place: Path, tmp_path: Path) -> None:
    assert call(place, "localize", tmp_path, "--refine", "none") == 0
    assert "class_names" not in json.loads((tmp_path / "boxes.json").read_text())["info"]["settings"]


def test_given_names_are_used_everywhere() -> None:
    model = zoo.build("functional")
    assert models.class_names(model) is None
    models.set_class_names(model, NAMES)
    assert models.class_names(model) == NAMES
    images = np.random.default_rng(0).random((1, zoo.SIZE, zoo.SIZE, 3), np.float32)
    assert "vehicle" in kerasxai.Explainer(model, "cam")(images, 2).caption(0)
    with pytest.raises(KerasxaiError, match="expected 4 class names, one for each class of the model, got 3"):
        models.set_class_names(model, NAMES[:3])

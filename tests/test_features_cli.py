"""`kerasxai inspect` on a folder of small photographs and a tiny model."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import zoo
from PIL import Image

from kerasxai.cli import main
from kerasxai.features import NeighborIndex, load_embeddings


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inspect")
    random = np.random.default_rng(0)
    for number in range(24):
        kind = ("cat", "dog")[number % 2]
        pixels = random.integers(0, 256, (20, 20, 3)) // 2 + (number % 2) * 100
        path = folder / "photos" / "test" / kind / f"{kind}{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        for split in ("train", "validation"):
            other = folder / "photos" / split / kind / path.name
            other.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(other)
    inputs = keras.Input((zoo.SIZE, zoo.SIZE, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, -1)(inputs)
    keras.Model(inputs, zoo.build("nested")(scaled)).save(folder / "model.keras")
    return folder


def inspect(place: Path, *words: Any) -> int:
    return main(["inspect", str(place / "model.keras"), *map(str, words)])


@pytest.mark.filterwarnings("ignore:.*inputs does not match the expected structure")
def test_all_pages(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = place / "out"
    data = ["--data", place / "photos", "--target", 2, "--steps", 4, "--patches", 3, "--projection", "pca"]
    assert inspect(place, *data, "--out", out) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    told = json.loads((out / "inspection.json").read_text())
    assert told["receptive_field"]["size"] == [7, 7] and told["layer"].endswith("inner_last")
    assert "dissection" not in printed and "trustworthiness" in printed and "report.html" in printed
    html = (out / "report.html").read_text(encoding="utf-8")
    for title in ("Filters", "Activations", "Patches", "Class pictures", "Nearest neighbors", "Projection"):
        assert f">{title}</h2>" in html
    embeddings = load_embeddings(out / "embeddings.npy")
    index = NeighborIndex.load(out / "index.npz")
    assert embeddings.vectors.shape == (24, 8) and index.names == embeddings.names
    assert told["precision"]["1"] == pytest.approx(index.precision_at(1)[1])
    for name in ("filters", "activations", "patches", "neighbors", "projection", "class_2_seed0"):
        with Image.open(out / f"{name}.png") as picture:
            assert np.asarray(picture).std() > 1, name
    with Image.open(out / "class_2_seed0.webp") as film:
        assert getattr(film, "n_frames", 1) > 1
    assert (out / "projector" / "projector_config.pbtxt").is_file() and (out / "projection.html").is_file()


@pytest.mark.filterwarnings("ignore:.*inputs does not match the expected structure")
def test_new_images_in_a_saved_index(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = sorted((place / "photos" / "test").rglob("*.png"))
    words = ["--data", place / "photos", "--show", "neighbors", "--out", place / "first"]
    assert inspect(place, *words) == 0
    index = ["--index", place / "first" / "index.npz", "--show", "neighbors", "--out", place / "second"]
    assert inspect(place, *index, "--query", photos[5]) == 0, capsys.readouterr().err
    (found,) = json.loads((place / "second" / "inspection.json").read_text())["neighbors"]
    assert Path(found["neighbors"][0]).name == photos[5].name and found["distances"][0] < 1e-3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--show", "patches"], "give --data"),
        (["--show", "classes"], "give --target"),
        (["--show", "weights"], "expected a known part, got 'weights'"),
        (["--show", "filters", "--layer", "nowhere"], "expected a known layer"),
        (["--index", "i.npz"], "give --query"),
    ],
)
def test_mistakes_are_one_line(place: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect(place, *words, "--out", place / "wrong") == 2
    told = capsys.readouterr().err.strip()
    assert message in told and "\n" not in told
    assert not (place / "wrong" / "report.html").exists()

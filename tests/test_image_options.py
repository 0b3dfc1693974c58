"""What commands feed to models of other shapes and ranges, and what they say and keep of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from run_folders import without_announcement

from kerasxai.cli import main
from kerasxai.data import read_image
from kerasxai.data.images import image_size
from kerasxai.engine.images.image_input import image_input
from kerasxai.tools.image_options import parse_size

layers = keras.layers
RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def net(shape: tuple[int | None, ...], before: Callable[[Any], Any] = lambda x: x) -> Any:
    keras.utils.set_random_seed(1)
    inputs = keras.Input(shape)
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="last")(before(inputs))
    return keras.Model(inputs, layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the current folder, with an image of each number of channels."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(COLORS).save("color.png")
    Image.fromarray(COLORS[..., 0]).save("grey.png")
    Image.fromarray(np.dstack([COLORS, COLORS[..., :1]])).save("alpha.png")
    return tmp_path


def probability(model: Any, batch: np.ndarray) -> float:
    return float(model(batch).numpy().max())


@pytest.mark.parametrize("command", ["explain", "localize"])
@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((16, 16, 1), []),
        ((16, 16, 4), []),
        ((16, 24, 3), []),
        ((None, None, 3), ["--image-size", "12x20"]),
    ],
)
def test_models_of_every_shape(here: Path, command: str, shape: tuple[int | None, ...], words: list[str]) -> None:
    model = net(shape)
    model.save("model.keras")
    # Of several methods the overlays have the size of the image; that of one method has a caption.
    method = "gradcam,saliency" if command == "explain" else "gradcam"
    call = [command, "model.keras", "color.png", "grey.png", "alpha.png", "--out", "out", "--method", method]
    assert main([*call, "--input-range", "0,1", *words]) == 0
    name = "explanations.json" if command == "explain" else "boxes.json"
    written = json.loads(Path("out", name).read_text())
    kept = written if command == "explain" else written["info"]
    assert kept["input_range"] == "0,1"
    if command == "explain":
        taken = image_input(model, parse_size(words[1]) if words else None, "0,1")
        given = read_image("alpha.png" if shape[-1] == 4 else "color.png", channels=4 if shape[-1] == 4 else 3)
        record = written["images"][2 if shape[-1] == 4 else 0]
        assert record["predicted"][0]["probability"] == pytest.approx(
            probability(model, taken.batch([given])), abs=1e-5
        )
        assert np.load("out/color_gradcam.npy").shape == taken.size
        assert image_size(Path("out/color_gradcam.png")) == (30, 20)


@pytest.mark.parametrize("before", [layers.Permute((2, 3, 1))])
def test_channels_first_models_that_turn_their_images(here: Path, before: Any) -> None:
    model = net((3, 16, 24), before)
    model.save("model.keras")
    assert main(["explain", "model.keras", "color.png", "--out", "out", "--input-range=-1,1"]) == 0
    assert np.load("out/color_gradcam.npy").shape == (16, 24)
    told = json.loads(Path("out/explanations.json").read_text())["images"][0]["predicted"][0]["probability"]
    batch = image_input(model, preprocess="-1,1").batch([COLORS])
    assert batch.shape == (1, 3, 16, 24)
    assert told == pytest.approx(probability(model, batch), abs=1e-5)


def test_the_range_decides_what_is_predicted(here: Path) -> None:
    net((16, 16, 3)).save("raw.keras")
    net((16, 16, 3), layers.Rescaling(1 / 255)).save("rescaling.keras")
    assert main(["explain", "rescaling.keras", "color.png", "--out", "expected"]) == 0
    assert main(["explain", "raw.keras", "color.png", "--out", "found", "--input-range", "0,1"]) == 0
    expected, found = (
        json.loads(Path(out, "explanations.json").read_text())["images"][0]["predicted"]
        for out in ("expected", "found")
    )
    assert [one["probability"] for one in found] == pytest.approx([one["probability"] for one in expected], abs=1e-5)


@pytest.mark.parametrize("command", ["explain", "localize"])
def test_a_model_without_rescaling_is_told_in_one_line(
    here: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    net((16, 16, 3)).save("raw.keras")
    net((16, 16, 3), layers.Rescaling(1 / 255)).save("rescaling.keras")
    for model, words, lines in (("raw", [], 1), ("raw", ["--input-range", "0,255"], 0), ("rescaling", [], 0)):
        images = ["color.png", "grey.png", "--batch-size", "1", "--method", "gradcam"]
        assert main([command, f"{model}.keras", *images, "--out", f"{model}{len(words)}", *words]) == 0
        told = without_announcement(capsys.readouterr().err)
        assert len(told) == lines and all("--input-range" in line for line in told)


def test_an_error_is_one_line_without_a_warning(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net((16, 16, 3)).save("raw.keras")
    assert main(["explain", "raw.keras", "color.png", "--target", "9", "--out", "out"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("words", [["--input-range", "0,3"], ["--input-range", "no_module:f"], ["--bits", "99"]])
def test_mistakes_are_told_before_anything_is_read(
    here: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(["explain", "no_such_model.keras", "color.png", "--out", "out", *words])
    except SystemExit as left:
        status = int(left.code or 0)
    told = capsys.readouterr().err
    assert status == 2 and told.count("\n") == 1 and "no_such_model" not in told
    assert not Path("out").exists()


def test_a_function_of_ones_own_and_its_changes(here: Path) -> None:
    net((16, 16, 3)).save("raw.keras")
    call = ["explain", "raw.keras", "color.png", "--out", "out", "--input-range", "own_range:scaled"]
    Path("own_range.py").write_text("def scaled(images):\n    return images / 255\n")
    assert main(call) == 0
    settings = json.loads(Path("out/explanations.json").read_text())["settings"]
    assert settings["input_range"] == "own_range:scaled" and len(settings["input_range_sha256"]) == 64


def test_twelve_bits_are_told_once_or_scaled(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net((16, 16, 1), layers.Rescaling(1 / 255)).save("grey.keras")
    for name in ("x.png", "y.png"):
        Image.fromarray(RNG.integers(0, 4096, (20, 30), dtype=np.uint16)).save(name)
    for out, words, lines in (("told", [], 1), ("scaled", ["--bits", "12"], 0)):
        assert main(["explain", "grey.keras", "x.png", "y.png", "--out", out, *words]) == 0
        told = capsys.readouterr().err
        assert told.count("\n") == lines and ("--bits 12" in told) == bool(lines)


def test_a_large_image_is_refused_before_it_is_decoded(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    net((16, 16, 3), layers.Rescaling(1 / 255)).save("model.keras")
    monkeypatch.setenv("KERASXAI_MAX_PIXELS", "500")
    assert main(["explain", "model.keras", "color.png", "--out", "out"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "30 x 20" in told


@pytest.mark.parametrize("text", ["0", "-3", "12x", "x12", "12x0", "1e3", "123456", "12x12x3", ""])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(Exception, match="must be a side"):
        parse_size(text)

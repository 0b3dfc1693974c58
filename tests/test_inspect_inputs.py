"""`kerasxai evaluate` and `inspect` with models of other shapes and ranges."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from kerasxai import data
from kerasxai.cli import main
from kerasxai.engine.images.builtin_preprocessing import InputRangeWarning
from kerasxai.engine.images.image_input import image_input
from kerasxai.evaluation.evaluate import evaluate
from kerasxai.features.capture import Capture
from kerasxai.features.preprocessed import preprocessing_inputs

layers = keras.layers


def net(shape: tuple[int | None, ...], before: Callable[[Any], Any] = lambda x: x) -> Any:
    keras.utils.set_random_seed(1)
    inputs = keras.Input(shape)
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="last")(before(inputs))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the current folder, with images of three classes in two splits, and their boxes."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    rows = ["filename,x_min,y_min,x_max,y_max"]
    for split in ("test", "validation"):
        for number in range(6):
            path = Path("photos", split, f"class{number % 3}", f"{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
            rows.append(f"{path.relative_to('photos').as_posix()},5,5,20,15")
    Path("boxes.csv").write_text("\n".join(rows))
    return tmp_path


def test_data_are_resized_to_oblong_images(here: Path) -> None:
    sample = next(iter(data.load("photos", "test", (12, 20), batch_size=2, boxes_csv="boxes.csv")))
    assert sample["image"].shape == (2, 12, 20, 3)
    np.testing.assert_allclose(sample["boxes"][0, 0], [5 / 30, 5 / 20, 20 / 30, 15 / 20], rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "protocol"),
    [
        *((shape, "kerasxai") for shape in [(16, 16, 1), (16, 24, 3), (16, 16, 4)]),
        ((16, 24, 3), "wsolevaluation"),
        *(pytest.param(shape, "wsolevaluation", marks=pytest.mark.exhaustive) for shape in [(16, 16, 1), (16, 16, 4)]),
    ],
)
def test_evaluate_feeds_what_the_model_takes(here: Path, shape: tuple[int, ...], protocol: str) -> None:
    net(shape).save("raw.keras")
    net(shape, layers.Rescaling(1 / 255)).save("rescaling.keras")
    call = ["--data", "photos", "--boxes", "boxes.csv", "--method", "gradcam", "--protocol", protocol]
    assert main(["evaluate", "rescaling.keras", *call, "--out", "expected"]) == 0
    assert main(["evaluate", "raw.keras", *call, "--input-range", "0,1", "--out", "found"]) == 0
    expected, found = (json.loads(Path(out, "evaluation.json").read_text()) for out in ("expected", "found"))
    assert (expected["input_range"], found["input_range"]) == ("0,255", "0,1")
    for figure in ("gt_known_loc", "top1_accuracy", "mean_iou"):
        assert found[figure] == pytest.approx(expected[figure], abs=1e-6)


def test_evaluate_warns_in_python(here: Path) -> None:
    settings: dict[str, Any] = {"method": "gradcam", "boxes_csv": "boxes.csv", "tune_split": None, "progress": False}
    model = net((16, 16, 3))
    with pytest.warns(InputRangeWarning, match="no rescaling"):
        evaluate(model, "photos", **settings)
    assert evaluate(model, "photos", preprocess=np.sign, **settings)["input_range"] == "numpy:sign"


def scaled(images: Any) -> Any:
    """Takes arrays alone."""
    return np.clip(np.asarray(images) / 255, 0, 1)


@pytest.mark.parametrize("preprocess", ["0,1", "caffe", scaled])
def test_layers_see_preprocessed_images(preprocess: Any) -> None:
    model = net((16, 24, 3))
    taken = image_input(model, preprocess=preprocess)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3)).astype("float32")
    expected = Capture(model, "last")(taken.taken(images))
    with preprocessing_inputs(model, taken):
        np.testing.assert_allclose(Capture(model, "last")(images), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(Capture(model, "last")(taken.taken(images)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((16, 16, 1), ["--input-range", "0,1", "--target", "1", "--steps", "2"]),
        ((16, 24, 3), ["--input-range", "caffe", "--target", "1", "--steps", "2"]),
        ((16, 24, 3), ["--input-range", "own_range:scaled", "--show", "patches,neighbors"]),
        ((16, 16, 4), ["--input-range=-1,1", "--show", "patches,activations"]),
    ],
)
def test_inspect(here: Path, shape: tuple[int, ...], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("own_range.py").write_text("import numpy\n\ndef scaled(x):\n    return numpy.clip(x / 255, 0, 1)\n")
    net(shape).save("raw.keras")
    call = ["inspect", "raw.keras", "--data", "photos", "--out", "out", "--projection", "pca", "--layer", "last"]
    assert main([*call, *words]) == 0
    assert capsys.readouterr().err == ""
    told = json.loads(Path("out/inspection.json").read_text())
    assert told["input_range"] == words[0].partition("=")[2] or told["input_range"] == words[1]

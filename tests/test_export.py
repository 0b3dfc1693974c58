"""`kerasxai export`: the exported file gives the outputs of the model, with the class maps as a second output."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasxai
from kerasxai import models
from kerasxai.cli import main
from kerasxai.models import exporting
from kerasxai.models.export_formats import FORMATS
from kerasxai.models.exported import Outputs, runner_of

SIDE = 16


def classifier(head: str, **options: Any) -> keras.Model:
    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(6, 3, 2, "same", activation="relu")(keras.layers.Rescaling(1 / 255)(image))
    backbone = keras.Model(image, keras.layers.Conv2D(8, 3, 2, "same", activation="relu")(x), name="tiny")
    width: dict[str, Any] = {} if head == "gap" else {"width": 8}
    return models.build_classifier(backbone, 3, head, class_names=["a", "b", "c"], seed=2, **width, **options)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (5, SIDE, SIDE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def acol() -> keras.Model:
    return classifier("acol")


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return classifier("gap")


@pytest.mark.parametrize(
    ("head", "labels"), [("gap", "single"), ("gap", "multi"), ("conv1x1", "single"), ("acol", "single")]
)
def test_maps_are_those_of_cam(head: str, labels: str, images: np.ndarray) -> None:
    model = classifier(head, labels=labels)
    found = models.with_class_maps(model)
    assert found is not None
    outputs = found(images, training=False)
    np.testing.assert_allclose(outputs["predictions"], model(images, training=False), rtol=1e-6)
    targets = np.argmax(outputs["predictions"], -1)
    maps = np.take_along_axis(outputs["maps"].numpy(), targets[:, None, None, None], -1)[..., 0]
    cam = kerasxai.Explainer(model, "cam", resize=False)(images, targets).heatmaps
    np.testing.assert_allclose(maps, cam, atol=1e-5)


# SavedModels are exported below.
@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_an_exported_file_gives_what_the_model_gives(
    name: str, acol: keras.Model, images: np.ndarray, tmp_path: Path
) -> None:
    for package in FORMATS[name].packages:
        pytest.importorskip(package, reason="an optional package")
    path = tmp_path / f"model{FORMATS[name].suffix}"
    found = models.export(acol, path, name)
    assert found.outputs == {"predictions": (3,), "maps": (4, 4, 3)}
    assert found.difference <= found.tolerance == exporting.TOLERANCE
    expected = models.with_class_maps(acol)(images, training=False)  # type: ignore[misc]
    got = runner_of(path, name)(images)
    assert got.keys() == {"predictions", "maps"}
    for key, value in got.items():
        np.testing.assert_allclose(value, expected[key], atol=1e-5)
    record = json.loads((tmp_path / f"{path.name}.json").read_text())
    assert record["class_names"] == ["a", "b", "c"]
    assert record["format"] == name
    assert {one.name for one in tmp_path.iterdir()} == {path.name, f"{path.name}.json"}


def test_a_saved_model_is_explained_by_its_scores(images: np.ndarray, tmp_path: Path) -> None:
    model = classifier("conv1x1")
    assert models.export(model, tmp_path / "served").outputs == {"predictions": (3,), "maps": (4, 4, 3)}
    class_maps = keras.Model(model.input, model.get_layer("class_maps").output)
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(served.serve(images)["maps"], class_maps(images), atol=1e-5)
    np.testing.assert_allclose(models.load_classifier(tmp_path / "served")(images), model(images), rtol=1e-5)


def test_a_model_without_such_a_head_has_its_own_output(images: np.ndarray, tmp_path: Path) -> None:
    image = keras.Input((None, None, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3)(image))
    model = keras.Model(image, keras.layers.Dense(2)(pooled))
    assert models.with_class_maps(model) is None
    found = models.export(model, tmp_path / "model.tflite")
    assert found.format == "tflite"
    assert found.outputs == {"predictions": (2,)}
    (got,) = runner_of(tmp_path / "model.tflite", "tflite")(images).values()
    np.testing.assert_allclose(got, model(images), rtol=1e-4)


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def runner(path: Path, format: str) -> Any:
        run = runner_of(path, format)

        def other(images: np.ndarray) -> Outputs:
            return {name: value + 2e-4 * (name == "predictions") for name, value in run(images).items()}

        return other

    monkeypatch.setattr(exporting, "runner_of", runner)


@pytest.mark.usefixtures("wrong")
def test_a_file_with_other_outputs_is_not_kept(model: keras.Model, tmp_path: Path) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=r"within 0.0001 of the model's, got a difference of 0.0002"):
        models.export(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_mistakes_end_in_one_line(
    model: keras.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, taken = tmp_path / "model.keras", tmp_path / "taken.tflite"
    model.save(file)
    taken.touch()
    absent = exporting.importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *more: None if name == "tf2onnx" else absent(name, *more)
    )
    for words, message in {
        ("--out", str(taken)): "expected a new path for an exported model",
        ("--format", "onnx"): "cannot export to onnx: tf2onnx not installed; run pip install 'kerasxai[onnx]'",
        ("--format", "onnx", "--out", "a.tflite"): "the path of format onnx must end in .onnx, got .tflite",
    }.items():
        assert main(["export", str(file), *words]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert taken.read_bytes() == b""


def test_the_command_prints_what_it_checked(
    model: keras.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.save(tmp_path / "model.keras")
    assert main(["export", str(tmp_path / "model.keras"), "--no-maps"]) == 0
    printed = capsys.readouterr()
    assert f"exported: {tmp_path / 'model_savedmodel'} (savedmodel, " in printed.out
    assert "outputs: predictions (N, 3)\n" in printed.out
    assert "checked against the model on 8 images: largest difference " in printed.out
    assert not printed.err
    loaded = tf.saved_model.load(str(tmp_path / "model_savedmodel"))
    assert loaded.serve(np.zeros((2, SIDE, SIDE, 3), np.float32)).shape == (2, 3)

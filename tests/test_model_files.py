"""What people give as MODEL: every kind of file either loads or is refused in one line that says what it is."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

import kerasxai
from kerasxai.cli import main, parser_of
from kerasxai.models import load, load_classifier
from kerasxai.models.model_files import inspect_file

layers = keras.layers


@keras.saving.register_keras_serializable("test_model_files", name="Doubled")
class Doubled(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return 2 * x


class Halved(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x / 2


def squared(x: Any) -> Any:
    return x * x


def network(*between: Any, activation: str | None = "softmax") -> keras.Model:
    image = keras.Input((12, 12, 3))
    x = layers.Conv2D(4, 3, name="last")(image)
    for layer in between:
        x = layer(x)
    return keras.Model(image, layers.Dense(3, activation=activation)(layers.GlobalAveragePooling2D()(x)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    model = network()
    model.save(path / "model.keras")
    model.save_weights(path / "model.weights.h5")
    (path / "no_model").mkdir()
    (path / "empty.keras").write_bytes(b"")
    (path / "pointer.keras").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (path / "torch.pt").write_text("x")
    (path / "lite.tflite").write_text("x")
    np.savez(path / "arrays.npz", a=1)
    with zipfile.ZipFile(path / "other.keras", "w") as archive:
        archive.writestr("readme.txt", "x")
    whole = (path / "model.keras").read_bytes()
    (path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    return path


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("model.weights.h5", "holds weights without a model"),
        ("no_model", "a folder without a model"),
        ("empty.keras", "an empty file"),
        ("pointer.keras", "git lfs pull"),
        ("torch.pt", "a PyTorch model"),
        ("lite.tflite", "a TensorFlow Lite model"),
        ("arrays.npz", "NumPy arrays"),
        ("other.keras", "a zip file without a Keras model"),
        ("cut.keras", "damaged or no Keras model"),
        ("absent.keras", "expected an existing model file"),
    ],
)
def test_what_is_no_model_is_called_by_its_name(folder: Path, name: str, told: str) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=told):
        load(folder / name)


@pytest.mark.parametrize("name", ["model", "model.zip", "model.h5"])
def test_a_suffix_does_not_decide_what_a_file_is(folder: Path, tmp_path: Path, name: str) -> None:
    shutil.copy(folder / "model.keras", tmp_path / name)
    assert load(tmp_path / name).output_shape == (None, 3)


def test_the_folder_of_a_run_is_given_for_its_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load(folder).output_shape == (None, 3)
    assert main(["layers", str(folder)]) == main(["layers", str(folder / "model.keras")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines and lines[: len(lines) // 2] == lines[len(lines) // 2 :]


@pytest.mark.parametrize("command", ["explain", "localize", "evaluate", "audit", "inspect", "export", "layers"])
def test_every_command_reads_the_folder_of_a_run_as_its_model(command: str, folder: Path) -> None:
    words = {"explain": ["cat.jpg"], "localize": ["cat.jpg"], "evaluate": ["--data", "shapes"]}
    words |= {"audit": ["--data", "shapes"], "inspect": ["--data", "shapes"], "export": ["--format", "onnx"]}
    options = parser_of(command).parse_args([str(folder), *words.get(command, [])])
    assert options.model == str(folder / "model.keras")


def test_an_unzipped_model_loads(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(folder / "model.keras") as archive:
        archive.extractall(tmp_path / "model")
    assert load(tmp_path / "model").output_shape == (None, 3)


def test_a_saved_model_folder_is_explained_by_its_scores(tmp_path: Path) -> None:
    model = network(activation=None)
    model.export(tmp_path / "saved", verbose=False)
    loaded = load_classifier(tmp_path / "saved")
    images = np.random.default_rng(0).random((2, 12, 12, 3), np.float32)
    np.testing.assert_allclose(loaded.predict_on_batch(images), model.predict_on_batch(images), rtol=1e-5)
    settings: dict[str, Any] = {"masks": 8, "grid": 3}
    expected = kerasxai.Explainer(model, "rise", **settings)(images, 1).heatmaps
    np.testing.assert_allclose(kerasxai.Explainer(loaded, "rise", **settings)(images, 1).heatmaps, expected, atol=1e-4)
    with pytest.raises(kerasxai.KerasxaiError, match=r"got a keras[.]layers[.]TFSMLayer, which hides them"):
        kerasxai.Explainer(loaded, "gradcam")(images)


@pytest.fixture(params=["h5", "keras"])
def written_by(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a file that an older or a newer Keras wrote, with an argument that this one does not know."""

    def changed(config: dict[str, Any]) -> dict[str, Any]:
        config["config"]["layers"][1]["config"]["groupings"] = 2
        return config

    def write(version: str) -> Path:
        path = tmp_path / f"model.{request.param}"
        if request.param == "h5":
            network().save(path)
            with h5py.File(path, "r+") as file:
                file.attrs["model_config"] = json.dumps(changed(json.loads(file.attrs["model_config"])))
                file.attrs["keras_version"] = version
            return path
        network().save(tmp_path / "whole.keras")
        with zipfile.ZipFile(tmp_path / "whole.keras") as whole, zipfile.ZipFile(path, "w") as archive:
            for name in whole.namelist():
                content = whole.read(name)
                if name == "metadata.json":
                    content = json.dumps({"keras_version": version}).encode()
                if name == "config.json":
                    content = json.dumps(changed(json.loads(content))).encode()
                archive.writestr(name, content)
        return path

    return write


@pytest.mark.parametrize(
    ("version", "told"), [("2.15.0", r"written by Keras 2\.15\.0.*tf_keras"), ("9.1.0", r"9\.1\.0, which is newer")]
)
def test_the_version_that_wrote_a_file_is_told(written_by: Callable[[str], Path], version: str, told: str) -> None:
    path = written_by(version)
    assert inspect_file(path).version == version
    with pytest.raises(kerasxai.KerasxaiError, match=f"groupings.*{told}"):
        load(path)


def test_classes_that_keras_does_not_know_are_all_named(tmp_path: Path) -> None:
    network(Halved(), layers.Activation(squared), Doubled()).save(tmp_path / "model.keras")
    with pytest.raises(kerasxai.KerasxaiError, match=r"does not know: Halved, squared; .*--custom-objects"):
        load(tmp_path / "model.keras")
    known = {"Halved": Halved, "squared": squared}
    assert load(tmp_path / "model.keras", custom_objects=known).output_shape == (None, 3)


def test_a_module_with_custom_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network(Halved()).save(tmp_path / "model.keras")
    code = "import keras\nclass Halved(keras.layers.Layer):\n    def call(self, x):\n        return x / 2\n"
    (tmp_path / "halving_layers.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    for module in ("halving_layers", str(tmp_path / "halving_layers.py")):
        assert load("model.keras", custom_objects=[module]).output_shape == (None, 3)
    with pytest.raises(kerasxai.KerasxaiError, match="No module named 'absent_layers'"):
        load("model.keras", custom_objects=["absent_layers"])


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_code_in_a_lambda_layer_is_not_run(tmp_path: Path) -> None:
    network(layers.Lambda(lambda x: x * 2)).save(tmp_path / "model.keras")
    with pytest.raises(kerasxai.KerasxaiError, match=r"Lambda layer.*safe_mode=False"):
        load(tmp_path / "model.keras")


def two_inputs() -> keras.Model:
    image, numbers = keras.Input((12, 12, 3)), keras.Input((5,))
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image)), numbers])
    return keras.Model([image, numbers], layers.Dense(3)(x))


def of(kind: str) -> keras.Model:
    image = keras.Input((12, 12, 3))
    if kind == "two inputs":
        return two_inputs()
    if kind == "words":
        words = keras.Input((7,), dtype="int32")
        return keras.Model(words, layers.Dense(3)(layers.GlobalAveragePooling1D()(layers.Embedding(9, 4)(words))))
    if kind == "volumes":
        volume = keras.Input((6, 6, 6, 1))
        return keras.Model(volume, layers.Dense(3)(layers.GlobalAveragePooling3D()(layers.Conv3D(2, 3)(volume))))
    if kind == "two outputs":
        pooled = layers.GlobalAveragePooling2D()(image)
        return keras.Model(image, [layers.Dense(3)(pooled), layers.Dense(2)(pooled)])
    if kind == "dict out":
        pooled = layers.GlobalAveragePooling2D()(image)
        return keras.Model(image, {"a": layers.Dense(3)(pooled), "b": layers.Dense(2)(pooled)})
    assert kind == "maps"
    return keras.Model(image, layers.Conv2D(3, 3)(image))


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("two inputs", "one input of images"),
        ("words", "takes images"),
        ("volumes", "takes images"),
        ("two outputs", "one output of class scores"),
        ("dict out", "one output of class scores"),
        ("maps", "class scores"),
    ],
)
def test_models_of_other_kinds_end_in_one_line(kind: str, told: str, tmp_path: Path) -> None:
    of(kind).save(tmp_path / "model.keras")
    with pytest.raises(kerasxai.KerasxaiError, match=f"expected a model .*{told}"):
        load_classifier(tmp_path / "model.keras")
    if kind in ("two outputs", "dict out", "maps"):
        load_classifier(tmp_path / "model.keras", classes=False)


def test_models_of_other_libraries_are_called_by_their_name() -> None:
    for module, told in [("tf_keras.src.engine.functional", "tf_keras"), ("torch.nn.modules.module", "PyTorch")]:
        kind = type("Functional", (), {"__module__": module, "__call__": lambda self, images: images})
        with pytest.raises(kerasxai.KerasxaiError, match=f"expected a Keras 3 model, got .*{told}"):
            kerasxai.Explainer(type("Mine", (kind,), {})(), "gradcam")


def test_one_input_and_one_output_in_dicts_are_taken_out_of_them(tmp_path: Path) -> None:
    image = keras.Input((12, 12, 3), name="image")
    scores = layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image)))
    model = keras.Model({"image": image}, {"scores": scores})
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).random((2, 12, 12, 3), np.float32)
    expected = model.predict_on_batch({"image": images})["scores"]
    np.testing.assert_allclose(load_classifier(tmp_path / "model.keras").predict_on_batch(images), expected, rtol=1e-5)

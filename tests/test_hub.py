"""KerasHub: presets on disk with random weights are explained, exported and trained with their own preprocessing."""

import csv
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

import kerasxai
from kerasxai import models
from kerasxai.cli import main
from kerasxai.models import hub, loading
from kerasxai.tools.digests import model_identity

keras_hub = pytest.importorskip("keras_hub", reason="an optional package")
SIDE = 32


@pytest.fixture(scope="module")
def task() -> Any:
    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.ResNetBackbone([64], [3], [64, 16], [1, 1], [1, 2], "basic_block")
    converter = keras_hub.layers.ResNetImageConverter((SIDE, SIDE), [0.01, 0.02, 0.03], [-1.0, -0.5, 0.5])
    preprocessor = keras_hub.models.ResNetImageClassifierPreprocessor(converter)
    return keras_hub.models.ResNetImageClassifier(backbone, 3, preprocessor)


@pytest.fixture(scope="module")
def preset(task: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("presets") / "tiny")
    task.save_to_preset(folder)
    return folder


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3)).astype(np.float32)


def test_a_classifier_has_the_preprocessing_of_its_task(task: Any, preset: str, images: np.ndarray) -> None:
    model = models.load_classifier(f"hub:{preset}")
    assert model.input_shape == (None, SIDE, SIDE, 3)
    expected = keras.ops.softmax(task.predict(images, verbose=0))
    np.testing.assert_allclose(model(images, training=False), expected, atol=1e-5)
    assert models.class_names(model) is None, "no names, because the preset is not of ImageNet"
    identity = model_identity(f"hub:{preset}")
    assert set(identity) == {"sha256"}, "results recognize a preset folder by its content"


def test_a_preset_is_explained_in_one_line(
    preset: str, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(images[0].astype(np.uint8)).resize((40, 30)).save("cat.png")
    assert main(["explain", f"hub:{preset}", "cat.png", "--method", "cam,gradcam"]) == 0
    assert {one.name for one in Path("explanations").glob("*.npy")} == {"cat_cam.npy", "cat_gradcam.npy"}
    assert not capsys.readouterr().err, "no warning about the range of the images: the preset rescales them"


def test_backbones_have_the_preprocessing_too(task: Any, preset: str, images: np.ndarray) -> None:
    expected = task.backbone(task.preprocessor(images))
    for given in (f"hub:{preset}", task):
        model = kerasxai.build_classifier(given, 5, head="conv1x1", seed=0)
        assert model.output_shape == (None, 5)
        np.testing.assert_allclose(model.get_layer("backbone")(images), expected, atol=1e-5)
    assert kerasxai.build_classifier(f"hub:{preset}", 5).input_shape == (None, SIDE, SIDE, 3)
    with pytest.warns(hub.PreprocessingWarning, match=r"has no preprocessing, and is given images in \[0, 255\]"):
        model = kerasxai.build_classifier(task.backbone, 5)
    np.testing.assert_allclose(model.get_layer("backbone")(images), task.backbone(images), rtol=1e-4, atol=1e-3)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("validation", 3)):
        for label, channel in (("blue", 2), ("red", 0)):
            folder = tmp_path / "photos" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                image = random.integers(0, 90, (SIDE, SIDE, 3), dtype=np.uint8)
                image[8:24, 8:24, channel] = 255
                Image.fromarray(image).save(folder / f"{number}.png")
    return tmp_path / "photos"


def test_a_head_is_trained_on_a_preset(photos: Path, preset: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["--data", str(photos), "--image-size", "32", "--epochs", "0", "--explain", "", "--augment", "none"]
    assert main(["train", "--backbone", f"hub:{preset}", *words, "--out", str(out)]) == 0
    with (out / "history.csv").open() as file:
        assert all(np.isfinite(float(row["val_loss"])) for row in csv.DictReader(file))
    trained = models.load(out / "model.keras")
    assert trained.get_layer("backbone").get_layer("preprocessing").scale == [0.01, 0.02, 0.03]
    assert kerasxai.explain(trained, photos / "train" / "red" / "0.png", "cam").heatmaps.shape == (1, SIDE, SIDE)


def test_a_preset_without_a_classifier_says_what_to_do(
    task: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task.backbone.save_to_preset(str(tmp_path / "backbone"))
    photo = tmp_path / "cat.png"
    Image.new("RGB", (8, 8)).save(photo)
    assert main(["explain", f"hub:{tmp_path / 'backbone'}", str(photo)]) == 2
    error = capsys.readouterr().err
    assert "with a backbone alone; train a head: kerasxai train --backbone hub:" in error
    assert error.count("\n") == 1


def offline(*arguments: object, **options: object) -> None:
    raise OSError("the network is unreachable")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hub:resnet_18_imagenet", "cannot load hub:resnet_18_imagenet: the network is unreachable; presets are down"),
        ("kaggle://keras/resnet", "cannot load hub:kaggle://keras/resnet: the network is unreachable; presets are"),
        ("hf://me/cats", "cannot load hf://me/cats from Hugging Face: the network is unreachable; check the name"),
    ],
)
def test_without_a_network_there_is_one_line(spec: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_hub.models.ImageClassifier, "from_preset", offline)
    monkeypatch.setattr(keras.saving, "load_model", offline)
    with pytest.raises(kerasxai.KerasxaiError, match=message.replace("[", r"\[")):
        models.load(spec)


def test_hugging_face_is_left_to_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.saving, "load_model", lambda spec, compile: (spec, compile))
    assert loading.load("hf://me/cats") == ("hf://me/cats", False)


@pytest.mark.parametrize(
    ("spec", "package"), [("hub:resnet", "KerasHub"), ("kaggle://a/b", "KerasHub"), ("hf://a/b", "huggingface_hub")]
)
def test_missing_packages_are_named(spec: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    expected = rf"{package} is not installed; run pip install 'kerasxai\[hub\]'"
    with pytest.raises(kerasxai.KerasxaiError, match=expected):
        models.load(spec)

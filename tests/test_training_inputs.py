"""What a run takes as images and as backbone: sizes by rule, fits, augmentation, and a model file with its own head."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kerasxai
from kerasxai.cli import main
from kerasxai.engine.images.builtin_preprocessing import InputRangeWarning
from kerasxai.engine.images.image_input import image_input
from kerasxai.models.trunk import trunk_of
from kerasxai.tools.errors import KerasxaiError
from kerasxai.training import input_size
from kerasxai.training.augment import chosen_augmentation, pair_settings, user_augmentation
from kerasxai.training.config import TrainConfig
from kerasxai.training.input_size import ImageFacts, choose_size
from kerasxai.training.own_backbone import _validation
from kerasxai.training.resolve import resolve_settings
from kerasxai.training.train import train

L = keras.layers
HEIGHT, WIDTH = 24, 32
BOX = (40, 10, 60, 30)


def photo(channel: int, size: tuple[int, int] = (40, 80)) -> np.ndarray:
    """Noise with a red or blue square at BOX."""
    image = np.random.default_rng(channel).integers(40, 90, (*size, 3), dtype=np.uint8)
    x0, y0, x1, y1 = BOX
    image[y0:y1, x0:x1] = 10
    image[y0:y1, x0:x1, channel] = 250
    return image


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    rows = [["filename", "x_min", "y_min", "x_max", "y_max"]]
    for split in ("train", "validation", "test"):
        for name, channel in (("blue", 2), ("red", 0)):
            (root / split / name).mkdir(parents=True)
            for number in range(3):
                file = f"{split}/{name}/{number}.png"
                Image.fromarray(photo(channel)).save(root / file)
                rows.append([file, *map(str, BOX)])
    with (root / "boxes.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return root


def classifier(size: tuple[int | None, int | None] = (HEIGHT, WIDTH)) -> keras.Model:
    """Blue and red by saturating units of images in [0, 1], with a pooling, a Flatten and Dense layers on top."""
    model = keras.Sequential(
        [
            keras.Input((*size, 3)),
            L.Conv2D(2, 1, activation="sigmoid", name="colors"),
            L.MaxPooling2D(4),
            L.Flatten() if size[0] else L.GlobalAveragePooling2D(),
            L.Dense(4, name="hidden"),
            L.Dense(2, activation="softmax"),
        ]
    )
    kernel = np.zeros((1, 1, 3, 2), "float32")
    kernel[0, 0, 2, 0] = kernel[0, 0, 0, 1] = 40
    model.get_layer("colors").set_weights([kernel, np.full(2, -26, "float32")])
    positions = (HEIGHT // 4) * (WIDTH // 4) if size[0] else 1
    model.get_layer("hidden").set_weights([np.tile(np.eye(2, 4, dtype="float32"), (positions, 1)), np.zeros(4)])
    model.layers[-1].set_weights([np.eye(4, 2, dtype="float32"), np.zeros(2)])
    return model


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "colors.keras"
    classifier().save(path)
    return path


def test_a_model_file_gets_a_new_head_and_its_accuracy_is_kept(photos: Path, file: Path, tmp_path: Path) -> None:
    config = TrainConfig(str(photos), str(file), fit="pad", augment="strong", epochs=1, batch_size=3)
    with pytest.warns(InputRangeWarning, match=r"taken to be 0,1"):
        train(config, tmp_path, methods=("cam",), explain_images=1, localize_images=0, verbose=0)
    record = json.loads((tmp_path / "metrics.json").read_text())["backbone"]
    assert record["val_accuracy_before"] == 1.0
    assert record["val_accuracy_after"] >= 0.5
    assert (record["input_range"], record["layer"]) == ("0,1", "colors")
    model = kerasxai.models.load(tmp_path / "model.keras")
    taken = image_input(model)
    assert (taken.size, taken.fit) == ((HEIGHT, WIDTH), "pad")
    assert not any(isinstance(layer, L.Flatten) for layer in model.layers)
    # Pixels in [0, 255] are rescaled in the new model as the file needs them.
    pixels = taken.batch([photo(0)])
    expected = trunk_of(classifier(), "0,1")(pixels)
    assert model.get_layer("backbone").get_layer("preprocessing").scale == pytest.approx(1 / 255)
    assert expected.shape == model.get_layer("backbone")(pixels).shape == (1, HEIGHT, WIDTH, 2)
    choices = json.loads((tmp_path / "choices.json").read_text())
    assert choices["image_size"] == [HEIGHT, WIDTH]
    assert choices["augment"] == "strong"
    with Image.open(tmp_path / "augmentation.png") as sheet:
        assert sheet.width > sheet.height > 300


def test_the_range_of_a_file_is_guessed_on_images_of_all_classes(photos: Path, file: Path) -> None:
    config = TrainConfig(str(photos), str(file), image_size=(HEIGHT, WIDTH))
    dataset = kerasxai.data.open(str(photos))
    labels = [_validation(replace(config, seed=seed), dataset, 3) for seed in range(4)]
    counts = [len(np.unique(np.concatenate([label for _, label in batches]))) for batches in labels]
    assert max(counts) == 2, "the first three images are of one class"


def test_what_a_file_cannot_be_used_for_is_refused(photos: Path, file: Path, tmp_path: Path) -> None:
    for changes, message in (
        ({"weights": "none"}, "weights must be"),
        ({"image_size": 32}, "image_size must be that of the model file"),
        ({"backbone": str(tmp_path / "none.keras")}, "none.keras"),
    ):
        config = replace(TrainConfig(str(photos), str(file), input_range="0,1"), **changes)
        with pytest.raises(KerasxaiError, match=message):
            train(config, tmp_path / "run", methods=(), verbose=0)
        assert not (tmp_path / "run" / "config.json").exists()
    with pytest.raises(KerasxaiError, match="backbone"):
        TrainConfig(str(photos), "ResNet5O")
    with pytest.raises(KerasxaiError, match="input range"):
        TrainConfig(str(photos), str(file), input_range="0,2")


def test_the_trunk_ends_below_pooling_and_maps_of_classes_and_nested_models_are_opened() -> None:
    inner = keras.Sequential([keras.Input((16, 16, 3)), L.Conv2D(5, 3, 2, "same", name="inner"), L.ReLU(name="relu")])
    image = keras.Input((16, 16, 3))
    maps = L.Conv2D(4, 1, name="class_maps")(inner(L.Rescaling(1 / 255)(image), training=False))
    nested = keras.Model(image, L.Softmax()(L.GlobalAveragePooling2D()(maps)))
    trunk = trunk_of(nested)
    assert [layer.name for layer in trunk.layers][-2:] == ["inner", "relu"]
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 16, 16, 3)).astype("float32")
    np.testing.assert_allclose(trunk(pixels), inner(pixels / 255), rtol=1e-5)
    with pytest.raises(KerasxaiError, match="feature map"):
        trunk_of(keras.Sequential([keras.Input((4, 4, 3)), L.Flatten(), L.Dense(2)]))


def test_the_size_follows_from_the_backbone_the_images_and_the_objects() -> None:
    assert choose_size(224, ImageFacts(300)).image_size == 320
    assert choose_size(224, ImageFacts(300, 1000, 0.5)).image_size == 320
    assert choose_size(224, ImageFacts(300, 1000, 0.22)).image_size == 448
    assert choose_size(224, ImageFacts(300, 1000, 0.25)).image_size == 384
    assert choose_size(224, ImageFacts(300, 128)).image_size == 224
    assert choose_size(224, ImageFacts(100_000, 1000, 0.1)).image_size == 224
    small = choose_size(224, ImageFacts(300, 1000, 0.05))
    assert (small.image_size, small.output_stride) == (448, 16)
    assert "5 %" in small.reason
    assert choose_size(299, ImageFacts(300)).image_size == 416


def test_objects_of_all_classes_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [["filename", "x_min", "y_min", "x_max", "y_max"]]
    for split, count in (("train", 1), ("validation", 4)):
        for name, side in (("blue", 10), ("red", 30)):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                file = f"{split}/{name}/{number}.png"
                Image.fromarray(photo(0, (40, 80))).save(tmp_path / file)
                rows.append([file, *map(str, (0, 0, 2 * side, side))])
    with (tmp_path / "boxes.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    monkeypatch.setattr(input_size, "_MEASURED", 4)
    facts = input_size.measure_images(kerasxai.data.open(str(tmp_path), boxes_csv=str(tmp_path / "boxes.csv")))
    assert facts.object_side == pytest.approx((10 + 30) / 2 / 40), "not those of the first class alone"


def test_boxes_of_training_images_are_never_read(photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    requested = []
    read = kerasxai.data.ImageDataset.samples

    def watched(dataset: Any, split: str, *arguments: Any, **options: Any) -> Any:
        requested.append(split)
        return read(dataset, split, *arguments, **options)

    monkeypatch.setattr(kerasxai.data.ImageDataset, "samples", watched)
    dataset = kerasxai.data.open(photos, boxes_csv=photos / "boxes.csv")
    found = resolve_settings(TrainConfig(str(photos)), dataset)
    assert set(requested) == {"validation"}
    # The images have 40 pixels: none of their details needs larger images.
    assert found.config.image_size == 224
    assert found.config.augment == "light"
    found.write(tmp_path)
    assert resolve_settings(TrainConfig(str(photos)), dataset, tmp_path) == found
    assert resolve_settings(TrainConfig("shapes"), kerasxai.data.open("shapes")).config.image_size == 160


def test_auto_follows_the_number_of_images_and_the_data_set() -> None:
    info = kerasxai.data.DatasetInfo("x", ("a", "b"), {"train": 500}, False, False)
    config = TrainConfig("x")
    assert chosen_augmentation(config, info)[0] == "light"
    assert chosen_augmentation(config, replace(info, splits={"train": 50_000}))[0] == "flip"
    assert chosen_augmentation(config, replace(info, augment="strong"))[0] == "strong"
    assert chosen_augmentation(replace(config, resize=256), info)[0] == "flip"
    with pytest.raises(KerasxaiError, match="resize"):
        chosen_augmentation(replace(config, resize=256, augment="light"), info)
    with pytest.raises(KerasxaiError, match="augmentation"):
        TrainConfig("x", augment="lite")
    few = pair_settings(replace(config, image_size=320, augment="strong"), replace(info, splits={"train": 800}))
    assert few.cache
    assert few.stored_pixels is not None
    # As fine as 1 GiB allows for 800 images.
    assert 800 * 3 * few.stored_pixels <= 2**30 < 800 * 3 * (few.stored_pixels + 1)
    many = pair_settings(replace(config, image_size=320, augment="light"), replace(info, splits={"train": 5000}))
    assert not many.cache


def darker(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, num_classes: int) -> tuple[tf.Tensor, tf.Tensor]:
    return images / tf.cast(num_classes, tf.float32), labels


def mixed(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return images, tf.one_hot(labels, 2)


def test_a_function_of_the_user_is_checked_and_called() -> None:
    config = TrainConfig("x", augment=f"{__name__}:darker")
    function = user_augmentation(config, 4, (8, 8))
    assert function is not None
    assert float(tf.reduce_max(function(tf.ones((1, 8, 8, 3)), tf.zeros(1, tf.int64), [0, 0])[0])) == 0.25
    for name, message in (("mixed", "labels"), ("HEIGHT", "a function"), ("nothing", "importable")):
        with pytest.raises(KerasxaiError, match=message):
            user_augmentation(replace(config, augment=f"{__name__}:{name}"), 4, (8, 8))


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_localize_writes_boxes_of_the_original_image(fit: str, tmp_path: Path) -> None:
    model = keras.Sequential(
        [
            keras.Input((40, 40, 3)),
            L.Rescaling(1 / 255),
            L.Conv2D(2, 1, activation="relu", name="colors"),
            L.GlobalAveragePooling2D(),
            L.Dense(2, use_bias=False),
            L.Softmax(),
        ]
    )
    kernel = np.zeros((1, 1, 3, 2), "float32")
    kernel[0, 0, 2, 0] = kernel[0, 0, 0, 1] = 1
    model.get_layer("colors").set_weights([kernel, np.full(2, -0.6, "float32")])
    model.layers[-2].set_weights([np.eye(2, dtype="float32")])
    model.save(tmp_path / "model.keras")
    Image.fromarray(photo(0)).save(tmp_path / "photo.png")
    words = [str(tmp_path / "model.keras"), str(tmp_path / "photo.png"), "--fit", fit, "--threshold", "0.5"]
    assert main(["localize", *words, "--out", str(tmp_path / "boxes")]) == 0
    (row,) = csv.DictReader((tmp_path / "boxes" / "boxes.csv").read_text().splitlines())
    found = [int(row[name]) for name in ("x0", "y0", "x1", "y1")]
    # An input pixel has two image pixels at most.
    np.testing.assert_allclose(found, BOX, atol=2)

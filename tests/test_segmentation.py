"""Pseudo-masks, their files, the segmenter, and the augmentation of images with label maps."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tiny_backbone import tiny_row_of

from kerasxai.segmentation import (
    COLORS,
    Confidence,
    build_segmenter,
    colored,
    pseudo_mask,
    read_label_map,
    save_label_map,
)
from kerasxai.tools.errors import KerasxaiError
from kerasxai.training.segment_config import SegmentConfig
from kerasxai.training.segment_data import augment_pair, augmented_pairs
from kerasxai.training.segment_fit import new_segmenter

SIDE = 48


tiny_row = tiny_row_of(SIDE)


def test_a_label_map_is_a_palette_png_with_the_colors_of_voc(tmp_path: Path) -> None:
    labels = np.arange(256, dtype=np.uint8)[None]
    path = save_label_map(tmp_path / "a" / "b.png", labels)
    np.testing.assert_array_equal(read_label_map(path), labels)
    with Image.open(path) as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.array(picture.convert("RGB"))[0], COLORS)
    # As the devkit has them: aeroplane, bicycle, tvmonitor, void.
    assert COLORS[[1, 2, 20, 255]].tolist() == [[128, 0, 0], [0, 128, 0], [0, 64, 128], [224, 224, 192]]
    np.testing.assert_array_equal(colored(labels)[0], COLORS)


def test_a_label_map_is_never_replaced_by_another(tmp_path: Path) -> None:
    path = save_label_map(tmp_path / "a.png", [[0, 1]])
    save_label_map(path, [[0, 1]])
    with pytest.raises(KerasxaiError, match="it exists with other labels"):
        save_label_map(path, [[1, 1]])
    assert read_label_map(path).tolist() == [[0, 1]]
    Image.new("RGB", (2, 2)).save(tmp_path / "rgb.png")
    with pytest.raises(KerasxaiError, match="expected a palette or gray PNG"):
        read_label_map(tmp_path / "rgb.png")


def test_uncertain_pixels_are_ignored_and_classes_compete() -> None:
    maps = np.array([[[1.0, 0.4, 0.2, 0.0]], [[0.0, 0.5, 0.1, 1.0]]])
    refined = np.array([[[1.0, 1.0, 0.3, 0.0]], [[0.0, 0.0, 0.0, 1.0]]])
    confidence = Confidence(foreground=0.35, background=0.25, refined=0.2)
    # Certain; refinement names another class than the maps; a class too weak before refinement; certain.
    assert pseudo_mask(maps, refined, [2, 0], confidence).tolist() == [[3, 255, 255, 1]]
    # Background needs both: low maps and low refined maps.
    assert pseudo_mask([[[1.0, 0.2, 0.3]]], [[[1.0, 0.0, 0.0]]], [0], confidence).tolist() == [[1, 0, 255]]
    assert pseudo_mask(np.zeros((0, 2, 2)), np.zeros((0, 2, 2)), []).tolist() == [[0, 0], [0, 0]]
    with pytest.raises(KerasxaiError, match="foreground must be below 1"):
        Confidence(foreground=1.0)
    with pytest.raises(KerasxaiError, match="refined must have the shape of maps"):
        pseudo_mask(maps, refined[:1], [2, 0])


def test_the_segmenter_has_a_logit_for_each_pixel_and_class(tmp_path: Path) -> None:
    model = build_segmenter("Tiny", 3, weights=None, input_size=(48, 40), width=8, seed=0)
    image = np.random.default_rng(0).uniform(0, 255, (2, 48, 40, 3)).astype(np.float32)
    logits = model.predict(image, verbose=0)
    assert logits.shape == (2, 48, 40, 4)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras").predict(image, verbose=0), logits)
    # Skip connections: every map of the pyramid is read.
    assert [layer.name for layer in model.layers if layer.name.startswith("lateral") and "bn" not in layer.name] == [
        "lateral0",
        "lateral1",
    ]


def test_a_segmenter_needs_a_pyramid_and_a_size() -> None:
    with pytest.raises(KerasxaiError, match="input_size must be a side"):
        build_segmenter("Tiny", 3, weights=None, input_size="any")
    image = keras.Input((16, 16, 3))
    flat = keras.Model(image, keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image), name="flat")
    with pytest.raises(KerasxaiError, match="expected a backbone with maps of two or more of the strides"):
        build_segmenter(flat, 3)


def test_only_the_upper_part_of_a_pretrained_backbone_is_trained() -> None:
    config = SegmentConfig("shapes_two", seeds="x", backbone="Tiny", backbone_share=0.3)
    model = new_segmenter("Tiny", 2, (SIDE, SIDE), config)
    trained = {w.path.split("/")[0] for w in model.get_layer("backbone").trainable_weights}
    assert trained == {"conv2"}, "the last convolution, and no batch normalization"


def test_mask_and_image_are_augmented_alike() -> None:
    generator = np.random.default_rng(0)
    mask = np.kron(generator.integers(0, 3, (4, 5)), np.ones((8, 8))).astype(np.uint8)
    image = np.repeat(mask[..., None] * 100, 3, -1).astype(np.uint8)
    changed = []
    for number in range(8):
        seed = tf.constant([number, 3], tf.int64)
        one, labels = augment_pair(tf.constant(image), tf.constant(mask), seed, smallest=0.5, largest=2.0)
        again, _ = augment_pair(tf.constant(image), tf.constant(mask), seed, smallest=0.5, largest=2.0)
        np.testing.assert_array_equal(one, again)
        one, labels = one.numpy()[..., 0], labels.numpy()
        # The colors change, but their order does not: away from edges each label has one color.
        inner = labels == 2
        if inner.sum() > 20 and (labels == 0).sum() > 20:
            assert np.median(one[inner]) > np.median(one[labels == 0]) + 50
        changed.append((labels.tobytes(), (labels == 255).any()))
    assert len({labels for labels, _ in changed}) == 8
    assert any(padded for _, padded in changed), "a smaller image is surrounded by ignored pixels"
    assert not all(padded for _, padded in changed)


def test_without_scaling_a_pair_is_the_same_or_mirrored() -> None:
    mask = np.arange(30, dtype=np.uint8).reshape(5, 6)
    image = tf.constant(np.repeat(mask[..., None] * 8, 3, -1))
    found = []
    for number in range(6):
        _, labels = augment_pair(image, tf.constant(mask), tf.constant([number, 1]), smallest=1.0, largest=1.0)
        found.append(labels.numpy().tolist())
    assert mask.tolist() in found
    assert mask[:, ::-1].tolist() in found
    assert all(labels in (mask.tolist(), mask[:, ::-1].tolist()) for labels in found)


def test_batches_after_completed_steps_are_those_of_one_training() -> None:
    config = SegmentConfig("shapes_two", seeds="x", batch_size=2)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    pairs = tf.data.Dataset.from_tensor_slices((images, images[..., 0] % 3))
    whole = [batch[0].numpy() for batch in augmented_pairs(pairs, 5, config).take(6)]
    rest = [batch[0].numpy() for batch in augmented_pairs(pairs, 5, config).skip(3).take(3)]
    np.testing.assert_array_equal(whole[3:], rest)

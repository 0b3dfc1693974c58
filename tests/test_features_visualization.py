"""Gradient ascent on images: it climbs, seeds stand alone, and a real network sees what was asked for."""

from typing import Any

import numpy as np
import pytest
import skimage.data
import tensorflow as tf
import zoo

import kerasxai
from kerasxai.features import Augmentation, ascend, robust_probabilities, visualize
from kerasxai.features.parametrization import COLOR_MATRIX, Parametrization
from kerasxai.tools.errors import KerasxaiError

QUICK: dict[str, Any] = {"steps": 48, "pixel_range": (-1.0, 1.0), "progress": False}


@pytest.fixture(scope="module")
def model() -> Any:
    return zoo.build("functional")


def test_colors_are_those_of_photographs() -> None:
    pictures = [skimage.data.astronaut(), skimage.data.cat(), skimage.data.coffee(), skimage.data.rocket()]
    covariance = np.mean([np.cov(picture.reshape(-1, 3).T / 255, ddof=0) for picture in pictures], 0)
    axes, variances, _ = np.linalg.svd(covariance)
    measured = axes * np.sqrt(variances)
    measured /= np.linalg.norm(measured, axis=0).max()
    np.testing.assert_allclose(COLOR_MATRIX, measured * np.sign(measured[0]), atol=1e-4)


@pytest.mark.parametrize("kind", ["fourier", "pixel"])
@pytest.mark.parametrize("size", [(12, 16), (9, 11)])
def test_an_image_and_its_parameters(kind: str, size: tuple[int, int]) -> None:
    made = Parametrization(kind, size, decay=1.4)
    image = np.random.default_rng(0).uniform(0.05, 0.95, (*size, 3)).astype("float32")
    back = made.images(tf.constant(made.parameters_of(image))).numpy()
    np.testing.assert_allclose(back[0], image, atol=1e-3)


def test_noise_is_as_strong_as_it_says() -> None:
    for kind in ("fourier", "pixel"):
        made = Parametrization(kind, (64, 64), decorrelated=False, decay=1.2)
        shown = np.concatenate([made.images(tf.constant(made.noise(seed, 0.1))).numpy() for seed in range(20)])
        assert 2 * shown.std() == pytest.approx(0.1, rel=0.25), kind


@pytest.mark.parametrize("parametrization", ["fourier", "pixel"])
@pytest.mark.parametrize("start", ["noise", "gray", "black", "image"])
def test_the_score_climbs(model: Any, parametrization: str, start: Any) -> None:
    start = np.random.default_rng(0).uniform(0, 255, (20, 20, 3)) if start == "image" else start
    options = {"start": start, "parametrization": parametrization, "total_variation": 0.0}
    found = ascend(model, [0, 3], range(5), augmentation=Augmentation(1, 0.1, 5), **options, **QUICK)
    # Each step sees other augmentations, so that it is the mean of some steps and pictures that climbs.
    means = found.scores.mean(1).reshape(4, 12).mean(1)
    assert (np.diff(means) > 0).all(), means
    assert found.images.shape == (10, 16, 16, 3) and found.images.min() >= 0 and found.images.max() <= 255
    np.testing.assert_array_equal(found.targets, [0] * 5 + [3] * 5)


def test_each_seed_stands_alone_and_comes_again(model: Any) -> None:
    before = [w.copy() for w in model.get_weights()]
    options = QUICK | {"steps": 6}
    together = visualize(model, 1, [3, 4], **options)
    for seed, picture in zip((3, 4), together, strict=True):
        alone = visualize(model, 1, seed, **options)
        assert alone.shape == (16, 16, 3) and alone.dtype == np.float32
        np.testing.assert_allclose(alone, picture, atol=0.05)
    assert np.abs(together[0] - together[1]).max() > 1
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize("kind", ["nested", "subclassed", "channels_first"])
def test_channels_and_neurons(kind: str) -> None:
    model = zoo.build(kind)
    layer = {"nested": "inner_last", "subclassed": "blocks_last", "channels_first": "last_relu"}[kind]
    still = Augmentation(0, 0, 0)
    options = QUICK | {"size": 16, "layer": layer, "augmentation": still, "total_variation": 0.0, "steps": 24}
    # Of a channel that a gray image leaves below zero, the rectifier has no gradient.
    alive = int(kerasxai.features.activations(model, np.zeros((1, 16, 16, 3)), layer).mean((0, 1, 2)).argmax())
    channel = ascend(model, alive, **options)
    neuron = ascend(model, alive, position=(1, 6), **options)
    for found, place in ((channel, None), (neuron, (1, 6))):
        maps = kerasxai.features.activations(model, found.images / 127.5 - 1, layer, channels=[alive])[0, ..., 0]
        value = maps.mean() if place is None else maps[place]
        assert found.scores[-1, 0] <= value * 1.05 + 0.05 and found.scores[-1, 0] > found.scores[0, 0]
    assert channel.layer is not None and channel.layer.split("/")[-1] == layer
    # What the neuron cannot see stays as gray as it began.
    x0, y0, x1, y1 = kerasxai.features.receptive_field(model, layer, 16).box(1, 6)
    options |= {"parametrization": "pixel", "start": "gray", "strength": 0.0, "position": (1, 6)}
    blind = np.ones((16, 16), bool)
    blind[y0:y1, x0:x1] = False
    picture = np.abs(visualize(model, alive, **options) - 127.5).max(-1)
    assert blind.any() and picture[blind].max() < 1e-3 < picture[~blind].max()


def test_frames_and_penalties(model: Any) -> None:
    found = ascend(model, 0, frames=5, **QUICK)
    assert found.frames.shape == (5, 1, 16, 16, 3) and found.frame_steps.tolist() == [1, 13, 24, 36, 48]
    np.testing.assert_array_equal(found.frames[-1], np.rint(found.images).astype(np.uint8))
    rough = ascend(model, 0, **QUICK | {"total_variation": 0.0}).images
    smooth = ascend(model, 0, **QUICK | {"total_variation": 500.0}).images
    gray = ascend(model, 0, l2=500.0, **QUICK | {"total_variation": 0.0}).images
    assert np.abs(np.diff(smooth, axis=1)).mean() < np.abs(np.diff(rough, axis=1)).mean()
    assert np.abs(gray - 127.5).mean() < np.abs(rough - 127.5).mean()


def test_augmentation_moves_by_the_seed_alone_and_not_at_all_at_zero() -> None:
    images = tf.constant(np.random.default_rng(0).uniform(size=(3, 12, 12, 3)).astype("float32"))
    seeds = tf.constant([[0, 1], [0, 2], [0, 1]], tf.int32)
    np.testing.assert_allclose(Augmentation(0, 0, 0)(images, seeds), images, atol=1e-6)
    same = tf.tile(images[:1], (3, 1, 1, 1))
    moved = Augmentation(3, 0.2, 20)(same, seeds).numpy()
    np.testing.assert_array_equal(moved[0], moved[2])
    assert np.abs(moved[0] - moved[1]).max() > 0.1
    shifted = np.stack([Augmentation(4, 0, 0)(same[:1], tf.constant([[9, i]])).numpy()[0] for i in range(8)])
    assert shifted.min() >= 0 and shifted.max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 4}, "target must be from 0 to 3 for 4 classes, got 4"),
        ({"target": 8, "layer": "convolutions_last"}, "target must be from 0 to 7 for 8 channels"),
        ({"target": 0, "position": (0, 0)}, "name the layer"),
        ({"target": 0, "layer": "convolutions_last", "position": (8, 0)}, "expected a position in the map"),
        ({"target": 0, "start": "white"}, "start must be"),
        ({"target": 0, "parametrization": "cppn"}, "parametrization must be"),
        ({"target": 0, "steps": 0}, "steps must be"),
        ({"target": 1.5}, "whole numbers"),
    ],
)
def test_mistakes_are_told(model: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(KerasxaiError, match=message):
        visualize(model, **QUICK | options)


def test_a_real_network_sees_the_class_it_was_asked_for() -> None:
    network = kerasxai.models.load("imagenet:EfficientNetLite0")
    zebra = 340
    picture = visualize(network, zebra, steps=40, size=None, progress=False)
    assert picture.shape == (224, 224, 3)
    assert robust_probabilities(network, picture[None], zebra, samples=8).mean() > 0.9
    gray = np.full((1, 224, 224, 3), 127.5)
    assert robust_probabilities(network, gray, zebra, samples=2).mean() < 0.1

"""refine="stride" on networks that pad, pool and crop in layers of their own: the finer map holds the old one."""

import warnings
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasxai
from kerasxai.engine.samples import Samples
from kerasxai.engine.score_model import Alteration
from kerasxai.engine.traced_model import TracedModel
from kerasxai.methods.cam import layer_activations
from kerasxai.models import with_output_stride
from kerasxai.refinements.strides import at_stride

L = keras.layers
SIDE = 32


def pictures(side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((2, side, side, 3)).astype("float32")


def conv(x: Any, width: int = 5, size: int = 3, **options: Any) -> Any:
    return L.Conv2D(width, size, activation="relu", **options)(x)


def pad_of_resnet_v2(x: Any) -> Any:
    """Zero padding on both sides, before a stride and behind it."""
    return conv(L.ZeroPadding2D(1)(conv(L.ZeroPadding2D(1)(conv(x)), strides=2)))


def residual(x: Any) -> Any:
    """With a shortcut that takes every other place."""
    short = L.MaxPooling2D(1, strides=2)(x)
    y = conv(L.ZeroPadding2D(1)(x), 5, strides=2)
    z = L.Add()([short, y])
    return L.Add()([z, conv(L.ZeroPadding2D(1)(z))])


def pad_of_mobilenet(x: Any) -> Any:
    x = L.DepthwiseConv2D(3, strides=2)(L.ZeroPadding2D(((0, 1), (0, 1)))(x))
    return L.DepthwiseConv2D(3)(L.ZeroPadding2D(1)(L.ReLU()(x)))


def wide_padding(x: Any) -> Any:
    """More than the kernel uses up: places of the old map lie beyond the border of its input."""
    return conv(L.ZeroPadding2D(2)(conv(L.ZeroPadding2D(3)(x), strides=2)))


def padded_pooling(x: Any) -> Any:
    x = L.MaxPooling2D(3, 2)(L.ZeroPadding2D(1)(x))
    return L.AveragePooling2D(3, 1, "same")(conv(L.ZeroPadding2D(1)(x)))


def padding_before_apart(x: Any) -> Any:
    return conv(L.AveragePooling2D(2)(L.ZeroPadding2D(1)(x)), padding="same")


def transition(x: Any) -> Any:
    """As in DenseNet."""
    y = L.AveragePooling2D(2)(conv(x, size=1))
    return L.Concatenate()([y, conv(y, padding="same")])


def overlapping(x: Any) -> Any:
    """As in Inception: valid convolutions and poolings next to each other."""
    x = L.Concatenate()([conv(x, 4, strides=2), L.MaxPooling2D(3, 2)(x)])
    return L.Concatenate()([conv(x, 4, padding="same"), L.AveragePooling2D(3, 1, "same")(x)])


def twice(x: Any) -> Any:
    return residual(residual(x))


BLOCKS = [
    pad_of_resnet_v2, residual, pad_of_mobilenet, wide_padding, padded_pooling, padding_before_apart, transition,
    overlapping, twice,
]  # fmt: skip


class Subclassed(keras.Model):
    """The same layers, called by a model whose graph Keras does not know, with a sum that no layer makes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = L.Conv2D(5, 3, padding="same", activation="relu")
        self.pads = [L.ZeroPadding2D(1), L.ZeroPadding2D(1)]
        self.convs = [L.Conv2D(5, 3, strides=2, activation="relu"), L.Conv2D(5, 3, activation="relu")]
        self.short = L.MaxPooling2D(1, strides=2)
        self.pool, self.top = L.GlobalAveragePooling2D(), L.Dense(3)

    def call(self, images: Any) -> Any:
        x = self.first(images)
        x = self.short(x) + self.convs[0](self.pads[0](x))
        return self.top(self.pool(tf.nn.relu(x + self.convs[1](self.pads[1](x)))))


def build(block: Any) -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIDE, SIDE, 3))
    x = L.Conv2D(5, 3, padding="same", activation="relu")(inputs)
    return keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(block(x))))


def maps(model: Any, images: np.ndarray, target: int | None = None) -> np.ndarray:
    """Returns the map that feeds the head, at its own size."""
    traced, shape = TracedModel(model), images.shape[1:]
    if target is not None:
        traced = traced.altered(Alteration(("stride", target), lambda: at_stride(model, target, shape)))
    return traced.evaluate(layer_activations, Samples.of(images, np.ones(len(images)))).activations[0].numpy()


def assert_holds(fine: np.ndarray, old: np.ndarray, factor: int) -> None:
    fits = []
    for down in range(factor):
        for right in range(factor):
            part = fine[:, down::factor, right::factor][:, : old.shape[1], : old.shape[2]]
            fits.append(part.shape == old.shape and np.abs(part - old).max() < 1e-4 * np.abs(old).max())
    assert sum(fits) == 1, "every place of the old map is one of the finer map, at one phase"


@pytest.mark.parametrize("block", BLOCKS)
def test_the_finer_map_holds_the_old_one_and_is_that_of_with_output_stride(block: Any) -> None:
    model, images = build(block), pictures()
    old, fine = maps(model, images), maps(model, images, 1)
    assert fine.shape[1] > 1.7 * old.shape[1]
    assert_holds(fine, old, 4 if block is twice else 2)
    other = with_output_stride(model, 1)
    np.testing.assert_allclose(fine, maps(other, images), rtol=1e-4, atol=1e-5)
    refined = kerasxai.Explainer(model, "cam", refine="stride:stride=1")(images, 1).heatmaps
    expected = kerasxai.Explainer(other, "cam")(images, 1).heatmaps
    np.testing.assert_allclose(refined, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert maps(model, images).shape == old.shape, "the model is what it was"


def test_sums_that_no_layer_makes_and_gray_images_are_followed() -> None:
    model, images = Subclassed(), pictures()
    model(images)
    assert_holds(maps(model, images, 1), maps(model, images), 2)
    gray = keras.Input((SIDE, SIDE, 1))
    x = L.Conv2D(4, 3, strides=2)(L.ZeroPadding2D(1)(gray))
    grays = keras.Model(gray, L.Dense(2)(L.GlobalAveragePooling2D()(x)))
    assert_holds(maps(grays, images[..., :1], 1), maps(grays, images[..., :1]), 2)


def test_maps_that_meet_half_a_step_apart_are_warned_of() -> None:
    """TensorFlow pads an even side behind alone: the convolution took odd places, the shortcut even ones."""

    def apart(x: Any) -> Any:
        return L.Add()([conv(x, strides=2, padding="same"), L.Conv2D(5, 1, strides=2)(x)])

    with pytest.warns(UserWarning, match="half a step apart"):
        maps(build(apart), pictures(), 1)
    inputs = keras.Input((31, 31, 3))
    odd = keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(apart(conv(inputs, padding="same")))))
    images = pictures(31)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_holds(maps(odd, images, 1), maps(odd, images), 2)


class RawPooling(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return tf.nn.max_pool2d(x, 3, 1, "SAME")


REFUSED: dict[str, Any] = {
    "Flatten": lambda x: L.Reshape((1, 1, -1))(L.Flatten()(conv(x, strides=2))),
    "UpSampling2D": lambda x: L.UpSampling2D()(conv(x, strides=2)),
    "Cropping2D": lambda x: L.Cropping2D(1)(conv(x, strides=2)),
    "RawPooling": lambda x: RawPooling()(conv(x, strides=2)),
    "different ways": lambda x: L.Concatenate()(
        [conv(y := L.ZeroPadding2D(1)(x), 4, strides=2), conv(y, 4, size=5, strides=2, padding="same")[:, :16, :16]]
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_spread_is_refused_by_name(what: str) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=f"finer output stride.*{what}"):
        kerasxai.Explainer(build(REFUSED[what]), "gradcam", refine="stride:stride=1")(pictures(), 1)

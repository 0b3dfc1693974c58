"""Receptive fields: known architectures, and the support of the gradient."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from kerasxai.features import ReceptiveField, receptive_field
from kerasxai.features.capture import Capture
from kerasxai.tools.errors import KerasxaiError

layers = keras.layers


@pytest.mark.parametrize(
    ("build", "layer", "size", "stride"),
    [
        # Araujo et al. 2019, table of fields; VGG16's is that of conv5_3.
        (keras.applications.VGG16, "block5_conv3", 196, 16),
        (keras.applications.MobileNet, "conv_pw_13_relu", 315, 32),
        (keras.applications.ResNet50, "conv5_block3_out", 483, 32),
    ],
)
def test_known_architectures(build: Any, layer: str, size: int, stride: int) -> None:
    field = receptive_field(build(weights=None, include_top=False, input_shape=(64, 64, 3)), layer)
    assert field.size == (size, size) and field.stride == (stride, stride)


def mixed() -> Any:
    """Strides, even kernels, both paddings, dilation, pooling, branches, groups, a crop, a 1x1 dense layer."""
    inputs = keras.Input((41, 37, 3))
    x = layers.Conv2D(4, (5, 3), strides=(2, 1), padding="same")(inputs)
    a = layers.Conv2D(4, 3, dilation_rate=2, padding="same")(x)
    b = layers.AveragePooling2D((1, 3), strides=1, padding="same")(x)
    x = layers.Add()([a, b])
    x = layers.ZeroPadding2D(((1, 0), (2, 1)))(x)
    x = layers.DepthwiseConv2D(2, strides=2, padding="valid")(x)
    x = layers.Conv2D(4, 3, groups=2, padding="same")(x)
    x = layers.Cropping2D(((1, 0), (2, 0)))(x)
    x = layers.LayerNormalization()(layers.Dense(4)(x))
    return keras.Model(inputs, x, name="mixed")


def nested_twice() -> Any:
    inner = keras.Sequential(
        [keras.Input((20, 20, 3)), layers.Conv2D(4, 4, strides=3, padding="same"), layers.Conv2D(4, 2)], name="inner"
    )
    inputs = keras.Input((20, 20, 3))
    return keras.Model(inputs, layers.Conv2D(2, 3, padding="same", name="last")(inner(inputs)))


def dilated_depthwise() -> Any:
    inputs = keras.Input((24, 23, 3))
    x = layers.DepthwiseConv2D(3, dilation_rate=3, padding="same")(inputs)
    return keras.Model(inputs, layers.MaxPooling2D(3, 2, padding="same")(layers.Activation("swish")(x)))


BUILDS = {
    "mixed": (mixed, "dense"),
    "nested": (nested_twice, "last"),
    "subclassed": (lambda: zoo.build("subclassed"), "blocks_last"),
    "channels_first": (lambda: zoo.build("channels_first"), "last_relu"),
    "dilated": (dilated_depthwise, "max_pooling2d"),
}


@pytest.mark.parametrize("kind", BUILDS)
def test_the_field_is_the_support_of_the_gradient(kind: str) -> None:
    keras.utils.set_random_seed(0)
    build, name = BUILDS[kind]
    model = build()
    if not model.built:
        model(zoo.images(1))
    model.set_weights([np.abs(w) + 0.1 for w in model.get_weights()])
    layer = next(p for p in _paths(model) if p.split("/")[-1].startswith(name))
    size = (16, 16) if kind in ("subclassed", "channels_first") else None
    field = receptive_field(model, layer, size)
    rows, columns = field.map_size
    # Positive images and weights: nothing cancels, and every rectifier lets all through; of a pooling with maxima only
    # one place counts, so that several images are looked at.
    images = np.random.default_rng(0).uniform(0.1, 1, (12, *field.image_size, 3)).astype("float32")
    for place in {(0, 0), (rows - 1, columns - 1), (rows // 2, columns // 2), (0, columns - 1)}:
        seen = np.abs(_gradient(model, layer, images, place)).max((0, 3)) > 0
        ys, xs = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
        assert (xs[0], ys[0], xs[-1] + 1, ys[-1] + 1) == field.box(*place), place


def _paths(model: Any) -> list[str]:
    from kerasxai.engine.layers import walk

    return [path for path, _ in walk(model) if path]


def _gradient(model: Any, layer: str, images: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    def finish(output: Any) -> Any:
        return tf.reduce_sum(output[:, place[0], place[1]] * np.arange(1.0, output.shape[-1] + 1, dtype="float32"), -1)

    capture = Capture(model, layer, finish)
    trace = tf.function(capture._trace, autograph=False)
    x = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(trace(x))
    return tape.gradient(total, x).numpy()


def test_a_gate_sees_the_whole_image_and_can_be_left_out() -> None:
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    gate = layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    model = keras.Model(inputs, layers.Multiply(name="gated")([x, gate]))
    field = receptive_field(model, "gated")
    assert field.size == (None, None) and field.box(5, 5) == (0, 0, 12, 12)
    local = receptive_field(model, "gated", gates=False)
    assert local.size == (3, 3) and local.box(5, 6) == (5, 4, 8, 7) and local.box(0, 0) == (0, 0, 2, 2)
    assert local.box(0, 0, clip=False) == (-1, -1, 2, 2) and local.offset == (0.0, 0.0)


def test_what_cannot_be_read_is_an_error() -> None:
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.UpSampling2D(2, name="up")(layers.Conv2D(2, 3)(inputs)))
    with pytest.raises(KerasxaiError, match="cannot be read through"):
        receptive_field(model, "up")
    any_size = keras.Model(i := keras.Input((None, None, 3)), layers.Conv2D(2, 3, name="c")(i))
    with pytest.raises(KerasxaiError, match="give image_size"):
        receptive_field(any_size, "c")
    assert receptive_field(any_size, "c", 9).map_size == (7, 7)
    with pytest.raises(KerasxaiError, match="image_size must be 8 x 8"):
        receptive_field(model, "conv2d", 9)
    assert isinstance(receptive_field(any_size, "c", (9, 11)), ReceptiveField)

"""Tiny models of every kind that a user may bring. All are 16x16x3 in and four classes out, with random weights."""

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasxai.engine.traced_model import TracedModel
from kerasxai.explainer import Explainer

CLASSES = 4
SIZE = 16
layers = keras.layers


def convolutions(name: str = "convolutions", activation: str = "relu") -> list[Any]:
    return [
        layers.Conv2D(6, 3, strides=2, padding="same", activation=activation, name=f"{name}_first"),
        layers.BatchNormalization(name=f"{name}_normalization"),
        layers.Conv2D(8, 3, padding="same", activation=activation, name=f"{name}_last"),
    ]


def functional(classes: int = CLASSES, ending: str | None = "softmax") -> Any:
    inputs = keras.Input((SIZE, SIZE, 3))
    x = inputs
    for layer in convolutions():
        x = layer(x)
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(classes, activation=ending, dtype="float32", name="top")(x))


def logits() -> Any:
    return functional(ending=None)


def single_sigmoid() -> Any:
    return functional(classes=1, ending="sigmoid")


def sequential() -> Any:
    ending = [layers.GlobalAveragePooling2D(), layers.Dense(CLASSES), layers.Softmax(dtype="float32")]
    return keras.Sequential([keras.Input((SIZE, SIZE, 3)), *convolutions(), *ending])


def nested() -> Any:
    """A sub-model in a sub-model, as transfer learning stacks them."""
    inner = keras.Sequential([keras.Input((SIZE, SIZE, 3)), *convolutions("inner")], name="inner")
    middle_inputs = keras.Input((SIZE, SIZE, 3))
    middle = keras.Model(middle_inputs, inner(layers.Rescaling(1.0)(middle_inputs)), name="middle")
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.GlobalAveragePooling2D()(middle(inputs))
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax", dtype="float32")(x))


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = convolutions("blocks")
        self.pool = layers.GlobalAveragePooling2D()
        self.top = layers.Dense(CLASSES, dtype="float32")

    def call(self, inputs: Any, training: bool = False) -> Any:
        x = inputs
        for block in self.blocks:
            x = block(x, training=training) if isinstance(block, layers.BatchNormalization) else block(x)
        return keras.ops.softmax(self.top(self.pool(x)))


def need_channels_first() -> None:
    """Skips a test where TensorFlow cannot convolve channels first: on CPUs without oneDNN."""
    try:
        tf.nn.conv2d(tf.ones((1, 1, 3, 3)), tf.ones((1, 1, 1, 1)), 1, "SAME", data_format="NCHW")
    except tf.errors.UnimplementedError:
        pytest.skip("TensorFlow convolves channels first on this CPU only with oneDNN")


def channels_first() -> Any:
    need_channels_first()
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Permute((3, 1, 2))(inputs)
    x = layers.Conv2D(6, 3, strides=2, padding="same", data_format="channels_first")(x)
    x = layers.ReLU()(layers.BatchNormalization(axis=1)(x))
    # Not as many channels as columns: Keras 3.15 then adds the bias along the wrong axis.
    x = layers.Conv2D(7, 3, padding="same", data_format="channels_first", name="last")(x)
    x = layers.GlobalAveragePooling2D(data_format="channels_first")(layers.ReLU(name="last_relu")(x))
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax", name="top")(x))


def two_outputs() -> Any:
    inputs = keras.Input((SIZE, SIZE, 3))
    x = inputs
    for layer in convolutions():
        x = layer(x)
    pooled = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, {"size": layers.Dense(1)(pooled), "class": layers.Dense(CLASSES)(pooled)})


def with_policy(policy: str, build: Callable[[], Any] = functional) -> Any:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return build()
    finally:
        keras.config.set_dtype_policy(before)


KINDS: dict[str, Callable[[], Any]] = {
    "functional": functional,
    "logits": logits,
    "sequential": sequential,
    "nested": nested,
    "subclassed": Subclassed,
    "single_sigmoid": single_sigmoid,
    "channels_first": channels_first,
    "mixed_float16": lambda: with_policy("mixed_float16"),
    "mixed_bfloat16": lambda: with_policy("mixed_bfloat16", nested),
}

# Options for methods of many passes: as few passes as still make a map.
CHEAPER: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 6},
    "occlusion": {"patch": 6, "stride": 5},
    "rise": {"masks": 16, "grid": 4},
    "lime": {"samples": 16, "segments": 9},
    "kernelshap": {"samples": 24, "segments": 9},
}

# A method for each way of running a model: the weights of a class, a map alone, gradients of a map, gradients of the
# image, gradients through other rectifiers, masks over the image, masks made of a map, ablation of a map's channels.
ONE_OF_EACH = (
    *("cam", "eigencam", "gradcam", "integrated_gradients", "guided_gradcam", "occlusion", "scorecam", "ablationcam"),
)


def mostly(default: Iterable[str], names: Iterable[str]) -> list[Any]:
    """Return parameters of a test of which only those in `default` are not marked as exhaustive."""
    default = set(default)
    return [name if name in default else pytest.param(name, marks=pytest.mark.exhaustive) for name in names]


def build(kind: str) -> Any:
    """Builds a model and gives it weights that make its scores and its normalization matter."""
    return with_weights(KINDS[kind])


def with_weights(make: Callable[[], Any]) -> Any:
    """Builds a model from a function as `build` does."""
    keras.utils.set_random_seed(3)
    model = make()
    model(images(1), training=False)
    generator = np.random.default_rng(5)
    model.set_weights(
        [np.abs(w) + generator.uniform(0.1, 0.5, w.shape) if w.ndim == 1 else w * 1.5 for w in model.get_weights()]
    )
    return model


def images(count: int = 5, size: int = SIZE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, size, size, 3)).astype("float32")


def traced_model(explainer: Explainer) -> TracedModel:
    """The traced model behind an explainer of a Keras model, for tests of its caches."""
    assert isinstance(explainer._model, TracedModel)
    return explainer._model

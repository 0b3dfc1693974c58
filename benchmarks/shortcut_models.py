"""Classifiers for the trials of shortcuts, each trained in seconds."""

import hashlib
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from kerasxai import models

_STRENGTH = 1.0
_BATCH = 32
_EVIDENCE_SIDE = 64
Pixels = NDArray[np.uint8] | NDArray[np.float32]


class Classifier(Protocol):
    """A classifier of images `(N, H, W, 3)` in [0, 255]."""

    def probabilities(self, images: Pixels) -> NDArray[np.float32]:
        """Return probabilities, `(N, C)`."""

    def evidence(self, images: Pixels, labels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return class activation maps, `(N, 64, 64)`."""


class Trainer(Protocol):
    """Trains classifiers of images of one size."""

    side: int

    def train(self, images: Pixels, labels: NDArray[np.int64], classes: int, seed: int) -> Classifier:
        """Return a trained classifier."""


class Linear:
    """A linear classifier on mean features.

    Args:
        trunk: From images to feature maps.
        weights: `(K, C)`.
        biases: `(C,)`.
    """

    def __init__(self, trunk: "Trunk", weights: NDArray[np.float32], biases: NDArray[np.float32]) -> None:
        self._trunk, self._weights, self._biases = trunk, weights, biases

    def probabilities(self, images: Pixels) -> NDArray[np.float32]:
        """Return probabilities, `(N, C)`."""
        return np.asarray(softmax(self._trunk.maps(images).mean((1, 2)) @ self._weights + self._biases, axis=1))

    def evidence(self, images: Pixels, labels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return class activation maps, `(N, 64, 64)`."""
        weights = self._weights - self._weights.mean(1, keepdims=True)
        maps = np.einsum("nhwk,kn->nhw", self._trunk.maps(images, keep=True), weights[:, labels])
        return np.asarray(tf.image.resize(np.maximum(maps, 0)[..., None], (_EVIDENCE_SIDE,) * 2))[..., 0]


class Trunk:
    """Feature maps of images, in batches; those of images that are kept are computed once.

    Args:
        model: From images to feature maps `(N, h, w, K)`.
    """

    def __init__(self, model: keras.Model) -> None:
        self._function = tf.function(lambda images: model(images, training=False), reduce_retracing=True)
        self._known: dict[bytes, NDArray[np.float16]] = {}

    def maps(self, images: Pixels, keep: bool = False) -> NDArray[np.float32]:
        """Return feature maps, `(N, h, w, K)`."""
        if not keep:
            return self._computed(images)
        keys = [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in images]
        missing = [number for number, key in enumerate(keys) if key not in self._known]
        if missing:
            found = self._computed(images[missing]).astype(np.float16)
            self._known |= {keys[i]: one for i, one in zip(missing, found, strict=True)}
        return np.stack([self._known[key] for key in keys]).astype(np.float32)

    def _computed(self, images: Pixels) -> NDArray[np.float32]:
        parts = [images[start : start + _BATCH].astype(np.float32) for start in range(0, len(images), _BATCH)]
        return np.concatenate([self._function(tf.constant(part)).numpy() for part in parts])


class FrozenProbe:
    """A logistic regression on the frozen features of EfficientNet-Lite0, as `kerasxai train` begins.

    Args:
        side: Of the images.
    """

    def __init__(self, side: int = 160) -> None:
        self.side = side
        model = models.build_classifier("EfficientNetLite0", 2, input_size=side)
        self._trunk = Trunk(model.get_layer("backbone"))

    def train(self, images: Pixels, labels: NDArray[np.int64], classes: int, seed: int) -> Classifier:
        """Return a probe; the features of each image are computed once."""
        features = self._trunk.maps(images, keep=True).mean((1, 2))
        scale = float(np.sqrt(features.var(0).mean()))
        found = LogisticRegression(C=_STRENGTH, fit_intercept=False, max_iter=300).fit(features / scale, labels)
        weights = np.asarray(found.coef_.T / scale, np.float32)
        return Linear(self._trunk, weights, np.zeros(classes, np.float32))


class SmallNet:
    """A small convolutional net, trained from random weights."""

    side = 96
    channels: tuple[int, ...] = (16, 32, 64, 96)
    epochs = 16

    def train(self, images: Pixels, labels: NDArray[np.int64], classes: int, seed: int) -> Classifier:
        """Return a new net."""
        keras.utils.set_random_seed(seed)
        layers: list[keras.layers.Layer] = [keras.Input((self.side, self.side, 3))]
        layers += [keras.layers.Rescaling(1 / 127.5, -1)]
        for channels in self.channels:
            layers += [
                keras.layers.Conv2D(channels, 3, strides=2, padding="same", use_bias=False),
                keras.layers.BatchNormalization(momentum=0.9),
                keras.layers.ReLU(),
            ]
        trunk = keras.Sequential(layers)
        dense = keras.layers.Dense(classes, activation="softmax")
        model = keras.Sequential([trunk, keras.layers.GlobalAveragePooling2D(), dense])
        model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
        model.fit(images.astype(np.float32), labels, epochs=self.epochs, batch_size=_BATCH, verbose=0)
        return Linear(Trunk(trunk), *dense.get_weights())


TRAINERS: dict[str, type[Trainer]] = {"probe": FrozenProbe, "small": SmallNet}

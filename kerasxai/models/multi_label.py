"""Classifiers of several labels an image: their last layer, and what their labels mean."""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf
from keras import ops

from kerasxai.engine.keras_internals import operation_of
from kerasxai.tools.options import choice

LABELS = ("single", "multi")
"""What a classifier predicts: one class, by a softmax, or for each class whether it is present, by sigmoids."""
Classes: TypeAlias = tf.Tensor
"""The class of each image, `(B,)` integers, or which of several are present, `(B, C)` booleans."""
_PRESENT = 0.5


@keras.saving.register_keras_serializable("kerasxai")
class MultiLabelPredictions(keras.layers.Activation):
    """The final sigmoids of a classifier of several labels; they also save what `Predictions` saves.

    Args:
        class_names: One name for each class, or None.
        input_fit: How images were fitted to the input in training: `"stretch"`, `"crop"` or `"pad"`.
        training_size: Height and width of the images of training, if the model takes others now; None: the same.
        **kwargs: As for `keras.layers.Layer`.
    """

    def __init__(
        self,
        class_names: Sequence[str] | None = None,
        input_fit: str = "stretch",
        training_size: tuple[int, int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__("sigmoid", **kwargs)
        self.training_size = None if training_size is None else (int(training_size[0]), int(training_size[1]))
        self.class_names = None if class_names is None else [str(name) for name in class_names]
        self.input_fit = input_fit

    def get_config(self) -> dict[str, Any]:
        """Return the config with the class names, the fit, and the size of training if it is another."""
        config = {**super().get_config(), "class_names": self.class_names and list(self.class_names)}
        config.pop("activation")
        config |= {"training_size": list(self.training_size)} if self.training_size else {}
        return {**config, "input_fit": self.input_fit}


def is_multi_label(model: keras.Model) -> bool:
    """Return whether a model ends in sigmoids over two classes or more, so that an image may have several.

    Args:
        model: Any Keras model; False where its last layer is not known, as of a subclassed one.

    Example:
        >>> is_multi_label(build_classifier("EfficientNetLite0", 8, labels="multi"))
        True
    """
    outputs = getattr(model, "outputs", None) or []
    if len(outputs) != 1 or len(outputs[0].shape) != 2 or (outputs[0].shape[-1] or 0) < 2:
        return False
    last = operation_of(outputs[0])
    if isinstance(last, keras.Model):
        return is_multi_label(last)
    return getattr(last, "activation", None) is keras.activations.sigmoid


def is_multi(labels: str) -> bool:
    """Return whether a head is for several labels an image.

    Raises:
        KerasxaiError: `labels` is not in `LABELS`.
    """
    return choice("labels of a classifier", labels, LABELS) == "multi"


def prior_bias(num_classes: int) -> keras.initializers.Initializer:
    """Return the bias with which sigmoids predict one class an image (Lin 2017, arXiv:1708.02002).

    From a bias of 0, half of all classes would be present, and the first steps would only learn that they are not.
    """
    return keras.initializers.Constant(-math.log(max(num_classes - 1, 1)))


def present_classes(labels: tf.Tensor) -> tf.Tensor:
    """Return which classes are present, `(B, C)` bool, by labels or probabilities; unknown ones (-1) are not."""
    return ops.greater(labels, _PRESENT)


def maps_of_classes(maps: tf.Tensor, classes: Classes) -> tf.Tensor:
    """Return the map of the class of each image, or the largest value of the maps of several, `(B, h, w, 1)`.

    Args:
        maps: `(B, h, w, C)`, of several classes in [0, 1]; 0 where no class is present.
        classes: See `Classes`.
    """
    if len(classes.shape) == 1:
        return ops.take_along_axis(maps, ops.cast(classes, "int32")[:, None, None, None], axis=-1)
    return ops.max(maps * ops.cast(classes, maps.dtype)[:, None, None, :], -1, keepdims=True)

"""Models that pass the labels to one of their layers in training and evaluation, for losses inside that layer."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import keras
import tensorflow as tf
from keras import ops

from kerasxai.engine.tracing import patched
from kerasxai.models.multi_label import Classes, present_classes
from kerasxai.tools.errors import KerasxaiError

Batch: TypeAlias = "tuple[Any, ...]"
"""What `train_step` receives: inputs, labels and sample weights, or fewer of them."""

# How far the entries of a row may be from a sum of 1: half precision and label smoothing round.
_ROUNDING = 1e-2
UNKNOWN = -1


class LabelAwareModel(keras.Model):
    """A functional model with one layer that has an attribute `targets`: None, or in a training step the labels.

    Labels are class numbers (B,) or (B, 1), or rows (B, C) of one-hot or soft labels, of which the largest entry is
    the class. Rows of several classes or of none are an error; where XLA compiles the step, which drops assertions,
    their class is -1. A layer with the attribute `multi` takes rows of several labels: 1 present, 0 absent, -1 unknown.
    """

    @property
    def head(self) -> keras.Layer:
        """The layer that receives the labels."""
        return next(layer for layer in self.layers if hasattr(layer, "targets"))

    def label_attributes(self, classes: Classes, labels: tf.Tensor, weights: tf.Tensor | None) -> Mapping[str, Any]:
        """Return the attributes of the head during a step.

        Args:
            classes: The class of each image, (B,), or all present classes, (B, C) bool.
            labels: Class numbers (B,) or rows (B, C).
            weights: Sample weights, or None.
        """
        raise NotImplementedError

    @contextlib.contextmanager
    def _labels_in_head(self, data: Batch) -> Iterator[None]:
        _, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        if labels is None:
            yield
            return
        head = self.head
        labels = ops.convert_to_tensor(labels)
        if len(labels.shape) == 2 and labels.shape[-1] == 1:
            labels = labels[:, 0]
        if len(labels.shape) == 2 and labels.shape[-1] == head.num_classes:
            labels = ops.cast(labels, "float32")
            classes = present_classes(labels) if head.multi else class_numbers(labels)
        elif len(labels.shape) == 1 and not head.multi:
            labels = classes = ops.cast(labels, "int32")
        else:
            shapes = f"(B, {head.num_classes})" if head.multi else f"(B,) or (B, {head.num_classes})"
            raise KerasxaiError(f"labels must be {shapes}, got shape {tuple(labels.shape)}")
        with patched(head, **self.label_attributes(classes, labels, weights)):
            yield

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """Run one training step, with the loss of the head."""
        with self._labels_in_head(data):
            return super().train_step(data)

    def test_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """Run one evaluation step, with the loss of the head."""
        with self._labels_in_head(data):
            return super().test_step(data)


def class_numbers(rows: tf.Tensor) -> tf.Tensor:
    """Return the class of each row (B, C) of labels, -1 for a row with several classes or none."""
    one = ops.logical_and(ops.abs(ops.sum(rows, -1) - 1) < _ROUNDING, ops.min(rows, -1) > -_ROUNDING)
    message = "labels must be one class for each image (rows with a sum of 1), got rows of several classes or of none"
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(one), [message])]):
        return tf.identity(ops.where(one, ops.argmax(rows, -1), UNKNOWN))

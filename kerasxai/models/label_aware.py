"""Models that show one of their layers the labels while they fit and evaluate, for losses beside the compiled one."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from kerasxai.engine.tracing import patched
from kerasxai.tools.errors import KerasxaiError

# How far the entries of a row may be from a sum of 1: half precision and label smoothing round.
_ROUNDING = 1e-2
UNKNOWN = -1


class LabelsShown(keras.Model):
    """A functional model with one layer that has the attribute `targets`, set while labels are known, else None.

    Labels are class numbers (B,) or (B, 1), or rows (B, C) of one-hot or soft labels, of which the largest entry is
    the class. Rows of several classes or of none are an error; where XLA compiles the step, which drops assertions,
    their class is -1.
    """

    @property
    def head(self) -> Any:
        """The layer that is shown the labels."""
        return next(layer for layer in self.layers if hasattr(layer, "targets"))

    def shown(self, classes: Any, labels: Any, weights: Any) -> dict[str, Any]:
        """Returns the attributes that the layer has in a step: from classes (B,), labels and sample weights or None."""
        raise NotImplementedError

    @contextlib.contextmanager
    def _showing(self, data: Any) -> Iterator[None]:
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
            classes = _classes_of(labels)
        elif len(labels.shape) == 1:
            labels = classes = ops.cast(labels, "int32")
        else:
            raise KerasxaiError(f"labels must be (B,) or (B, {head.num_classes}); got shape {tuple(labels.shape)}")
        with patched(head, **self.shown(classes, labels, weights)):
            yield

    def train_step(self, data: Any) -> Any:
        """One step of training, the layer's own loss included."""
        with self._showing(data):
            return super().train_step(data)

    def test_step(self, data: Any) -> Any:
        """One step of evaluation, the layer's own loss included."""
        with self._showing(data):
            return super().test_step(data)


def _classes_of(rows: Any) -> Any:
    """Returns the class of each row (B, C) of labels, -1 where a row has several classes or none."""
    one = ops.logical_and(ops.abs(ops.sum(rows, -1) - 1) < _ROUNDING, ops.min(rows, -1) > -_ROUNDING)
    message = "labels must be one class for each image (rows with a sum of 1), got rows of several classes or of none"
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(one), [message])]):
        return tf.identity(ops.where(one, ops.argmax(rows, -1), UNKNOWN))

"""Models that show one of their layers the labels while they fit and evaluate, for losses beside the compiled one."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from kerasxai.core.errors import KerasxaiError
from kerasxai.core.tracing import patched


class LabelsShown(keras.Model):
    """A functional model with one layer that has the attribute `targets`, set while labels are known, else None.

    Labels are class numbers (B,) or (B, 1), or rows (B, C) of one-hot or soft labels, of which the largest entry is
    the class.
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
            labels, classes = ops.cast(labels, "float32"), ops.argmax(labels, -1)
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

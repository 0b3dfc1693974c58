"""Balanced accuracy as a Keras metric."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable("kerasxai")
class BalancedAccuracy(keras.metrics.Metric):
    """Mean over the classes of the share of their images that are classified correctly.

    It equals `sklearn.metrics.balanced_accuracy_score`: classes without an image do not count. Sample weights are
    ignored, because every class already has the same weight.

    Args:
        num_classes: Number of classes.
        name: Name of the metric.
        **kwargs: As for `keras.metrics.Metric`.

    Example:
        >>> metric = BalancedAccuracy(2)
        >>> metric.update_state([0, 0, 0, 1], [[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])
        >>> float(metric.result())
        0.5
    """

    def __init__(self, num_classes: int, name: str = "balanced_accuracy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.num_classes = num_classes
        self.images = self.add_weight(shape=(num_classes,), initializer="zeros", name="images")
        self.correct = self.add_weight(shape=(num_classes,), initializer="zeros", name="correct")

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        """Count images.

        Args:
            y_true: Class numbers `(B,)` or `(B, 1)`, or rows `(B, C)` of one-hot or soft labels.
            y_pred: Scores `(B, C)`.
            sample_weight: Not used.
        """
        labels = ops.convert_to_tensor(y_true)
        if len(labels.shape) == 2:
            labels = labels[:, 0] if labels.shape[-1] == 1 else ops.argmax(labels, -1)
        rows = ops.one_hot(ops.cast(labels, "int32"), self.num_classes, dtype=self.dtype)
        right = ops.cast(ops.equal(ops.argmax(rows, -1), ops.argmax(y_pred, -1)), self.dtype)
        self.images.assign_add(ops.sum(rows, 0))
        self.correct.assign_add(ops.sum(rows * right[:, None], 0))

    def result(self) -> tf.Tensor:
        """Return the balanced accuracy of the images counted so far."""
        found = ops.cast(self.images > 0, self.dtype)
        shares = ops.divide_no_nan(self.correct, self.images)
        return ops.divide_no_nan(ops.sum(shares), ops.sum(found))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "num_classes": self.num_classes}

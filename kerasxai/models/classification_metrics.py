"""Keras metrics of classifiers: balanced accuracy, and the cross-entropy at the best temperature."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops


def label_rows(labels: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Return labels as rows `(B, C)` float32.

    Args:
        labels: Class numbers `(B,)` or `(B, 1)`, or rows `(B, C)`.
        num_classes: Number of classes.
    """
    labels = ops.convert_to_tensor(labels)
    if len(labels.shape) == 2 and labels.shape[-1] == num_classes:
        return ops.cast(labels, "float32")
    return ops.one_hot(ops.cast(ops.reshape(labels, (-1,)), "int32"), num_classes, dtype="float32")


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
        rows = ops.one_hot(ops.argmax(label_rows(y_true, self.num_classes), -1), self.num_classes, dtype=self.dtype)
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


TEMPERATURES = tuple(2.0 ** (step / 4) for step in range(-8, 13))
"""From 1/4 to 8, in steps of 19 %."""


@keras.saving.register_keras_serializable("kerasxai")
class CalibratedLoss(keras.metrics.Metric):
    """Cross-entropy of probabilities after temperature scaling (Guo 2017, arXiv:1706.04599), at the best temperature.

    Trained on few images, or with label smoothing, models differ in how sure they are of the same predictions, which
    dominates their cross-entropy on few validation images. At the best temperature, which changes no prediction, they
    are compared by the predictions. The temperature is the best of a grid, and one for all images since the last reset.

    Args:
        num_classes: Number of classes.
        name: Name of the metric.
        **kwargs: As for `keras.metrics.Metric`.

    Example:
        >>> metric = CalibratedLoss(2)
        >>> metric.update_state([0, 1], [[0.9, 0.1], [0.1, 0.9]])
        >>> float(metric.result()) < 0.001  # much surer would be right too
        True
    """

    def __init__(self, num_classes: int, name: str = "calibrated_loss", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.num_classes = num_classes
        self.sums = self.add_weight(shape=(len(TEMPERATURES),), initializer="zeros", name="sums")
        self.images = self.add_weight(shape=(), initializer="zeros", name="images")

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        """Add the losses of a batch at all temperatures.

        Args:
            y_true: Class numbers `(B,)` or `(B, 1)`, or rows `(B, C)` of one-hot or soft labels.
            y_pred: Probabilities `(B, C)`.
            sample_weight: Not used.
        """
        rows = label_rows(y_true, self.num_classes)
        # The smallest normal float32, because a probability of 0 has no logarithm.
        logits = ops.log(ops.maximum(ops.cast(y_pred, "float32"), 1.2e-38))
        scaled = logits[None] / ops.reshape(ops.convert_to_tensor(TEMPERATURES, "float32"), (-1, 1, 1))
        losses = -ops.sum(rows[None] * ops.log_softmax(scaled, -1), (1, 2))
        self.sums.assign_add(ops.cast(losses, self.dtype))
        self.images.assign_add(ops.cast(ops.shape(rows)[0], self.dtype))

    def result(self) -> tf.Tensor:
        """Return the mean loss at the best temperature, of the images counted so far."""
        return ops.min(ops.divide_no_nan(self.sums, self.images))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "num_classes": self.num_classes}

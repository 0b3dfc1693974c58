"""Losses and a metric for several labels an image: 1 present, 0 absent, -1 unknown; unknown labels do not count."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import NDArray

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import real, within

_LEAST = 1e-8
_MOST_WEIGHT = 100.0


class MultiLabelLoss(keras.losses.Loss):
    """The mean of a binary loss over the known labels of an image; 0 for an image without one.

    Args:
        positive_weights: `(C,)` weight of the label 1 of each class, see `balanced_positive_weights`; None: 1.
        name: Name of the loss.
        **kwargs: As for `keras.losses.Loss`.
    """

    def __init__(self, positive_weights: Sequence[float] | None = None, name: str = "loss", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.positive_weights = None if positive_weights is None else [float(weight) for weight in positive_weights]

    def entries(self, labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        """Return the loss of each label.

        Args:
            labels: `(B, C)` float32 in [0, 1]; what is returned for unknown ones does not matter.
            probabilities: `(B, C)` float32.
        """
        raise NotImplementedError

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Return the loss of each image, `(B,)`.

        Args:
            y_true: Labels `(B, C)`: 1 present, 0 absent, -1 unknown, and values between 0 and 1 of mixed labels.
            y_pred: Probabilities `(B, C)`.
        """
        y_true = ops.cast(y_true, "float32")
        known = ops.cast(y_true >= 0, "float32")
        labels = ops.maximum(y_true, 0)
        losses = self.entries(labels, y_pred) * known
        if self.positive_weights is not None:
            weights = ops.convert_to_tensor(self.positive_weights, "float32")
            losses = losses * (1 + labels * (weights - 1))
        return ops.divide_no_nan(ops.sum(losses, -1), ops.sum(known, -1))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "positive_weights": self.positive_weights}


@keras.saving.register_keras_serializable("kerasxai")
class MaskedBinaryCrossentropy(MultiLabelLoss):
    """Binary cross-entropy of the known labels.

    Args:
        positive_weights: As for `MultiLabelLoss`.
        name: Name of the loss.
        **kwargs: As for `keras.losses.Loss`.

    Example:
        >>> loss = MaskedBinaryCrossentropy()
        >>> round(float(loss([[1.0, -1.0]], [[0.5, 0.9]])), 4)
        0.6931
    """

    def __init__(
        self, positive_weights: Sequence[float] | None = None, name: str = "binary_crossentropy", **kwargs: Any
    ) -> None:
        super().__init__(positive_weights, name, **kwargs)

    def entries(self, labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        """Return the cross-entropy of each label; Keras takes it from the logits where it can."""
        return ops.binary_crossentropy(labels, probabilities)


@keras.saving.register_keras_serializable("kerasxai")
class MaskedBinaryFocalCrossentropy(MultiLabelLoss):
    """`keras.losses.BinaryFocalCrossentropy` of the known labels (Lin 2017, arXiv:1708.02002).

    Args:
        gamma: The exponent of `1 - p` of the true label, at least 0.
        alpha: The weight of the label 1 in [0, 1], and `1 - alpha` that of the label 0; None: both 1.
        positive_weights: As for `MultiLabelLoss`.
        name: Name of the loss.
        **kwargs: As for `keras.losses.Loss`.

    Example:
        >>> loss = MaskedBinaryFocalCrossentropy(gamma=2.0)
        >>> round(float(loss([[1.0, -1.0]], [[0.5, 0.9]])), 4)
        0.1733
    """

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: float | None = None,
        positive_weights: Sequence[float] | None = None,
        name: str = "binary_focal_crossentropy",
        **kwargs: Any,
    ) -> None:
        super().__init__(positive_weights, name, **kwargs)
        self.gamma = _at_least_zero("gamma", gamma)
        self.alpha = None if alpha is None else within("alpha", alpha, 0, 1)

    def entries(self, labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        """Return the focal loss of each label."""
        # Keras takes the mean over the last axis, which has one entry here.
        return keras.losses.binary_focal_crossentropy(
            labels[..., None],
            probabilities[..., None],
            apply_class_balancing=self.alpha is not None,
            alpha=0.25 if self.alpha is None else self.alpha,
            gamma=self.gamma,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "gamma": self.gamma, "alpha": self.alpha}


@keras.saving.register_keras_serializable("kerasxai")
class AsymmetricLoss(MultiLabelLoss):
    """Asymmetric loss: easy absent classes count less than easy present ones (Ridnik 2021, arXiv:2009.14119).

    `-(1 - p)^gamma_positive log p` for the label 1, `-q^gamma_negative log(1 - q)` with `q = max(p - shift, 0)` for
    the label 0. As Keras' losses it is the mean over the classes, where the authors have the sum.

    Args:
        gamma_positive: The exponent of the label 1, at least 0.
        gamma_negative: The exponent of the label 0, at least 0.
        shift: Absent classes of a lower probability do not count, in [0, 1).
        positive_weights: As for `MultiLabelLoss`.
        name: Name of the loss.
        **kwargs: As for `keras.losses.Loss`.

    Example:
        >>> loss = AsymmetricLoss()
        >>> float(loss([[0.0, 0.0]], [[0.04, 0.01]]))
        0.0
    """

    def __init__(
        self,
        gamma_positive: float = 0.0,
        gamma_negative: float = 4.0,
        shift: float = 0.05,
        positive_weights: Sequence[float] | None = None,
        name: str = "asymmetric",
        **kwargs: Any,
    ) -> None:
        super().__init__(positive_weights, name, **kwargs)
        self.gamma_positive = _at_least_zero("gamma_positive", gamma_positive)
        self.gamma_negative = _at_least_zero("gamma_negative", gamma_negative)
        self.shift = within("shift", shift, 0, 1)
        if self.shift == 1:
            raise KerasxaiError("shift must be below 1, got 1")

    def entries(self, labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        """Return the asymmetric loss of each label."""
        p = ops.cast(probabilities, "float32")
        q = ops.maximum(p - self.shift, 0)
        positive = -labels * _power(1 - p, self.gamma_positive) * ops.log(ops.maximum(p, _LEAST))
        negative = -(1 - labels) * _power(q, self.gamma_negative) * ops.log(ops.maximum(1 - q, _LEAST))
        return positive + negative

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        own = {name: getattr(self, name) for name in ("gamma_positive", "gamma_negative", "shift")}
        return {**super().get_config(), **own}


def _at_least_zero(name: str, value: float) -> float:
    if real(name, value) < 0:
        raise KerasxaiError(f"{name} must be 0 or more, got {value!r}")
    return float(value)


def _power(base: tf.Tensor, exponent: float) -> tf.Tensor:
    # The gradient of 0 ** 0 is not a number.
    return ops.ones_like(base) if exponent == 0 else ops.power(base, exponent)


def balanced_positive_weights(labels: NDArray) -> NDArray[np.float32]:
    """Return the weight of the label 1 of each class, the number of labels 0 for each label 1, at most 100.

    Args:
        labels: `(N, C)`: 1 present, 0 absent, -1 unknown.

    Example:
        >>> balanced_positive_weights(np.array([[1, 1], [0, 1], [0, 0], [0, -1]])).tolist()
        [3.0, 0.5]
    """
    present, absent = (labels == 1).sum(0), (labels == 0).sum(0)
    # A class without an image, or one that all images have, has nothing to balance.
    weights = np.where((present > 0) & (absent > 0), absent / np.maximum(present, 1), 1)
    return np.minimum(weights, _MOST_WEIGHT).astype(np.float32)


@keras.saving.register_keras_serializable("kerasxai")
class MeanAveragePrecisionMetric(keras.metrics.AUC):
    """Mean over the classes of the average precision, at evenly spaced thresholds, for the log of a training.

    It is that of scikit-learn up to the rounding of probabilities to one of the thresholds. Unknown labels (-1) do not
    count, nor do classes without an image; mixed labels count as their nearer one. Sample weights are ignored.

    Args:
        num_classes: Number of classes.
        num_thresholds: Number of thresholds.
        name: Name of the metric.
        **kwargs: As for `keras.metrics.Metric`.

    Example:
        >>> metric = MeanAveragePrecisionMetric(2)
        >>> metric.update_state([[1, -1], [0, 1]], [[0.9, 0.9], [0.1, 0.8]])
        >>> round(float(metric.result()), 3)
        1.0
    """

    def __init__(
        self, num_classes: int, num_thresholds: int = 500, name: str = "mean_average_precision", **kwargs: Any
    ) -> None:
        super().__init__(
            num_thresholds=num_thresholds, curve="PR", multi_label=True, num_labels=num_classes, name=name, **kwargs
        )
        self.num_classes = num_classes

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        """Count images.

        Args:
            y_true: Labels `(B, C)`: 1 present, 0 absent, -1 unknown.
            y_pred: Probabilities `(B, C)`.
            sample_weight: Not used.
        """
        y_true = ops.cast(y_true, "float32")
        known = ops.cast(y_true >= 0, "float32")
        super().update_state(ops.cast(y_true > 0.5, "float32"), y_pred, sample_weight=known)

    def result(self) -> tf.Tensor:
        """Return the mean average precision of the images counted so far."""
        precisions = ops.divide_no_nan(self.true_positives, self.true_positives + self.false_positives)
        images = self.true_positives + self.false_negatives
        recalls = ops.divide_no_nan(self.true_positives, images)
        # Thresholds ascend, recalls descend.
        each = ops.sum((recalls[:-1] - recalls[1:]) * precisions[:-1], 0)
        found = ops.cast(ops.max(images, 0) > 0, each.dtype)
        return ops.divide_no_nan(ops.sum(each * found), ops.sum(found))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        own = {"num_classes": self.num_classes, "num_thresholds": self.num_thresholds}
        return {**keras.metrics.Metric.get_config(self), **own}

"""Unequal classes: weights of training images."""

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.class_weight import compute_class_weight


def balanced_weights(labels: ArrayLike, num_classes: int) -> NDArray[np.float32]:
    """Return a weight for each class, the inverse of its frequency, with a mean of 1 over the images.

    Args:
        labels: `(N,)` class numbers; those below 0 do not count.
        num_classes: The number of classes; the weight of those without an image is 1.

    Example:
        >>> balanced_weights([0, 0, 0, 1], 2).tolist()
        [0.6666666865348816, 2.0]
    """
    known = np.asarray(labels)
    known = known[known >= 0]
    weights = np.ones(num_classes, np.float32)
    found = np.unique(known)
    weights[found] = compute_class_weight("balanced", classes=found, y=known)
    return weights


def with_weights(pairs: tf.data.Dataset, weights: NDArray[np.float32]) -> tf.data.Dataset:
    """Add the weight of each image to batches of images and labels, as `model.fit` takes it.

    Args:
        pairs: Batches of images and labels: class numbers `(B,)`, or rows `(B, C)`, whose weights are means.
        weights: `(C,)`, one for each class.
    """
    table = tf.constant(weights)

    def weighted(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        rows = len(labels.shape) == 2
        return images, labels, tf.linalg.matvec(labels, table) if rows else tf.gather(table, labels)

    return pairs.map(weighted, num_parallel_calls=tf.data.AUTOTUNE)

"""Conversions of stored masks `(h, w)` uint8 to masks of 1 object, 0 background, 255 ignore."""

import tensorflow as tf


def nonzero(mask: tf.Tensor) -> tf.Tensor:
    """Everything but 0 is object."""
    return tf.cast(mask > 0, tf.uint8)


def bright(mask: tf.Tensor) -> tf.Tensor:
    """A gray mask with soft edges: pixels above the middle are object."""
    return tf.cast(mask > 127, tf.uint8)


def trimap(mask: tf.Tensor) -> tf.Tensor:
    """1 object, 2 background, 3 border; where in the border the object ends is unknown, so it is ignored."""
    border = tf.constant(255, tf.uint8)
    return tf.where(mask == 3, border, tf.cast(mask == 1, tf.uint8))


def labeled(mask: tf.Tensor) -> tf.Tensor:
    """A mask of class numbers, as `tfds.features.LabeledImage` stores it: 255 means that the class is unknown."""
    return tf.where(mask == 255, mask, tf.cast(mask > 0, tf.uint8))


def box(mask: tf.Tensor) -> tf.Tensor:
    """Return the smallest box around the ones of a mask, `(1, 4)` float32 relative xyxy, or `(0, 4)` if there are none.

    Example:
        >>> box(tf.constant([[0, 1], [0, 0]], tf.uint8)).numpy().tolist()
        [[0.5, 0.0, 1.0, 0.5]]
    """
    where = tf.where(mask == 1)
    size = tf.cast(tf.shape(mask)[::-1], tf.float32)
    low = tf.cast(tf.reduce_min(where, axis=0)[::-1], tf.float32) / size
    high = tf.cast(tf.reduce_max(where, axis=0)[::-1] + 1, tf.float32) / size
    found = tf.concat([low, high], axis=0)[None]
    return found[: tf.minimum(tf.shape(where)[0], 1)]

"""Labels, boxes and masks of images with several classes, as TensorFlow functions."""

import tensorflow as tf

IGNORED = 255
"""The value of pixels of a class mask that are not measured."""


def multi_hot(numbers: tf.Tensor, num_classes: int, difficult: tf.Tensor | None = None) -> tf.Tensor:
    """Return labels of all classes, `(C,)` float32: 1 present, 0 absent, -1 unknown.

    Args:
        numbers: `(n,)` classes of objects, or `()` the only class, of which -1 means that nothing is known.
        num_classes: Number of classes.
        difficult: `(n,)` bool; a class of difficult objects alone is unknown. None: no object is difficult.

    Example:
        >>> multi_hot(tf.constant([0, 2, 2]), 4, tf.constant([True, False, True])).numpy().tolist()
        [-1.0, 0.0, 1.0, 0.0]
    """
    rows = tf.one_hot(tf.reshape(numbers, (-1,)), num_classes, True, False, dtype=tf.bool)
    present = tf.reduce_any(rows, 0)
    certain = present if difficult is None else tf.reduce_any(rows & ~difficult[:, None], 0)
    labels = tf.where(certain, 1.0, tf.where(present, -1.0, 0.0))
    if numbers.shape.rank == 0:
        return tf.where(numbers < 0, -tf.ones_like(labels), labels)
    return labels


def object_boxes(
    boxes: tf.Tensor, numbers: tf.Tensor, difficult: tf.Tensor | None, crowds: tf.Tensor | None
) -> dict[str, tf.Tensor]:
    """Return `boxes`, `box_labels` and `box_difficult` of single objects; crowds and boxes without area are left out.

    Args:
        boxes: `(k, 4)` relative xyxy.
        numbers: `(k,)` classes, or `()` the class of all boxes.
        difficult: `(k,)` bool, or None.
        crowds: `(k,)` bool, or None.
    """
    kept = tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=1)
    kept = kept if crowds is None else kept & ~crowds
    labels = tf.broadcast_to(tf.cast(numbers, tf.int64), tf.shape(boxes)[:1])
    flags = tf.zeros_like(kept) if difficult is None else difficult
    fields = {"boxes": boxes, "box_labels": labels, "box_difficult": flags}
    return {name: tf.boolean_mask(field, kept) for name, field in fields.items()}


def class_mask_of(objects: tf.Tensor, numbers: tf.Tensor, crowds: tf.Tensor | None = None) -> tf.Tensor:
    """Return the mask of all classes, `(h, w)` uint8: 0 background, c + 1 for class c, 255 ignored.

    Args:
        objects: `(n, h, w)` bool, the mask of each object, of which smaller ones are in front of larger ones; or
            `(h, w)` uint8, 1 for the objects of the only class, 0 background, 255 ignored.
        numbers: `(n,)` classes, or `()` the only class.
        crowds: `(n,)` bool; their pixels are ignored.
    """
    if objects.shape.rank == 2:
        return tf.where(objects == 1, tf.cast(numbers + 1, tf.uint8), objects)
    values = tf.cast(numbers + 1, tf.int32)
    values = values if crowds is None else tf.where(crowds, IGNORED, values)
    order = tf.argsort(tf.reduce_sum(tf.cast(objects, tf.int32), (1, 2)))
    # The last entry is the background, so that each pixel is covered by one.
    covered = tf.pad(tf.gather(objects, order), [[0, 1], [0, 0], [0, 0]], constant_values=True)
    values = tf.pad(tf.gather(values, order), [[0, 1]])
    return tf.cast(tf.gather(values, tf.argmax(tf.cast(covered, tf.uint8), 0)), tf.uint8)

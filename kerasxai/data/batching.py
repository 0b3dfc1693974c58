"""Samples of one size and with static shapes, and batches of them."""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.engine.images.fit import fit_image, fit_mask, fit_rows
from kerasxai.engine.images.image_input import Size

Sample = dict[str, tf.Tensor]

_MASKS = {"mask": 255, "part_mask": 0, "class_mask": 255}
"""The value of padding in each mask: to be ignored, or no part of the object."""
# No box begins or ends left of the image, so that rows of padding cannot be mistaken for boxes.
_PADDING: dict[str, float | str | bool] = {"boxes": -1, "name": "", "box_labels": -1, "box_difficult": False}
_OF_BOXES = ("box_labels", "box_difficult")


def height_and_width(size: Size) -> tuple[int, int]:
    """Return the height and width of images of a size."""
    return (size, size) if isinstance(size, int) else size


def resize_sample(sample: Sample, size: Size, fit: str = "stretch") -> Sample:
    """Fit image, boxes and masks of a sample to a square or to `size`.

    Args:
        sample: As `kerasxai.data.load` returns it.
        size: Side of the square, or height and width.
        fit: A name in `kerasxai.engine.images.fit.FITS`.
    """
    target, shape = height_and_width(size), tf.shape(sample["image"])[:2]
    image = fit_image(sample["image"], target, fit)
    # Rounded as image files are, so that evaluation and training get the same pixels.
    resized = {**sample, "image": tf.cast(tf.clip_by_value(tf.round(image), 0.0, 255.0), tf.uint8)}
    for key, padding in _MASKS.items():
        if key in sample:
            resized[key] = fit_mask(sample[key], target, fit, padding)
    if "boxes" in sample:
        resized["boxes"], kept = fit_rows(sample["boxes"], shape, target, fit)
        resized |= {key: tf.boolean_mask(sample[key], kept) for key in _OF_BOXES if key in sample}
    return resized


def set_shapes(sample: Sample, size: Size | None) -> Sample:
    """Set the static shapes of a sample, which readers of files do not know and Keras needs."""
    height_width = (None, None) if size is None else height_and_width(size)
    shapes: dict[str, tuple[int | None, ...]] = {
        "image": (*height_width, 3),
        "boxes": (None, 4),
        **dict.fromkeys(_MASKS, height_width),
        **dict.fromkeys(("labels", *_OF_BOXES), (None,)),
    }
    return {key: tf.ensure_shape(value, shapes.get(key, ())) for key, value in sample.items()}


def padded_batches(samples: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Batch samples of one size; `boxes` and `box_labels` are padded with -1 to the largest number in the batch."""
    padding = {key: tf.constant(_PADDING.get(key, 0), spec.dtype) for key, spec in samples.element_spec.items()}
    return samples.padded_batch(batch_size, padding_values=padding)


def unpad_boxes(boxes: Iterable[NDArray[np.float32]] | tf.Tensor) -> list[NDArray[np.float32]]:
    """Return the boxes of each image of a batch, without the rows of -1 that pad it.

    Args:
        boxes: `(B, k, 4)` as `load` returns them.

    Returns:
        `B` arrays `(k_i, 4)` float32.

    Example:
        >>> [found.shape for found in unpad_boxes(np.array([[[0, 0, 1, 1], [-1, -1, -1, -1]]], np.float32))]
        [(1, 4)]
    """
    return [found[found[:, 2] >= 0.0] for found in (np.asarray(one, dtype=np.float32) for one in boxes)]

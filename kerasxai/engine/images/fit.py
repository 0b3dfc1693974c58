"""Fitting images of any aspect ratio to the input of a model, and mapping boxes, masks and heatmaps there and back.

Each image has a region, a rectangle of whole pixels that fills the input: the whole image (`"stretch"`), the largest
centered rectangle of the input's aspect ratio (`"crop"`), or the smallest such rectangle around the image (`"pad"`).
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.tools.errors import unknown
from kerasxai.tools.model_settings import FITS

PADDING_COLOR = (124.0, 117.0, 104.0)
"""The mean color of ImageNet's training images in whole gray levels, RGB in [0, 255]."""


class Region(NamedTuple):
    """A rectangle in pixels of an image; it may extend beyond the image.

    Attributes:
        top: First row.
        left: First column.
        height: Number of rows.
        width: Number of columns.
    """

    top: tf.Tensor
    left: tf.Tensor
    height: tf.Tensor
    width: tf.Tensor


def checked_fit(fit: str) -> str:
    """Return the name of a fit.

    Raises:
        KerasxaiError: It is not in `FITS`.
    """
    if fit not in FITS:
        raise unknown("fit", fit, FITS)
    return fit


def input_region(image_size: tf.Tensor, input_size: tuple[int, int], fit: str) -> Region:
    """Return the region of an image that fills the input of a model.

    Args:
        image_size: `(2,)` integers, height and width of the image.
        input_size: Height and width of the input.
        fit: A name in `FITS`.

    Example:
        >>> [int(side) for side in input_region(tf.constant([60, 100]), (32, 32), "crop")]
        [0, 20, 60, 60]
    """
    height, width = tf.unstack(tf.cast(image_size, tf.int32))
    if checked_fit(fit) == "stretch":
        return Region(tf.zeros_like(height), tf.zeros_like(width), height, width)
    ratio = input_size[1] / input_size[0]
    # The side that keeps its length, and the other one by the aspect ratio of the input.
    fitting_height = _rounded(tf.cast(width, tf.float64) / ratio)
    fitting_width = _rounded(tf.cast(height, tf.float64) * ratio)
    keeps_width = (fitting_height <= height) if fit == "crop" else (fitting_height >= height)
    rows = tf.where(keeps_width, fitting_height, height)
    columns = tf.where(keeps_width, width, fitting_width)
    # Floor division: a region larger than the image starts left of it.
    return Region((height - rows) // 2, (width - columns) // 2, rows, columns)


def _rounded(length: tf.Tensor) -> tf.Tensor:
    return tf.maximum(tf.cast(tf.round(length), tf.int32), 1)


def cut(image: tf.Tensor, region: Region, fill: tuple[float, ...]) -> tf.Tensor:
    """Return a region of an image; pixels beyond the image get a color.

    Args:
        image: `(h, w, C)`.
        region: The region.
        fill: One value for each channel.

    Returns:
        `(region.height, region.width, C)` of the image's type.
    """
    height, width = tf.unstack(tf.shape(image)[:2])
    top, left = tf.maximum(region.top, 0), tf.maximum(region.left, 0)
    bottom = tf.minimum(region.top + region.height, height)
    right = tf.minimum(region.left + region.width, width)
    inside = image[top:bottom, left:right]
    padding = [
        [top - region.top, region.top + region.height - bottom],
        [left - region.left, region.left + region.width - right],
    ]
    values = tf.unstack(tf.cast(tf.constant(fill), image.dtype))

    def padded() -> tf.Tensor:
        channels = tf.unstack(inside, axis=-1)
        return tf.stack(
            [tf.pad(one, padding, constant_values=value) for one, value in zip(channels, values, strict=True)], axis=-1
        )

    # Most regions are in the image, and padding copies it.
    return tf.cond(tf.reduce_any(tf.stack(padding) > 0), padded, lambda: inside)


def fit_image(image: tf.Tensor, input_size: tuple[int, int], fit: str) -> tf.Tensor:
    """Resize an image to the input of a model (bilinear, antialiased, half-pixel centers).

    Args:
        image: `(h, w, C)` in [0, 255].
        input_size: Height and width of the input.
        fit: A name in `FITS`; pixels that `"pad"` adds have `PADDING_COLOR`, and full alpha.

    Returns:
        `(*input_size, C)` float32.
    """
    if checked_fit(fit) != "stretch":
        region = input_region(tf.shape(image)[:2], input_size, fit)
        image = cut(image, region, padding_of(image.shape[-1]))
    return tf.image.resize(image, input_size, method="bilinear", antialias=True)


def padding_of(channels: int) -> tuple[float, ...]:
    """Return the color of padding for images of 1, 3 or 4 channels."""
    if channels == 1:
        return (round(0.299 * PADDING_COLOR[0] + 0.587 * PADDING_COLOR[1] + 0.114 * PADDING_COLOR[2]),)
    return PADDING_COLOR if channels == 3 else (*PADDING_COLOR, 255.0)


def fit_mask(mask: tf.Tensor, input_size: tuple[int, int], fit: str, fill: int) -> tf.Tensor:
    """Resize a mask to the input of a model, by nearest neighbor.

    Args:
        mask: `(h, w)`.
        input_size: Height and width of the input.
        fit: A name in `FITS`.
        fill: The value of pixels that `"pad"` adds.
    """
    single = mask[..., None]
    if checked_fit(fit) != "stretch":
        single = cut(single, input_region(tf.shape(mask), input_size, fit), (float(fill),))
    return tf.image.resize(single, input_size, method="nearest")[..., 0]


def fit_boxes(boxes: tf.Tensor, image_size: tf.Tensor, input_size: tuple[int, int], fit: str) -> tf.Tensor:
    """Map boxes of an image to the input of a model.

    Args:
        boxes: `(k, 4)` float32, x0, y0, x1, y1 relative to the image.
        image_size: `(2,)` integers, height and width of the image.
        input_size: Height and width of the input.
        fit: A name in `FITS`.

    Returns:
        `(n, 4)` float32 relative to the input, clipped at its border; boxes entirely outside of it are left out.
    """
    return fit_rows(boxes, image_size, input_size, fit)[0]


def fit_rows(
    boxes: tf.Tensor, image_size: tf.Tensor, input_size: tuple[int, int], fit: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """Map boxes as `fit_boxes` does; return them, and for each given box whether it is among them, `(k,)` bool."""
    if checked_fit(fit) == "stretch":
        return boxes, tf.ones(tf.shape(boxes)[:1], tf.bool)
    scale, offset = _relative(image_size, input_size, fit)
    mapped = tf.clip_by_value((boxes - offset) / scale, 0.0, 1.0)
    inside = tf.reduce_all(mapped[:, 2:] > mapped[:, :2], axis=1)
    return tf.boolean_mask(mapped, inside), inside


def unfit_boxes(boxes: tf.Tensor, image_size: tf.Tensor, input_size: tuple[int, int], fit: str) -> tf.Tensor:
    """Map boxes relative to the input of a model back to the image: the inverse of `fit_boxes` without clipping."""
    scale, offset = _relative(image_size, input_size, fit)
    return boxes * scale + offset


def _relative(image_size: tf.Tensor, input_size: tuple[int, int], fit: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Return size and position of the region relative to the image, each as x, y, x, y."""
    top, left, rows, columns = (tf.cast(side, tf.float32) for side in input_region(image_size, input_size, fit))
    height, width = tf.unstack(tf.cast(image_size, tf.float32))
    scale = tf.stack([columns / width, rows / height] * 2)
    return scale, tf.stack([left / width, top / height] * 2)


def unfit_map(heatmap: NDArray[np.floating], image_size: tuple[int, int], fit: str = "stretch") -> NDArray[np.float32]:
    """Map a heatmap of the input of a model back to the image.

    Args:
        heatmap: `(H, W)`, of the size of the input.
        image_size: Height and width of the image.
        fit: A name in `FITS`; what `"crop"` cut off has the value 0, and the map of padding is left out.

    Returns:
        `(*image_size)` float32.
    """
    input_size = (int(heatmap.shape[0]), int(heatmap.shape[1]))
    top, left, rows, columns = map(int, input_region(tf.constant(image_size), input_size, fit))
    resized = tf.image.resize(heatmap[..., None], (rows, columns), antialias=True)
    # The image is a region of its region.
    return cut(resized, Region(*map(tf.constant, (-top, -left, *image_size))), (0.0,))[..., 0].numpy()

"""Arrays to pictures and back: the one place where pixel types, sizes and PNG bytes are dealt with."""

import io
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from kerasxai.core.errors import KerasxaiError

Picture: TypeAlias = NDArray[np.uint8]


def to_picture(image: ArrayLike) -> Picture:
    """Returns any image as uint8 RGB.

    Floats are taken to lie in [0, 255], as everywhere in this package; nothing is guessed from the values.

    Args:
        image: `(H, W)`, `(H, W, 1)`, `(H, W, 3)` or `(H, W, 4)`; an alpha channel is laid over white.

    Returns:
        `(H, W, 3)` uint8.

    Raises:
        KerasxaiError: The shape is none of these.

    Example:
        >>> to_picture(np.full((2, 2), 254.6)).tolist()[0]
        [[255, 255, 255], [255, 255, 255]]
    """
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or 0 in array.shape:
        raise KerasxaiError(f"expected one image (height, width, 3), came shape {np.shape(image)}")
    if array.dtype == bool:
        array = array * np.uint8(255)
    if array.dtype != np.uint8:
        finite = np.nan_to_num(array.astype(np.float32), nan=0.0, posinf=255.0, neginf=0.0)
        array = np.clip(np.rint(finite), 0, 255).astype(np.uint8)
    if array.shape[-1] == 4:
        opacity = array[..., 3:].astype(np.float32) / 255
        array = np.rint(array[..., :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def resize_picture(picture: Picture, size: tuple[int, int]) -> Picture:
    """Returns the `(H, W, 3)` uint8 picture at `size` = (height, width): bicubic, antialiased where it shrinks."""
    if picture.shape[:2] == tuple(size):
        return picture
    height, width = size
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


def resize_heatmap(heatmap: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Returns the `(h, w)` heatmap at `size` = (height, width), half-pixel bilinear, without overshoot.

    Enlarging equals `tf.image.resize(..., "bilinear")`; shrinking also averages, so that no thin evidence is lost.
    What is not finite stays so, and spreads to no other pixel than those it would have contributed to.
    """
    if heatmap.shape == tuple(size):
        return heatmap
    height, width = size
    return np.array(Image.fromarray(heatmap).resize((width, height), Image.Resampling.BILINEAR))


def encode_png(picture: ArrayLike, compression: int = 1) -> bytes:
    """Returns the picture as PNG bytes, lossless.

    Args:
        picture: `(H, W, 3)` uint8, or anything `to_picture` takes.
        compression: 0 to 9. 1 takes a fraction of the time of the usual 6 and gives files some percent larger.

    Example:
        >>> encode_png(np.zeros((2, 2, 3), np.uint8))[:4]
        b'\\x89PNG'
    """
    if compression not in range(10):
        raise KerasxaiError(f"compression must be 0 to 9, came {compression}")
    buffer = io.BytesIO()
    Image.fromarray(to_picture(picture)).save(buffer, "PNG", compress_level=compression)
    return buffer.getvalue()

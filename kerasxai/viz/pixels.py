"""Conversion of arrays to pictures: pixel types, value ranges, resizing and PNG encoding."""

import io
import warnings
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from kerasxai.tools.errors import KerasxaiError

Picture: TypeAlias = NDArray[np.uint8]

_BYTE, _WORD = (0.0, 255.0), (0.0, 65535.0)
# Bicubic interpolation overshoots by about a tenth of the range.
_OVERSHOOT = 0.1
# Non-negative standardized values stay below this; pictures in [0, 255] exceed it.
_STANDARDIZED = 6.0
# 16-bit images below this may also hold 12 or 14 bits, or be dark: their range is ambiguous.
_BRIGHT_WORD = 2**14


def to_picture(image: ArrayLike, value_range: tuple[float, float] | None = None) -> Picture:
    """Convert any image to uint8 RGB.

    Args:
        image: `(H, W)`, `(H, W, 1)`, `(H, W, 3)` or `(H, W, 4)`; an alpha channel is blended with white.
        value_range: The values of black and white, such as `(0, 4095)`. None recognizes floats in [0, 255], [0, 1]
            and [-1, 1] and integers of 8 and 16 bits by their values; anything else is stretched from its lowest to
            its highest value, with a warning.

    Returns:
        `(H, W, 3)` uint8.

    Raises:
        KerasxaiError: The image has another shape, or a value is NaN or infinite.

    Example:
        >>> to_picture(np.full((2, 2), 254.6)).tolist()[0]
        [[255, 255, 255], [255, 255, 255]]
        >>> to_picture(np.full((2, 2), 0.5)).tolist()[0]
        [[128, 128, 128], [128, 128, 128]]
    """
    array = numbers_of(image, "an image")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or 0 in array.shape:
        batch = "; draw the images of a batch one by one" if array.ndim == 4 else ""
        raise KerasxaiError(f"expected one image (height, width, 3), got shape {np.shape(image)}{batch}")
    array = to_bytes(array, value_range)
    if array.shape[-1] == 4:
        opacity = array[..., 3:].astype(np.float32) / 255
        array = np.rint(array[..., :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def to_pictures(images: NDArray | Sequence[ArrayLike]) -> list[Picture]:
    """Convert several images to uint8 RGB; the images of one array share one range of values.

    Args:
        images: `(N, H, W, C)`, or a sequence of images in any form that `to_picture` accepts.
    """
    if isinstance(images, np.ndarray):
        pixels = numbers_of(images, "images")
        return [to_picture(image) for image in (to_bytes(pixels) if pixels.size else pixels)]
    return [to_picture(image) for image in images]


def to_bytes(pixels: NDArray, value_range: tuple[float, float] | None = None, warn: bool = True) -> NDArray[np.uint8]:
    """Convert pixels of any shape and type to uint8.

    Args:
        pixels: One image or several, which share one range.
        value_range: As for `to_picture`.
        warn: Whether to warn about an ambiguous range.

    Raises:
        KerasxaiError: A value is NaN or infinite.
    """
    if pixels.dtype == np.uint8 and value_range is None:
        return pixels
    if pixels.dtype == bool:
        return pixels * np.uint8(255)
    check_finite(pixels, "an image")
    if not pixels.size:
        return pixels.astype(np.uint8)
    low, high = float(pixels.min()), float(pixels.max())
    known = _checked_range(value_range) or _known_range(pixels, low, high)
    if known is None and warn:
        warnings.warn(
            f"expected an image in [0, 255], [0, 1] or [-1, 1], got values from {low:.4g} to {high:.4g}, which are "
            "stretched to [0, 255]; pass the original picture, or to_picture(image, value_range=(low, high))",
            stacklevel=3,
        )
    start, stop = known or (low, high)
    if (start, stop) != _BYTE:
        # In float64, where the difference of any two finite float32 values is finite.
        pixels = (pixels.astype(np.float64) - start) * (255 / ((stop - start) or 1))
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _checked_range(value_range: tuple[float, float] | None) -> tuple[float, float] | None:
    if value_range is None:
        return None
    low, high = map(float, value_range)
    if not (np.isfinite([low, high]).all() and low < high):
        raise KerasxaiError(f"value_range must be (lowest, highest) as finite numbers, got {value_range}")
    return low, high


def _known_range(pixels: NDArray, low: float, high: float) -> tuple[float, float] | None:
    """Return the values of black and white, or None if they are ambiguous."""
    if high <= 0 == low:
        return _BYTE
    if pixels.dtype.kind in "iu":
        word = _WORD if _BRIGHT_WORD <= high <= 65535 else None
        return None if low < 0 else _BYTE if high <= 255 else word
    for start, stop in ((0.0, 1.0), (-1.0, 1.0)):
        spare = _OVERSHOOT * (stop - start)
        if start - spare <= low and high <= stop + spare:
            return start, stop
    spare = _OVERSHOOT * 255
    whole = low >= 0 and bool((pixels == np.rint(pixels)).all())
    if -spare <= low and high <= 255 + spare and (whole or high > _STANDARDIZED * (1 if low >= -0.5 else 5)):
        return _BYTE
    return None


def numbers_of(values: ArrayLike, what: str) -> NDArray:
    """Convert values to an array of real numbers.

    Raises:
        KerasxaiError: They are not an array of real numbers.
    """
    # Palette and CMYK images hold indices or inks, not colors.
    if isinstance(values, Image.Image) and values.mode not in ("1", "L", "RGB", "RGBA") and values.mode[0] not in "IF":
        values = values.convert("RGBA" if "transparency" in values.info else "RGB")
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise KerasxaiError(f"expected {what} as one array of numbers, got {type(values).__name__}: {error}") from error
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        raise KerasxaiError(f"expected {what} as one array of real numbers, got {array.dtype} values")
    return array


def check_finite(values: NDArray, what: str) -> None:
    """Raise an error for NaN or infinity.

    Raises:
        KerasxaiError: A value is not finite.
    """
    wrong = values.size - int(np.isfinite(values).sum())
    if wrong:
        raise KerasxaiError(
            f"expected {what} of finite values, got NaN or infinity at {wrong} of {values.size}; "
            "look for where they arise, or replace them with np.nan_to_num"
        )


def resize_picture(picture: Picture, size: tuple[int, int]) -> Picture:
    """Resize a picture `(H, W, 3)` uint8 to `size` = (height, width): bicubic, antialiased if it shrinks."""
    if picture.shape[:2] == tuple(size):
        return picture
    height, width = size
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


def resize_heatmap(heatmap: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a heatmap `(h, w)` to `size` = (height, width): half-pixel bilinear, without overshoot.

    Enlarging equals `tf.image.resize(..., "bilinear")`; shrinking also averages, so that thin structures are kept.
    """
    if heatmap.shape == tuple(size):
        return heatmap
    height, width = size
    return np.array(Image.fromarray(heatmap).resize((width, height), Image.Resampling.BILINEAR))


def encode_png(picture: ArrayLike, compression: int = 1) -> bytes:
    """Encode a picture as PNG bytes.

    Args:
        picture: `(H, W, 3)` uint8, or anything that `to_picture` accepts.
        compression: 0 to 9. 1 takes a fraction of the time of the usual 6; files are a few percent larger.

    Example:
        >>> encode_png(np.zeros((2, 2, 3), np.uint8))[:4]
        b'\\x89PNG'
    """
    if compression not in range(10):
        raise KerasxaiError(f"compression must be 0 to 9, got {compression}")
    buffer = io.BytesIO()
    Image.fromarray(to_picture(picture)).save(buffer, "PNG", compress_level=compression)
    return buffer.getvalue()

"""Image files with more than 8 bits a channel, and how their values become 0 to 255."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from kerasxai.tools.errors import KerasxaiError, KerasxaiWarning

MODES_OF_16_BITS = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
_COLOR_BANDS = {"LA": 1, "RGB": 3, "RGBA": 3, "RGBX": 3}
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262
# An image that uses up to this many of 16 bits is nearly black: its brightest pixel is at most a quarter of white.
_DARK_BITS = 14


class BitDepthWarning(KerasxaiWarning):
    """An image file has room for more bits than its values use, and will be read nearly black."""


def warn_of_depth(message: str) -> None:
    """Warn of an image that is read nearly black."""
    warnings.warn(message, BitDepthWarning, stacklevel=2)


def checked_bits(bits: int | None) -> None:
    """Check that `bits` is None or a whole number from 8 to 16."""
    if bits is not None and (isinstance(bits, bool) or not isinstance(bits, int) or not 8 <= bits <= 16):
        raise KerasxaiError(f"bits must be a whole number from 8 to 16, got {bits!r}")


def scaled_gray(
    values: NDArray, path: Path, bits: int | None, image: Image.Image, warn: Callable[[str], None]
) -> NDArray[np.uint8]:
    """Return the values of a gray image of 16 or 32 bits, `(H, W)`, scaled to 0 to 255.

    Args:
        values: The values that Pillow read.
        path: For messages.
        bits: How many bits are used; None takes what a TIFF file declares, else 16.
        image: The opened file.
        warn: Called with a message if the image is nearly black.

    Raises:
        KerasxaiError: Values are negative, or larger than `bits` allow.
    """
    highest = int(values.max())
    if int(values.min()) < 0 or highest > 65535:
        raise KerasxaiError(
            f"expected an image of 8 or 16 bits a pixel, got 32 bits in {path}, whose range cannot be known; save it "
            "with 8 or 16"
        )
    declared = _declared_bits(image)
    if bits is None and not 8 <= declared < 16:
        _warn_if_dark(highest, path, warn)
    bits = bits or (declared if 8 <= declared < 16 else 16)
    scaled = _scaled(values.astype(np.uint16, copy=False), bits, path)
    # Pillow inverts files that count from white to black only where they have 8 bits.
    return ~scaled if _tags(image).get(_PHOTOMETRIC) == 0 else scaled


def scaled_color(image: Image.Image, path: Path, bits: int | None, warn: Callable[[str], None]) -> Image.Image | None:
    """Return a color image of 16 bits a channel scaled to 8, or None where Pillow's reading of it is right.

    Pillow keeps the upper 8 of 16 bits, which leaves next to nothing of an image that uses 12.

    Args:
        image: The opened file, with its pixels.
        path: The file.
        bits: How many bits are used; None takes 16.
        warn: Called with a message if the image is nearly black.

    Raises:
        KerasxaiError: Values are larger than `bits` allow, or the file cannot be read with all its bits.
    """
    if image.mode not in _COLOR_BANDS or _declared_bits(image, path) != 16:
        return None
    if bits is None:
        bands = [image.getchannel(band) for band in range(_COLOR_BANDS[image.mode])]
        upper = max(int(np.max(band.getextrema())) for band in bands)
        _warn_if_dark(256 * upper + 255 if upper else 0, path, warn)
        return None
    values = _all_bits(image, path)
    color = _COLOR_BANDS[image.mode]
    scaled = _scaled(values[..., :color], bits, path)
    if image.mode in ("LA", "RGBA"):
        scaled = np.concatenate([scaled, (values[..., color:] >> 8).astype(np.uint8)], axis=-1)
    return Image.fromarray(scaled)


def _scaled(values: NDArray[np.uint16], bits: int, path: Path) -> NDArray[np.uint8]:
    white = 2**bits - 1
    if int(values.max()) > white:
        raise KerasxaiError(f"expected values of {bits} bits, 0 to {white}, got {int(values.max())} in {path}")
    # A table costs no copy of the image in a wider type.
    table = (np.arange(white + 1, dtype=np.int64) * 255 + white // 2) // white
    return table.astype(np.uint8)[values]


def _warn_if_dark(highest: int, path: Path, warn: Callable[[str], None]) -> None:
    used = max(8, highest.bit_length())
    if highest > 0 and used <= _DARK_BITS:
        warn(
            f"{path} has 16 bits a channel, and its values use {used} of them, so that it is read nearly black; give "
            f"bits={used} (--bits {used}) if white is {2**used - 1}, bits=16 if it is right"
        )


def _tags(image: Image.Image) -> dict[int, Any]:
    return dict(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else {}


def _declared_bits(image: Image.Image, path: Path | None = None) -> int:
    """Return how many bits a channel the file says that it has, or 0."""
    if image.format == "PNG" and path is not None:
        with path.open("rb") as file:
            return file.read(25)[24]
    bits = _tags(image).get(_BITS_PER_SAMPLE, (0,))
    return int(bits[0] if isinstance(bits, tuple) else bits)


def _all_bits(image: Image.Image, path: Path) -> NDArray[np.uint16]:
    """Return the values `(H, W, bands)` of a color image of 16 bits a channel."""
    try:
        if image.format == "PNG":
            import tensorflow as tf

            values = tf.io.decode_png(path.read_bytes(), dtype=tf.uint16).numpy()
        else:
            import tifffile

            values = tifffile.imread(path, key=0)
    except Exception as error:
        raise KerasxaiError(f"cannot read all 16 bits of {path}: {' '.join(str(error).split())}") from error
    expected = (image.height, image.width, len(image.getbands()))
    if values.shape != expected or values.dtype != np.uint16:
        raise KerasxaiError(f"cannot read all 16 bits of {path}: expected {expected} uint16, got {values.shape}")
    return values

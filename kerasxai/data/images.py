"""Reading image files of all usual kinds as 8 bit RGB, or with the channels that a model takes."""

import os
import stat
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kerasxai.data.depth import MODES_OF_16_BITS, checked_bits, scaled_color, scaled_gray, warn_of_depth
from kerasxai.tools.errors import KerasxaiError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""What Pillow calls the formats of SUFFIXES; files of its many other formats are refused, whatever their suffix."""
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
MAX_PIXELS = 64_000_000
"""The most pixels of an image file, unless the environment variable KERASXAI_MAX_PIXELS sets another number."""
# Pillow documents no list of what broken files raise: struct.error, KeyError, zlib.error and others have been seen.
BROKEN = (Exception,)
_NO_IMAGE = "not an image that can be read"
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Held while settings of Pillow or of warnings are changed, which all threads share.
_LOCK = threading.Lock()


def read_image(
    path: str | os.PathLike[str], *, channels: int = 3, bits: int | None = None, max_pixels: int | None = None
) -> NDArray[np.uint8]:
    """Read an image file of any mode.

    Gray, palette, CMYK and other color spaces become RGB; 16 bits are scaled to 8; the rotation in the EXIF data is
    applied; transparent pixels become white unless four channels are read; of several frames or pages the first is
    read.

    Args:
        path: A BMP, GIF, JPEG, PNG, TIFF or WebP file.
        channels: 3 for RGB, 1 for gray, 4 for RGBA.
        bits: How many bits of a file with 16 bits a channel are used, as 12 for most X-ray and microscope images:
            2^bits - 1 becomes 255. None takes all 16, with a warning where the image then would be nearly black.
        max_pixels: Larger images are refused before they are decoded. None takes the environment variable
            KERASXAI_MAX_PIXELS, or 64,000,000.

    Returns:
        `(H, W, channels)` uint8.

    Raises:
        KerasxaiError: There is no such file, it is not an image of these formats, it is corrupt or too large, or its
            range cannot be known.

    Example:
        >>> read_image("cat.jpg").dtype  # doctest: +SKIP
        dtype('uint8')
    """
    return read_pixels(Path(path), channels, bits, max_pixels, warn_of_depth)


def read_pixels(
    path: Path, channels: int, bits: int | None, max_pixels: int | None, warn: Callable[[str], None]
) -> NDArray[np.uint8]:
    """Read an image file as `read_image` does; `warn` is called with the message of a warning."""
    if channels not in MODES:
        raise KerasxaiError(f"channels must be 1, 3 or 4, got {channels!r}")
    checked_bits(bits)
    check_file(path)
    try:
        with _opened(path, max_pixels) as opened:
            return _pixels(opened, path, channels, bits, warn)
    except KerasxaiError:
        raise
    except Image.UnidentifiedImageError:
        raise KerasxaiError(f"cannot read {path}: {_NO_IMAGE}; expected {', '.join(FORMATS)}") from None
    except PermissionError as error:
        raise KerasxaiError(f"cannot read {path}: {error.strerror}") from error
    except BROKEN as error:
        raise KerasxaiError(f"cannot read {path}: the image is corrupt: {_reason(error)}") from error


def check_file(path: Path) -> None:
    """Check that `path` is a regular file: opening a pipe would wait forever.

    Raises:
        KerasxaiError: It does not exist, or is a folder, a pipe, a socket or a device.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        broken = " (a symbolic link to a file that does not exist)" if path.is_symlink() else ""
        raise KerasxaiError(f"expected an existing image, got {path}{broken}") from None
    except (OSError, ValueError) as error:
        raise KerasxaiError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(mode):
        raise KerasxaiError(f"expected an image, got the folder {path}")
    if not stat.S_ISREG(mode):
        raise KerasxaiError(f"expected a regular file, got {path}, a pipe, a socket or a device")


def check_image(path: Path) -> str | None:
    """Return the problem of an image file, or None; faster than reading it where the format allows it."""
    try:
        check_file(path)
        with _opened(path) as opened:
            # JPEG files can be decoded at an eighth of their size, which still reads them to the end.
            opened.draft("RGB", (1, 1))
            opened.load()
            if opened.mode in ("F", "I") and not _fits_16_bits(opened):
                return "the range of its pixels cannot be known; save it with 8 or 16 bits"
    except Image.UnidentifiedImageError:
        return _NO_IMAGE
    except BROKEN as error:
        return _reason(error)
    return None


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height of an upright image, that is, after the rotation in its EXIF data."""
    check_file(path)
    with _opened(path) as opened:
        width, height = opened.size
        turned = _orientation(opened) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def load_images(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    image_size: int | tuple[int, int] | None = 224,
    *,
    channels: int = 3,
    bits: int | None = None,
) -> NDArray[np.uint8]:
    """Read image files into one batch, resized as `kerasxai.data.load` does (to within one gray level).

    Args:
        paths: One file or several.
        image_size: Side of the square, or height and width, that images are resized to (bilinear, antialiased, the
            aspect is not kept), or None if all have one size, which is kept.
        channels: As for `read_image`.
        bits: As for `read_image`.

    Returns:
        `(N, H, W, channels)` uint8.

    Raises:
        KerasxaiError: A file cannot be read, there are none, or the sizes differ and `image_size` is None.

    Example:
        >>> load_images(["cat.jpg", "dog.png"], 224).shape  # doctest: +SKIP
        (2, 224, 224, 3)
    """
    files = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not files:
        raise KerasxaiError("expected one or more images, got none")
    # Each image is resized before the next is read, so that only one is in memory at its full size.
    images = [_resized(read_image(path, channels=channels, bits=bits), image_size) for path in files]
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        sizes = ", ".join(sorted(f"{width}x{height}" for height, width, _ in shapes))
        raise KerasxaiError(f"expected images of one size, got different sizes ({sizes}); give an image_size")
    return np.stack(images)


def _resized(image: NDArray[np.uint8], size: int | tuple[int, int] | None) -> NDArray[np.uint8]:
    if size is None:
        return image
    height, width = (size, size) if isinstance(size, int) else size
    # Band by band: Pillow would weigh the colors of an RGBA image by its alpha.
    bands = [
        np.asarray(Image.fromarray(band).resize((width, height), Image.Resampling.BILINEAR))
        for band in np.ascontiguousarray(np.moveaxis(image, -1, 0))
    ]
    return np.stack(bands, axis=-1)


@contextmanager
def _opened(path: Path, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """Open an image file of one of FORMATS, without its pixels, and refuse it if it has too many."""
    most = _most_pixels(max_pixels)
    with path.open("rb") as file:
        with _LOCK:
            # Pillow's own limit would warn of some files that pass ours, and refuse others whatever ours is.
            before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                opened = Image.open(file, formats=FORMATS)
            finally:
                Image.MAX_IMAGE_PIXELS = before
        with opened:
            width, height = opened.size
            if width * height > most:
                raise KerasxaiError(
                    f"expected at most {most:,} pixels, got {width} x {height} in {path}; make the image smaller, or "
                    "set the environment variable KERASXAI_MAX_PIXELS"
                )
            yield opened


def _most_pixels(given: int | None) -> int:
    text = os.environ.get("KERASXAI_MAX_PIXELS", "") if given is None else str(given)
    if not text:
        return MAX_PIXELS
    if not text.isdecimal() or int(text) < 1:
        name = "KERASXAI_MAX_PIXELS" if given is None else "max_pixels"
        raise KerasxaiError(f"{name} must be a whole number, 1 or more, got {text!r}")
    return int(text)


def _pixels(
    opened: Image.Image, path: Path, channels: int, bits: int | None, warn: Callable[[str], None]
) -> NDArray[np.uint8]:
    opened.load()
    if opened.mode in MODES_OF_16_BITS:
        gray = Image.fromarray(scaled_gray(np.asarray(opened), path, bits, opened, warn))
        return _converted(_upright(gray, opened), channels)
    if opened.mode == "F":
        raise KerasxaiError(
            f"expected an image of 8 or 16 bits, got floating numbers in {path}, whose range cannot be known; save it "
            "with 8 bits"
        )
    image = scaled_color(opened, path, bits, warn) or opened
    return _converted(_upright(image, opened), channels)


def _fits_16_bits(image: Image.Image) -> bool:
    lowest, highest = (float(np.ravel(end)[0]) for end in image.getextrema())
    return image.mode != "F" and 0 <= lowest <= highest <= 65535


def _converted(image: Image.Image, channels: int) -> NDArray[np.uint8]:
    if channels != 4 and image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.array(image.convert(MODES[channels]))
    return pixels[..., None] if channels == 1 else pixels


def _upright(image: Image.Image, opened: Image.Image) -> Image.Image:
    """Return an image turned as the EXIF data of the opened file say."""
    turn = _TURNS.get(_orientation(opened))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """Return the orientation in the EXIF data, 1 where there is none or they are damaged."""
    try:
        with _LOCK, warnings.catch_warnings():
            # Pillow warns of damaged EXIF data, or fails in many ways; the pixels are not worse for it.
            warnings.simplefilter("ignore")
            return int(image.getexif().get(0x0112, 1))
    except BROKEN:
        return 1


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

"""Reading image files of any usual kind as 8 bit RGB."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from kerasxai.core.errors import KerasxaiError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
# What Pillow raises on files that are cut off or broken in some other way, format by format.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError)


def _grey16(image: Image.Image, path: Path) -> np.ndarray:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise KerasxaiError(f"{path} has 32 bits a pixel, whose range cannot be known; save it with 8 or 16")
    return np.repeat(((values + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads an image file as RGB, whatever its mode.

    Grey, palette, CMYK and other color spaces become RGB; 16 bits are scaled to 8; the rotation in the EXIF data is
    carried out; what is transparent shows white, as on paper; of several frames the first is taken.

    Args:
        path: A file that Pillow can read.

    Returns:
        `(H, W, 3)` uint8.

    Raises:
        KerasxaiError: There is no such file, it is no image, it is corrupt, or its range cannot be known.

    Example:
        >>> read_image("cat.jpg").dtype  # doctest: +SKIP
        dtype('uint8')
    """
    path = Path(path)
    if path.is_dir():
        raise KerasxaiError(f"{path} is a folder, not an image")
    if not path.exists():
        raise KerasxaiError(f"there is no image {path}")
    try:
        with Image.open(path) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened)
            if image.mode in ("I", "I;16", "I;16L", "I;16B", "I;16N"):
                return _grey16(image, path)
            if image.mode == "F":
                raise KerasxaiError(f"{path} holds floating numbers, whose range cannot be known; save it with 8 bits")
            if image.has_transparency_data:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image)
            return np.array(image.convert("RGB"))
    except KerasxaiError:
        raise
    except Image.UnidentifiedImageError:
        raise KerasxaiError(f"{path} is not an image that can be read") from None
    except PermissionError as error:
        raise KerasxaiError(f"cannot read {path}: {error.strerror}") from error
    except BROKEN as error:
        raise KerasxaiError(f"the image {path} is corrupt: {error}") from error


def check_image(path: Path) -> str | None:
    """Returns what is wrong with an image file, or None; faster than reading it where the format allows it."""
    try:
        with Image.open(path) as opened:
            # JPEG files can be decoded at an eighth of their size, which still reads them to the end.
            opened.draft("RGB", (1, 1))
            opened.load()
    except Image.UnidentifiedImageError:
        return "not an image that can be read"
    except BROKEN as error:
        return str(error)
    return None


def image_size(path: Path) -> tuple[int, int]:
    """Returns width and height of an image as it is shown, that is, after the rotation in its EXIF data."""
    with Image.open(path) as opened:
        width, height = opened.size
        turned = opened.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def load_images(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], image_size: int | None = 224
) -> np.ndarray:
    """Reads image files into one batch, resized as `kerasxai.data.load` does (to within one grey level).

    Args:
        paths: One file or several.
        image_size: Side of the square that images are resized to (bilinear, antialiased, the aspect is not kept), or
            None if they are all of one size and shall keep it.

    Returns:
        `(N, H, W, 3)` uint8.

    Raises:
        KerasxaiError: A file cannot be read, there are none, or the sizes differ and `image_size` is None.

    Example:
        >>> load_images(["cat.jpg", "dog.png"], 224).shape  # doctest: +SKIP
        (2, 224, 224, 3)
    """
    files = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not files:
        raise KerasxaiError("no images were given")
    images = [read_image(path) for path in files]
    if image_size is not None:
        side = (image_size, image_size)
        images = [np.asarray(Image.fromarray(image).resize(side, Image.Resampling.BILINEAR)) for image in images]
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        sizes = ", ".join(sorted(f"{width}x{height}" for height, width, _ in shapes))
        raise KerasxaiError(f"the images have different sizes ({sizes}); give an image_size")
    return np.stack(images)

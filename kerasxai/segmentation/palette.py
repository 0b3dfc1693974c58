"""Label maps as PNG files with the palette of PASCAL VOC."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from kerasxai.metrics.segmentation import MOST_CLASSES, checked_label_maps
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import atomic_path, cannot


def _voc_colors() -> NDArray[np.uint8]:
    """Return `(256, 3)`: the bits of a number, three at a time, are the highest bits of red, green and blue."""
    numbers, colors = np.arange(256), np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= ((numbers >> channel & 1) << (7 - bit)).astype(np.uint8)
        numbers = numbers >> 3
    return colors


COLORS = _voc_colors()
"""`(256, 3)` uint8: black for the background, the colors of VOC's classes, a light gray for ignored pixels."""


def colored(label_map: ArrayLike) -> NDArray[np.uint8]:
    """Return a label map `(H, W)` as a picture `(H, W, 3)`.

    Example:
        >>> colored([[0, 1, 255]]).tolist()
        [[[0, 0, 0], [128, 0, 0], [224, 224, 192]]]
    """
    (labels,) = checked_label_maps("label_map", [label_map], MOST_CLASSES)
    return COLORS[labels]


def save_label_map(path: str | os.PathLike[str], label_map: ArrayLike) -> Path:
    """Write a label map as a palette PNG, atomically; an existing file is never replaced.

    Args:
        path: The file; missing folders are created.
        label_map: `(H, W)`: 0 background, c + 1 for class c, 255 ignored.

    Returns:
        The path.

    Raises:
        KerasxaiError: The file exists with another content, or cannot be written.

    Example:
        >>> save_label_map("masks/cat.png", np.array([[0, 1]])).name
        'cat.png'
        >>> read_label_map("masks/cat.png").tolist()
        [[0, 1]]
    """
    path = Path(path)
    (labels,) = checked_label_maps("label_map", [label_map], MOST_CLASSES)
    if path.exists():
        # The same file from a run that was stopped is no conflict.
        if not np.array_equal(read_label_map(path), labels):
            raise KerasxaiError(f"cannot write {path}: it exists with other labels; choose another folder")
        return path
    picture = Image.fromarray(labels, "P")
    picture.putpalette(COLORS.tobytes())
    with atomic_path(path) as temporary:
        picture.save(temporary, "PNG")
    return path


def read_label_map(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read a label map `(H, W)` from a palette or gray PNG.

    Raises:
        KerasxaiError: The file cannot be read, or is another kind of picture.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode not in ("P", "L"):
                raise KerasxaiError(f"expected a palette or gray PNG with labels, got {path} of mode {picture.mode}")
            return np.array(picture)
    except (OSError, ValueError) as error:
        raise cannot("read", path, error) from error

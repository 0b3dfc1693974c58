"""Crops of the photographs in scikit-image's wheel; each split has its own part of each photograph."""

import functools
from pathlib import Path

import numpy as np
import skimage
from PIL import Image

from kerasxai.tools.errors import KerasxaiError

PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
SPLITS = ("train", "validation", "test")
_SHARES = {"train": (0.0, 0.5), "validation": (0.5, 0.75), "test": (0.75, 1.0)}
_LONG_SIDE = 640
_GAP = 4


@functools.cache
def photograph(name: str) -> Image.Image:
    """Return a photograph of scikit-image's wheel as RGB in landscape format, at most 640 pixels wide."""
    path = Path(skimage.__file__).parent / "data" / name
    if not path.is_file():
        raise KerasxaiError(f"cannot read the photograph {name}: it is not in this scikit-image; install version 0.26")
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    if image.height > image.width:
        image = image.transpose(Image.Transpose.ROTATE_90)
    scale = min(1.0, _LONG_SIDE / image.width)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)


def region(name: str, split: str) -> tuple[int, int, int, int]:
    """Return the part `(x0, y0, x1, y1)` of a photograph that belongs to a split; the parts do not touch.

    There is a gap between them, because resizing a crop also uses a few pixels around it.
    """
    image = photograph(name)
    first, last = _SHARES[split]
    return round(first * image.width) + _GAP, 0, round(last * image.width) - _GAP, image.height


def place(random: np.random.Generator, name: str, split: str) -> tuple[float, float, float, float]:
    """Return a random square `(x0, y0, x1, y1)` in the part of a photograph that belongs to a split.

    The squares have the same sizes in each split, so that the splits differ in content, not in sharpness.
    """
    left, top, right, bottom = region(name, split)
    widths = [high - low for low, _, high, _ in (region(name, other) for other in SPLITS)]
    side = min(*widths, bottom - top) * random.uniform(0.75, 1.0)
    x, y = random.uniform(left, right - side), random.uniform(top, bottom - side)
    return x, y, x + side, y + side


def crop(random: np.random.Generator, split: str, size: int) -> np.ndarray:
    """Return a random crop of a random photograph, rotated, mirrored, tinted and resized to `size`.

    Args:
        random: The source of randomness.
        split: "train", "validation" or "test".
        size: Side in pixels.

    Returns:
        `(size, size, 3)` float32 in [0, 1].
    """
    name = PHOTOGRAPHS[random.integers(len(PHOTOGRAPHS))]
    square = place(random, name, split)
    image = photograph(name).resize((size, size), Image.Resampling.BICUBIC, box=square)
    pixels = np.asarray(image, dtype=np.float32) / 255.0
    pixels = np.rot90(pixels, int(random.integers(4)))
    if random.random() < 0.5:
        pixels = pixels[:, ::-1]
    tint = random.uniform(0.75, 1.0, size=3).astype(np.float32)
    mean = pixels.mean()
    level, contrast = np.float32(random.uniform(0.3, 0.65)), np.float32(random.uniform(0.5, 0.9))
    return np.clip(level + contrast * (pixels - mean), 0.0, 1.0) * tint

"""Cut-out objects on photographed scenes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Picture = NDArray[np.uint8]

SIZES = (0.24, 0.8)
"""The side of an object: the square root of the share of its box in the image."""
_WIDTHS = (400, 640)
_ASPECTS = (1.15, 1.6)
_CROPS = (0.7, 1.0)
_LARGEST_ZOOM = 3.0
"""An object with few pixels is not enlarged further, unless it would be smaller than the smallest size."""
_HIDDEN = 0.1
"""The largest share of an object that a second one may hide."""
_TRIALS = 50


class Layer(NamedTuple):
    """An object in place: its colors, and the share of each pixel that it covers."""

    colors: NDArray[np.float32]
    cover: NDArray[np.float32]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The pixels that the object covers by half or more."""
        return self.cover >= 0.5


def scene_window(scene: Image.Image, random: np.random.Generator) -> Picture:
    """Cut a random window out of a scene, as large as an image."""
    aspect = random.uniform(*_ASPECTS)
    width = min(scene.width, scene.height * aspect) * random.uniform(*_CROPS)
    height = width / aspect
    left, top = random.uniform(0, scene.width - width), random.uniform(0, scene.height - height)
    side = int(random.integers(_WIDTHS[0], _WIDTHS[1] + 1))
    window = scene.resize(
        (side, round(side / aspect)), Image.Resampling.LANCZOS, (left, top, left + width, top + height)
    )
    return np.asarray(window)


def placed(cutout: Picture, shape: tuple[int, int], random: np.random.Generator, largest: float = SIZES[1]) -> Layer:
    """Put an object, mirrored or not, at a random place of an image of a shape, in a random size."""
    height, width = cutout.shape[:2]
    area, side = shape[0] * shape[1], (height * width) ** 0.5
    # In sizes: how much of the image the object fills if it fits exactly, and if it is enlarged as far as possible.
    fits = min(shape[0] / height, shape[1] / width) * side / area**0.5
    sharp = _LARGEST_ZOOM * side / area**0.5
    upper = min(max(min(largest, sharp), SIZES[0]), 0.98 * fits)
    zoom = random.uniform(min(SIZES[0], upper), upper) * area**0.5 / side
    rows, columns = max(1, round(zoom * height)), max(1, round(zoom * width))
    top, left = random.integers(0, shape[0] - rows + 1), random.integers(0, shape[1] - columns + 1)
    own = cutout[:, ::-1] if random.random() < 0.5 else cutout
    # Pillow weighs colors by alpha here, so the color below transparent pixels does not bleed in.
    resized = np.asarray(Image.fromarray(own).resize((columns, rows), Image.Resampling.LANCZOS), np.float32)
    colors = np.zeros((*shape, 3), np.float32)
    cover = np.zeros(shape, np.float32)
    inside = (slice(top, top + rows), slice(left, left + columns))
    colors[inside], cover[inside] = resized[..., :3], resized[..., 3] / 255
    # The outermost half pixel of a stamp has the color of what it was cut out of.
    blurred = ndimage.gaussian_filter(cover, max(0.7, 0.4 * zoom), mode="constant")
    return Layer(colors, np.minimum(cover, np.clip((blurred - 0.4) / 0.5, 0, 1)))


def placed_apart(cutouts: list[Picture], shape: tuple[int, int], random: np.random.Generator) -> list[Layer]:
    """Put two objects into an image so that the second hides little of the first.

    The second shrinks where that fails.
    """
    for trial in range(_TRIALS):
        first, second = (placed(one, shape, random, 0.55 - 0.3 * trial / _TRIALS) for one in cutouts)
        if (first.mask & second.mask).sum() <= _HIDDEN * first.mask.sum():
            break
    return [first, second]


def pasted(scene: Picture, layers: list[Layer]) -> tuple[Picture, list[NDArray[np.bool_]]]:
    """Put objects on a scene, the last one on top; return the image and the visible pixels of each."""
    image = scene.astype(np.float32)
    masks: list[NDArray[np.bool_]] = []
    for layer in layers:
        cover = layer.cover[..., None]
        image = image * (1 - cover) + layer.colors * cover
        masks = [mask & ~layer.mask for mask in masks] + [layer.mask]
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), masks


def box_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return the extents of a mask: left, top, and one past the right and the lowest pixel."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

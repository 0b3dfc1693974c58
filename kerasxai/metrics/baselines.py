"""Baselines that never see the model: boxes and a Gaussian in the middle for localization, maps for every measure."""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.filters import sobel

from kerasxai.metrics.box_protocol import BoxProtocol
from kerasxai.tools.errors import KerasxaiError

BASELINES = ("whole_image", "centered_box", "centered_gaussian")
REFERENCES = ("random", "constant", "centered_gaussian", "edges", "object")
"""Names of `reference_maps`; `"object"` only where the objects are known."""
CENTERED_SIDE = 0.5
GAUSSIAN_SIGMA = 0.25


def centered_gaussian(size: tuple[int, int]) -> NDArray[np.float64]:
    """Return a Gaussian in the middle as a heatmap `(H, W)`; sigma is a quarter of each side."""
    offsets = [(np.arange(side) + 0.5 - side / 2) / (GAUSSIAN_SIGMA * side) for side in size]
    return np.exp(-0.5 * (offsets[0][:, None] ** 2 + offsets[1] ** 2))


@lru_cache(maxsize=16)
def gaussian_boxes(size: tuple[int, int], thresholds: tuple[float, ...], protocol: BoxProtocol) -> NDArray[np.int64]:
    """Return the boxes of the centered Gaussian at every threshold."""
    # Cached: they depend on the size alone, and finding them takes as long as for a heatmap.
    return protocol.largest_boxes(centered_gaussian(size), np.array(thresholds), size)


def centered_box(size: tuple[int, int]) -> list[int]:
    """Return the box in the middle, half as wide and half as high as the image, in whole pixels."""
    height, width = size
    low, high = (1 - CENTERED_SIDE) / 2, (1 + CENTERED_SIDE) / 2
    return [round(width * low), round(height * low), round(width * high), round(height * high)]


def fixed_boxes(size: tuple[int, int], protocol: BoxProtocol) -> NDArray[np.int64]:
    """Return `(2, 4)`, the boxes of the whole image and in the middle."""
    return protocol.clip(np.array([[0, 0, size[1], size[0]], centered_box(size)]), size)


def edge_map(image: ArrayLike) -> NDArray[np.float32]:
    """Return the strength of the edges of an image `(H, W, C)` as a heatmap `(H, W)`: Sobel's, the strongest channel.

    Example:
        >>> edge_map(np.zeros((4, 4, 3))).max()
        np.float32(0.0)
    """
    channels = np.moveaxis(np.asarray(image, np.float32), -1, 0)
    return np.max([sobel(channel) for channel in channels], axis=0).astype(np.float32)


def reference_maps(
    images: ArrayLike, objects: ArrayLike | None = None, seed: int = 0
) -> dict[str, NDArray[np.float32]]:
    """Return maps that no model made, as the lines that a method has to beat by any measure.

    Args:
        images: `(N, H, W, C)`, in any range.
        objects: `(N, H, W)`, 1 or True where the object is; None if that is not known.
        seed: Of the random map.

    Returns:
        `(N, H, W)` float32 by name: `random` values per pixel, the same for each image; `constant`;
        `centered_gaussian`; `edges`, see `edge_map`; and `object`, 1 on the object, if `objects` are given.

    Raises:
        KerasxaiError: The images have another shape, or the objects another size.

    Example:
        >>> sorted(reference_maps(np.zeros((2, 8, 8, 3))))
        ['centered_gaussian', 'constant', 'edges', 'random']
    """
    pixels = np.asarray(images)
    if pixels.ndim != 4:
        raise KerasxaiError(f"expected images (N, H, W, C), got shape {pixels.shape}")
    shape = pixels.shape[:3]
    drawn = np.random.default_rng(seed).random(shape[1:], np.float32)
    maps = {
        "random": np.broadcast_to(drawn, shape),
        "constant": np.broadcast_to(np.float32(1), shape),
        "centered_gaussian": np.broadcast_to(centered_gaussian(shape[1:]).astype(np.float32), shape),
        "edges": np.stack([edge_map(image) for image in pixels]) if len(pixels) else np.zeros(shape, np.float32),
    }
    if objects is not None:
        found = np.asarray(objects)
        if found.shape != shape:
            raise KerasxaiError(f"expected objects of shape {shape}, got {found.shape}")
        maps["object"] = (found == 1).astype(np.float32)
    return maps

"""Baselines of localization that never see an image: the whole image, a box and a Gaussian in the middle."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kerasxai.metrics.box_protocol import BoxProtocol

BASELINES = ("whole_image", "centered_box", "centered_gaussian")
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

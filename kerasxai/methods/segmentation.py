"""Superpixels of SLIC, and means within superpixels."""

from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from skimage.segmentation import slic


def stretched(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image stretched to [0, 1], because segmentation must not depend on the input range of the model."""
    low, high = float(image.min()), float(image.max())
    return (image - low) / (high - low) if high > low else np.zeros_like(image)


def slic_superpixels(image: NDArray[Any], segments: int, compactness: float = 10.0) -> NDArray[np.int64]:
    """Return the labels of SLIC for an image of any range, 0 to d - 1 without gaps.

    Args:
        image: `(H, W, C)`; a volume `(D, H, W, C)`; or a series `(T, C)`, segmented as an image with one row.
        segments: The approximate number of superpixels.
        compactness: Low values follow colors, high values give squares.
    """
    plane = stretched(image[None] if image.ndim == 2 else image)
    labels = slic(plane, n_segments=segments, compactness=compactness, sigma=1, start_label=0, channel_axis=-1)
    return without_gaps(labels).reshape(image.shape[:-1])


def without_gaps(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return labels renumbered from 0 to d - 1, in their order."""
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def segment_means(values: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean `(d, C)` of values `(..., C)` within each segment of labels `(...)` from 0 to d - 1."""
    index = np.arange(labels.max() + 1)
    return np.stack([scipy.ndimage.mean(channel, labels, index) for channel in np.moveaxis(values, -1, 0)], -1)

"""Similarity of two heatmaps: ranks, structure, and histograms of oriented gradients."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from skimage.feature import hog as hog_features
from skimage.metrics import structural_similarity

from kerasxai.metrics.correlation import correlation
from kerasxai.metrics.correlation import spearman as rank_correlation

_CELLS = 14
"""HOG cells along the shorter side: 16 pixels each at 224, as in the paper."""


def spearman(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    """Return the rank correlation of the pixels of heatmaps `(H, W)`; 0 where one is constant."""
    return float(rank_correlation(one.ravel(), two.ravel()))


def ssim(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    """Return the structural similarity of heatmaps `(H, W)`, each stretched to [0, 1]; 1 for equal ones."""
    window = min(7, *(side - 1 + side % 2 for side in one.shape))
    return float(structural_similarity(_stretched(one), _stretched(two), data_range=1.0, win_size=window))


def hog(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    """Return the correlation of the histograms of oriented gradients of heatmaps `(H, W)`, stretched to [0, 1]."""
    side = max(2, round(min(one.shape) / _CELLS))
    block = max(1, min(3, min(one.shape) // side))
    options = {"pixels_per_cell": (side, side), "cells_per_block": (block, block)}
    return float(correlation(*(hog_features(_stretched(x), **options) for x in (one, two))))


SIMILARITIES: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], float]] = {
    "spearman": spearman,
    "ssim": ssim,
    "hog": hog,
}
"""Similarities of two heatmaps `(H, W)` by name, at most 1."""


def similarities(one: NDArray, two: NDArray) -> list[float]:
    """Return all `SIMILARITIES` of the absolute values of two heatmaps."""
    sizes = np.abs(np.asarray(one, np.float64)), np.abs(np.asarray(two, np.float64))
    return [similarity(*sizes) for similarity in SIMILARITIES.values()]


def _stretched(heatmap: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = heatmap.min(), heatmap.max()
    return (heatmap - low) / (high - low) if high > low else np.zeros_like(heatmap)

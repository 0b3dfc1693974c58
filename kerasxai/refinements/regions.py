"""Heatmaps that follow the image: superpixels and random walks on its edges."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2lab
from skimage.segmentation import random_walker, slic

from kerasxai.localization import has_evidence
from kerasxai.refinements.averages import resized
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import real, whole


def stretched(image: NDArray) -> NDArray[np.float64]:
    """Returns an image `(H, W, C)` stretched to [0, 1], because edges know nothing of the range that a model takes."""
    image = np.asarray(image, np.float64)
    low, high = image.min(), image.max()
    return (image - low) / (high - low) if high > low else np.zeros_like(image)


def checked(heatmaps: Any, images: Any) -> tuple[NDArray[np.float64], NDArray]:
    """Returns heatmaps `(N, H, W)` float64 and their images `(N, H, W, C)`.

    Raises:
        KerasxaiError: The shapes do not fit.
    """
    heatmaps, images = np.asarray(heatmaps, np.float64), np.asarray(images)
    if heatmaps.ndim != 3 or images.ndim != 4 or images.shape[:3] != heatmaps.shape:
        raise KerasxaiError(
            f"heatmaps (N, H, W) and their images (N, H, W, C) are needed, came {heatmaps.shape} and {images.shape}"
        )
    return heatmaps, images


def check_seeds(high: Any, low: Any) -> None:
    """Checks the fractions above which a pixel is the object's for sure, and below which the background's."""
    real("high", high, below=1)
    if not 0 <= real("low", low) < high:
        raise KerasxaiError(f"low and high must be fractions of the maximum, 0 <= low < high < 1, not {low}, {high}")


def lab(image: NDArray) -> NDArray[np.float64]:
    """Returns colors in which distances are as people see them, about 0 to 1: Lab / 100 of RGB, other images as is."""
    image = stretched(image)
    return rgb2lab(image) / 100 if image.shape[-1] == 3 else image


def superpixels(heatmaps: Any, images: Any, *, segments: int = 150, compactness: float = 10.0) -> NDArray[np.float32]:
    """The heatmap's mean within each superpixel of SLIC.

    Args:
        heatmaps: `(N, H, W)`.
        images: `(N, H, W, C)`, any range.
        segments: About how many superpixels an image has.
        compactness: Low: superpixels follow colors; high: they are squares.

    Returns:
        `(N, H, W)` float32.

    Raises:
        KerasxaiError: Shapes or options do not fit.

    Paper: Achanta et al. 2012, "SLIC Superpixels Compared to State-of-the-Art Superpixel Methods",
    doi:10.1109/TPAMI.2012.120.
    """
    heatmaps, images = checked(heatmaps, images)
    whole("segments", segments, 2)
    real("compactness", compactness, above=0)
    return np.stack([_pooled(h, cut(x, segments, compactness)) for h, x in zip(heatmaps, images, strict=True)])


def cut(image: NDArray, segments: int, compactness: float) -> NDArray[np.int64]:
    """Returns SLIC's labels `(H, W)`, 0 to d - 1 without gaps."""
    labels = slic(
        stretched(image), n_segments=segments, compactness=compactness, sigma=1, start_label=0, channel_axis=-1
    )
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def _pooled(heatmap: NDArray, labels: NDArray) -> NDArray[np.float32]:
    flat = labels.ravel()
    return (np.bincount(flat, heatmap.ravel()) / np.bincount(flat))[labels].astype(np.float32)


def walker(
    heatmaps: Any, images: Any, *, high: float = 0.6, low: float = 0.1, beta: float = 200.0, side: int = 112
) -> NDArray[np.float32]:
    """The probability that a random walk from each pixel, slow over image edges, meets the object's seeds first.

    Seeds of the object are where the heatmap lies above `high` of its maximum, those of the background where it lies
    below `low`. The walk is solved at `side` pixels and brought back to the heatmap's size and maximum. It is solved
    iteratively, by conjugate gradients to a relative residual of 1e-3 (scikit-image's default), so probabilities may
    differ from the exact solution in the third decimal place. A heatmap that points nowhere, or has seeds of one kind
    only, stays as it is.

    Args:
        heatmaps: `(N, H, W)`.
        images: `(N, H, W, C)`, any range.
        high: Fraction of the maximum above which a pixel is object.
        low: Fraction of the maximum below which a pixel is background.
        beta: How much an edge slows the walk.
        side: The longer side at which it is solved.

    Returns:
        `(N, H, W)` float32, 0 to the maximum of the heatmap.

    Raises:
        KerasxaiError: Shapes or options do not fit.

    Paper: Grady 2006, "Random Walks for Image Segmentation", doi:10.1109/TPAMI.2006.233.
    """
    heatmaps, images = checked(heatmaps, images)
    check_seeds(high, low)
    real("beta", beta, above=0)
    whole("side", side, 8)
    return np.stack(
        [_walked(h, x, high, low, beta, side) for h, x in zip(heatmaps, images, strict=True)], dtype=np.float32
    )


def _walked(heatmap: NDArray, image: NDArray, high: float, low: float, beta: float, side: int) -> NDArray:
    if not has_evidence(heatmap):
        return heatmap
    factor = min(1.0, side / max(heatmap.shape))
    size = (max(2, round(heatmap.shape[0] * factor)), max(2, round(heatmap.shape[1] * factor)))
    small = resized(heatmap[None], size)[0]
    share = small / small.max() if small.max() > 0 else small
    seeds = np.where(share > high, 1, np.where(share < low, 2, 0))
    if not (seeds == 1).any() or not (seeds == 2).any() or seeds.all():
        return heatmap
    colors = lab(resized(image[None], size)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # A faster solver could be installed; a seed may be cut off by others.
        likely = random_walker(colors, seeds, beta=beta, mode="cg_j", channel_axis=-1, return_full_prob=True)[0]
    return heatmap.max() * np.clip(resized(likely[None], heatmap.shape)[0], 0, 1)

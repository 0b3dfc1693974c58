"""Refinements with the image: superpixels, and random walks that edges slow down."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.color import rgb2lab
from skimage.segmentation import random_walker

from kerasxai.localization import has_evidence
from kerasxai.methods.segmentation import segment_means, slic_superpixels, stretched
from kerasxai.refinements.averages import resized
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import real, whole


def checked(heatmaps: ArrayLike, images: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return heatmaps `(N, H, W)` and their images `(N, H, W, C)`, both float64.

    Raises:
        KerasxaiError: The shapes do not fit.
    """
    heatmaps, images = np.asarray(heatmaps, np.float64), np.asarray(images, np.float64)
    if heatmaps.ndim != 3 or images.ndim != 4 or images.shape[:3] != heatmaps.shape:
        raise KerasxaiError(
            f"expected heatmaps (N, H, W) and their images (N, H, W, C), got {heatmaps.shape} and {images.shape}"
        )
    return heatmaps, images


def check_seeds(high: float, low: float) -> None:
    """Check the fractions above which a pixel is a seed of the object, and below which one of the background."""
    real("high", high, below=1)
    if not 0 <= real("low", low) < high:
        raise KerasxaiError(
            f"low and high must be fractions of the maximum with 0 <= low < high < 1, got {low} and {high}"
        )


def lab(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return colors with perceptual distances of about 0 to 1: Lab / 100 of RGB, other images only stretched."""
    image = stretched(np.asarray(image, np.float64))
    return rgb2lab(image) / 100 if image.shape[-1] == 3 else image


def superpixels(
    heatmaps: ArrayLike, images: ArrayLike, *, segments: int = 150, compactness: float = 10.0
) -> NDArray[np.float32]:
    """The heatmap's mean within each superpixel of SLIC.

    Args:
        heatmaps: `(N, H, W)`.
        images: `(N, H, W, C)`, any range.
        segments: The approximate number of superpixels of an image.
        compactness: Low values follow colors, high values give squares.

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
    pooled = []
    for heatmap, image in zip(heatmaps, images, strict=True):
        labels = slic_superpixels(image, segments, compactness)
        pooled.append(segment_means(heatmap[..., None], labels)[labels, 0])
    return np.stack(pooled).astype(np.float32)


def walker(
    heatmaps: ArrayLike,
    images: ArrayLike,
    *,
    high: float = 0.6,
    low: float = 0.1,
    beta: float = 200.0,
    side: int = 112,
) -> NDArray[np.float32]:
    """The probability that a random walk from each pixel, slow across image edges, reaches the object's seeds first.

    Seeds of the object are pixels above `high` of the heatmap's maximum, those of the background pixels below `low`.
    The walk is solved at `side` pixels and resized to the heatmap's size, scaled to its maximum. It is solved
    iteratively, by conjugate gradients to a relative residual of 1e-3 (scikit-image's default), so probabilities may
    differ from the exact solution in the third decimal place. A heatmap without evidence, or with seeds of one kind
    only, does not change.

    Args:
        heatmaps: `(N, H, W)`.
        images: `(N, H, W, C)`, any range.
        high: Fraction of the maximum above which a pixel is object.
        low: Fraction of the maximum below which a pixel is background.
        beta: How much edges slow the walk.
        side: The longer side of the image on which the walk is solved.

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


def _walked(
    heatmap: NDArray[Any], image: NDArray[Any], high: float, low: float, beta: float, side: int
) -> NDArray[Any]:
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
        # It warns that a faster solver could be installed, and of a seed enclosed by others.
        warnings.simplefilter("ignore")
        probability = random_walker(colors, seeds, beta=beta, mode="cg_j", channel_axis=-1, return_full_prob=True)[0]
    return heatmap.max() * np.clip(resized(probability[None], heatmap.shape)[0], 0, 1)

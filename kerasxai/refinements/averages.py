"""Averages of a method's heatmaps over transformed copies of each image."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import real, whole

Explain: TypeAlias = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
"""`(images (N, H, W, C), targets (N,)) -> heatmaps (N, H, W)`."""


def resized(arrays: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize `(N, H, W)` or `(N, H, W, C)` bilinearly, with half-pixel centers, and antialiasing if it gets smaller."""
    stacked = arrays if arrays.ndim == 4 else arrays[..., None]
    # Antialiasing changes nothing where it gets larger, and takes longer.
    smaller = size[0] < stacked.shape[1] or size[1] < stacked.shape[2]
    out = tf.image.resize(tf.cast(stacked, tf.float32), size, antialias=smaller).numpy()
    return out if arrays.ndim == 4 else out[..., 0]


def flip(explain: Explain, images: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.float32]:
    """The mean of each heatmap and the mirrored heatmap of the mirrored image: `(M(x) + mirror(M(mirror(x)))) / 2`.

    Args:
        explain: Any function `(images, targets) -> heatmaps`.
        images: `(N, H, W, C)`.
        targets: `(N,)` classes.

    Returns:
        `(N, H, W)` float32.

    Example:
        >>> explainer = kerasxai.Explainer(model, "cam")
        >>> flip(lambda images, targets: explainer(images, targets).heatmaps, images, targets)

    Paper: Wang et al. 2020, "Self-supervised Equivariant Attention Mechanism for Weakly Supervised Semantic
    Segmentation", arXiv:2004.04581, at inference.
    """
    return np.asarray((explain(images, targets) + explain(images[:, :, ::-1], targets)[:, :, ::-1]) / 2, np.float32)


def shifts(explain: Explain, images: NDArray[Any], targets: NDArray[Any], *, pixels: int = 8) -> NDArray[np.float32]:
    """The mean over the image and copies of it shifted by `pixels` toward each corner, with the heatmaps shifted back.

    Shifts sample a map of stride 32 between its positions as well. Pixels shifted in at a border repeat the border.

    Args:
        explain: Any function `(images, targets) -> heatmaps`.
        images: `(N, H, W, C)`.
        targets: `(N,)` classes.
        pixels: The shift; a quarter of the network's stride is a good choice.

    Returns:
        `(N, H, W)` float32.

    Raises:
        KerasxaiError: `pixels` is not from 1 to below half of the shorter side.

    Paper: the "shift and stitch" of Long et al. 2015, "Fully Convolutional Networks for Semantic Segmentation",
    arXiv:1411.4038. Departure: averaged, not stitched, so that it works for methods of any resolution.
    """
    height, width = images.shape[1:3]
    p = whole("pixels", pixels, 1, max(1, min(height, width) // 2 - 1))
    padded = np.pad(images, ((0, 0), (p, p), (p, p), (0, 0)), "edge")
    total, count = explain(images, targets).astype(np.float64), np.ones((height, width))
    for y, x in itertools.product((0, 2 * p), repeat=2):
        heatmaps = explain(padded[:, y : y + height, x : x + width], targets)
        # The shifted copy starts at row y - p of the image; only rows inside the image count.
        rows, columns = _overlap(y - p, height), _overlap(x - p, width)
        total[:, rows[0], columns[0]] += heatmaps[:, rows[1], columns[1]]
        count[rows[0], columns[0]] += 1
    return (total / count).astype(np.float32)


def _overlap(offset: int, length: int) -> tuple[slice, slice]:
    """Return the overlap of the image with a window that starts at `offset`, in the image and in the window."""
    return slice(max(0, offset), min(length, length + offset)), slice(max(0, -offset), min(length, length - offset))


def scales(
    explain: Explain,
    images: NDArray[Any],
    targets: NDArray[Any],
    *,
    factors: float | Sequence[float] = (1.0, 1.5),
    crops: bool = True,
) -> NDArray[np.float32]:
    """The mean over sizes of the image.

    With `crops`, a factor of 1.5 cuts each image into overlapping crops of two thirds of its height and width, enlarges
    each to the image's size, and joins their heatmaps, averaged where they overlap: `ceil(2 f - 1)^2` crops for a
    factor `f`, 1 for 1. Otherwise the whole image is resized by the factor, which needs a model for images of any size.
    Heatmaps of crops are averaged without scaling, so that a crop without the object stays dark; those of whole images
    are first scaled to the same maximum, because the units of gradient methods depend on the size.

    Args:
        explain: Any function `(images, targets) -> heatmaps`.
        images: `(N, H, W, C)`.
        targets: `(N,)` classes.
        factors: Multiples of the image's size; with crops each 1 or more.
        crops: Whether to explain enlarged crops instead of whole enlarged images.

    Returns:
        `(N, H, W)` float32, the mean over the factors.

    Raises:
        KerasxaiError: There is no factor, one is not a positive number, or one is below 1 with crops.

    Paper: Ahn et al. 2019, "Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations",
    arXiv:1904.05044, average CAMs over scales 0.5, 1, 1.5 and 2 and the mirrored image. Departure: crops, for models of
    fixed input.
    """
    sizes = [real("factors", f, above=0) for f in np.atleast_1d(np.asarray(factors, object)).tolist()]
    if not sizes or (crops and min(sizes) < 1):
        raise KerasxaiError(f"factors must be numbers above 0, with crops 1 or more, got {factors!r}")
    scaled = _of_crops if crops else _of_whole
    # The first diagnostic of a method is recorded: it should be that of the unchanged image.
    ordered = sorted(sizes, key=lambda factor: abs(factor - 1))
    maps = [explain(images, targets) if f == 1 else scaled(explain, images, targets, f) for f in ordered]
    if not crops:
        maps = [scaled_to(maps[0], one) for one in maps]
    return np.asarray(sum(maps) / len(maps), np.float32)


def scaled_to(reference: NDArray[Any], heatmaps: NDArray[Any]) -> NDArray[Any]:
    """Scale heatmaps `(N, H, W)` to the maxima of others, where both have evidence."""
    highest, own = (x.max((1, 2), keepdims=True) for x in (reference, heatmaps))
    return heatmaps * np.divide(highest, own, out=np.ones_like(own), where=(own > 0) & (highest > 0))


def _of_whole(explain: Explain, images: NDArray[Any], targets: NDArray[Any], factor: float) -> NDArray[Any]:
    height, width = images.shape[1:3]
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    return resized(explain(resized(images, size), targets), (height, width))


def _of_crops(explain: Explain, images: NDArray[Any], targets: NDArray[Any], factor: float) -> NDArray[Any]:
    height, width = images.shape[1:3]
    h, w = max(1, round(height / factor)), max(1, round(width / factor))
    steps = int(np.ceil(2 * factor - 1))
    total, count = np.zeros(images.shape[:3]), np.zeros((height, width))
    corners = (np.rint(np.linspace(0, side - part, steps)).astype(int) for side, part in ((height, h), (width, w)))
    for y, x in itertools.product(*corners):
        heatmaps = explain(resized(images[:, y : y + h, x : x + w], (height, width)), targets)
        total[:, y : y + h, x : x + w] += resized(heatmaps, (h, w))
        count[y : y + h, x : x + w] += 1
    return total / count

"""Segmentation of the object by a graph cut on superpixels: color models, and the cheapest cut along image edges."""

import warnings
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from kerasxai.localization import has_evidence
from kerasxai.methods.segmentation import segment_means, slic_superpixels
from kerasxai.refinements.regions import check_seeds, checked, lab
from kerasxai.tools.options import BOX_THRESHOLD, real, whole

INSIDE = BOX_THRESHOLD
"""The refined map is above this share of its maximum on the object and below it elsewhere."""
# Flows are whole numbers: costs are rounded to thousandths.
_CAPACITY = 1000.0
_LEAST_SUPERPIXELS = 4


class _Settings(NamedTuple):
    """The options of `graphcut` that the cut of each image needs."""

    high: float
    low: float
    trust: float
    rounds: int


class Superpixels(NamedTuple):
    """The superpixels of an image.

    Attributes:
        labels: `(H, W)` the superpixel of each pixel.
        colors: `(d, 3)` mean colors in Lab.
        pairs: `(m, 2)` neighbors.
        weights: `(m,)` the costs of separating them.
    """

    labels: NDArray[np.int64]
    colors: NDArray[np.float64]
    pairs: NDArray[np.int64]
    weights: NDArray[np.float64]


def graphcut(
    heatmaps: ArrayLike,
    images: ArrayLike,
    *,
    high: float = 0.4,
    low: float = 0.15,
    smooth: float = 4.0,
    trust: float = 0.5,
    rounds: int = 3,
    segments: int = 1000,
) -> NDArray[np.float32]:
    """GrabCut on superpixels, with the heatmap instead of a user's box.

    Colors above `high` of the heatmap's maximum are fitted by the object's mixture of Gaussians, those below `low` by
    the background's. A superpixel costs `-log p(color)` of its side, and `trust` times `-log` of how much the heatmap
    supports that side. Two neighbors on different sides cost `smooth l exp(-b d^2)`: `l` is the length of their border,
    1 for the mean border, `d` their distance in Lab and `b` half of the inverse mean of its square. The cheapest cut is
    found exactly, the mixtures are fitted again to its sides, and so on. Then the heatmap is bent so that the object
    lies above 20 % of the maximum and all else below.

    Args:
        heatmaps: `(N, H, W)`.
        images: `(N, H, W, C)`, any range.
        high: Fraction of the maximum above which colors are the object's at first; half-way between it and `low` the
            heatmap supports neither side.
        low: Fraction of the maximum below which they are the background's.
        smooth: The cost of a border through uniform color.
        trust: The weight of the heatmap relative to the colors.
        rounds: How often the mixtures are fitted.
        segments: The approximate number of superpixels of an image.

    Returns:
        `(N, H, W)` float32. A heatmap without evidence, or without colors for one side, does not change.

    Raises:
        KerasxaiError: Shapes or options do not fit.

    Papers: Boykov and Jolly 2001, doi:10.1109/ICCV.2001.937505; Rother et al. 2004, "GrabCut",
    doi:10.1145/1015706.1015720. Departure: superpixels in place of pixels, hundreds of times fewer.
    """
    heatmaps, images = checked(heatmaps, images)
    check_seeds(high, low)
    for name, value in (("smooth", smooth), ("trust", trust)):
        real(name, value, above=0)
    whole("rounds", rounds, 1)
    whole("segments", segments, 2)
    settings = _Settings(high, low, trust, rounds)
    refined = []
    parts: Superpixels | None = None
    # A thousand colors are too few for several threads, which wait for each other longer than they compute.
    with threadpool_limits(1):
        for row, (heatmap, image) in enumerate(zip(heatmaps, images, strict=True)):
            # An image with several classes has a row for each, one after the other.
            if row and not np.array_equal(image, images[row - 1]):
                parts = None
            if has_evidence(heatmap):
                parts = parts or superpixels_of(image, segments, smooth)
                mask = _object(heatmap, parts, settings)
                heatmap = heatmap if mask is None else _bent(heatmap, mask[parts.labels])
            refined.append(heatmap)
    return np.stack(refined).astype(np.float32)


def superpixels_of(image: NDArray[Any], segments: int, smooth: float) -> Superpixels:
    """Return the superpixels of an image; separating two of uniform color costs `smooth`."""
    labels = slic_superpixels(image, segments)
    colors = segment_means(lab(image), labels)
    return Superpixels(labels, colors, *borders(colors, labels, smooth))


def _object(heatmap: NDArray[np.float64], parts: Superpixels, settings: _Settings) -> NDArray[np.bool_] | None:
    """Return which superpixels are the object, `(d,)`, or None if the heatmap does not support both sides."""
    high, low, trust, rounds = settings
    share = segment_means(np.maximum(heatmap, 0)[..., None] / heatmap.max(), parts.labels)[:, 0]
    # Linear from 0 at `low` to 1 at `high`, but never certain: colors can overrule the heatmap everywhere.
    belief = np.clip((share - low) / (high - low), 0.02, 0.98)
    inside, outside = share > high, share < low
    object_colors = background_colors = None
    for _ in range(rounds):
        if min(inside.sum(), outside.sum()) < _LEAST_SUPERPIXELS:
            return None
        object_colors = color_model(parts.colors[inside], object_colors)
        background_colors = color_model(parts.colors[outside], background_colors)
        cost_inside = -object_colors.score_samples(parts.colors) - trust * np.log(belief)
        cost_outside = -background_colors.score_samples(parts.colors) - trust * np.log(1 - belief)
        inside = cheapest_cut(cost_inside, cost_outside, parts.pairs, parts.weights)
        outside = ~inside
    return inside if inside.any() else None


def color_model(colors: NDArray[Any], before: GaussianMixture | None = None) -> GaussianMixture:
    """Fit a mixture of Gaussians to colors `(n, C)`, from the mixture before if there is one of as many components."""
    # Five components, as in GrabCut, unless there are too few superpixels to fit them.
    count = max(1, min(5, len(colors) // 8))
    mixture = before
    if mixture is None or mixture.n_components != count:
        mixture = GaussianMixture(count, reg_covar=1e-3, random_state=0, max_iter=20, warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It warns that 20 iterations did not converge, which is close enough here.
        return mixture.fit(colors)


def borders(colors: NDArray[Any], labels: NDArray[Any], smooth: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the pairs of adjacent superpixels, `(n, 2)`, and the costs of separating them, `(n,)`."""
    neighbors = [(labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])]
    touching = np.concatenate([np.stack([one.ravel(), two.ravel()], 1) for one, two in neighbors])
    touching = np.sort(touching[touching[:, 0] != touching[:, 1]], axis=1)
    pairs, lengths = np.unique(touching, axis=0, return_counts=True)
    squares = np.square(colors[pairs[:, 0]] - colors[pairs[:, 1]]).sum(-1)
    alike = np.exp(-squares / max(2 * squares.mean(), 1e-12)) if len(squares) else squares
    return pairs, smooth * lengths / max(lengths.mean(), 1) * alike if len(lengths) else squares


def cheapest_cut(
    inside: NDArray[Any], outside: NDArray[Any], pairs: NDArray[Any], weights: NDArray[Any]
) -> NDArray[np.bool_]:
    """Divide nodes into two sides with the least sum of costs, by maximum flow.

    Args:
        inside: `(n,)`, the cost of each node inside.
        outside: `(n,)`, its cost outside.
        pairs: `(m, 2)`, neighbors.
        weights: `(m,)`, the costs of separating them.

    Returns:
        `(n,)` bool, True inside. Costs are rounded to thousandths, because flows are whole numbers.
    """
    count = len(inside)
    # Only the difference between the two sides matters.
    gain = np.rint(_CAPACITY * np.clip(outside - inside, -1e4, 1e4)).astype(np.int64)
    capacities = np.rint(_CAPACITY * weights).astype(np.int64)
    nodes, source, sink = np.arange(count), count, count + 1
    rows = np.concatenate([pairs[:, 0], pairs[:, 1], np.full(count, source), nodes])
    columns = np.concatenate([pairs[:, 1], pairs[:, 0], nodes, np.full(count, sink)])
    data = np.concatenate([capacities, capacities, np.maximum(gain, 0), np.maximum(-gain, 0)])
    graph = scipy.sparse.csr_array((data.astype(np.int32), (rows, columns)), shape=(count + 2, count + 2))
    # By the max-flow min-cut theorem the inside is what the source still reaches in the residual graph.
    residual = graph - maximum_flow(graph, source, sink).flow
    residual.data = np.maximum(residual.data, 0)
    residual.eliminate_zeros()
    reached = np.zeros(count + 2, bool)
    reached[breadth_first_order(residual, source, return_predecessors=False)] = True
    return reached[:count]


def _bent(heatmap: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    share = np.clip(heatmap / heatmap.max(), 1e-3, 1)
    return heatmap.max() * np.where(mask, INSIDE + (1 - INSIDE) * share, INSIDE * share)

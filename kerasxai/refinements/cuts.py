"""The object cut out of its background: color models and the cheapest cut along image edges."""

import warnings
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from sklearn.mixture import GaussianMixture

from kerasxai.localization import has_evidence
from kerasxai.refinements.regions import check_seeds, checked, cut, lab
from kerasxai.tools.options import BOX_THRESHOLD, real, whole

INSIDE = BOX_THRESHOLD
"""The refined map is above this share of its maximum on the object and below it elsewhere."""
_CAPACITY = 1000.0
_FEW = 4


def graphcut(
    heatmaps: Any,
    images: Any,
    *,
    high: float = 0.4,
    low: float = 0.15,
    smooth: float = 2.0,
    trust: float = 2.0,
    rounds: int = 3,
    segments: int = 400,
) -> NDArray[np.float32]:
    """The object as GrabCut cuts it out, of superpixels, with the heatmap in place of a user's box.

    Colors above `high` of the heatmap's maximum make the object's mixture of Gaussians, those below `low` the
    background's. A superpixel costs `-log p(color)` of the side it is given to, and `trust` times `-log` of how much
    the heatmap speaks for that side. Two neighbors on different sides cost `smooth l exp(-b d^2)`: `l` is the length of
    their border, 1 for the mean border, `d` their distance in Lab and `b` half of the inverse mean of its square. The
    cheapest cut is found exactly, colors are learned again from it, and so on. Then the heatmap is bent so that the
    object lies above 20 % of the maximum and all else below.

    Args:
        heatmaps: `(N, H, W)`.
        images: `(N, H, W, C)`, any range.
        high: Fraction of the maximum above which colors are the object's at first; half-way between it and `low` the
            heatmap speaks for neither side.
        low: Fraction of the maximum below which they are the background's.
        smooth: What a border through even color costs.
        trust: What the heatmap counts beside the colors.
        rounds: How often colors are learned.
        segments: About how many superpixels an image has.

    Returns:
        `(N, H, W)` float32. A heatmap that points nowhere, or leaves no color for one side, stays as it is.

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
    done = []
    for heatmap, image in zip(heatmaps, images, strict=True):
        labels = cut(image, segments, 10.0)
        mask = _object(heatmap, lab(image), labels, high, low, smooth, trust, rounds)
        done.append(heatmap if mask is None else _shaped(heatmap, mask[labels]))
    return np.stack(done).astype(np.float32)


def _object(
    heatmap: NDArray,
    colors: NDArray,
    labels: NDArray,
    high: float,
    low: float,
    smooth: float,
    trust: float,
    rounds: int,
) -> NDArray[np.bool_] | None:
    """Returns which superpixels are the object, `(d,)`, or None where the heatmap does not tell."""
    if not has_evidence(heatmap):
        return None
    share = means(np.maximum(heatmap, 0)[..., None] / heatmap.max(), labels)[:, 0]
    color = means(colors, labels)
    pairs, weights = borders(color, labels, smooth)
    # Straight from 0 at `low` to 1 at `high`, never sure.
    belief = np.clip((share - low) / (high - low), 0.02, 0.98)
    inside, outside = share > high, share < low
    for _ in range(rounds):
        if min(inside.sum(), outside.sum()) < _FEW:
            return None
        cost_inside = -likelihood(color, inside) - trust * np.log(belief)
        cost_outside = -likelihood(color, outside) - trust * np.log(1 - belief)
        inside = cheapest_cut(cost_inside, cost_outside, pairs, weights)
        outside = ~inside
    return inside if inside.any() else None


def means(values: NDArray, labels: NDArray) -> NDArray[np.float64]:
    """Returns the mean of `(H, W, C)` within each superpixel, `(d, C)`."""
    flat = labels.ravel()
    sums = [np.bincount(flat, channel.ravel()) for channel in np.moveaxis(values, -1, 0)]
    return np.stack(sums, -1) / np.bincount(flat)[:, None]


def likelihood(colors: NDArray, chosen: NDArray) -> NDArray[np.float64]:
    """Returns the log likelihood `(d,)` of colors `(d, C)` under a mixture of Gaussians of the chosen ones."""
    own = colors[chosen]
    count = max(1, min(5, len(own) // 8))
    mixture = GaussianMixture(count, reg_covar=1e-3, random_state=0, max_iter=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Twenty steps are enough for a model of colors.
        mixture.fit(own)
    return mixture.score_samples(colors)


def borders(colors: NDArray, labels: NDArray, smooth: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns the pairs of superpixels that touch, `(n, 2)`, and what it costs to part them, `(n,)`."""
    sides = [(labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])]
    touching = np.concatenate([np.stack([one.ravel(), two.ravel()], 1) for one, two in sides])
    touching = np.sort(touching[touching[:, 0] != touching[:, 1]], axis=1)
    pairs, lengths = np.unique(touching, axis=0, return_counts=True)
    squares = np.square(colors[pairs[:, 0]] - colors[pairs[:, 1]]).sum(-1)
    alike = np.exp(-squares / max(2 * squares.mean(), 1e-12)) if len(squares) else squares
    return pairs, smooth * lengths / max(lengths.mean(), 1) * alike if len(lengths) else squares


def cheapest_cut(inside: NDArray, outside: NDArray, pairs: NDArray, weights: NDArray) -> NDArray[np.bool_]:
    """Parts nodes into two sides so that the sum of costs is least, by the largest flow between them.

    Args:
        inside: `(n,)`, what each node costs inside.
        outside: `(n,)`, what it costs outside.
        pairs: `(m, 2)`, neighbors.
        weights: `(m,)`, what it costs to part them.

    Returns:
        `(n,)` bool, True inside. Costs are rounded to thousandths, because the flow is of whole numbers.
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
    left = graph - maximum_flow(graph, source, sink).flow
    left.data = np.maximum(left.data, 0)
    left.eliminate_zeros()
    reached = np.zeros(count + 2, bool)
    reached[breadth_first_order(left, source, return_predecessors=False)] = True
    return reached[:count]


def _shaped(heatmap: NDArray, mask: NDArray) -> NDArray:
    share = np.clip(heatmap / heatmap.max(), 1e-3, 1)
    return heatmap.max() * np.where(mask, INSIDE + (1 - INSIDE) * share, INSIDE * share)

"""The cheapest division of an image into all its labels at once: color models, and a cut along image edges."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from kerasxai.methods.segmentation import segment_means
from kerasxai.refinements.cuts import Superpixels, cheapest_cut, color_model, superpixels_of
from kerasxai.segmentation.cut_settings import LabelCut
from kerasxai.tools.errors import KerasxaiError

_LEAST = 0.02
"""No probability counts as less, so that colors can overrule each of them."""
_LEAST_SUPERPIXELS = 4
"""A label with fewer superpixels has too few colors, and is given up."""
_SWEEPS = 4
"""Expansions hardly change anything after two sweeps over the labels."""


def cut_labels(
    probabilities: ArrayLike, image: ArrayLike, cut: LabelCut | None = None, start: ArrayLike | None = None
) -> NDArray[np.uint8]:
    """Return the cheapest label map of an image: GrabCut on superpixels with several labels in place of two.

    A superpixel costs `-log p(color)` of its label, a mixture of Gaussians, and `trust` times `-log` of the mean
    probability of the label in it. Two neighbors with different labels cost `smooth l exp(-b d^2)`, as for the
    refinement `graphcut`. Labels change by alpha-expansion, each expansion an exact cut; then the mixtures are fitted
    again.

    Args:
        probabilities: `(L, H, W)`, one for each label.
        image: `(H, W, C)`, any range.
        cut: The settings; None for the defaults.
        start: `(H, W)` label map from 0 to L - 1 to which the colors are fitted first; None: the most probable labels.

    Returns:
        `(H, W)` uint8, from 0 to L - 1. A label of fewer than 4 superpixels is given up.

    Raises:
        KerasxaiError: Shapes or numbers do not fit.

    Papers: Boykov et al. 2001, doi:10.1109/34.969114 (alpha-expansion); Rother et al. 2004, "GrabCut",
    doi:10.1145/1015706.1015720.

    Example:
        >>> cut_labels(np.full((2, 8, 8), 0.5), np.zeros((8, 8, 3))).shape
        (8, 8)
    """
    settings = cut or LabelCut()
    shares, picture = np.asarray(probabilities, np.float64), np.asarray(image)
    if shares.ndim != 3 or picture.ndim != 3 or shares.shape[1:] != picture.shape[:2] or not 0 < len(shares) < 256:
        raise KerasxaiError(
            "expected probabilities (labels, height, width) and an image (height, width, channels) of the same size, "
            f"got {shares.shape} and {picture.shape}"
        )
    if not (np.isfinite(shares).all() and shares.min() >= 0 and np.isfinite(picture).all()):
        raise KerasxaiError("probabilities and image must be finite and probabilities at least 0, got other numbers")
    # As for `graphcut`: threads would mostly wait for each other.
    with threadpool_limits(1):
        parts = superpixels_of(picture, settings.segments, settings.smooth)
        means = segment_means(np.moveaxis(shares, 0, -1), parts.labels)
        labels = means.argmax(1) if start is None else _most_frequent(_checked(start, shares.shape), parts, len(shares))
        return _divided(labels, means, parts, settings)[parts.labels].astype(np.uint8)


def _checked(start: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.int64]:
    labels, most = np.asarray(start), shape[0] - 1
    if labels.shape != shape[1:] or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > most:
        raise KerasxaiError(f"start must be a label map {shape[1:]} with labels from 0 to {most}, got {start!r}")
    return labels.astype(np.int64)


def _most_frequent(labels: NDArray[np.int64], parts: Superpixels, count: int) -> NDArray[np.int64]:
    """Return the most frequent label of each superpixel, the lowest of several."""
    superpixels = int(parts.labels.max()) + 1
    cells = np.bincount((parts.labels * count + labels).ravel(), minlength=superpixels * count)
    return cells.reshape(superpixels, count).argmax(1)


def _divided(
    labels: NDArray[np.int64], means: NDArray[np.float64], parts: Superpixels, settings: LabelCut
) -> NDArray[np.int64]:
    unsupported = -settings.trust * np.log(np.clip(means, _LEAST, 1))
    models: dict[int, GaussianMixture] = {}
    for _ in range(settings.rounds):
        sizes = np.bincount(labels, minlength=means.shape[1])
        present = [int(label) for label in np.flatnonzero(sizes >= _LEAST_SUPERPIXELS)]
        if not present:
            return labels
        costs = np.full(means.shape, np.inf)
        for label in present:
            models[label] = color_model(parts.colors[labels == label], models.get(label))
            costs[:, label] = unsupported[:, label] - models[label].score_samples(parts.colors)
        # Superpixels of labels that are given up begin with their cheapest one.
        labels = np.where(np.isin(labels, present), labels, costs.argmin(1))
        labels = expanded(labels, costs, present, parts)
    return labels


def energy(labels: NDArray[np.int64], costs: NDArray[np.float64], parts: Superpixels) -> float:
    """Return the cost of labels `(d,)`: those of the superpixels `(d, L)` and of the borders between labels."""
    one, two = parts.pairs.T
    apart = labels[one] != labels[two]
    return float(costs[np.arange(len(labels)), labels].sum() + parts.weights[apart].sum())


def expanded(
    labels: NDArray[np.int64], costs: NDArray[np.float64], present: list[int], parts: Superpixels
) -> NDArray[np.int64]:
    """Return labels `(d,)` that no expansion of one label makes cheaper.

    Args:
        labels: The labels before.
        costs: `(d, L)` the cost of each label.
        present: The labels that may be taken.
        parts: The superpixels.
    """
    lowest = energy(labels, costs, parts)
    for _ in range(_SWEEPS):
        before = lowest
        for label in present:
            proposal = np.where(_expansion(label, labels, costs, parts), label, labels)
            # Cuts are exact for rounded costs only.
            if (cost := energy(proposal, costs, parts)) < lowest:
                labels, lowest = proposal, cost
        if lowest == before:
            break
    return labels


def _expansion(
    label: int, labels: NDArray[np.int64], costs: NDArray[np.float64], parts: Superpixels
) -> NDArray[np.bool_]:
    """Return which superpixels take a label when each of them may take it or keep its own."""
    one, two = parts.pairs.T
    # What a border costs if both keep their labels, if only the second takes it, and if only the first does.
    keep, second, first = (
        parts.weights * apart for apart in (labels[one] != labels[two], labels[one] != label, labels[two] != label)
    )
    # With x = 1 for taking: keep + (first - keep) x1 - first x2 + (second + first - keep) (1 - x1) x2, and
    # (1 - x1) x2 = (|x1 - x2| + x2 - x1) / 2. The factor is never negative, by the triangle inequality.
    between = (second + first - keep) / 2
    take = costs[:, label].copy()
    np.add.at(take, one, first - keep - between)
    np.add.at(take, two, between - first)
    return cheapest_cut(take, costs[np.arange(len(labels)), labels], parts.pairs, between)

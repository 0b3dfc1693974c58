"""Adversarial erasing: explain again with the most important region hidden."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasxai.refinements.averages import Explain
from kerasxai.tools.options import real, whole


def erase(
    explain: Explain,
    images: NDArray[Any],
    targets: NDArray[Any],
    *,
    rounds: int = 2,
    threshold: float = 0.6,
    falls: float = 0.5,
) -> NDArray[np.float32]:
    """The union of the heatmaps of an image with its most important regions hidden one after the other.

    After each round the pixels above `threshold` of the heatmap's maximum take the image's mean color, and the image is
    explained again. A round counts while its highest evidence is at least `falls` of the first one's: without evidence
    for the class, the heatmap does not show the object. Each pixel has its highest value of the rounds that count.

    Args:
        explain: Any function `(images, targets) -> heatmaps`.
        images: `(N, H, W, C)`.
        targets: `(N,)` classes.
        rounds: The number of rounds after the first explanation.
        threshold: Fraction of each round's maximum above which pixels are hidden.
        falls: The fraction of the first maximum below which a round no longer counts.

    Returns:
        `(N, H, W)` float32.

    Raises:
        KerasxaiError: An option out of range.

    Paper: Wei et al. 2017, "Object Region Mining with Adversarial Erasing", arXiv:1703.08448. Departure: one network,
    not retrained between the rounds, as Zhang et al. 2018 (ACoL, arXiv:1804.06962) erase features; the fall of
    the prediction is estimated from the heatmap, so that any method works.
    """
    whole("rounds", rounds, 1)
    real("threshold", threshold, above=0, below=1)
    real("falls", falls, above=0)
    heatmaps = explain(images, targets)
    first, union = heatmaps.max((1, 2), keepdims=True), heatmaps
    counts = first > 0
    mean = np.asarray(images, np.float32).mean((1, 2), keepdims=True)
    erased = np.zeros(heatmaps.shape, bool)
    for _ in range(rounds):
        erased = erased | (counts & (heatmaps > threshold * heatmaps.max((1, 2), keepdims=True)))
        heatmaps = explain(np.where(erased[..., None], mean, images), targets)
        counts = counts & (heatmaps.max((1, 2), keepdims=True) >= falls * first)
        if not counts.any():
            break
        union = np.where(counts, np.maximum(union, heatmaps), union)
    return union.astype(np.float32)

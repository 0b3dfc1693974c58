"""Looking again where the most telling region is hidden."""

import numpy as np
from numpy.typing import NDArray

from kerasxai.refinements.averages import Explain
from kerasxai.tools.options import real, whole


def erase(
    explain: Explain,
    images: NDArray,
    targets: NDArray,
    *,
    rounds: int = 2,
    threshold: float = 0.6,
    falls: float = 0.5,
) -> NDArray[np.float32]:
    """The union of the heatmaps of an image whose most telling regions are hidden one after the other.

    After each look the pixels above `threshold` of the heatmap's maximum take the image's mean color, and the method
    looks again. A round counts while its highest evidence is at least `falls` of the first look's: what is found after
    the class has gone is not the object. Of the looks that count each pixel has its highest value.

    Args:
        explain: Any function `(images, targets) -> heatmaps`.
        images: `(N, H, W, C)`.
        targets: `(N,)` classes.
        rounds: How many looks after the first.
        threshold: Fraction of each look's maximum above which pixels are hidden.
        falls: The fraction of the first look's maximum below which a look no longer counts.

    Returns:
        `(N, H, W)` float32.

    Raises:
        KerasxaiError: An option out of range.

    Paper: Wei et al. 2017, "Object Region Mining with Adversarial Erasing", arXiv:1703.08448. Departure: one network,
    not retrained between the looks, as Zhang et al. 2018 (ACoL, arXiv:1804.06962) erase features; the fall of the
    prediction is read off the heatmap itself, so that any method will do.
    """
    whole("rounds", rounds, 1)
    real("threshold", threshold, above=0, below=1)
    real("falls", falls, above=0)
    look = explain(images, targets)
    first, union = look.max((1, 2), keepdims=True), look
    counts = first > 0
    mean = np.asarray(images, np.float32).mean((1, 2), keepdims=True)
    hidden = np.zeros(look.shape, bool)
    for _ in range(rounds):
        hidden = hidden | (counts & (look > threshold * look.max((1, 2), keepdims=True)))
        look = explain(np.where(hidden[..., None], mean, images), targets)
        counts = counts & (look.max((1, 2), keepdims=True) >= falls * first)
        if not counts.any():
            break
        union = np.where(counts, np.maximum(union, look), union)
    return union.astype(np.float32)

"""Pseudo-masks: the pixels whose label is certain, from the class maps of an image before and after refinement."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.metrics.inputs import BACKGROUND, IGNORE
from kerasxai.segmentation.seeds import label_map, normalized
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import BOX_THRESHOLD, CERTAIN_BACKGROUND, CERTAIN_CLASS, within


@dataclass(frozen=True)
class Confidence:
    """Thresholds of pseudo-masks, as shares of each map's maximum; they are chosen without true masks.

    Attributes:
        foreground: A pixel is certain to be of a class only if the map before refinement is above it.
        background: A pixel is certain to be background only if all maps before refinement are at most this.
        refined: The threshold of refined maps; 0.2 fits the graph cut, which bends maps to it.

    Raises:
        KerasxaiError: A share is not in [0, 1).
    """

    foreground: float = CERTAIN_CLASS
    background: float = CERTAIN_BACKGROUND
    refined: float = BOX_THRESHOLD

    def __post_init__(self) -> None:
        for name in ("foreground", "background", "refined"):
            if within(name, getattr(self, name), 0, 1) == 1:
                raise KerasxaiError(f"{name} must be below 1, got 1")


def pseudo_mask(
    maps: ArrayLike, refined: ArrayLike, classes: ArrayLike, confidence: Confidence | None = None
) -> NDArray[np.uint8]:
    """Return the pseudo-mask of an image: labels where refinement and class maps agree, 255 elsewhere.

    As in the pseudo-labels of IRN (Ahn et al. 2019, arXiv:1904.05044), a pixel has two thresholds, one for a certain
    class and one for certain background, and those that meet neither are ignored in training. Departure: the refined
    maps must agree with both, in place of a conditional random field for each.

    Args:
        maps: `(K, H, W)` class maps, not normalized.
        refined: `(K, H, W)` the same maps after refinement.
        classes: `(K,)` their classes.
        confidence: The thresholds; None for the defaults.

    Returns:
        `(H, W)` uint8: 0 background, c + 1 for class c, 255 uncertain.

    Raises:
        KerasxaiError: Shapes or numbers do not fit.

    Example:
        >>> pseudo_mask([[[0.0, 0.7, 1.0]]], [[[0.0, 0.1, 1.0]]], [4]).tolist()
        [[0, 255, 5]]
    """
    levels = confidence or Confidence()
    size = (np.shape(maps)[-2], np.shape(maps)[-1])
    if np.shape(refined) != np.shape(maps):
        raise KerasxaiError(f"refined must have the shape of maps, {np.shape(maps)}, got {np.shape(refined)}")
    found = label_map(refined, classes, threshold=levels.refined, size=size)
    certain = label_map(maps, classes, threshold=levels.foreground, size=size)
    highest = normalized(maps, size).max(0, initial=0.0)
    background = (found == BACKGROUND) & (highest <= levels.background)
    foreground = (found != BACKGROUND) & (found == certain)
    return np.where(foreground | background, found, IGNORE).astype(np.uint8)

"""Pseudo-masks: the pixels whose label is certain, from the class maps of an image before and after refinement."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.metrics.inputs import BACKGROUND, IGNORE
from kerasxai.metrics.segmentation import MOST_CLASSES, checked_label_maps
from kerasxai.segmentation.cut_settings import LabelCut
from kerasxai.segmentation.label_cut import cut_labels
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


def joint_labels(
    maps: ArrayLike,
    refined: ArrayLike,
    classes: ArrayLike,
    image: ArrayLike,
    *,
    threshold: float = BOX_THRESHOLD,
    cut: LabelCut | None = None,
) -> NDArray[np.uint8]:
    """Return the labels of all pixels of an image, by one cut of all its classes; see `cut_labels`.

    Refinements work class by class, and know of another class only that it is not this one. Here the background and
    each class have their own colors. The colors are fitted to the joined refined maps first; a class is as probable as
    its map before refinement is high, from 0 at the share `low` of its maximum to 1 at `high`, and the background where
    no map is.

    Args:
        maps: `(K, h, w)` class maps, not normalized.
        refined: `(K, h, w)` the same maps after refinement.
        classes: `(K,)` their classes.
        image: `(H, W, C)`, any range.
        threshold: The threshold of the refined maps.
        cut: The settings of the cut; None for the defaults.

    Returns:
        `(H, W)` uint8: 0 background, c + 1 for class c.

    Raises:
        KerasxaiError: Shapes or numbers do not fit.

    Example:
        >>> image = np.zeros((32, 32, 3), np.uint8)
        >>> image[8:24, 8:24] = 255
        >>> maps = np.zeros((1, 4, 4), np.float32)
        >>> maps[0, 1:3, 1:3] = 1
        >>> int((joint_labels(maps, maps, [4], image) == 5).sum())
        256
    """
    size = (np.shape(image)[0], np.shape(image)[1])
    found = label_map(refined, classes, threshold=threshold, size=size)
    labels = np.append(BACKGROUND, np.asarray(classes, np.int64) + 1)
    settings = cut or LabelCut()
    supported = np.clip((normalized(maps, size) - settings.low) / (settings.high - settings.low), 0, 1)
    probabilities = np.concatenate([1 - supported.max(0, keepdims=True, initial=0.0), supported])
    # `(K + 1, H, W)`: exactly one is true in each pixel.
    start = (found == labels[:, None, None]).argmax(0)
    return labels[cut_labels(probabilities, image, settings, start)].astype(np.uint8)


def pseudo_mask(
    maps: ArrayLike,
    refined: ArrayLike,
    classes: ArrayLike,
    confidence: Confidence | None = None,
    labels: ArrayLike | None = None,
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
        labels: `(H, W)` labels of all pixels in place of those of the refined maps, such as `joint_labels`.

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
    if labels is None:
        found = label_map(refined, classes, threshold=levels.refined, size=size)
    else:
        (found,) = checked_label_maps("labels", [labels], MOST_CLASSES, ignore=False)
        if found.shape != size:
            raise KerasxaiError(f"labels must have the size of maps, {size}, got {found.shape}")
    certain = label_map(maps, classes, threshold=levels.foreground, size=size)
    highest = normalized(maps, size).max(0, initial=0.0)
    background = (found == BACKGROUND) & (highest <= levels.background)
    foreground = (found != BACKGROUND) & (found == certain)
    return np.where(foreground | background, found, IGNORE).astype(np.uint8)

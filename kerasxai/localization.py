"""From a heatmap to the object's mask and boxes.

The threshold is a fraction of the heatmap's maximum, given or chosen for each heatmap by a rule that never saw a box
(see `chosen_threshold`), and a pixel belongs to the object where the heatmap lies strictly
above it. Zero stays zero: the map is divided by its maximum, never stretched from its minimum (min-max would turn the
least negative pixel of a map without evidence into the object).
"""

from collections.abc import Callable, Iterable

import numpy as np
import scipy.ndimage
from numpy.typing import ArrayLike, NDArray
from skimage.filters import threshold_multiotsu, threshold_otsu

from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.options import BOX_THRESHOLD

EIGHT_NEIGHBORS = np.ones((3, 3), bool)
# Resizing a 1x1 map in float32 gives a map that is constant up to rounding; it points nowhere.
CONSTANT = 1e-6
OBJECT_AREA = 1 / 3
"""The share of the image that the rule `"area"` takes for the object."""
DEVIATIONS = 0.6
"""How many standard deviations above the mean the rule `"deviation"` cuts; 0.5 to 0.75 do as well."""
AUTO_RULE = "deviation"
"""The rule of the threshold `"auto"` where there are no boxes to choose it with; docs/refinements.md compares rules."""


def checked_heatmap(heatmap: ArrayLike) -> NDArray[np.float64]:
    """Return one heatmap as a float64 array.

    Args:
        heatmap: `(H, W)`, any real numbers.

    Raises:
        KerasxaiError: It is not two-dimensional, or has no pixel, or holds something else than real numbers.
    """
    array = np.asarray(heatmap)
    if array.ndim != 2 or 0 in array.shape:
        raise KerasxaiError(f"expected a heatmap of shape (H, W), got {array.shape}; give one heatmap without channels")
    if array.dtype.kind not in "fiub" and not np.can_cast(array.dtype, np.float64):
        raise KerasxaiError(f"expected a heatmap of real numbers, got {array.dtype}")
    return array.astype(np.float64)


def has_evidence(heatmap: NDArray[np.float64]) -> bool:
    """Return whether a heatmap can point anywhere: finite, positive somewhere, and not constant.

    Args:
        heatmap: `(H, W)` float64.
    """
    highest, lowest = heatmap.max(), heatmap.min()
    return bool(np.isfinite(lowest) and np.isfinite(highest) and highest > 0 and lowest < (1 - CONSTANT) * highest)


def _multiotsu(shares: NDArray[np.float64]) -> float:
    try:
        return float(threshold_multiotsu(shares, classes=3)[0])
    except ValueError:  # Fewer than three different values.
        return float(threshold_otsu(shares))


RULES: dict[str, Callable[[NDArray[np.float64]], float]] = {
    "otsu": lambda shares: float(threshold_otsu(shares)),
    "multiotsu": _multiotsu,
    "area": lambda shares: float(np.quantile(shares, 1 - OBJECT_AREA)),
    "deviation": lambda shares: float(shares.mean() + DEVIATIONS * shares.std()),
}
"""Thresholds by name: from shares of the maximum, 0 to 1, to a fraction of the maximum."""


def common_threshold(heatmaps: Iterable[ArrayLike], rule: str = AUTO_RULE) -> float:
    """Return one threshold for all heatmaps of a model, without any box: the median of what a rule chooses for each.

    Args:
        heatmaps: Several `(H, W)`, any real numbers; those without evidence do not count.
        rule: As for `chosen_threshold`.

    Returns:
        A fraction of the maximum in whole percent, in [0, 1); 0.2 if no heatmap has evidence.

    Raises:
        KerasxaiError: An unknown rule.

    Example:
        >>> common_threshold([[[0.0, 0.1], [0.9, 1.0]], [[0.0, 0.2], [1.0, 1.0]]], "area")
        0.95
    """
    chosen = [chosen_threshold(one, rule) for one in map(checked_heatmap, heatmaps) if has_evidence(one)]
    return min(round(float(np.median(chosen)), 2), 0.99) if chosen else BOX_THRESHOLD


def chosen_threshold(heatmap: ArrayLike, rule: float | str) -> float:
    """Return the fraction of the heatmap's maximum that a rule chooses for it, without any box.

    Args:
        heatmap: `(H, W)`, any real numbers; negative values count as 0.
        rule: A fraction in [0, 1), returned unchanged, or a name: `"otsu"` splits the values into two classes of
            least variance (Otsu 1979, doi:10.1109/TSMC.1979.4310076); `"multiotsu"` into three, and takes the lower
            border, so that half-warm surroundings of a hot spot belong to the object; `"area"` marks the third of the
            image that is highest, about what an object takes up; `"deviation"` takes the mean plus 0.6 standard
            deviations, which follows both the shape of the map and the size of the object.

    Returns:
        A fraction in [0, 1).

    Raises:
        KerasxaiError: An unknown rule, or a fraction out of range.

    Example:
        >>> 0.2 <= chosen_threshold([[0.0, 0.1, 0.2], [0.8, 0.9, 1.0]], "otsu") < 0.8
        True
    """
    if isinstance(rule, str):
        if rule not in RULES:
            raise unknown("threshold", rule, RULES)
        values = checked_heatmap(heatmap)
        if not has_evidence(values):
            return 0.0
        shares = np.maximum(values, 0) / values.max()
        return min(max(RULES[rule](shares), 0.0), 1 - CONSTANT)
    if not 0 <= rule < 1:
        raise KerasxaiError(f"threshold must be a fraction of the maximum in [0, 1), got {rule}")
    return float(rule)


def heatmap_to_mask(heatmap: ArrayLike, threshold: float | str = BOX_THRESHOLD) -> NDArray[np.bool_]:
    """Mark the pixels above a fraction of the heatmap's maximum.

    The rule of Zhou et al. (2016, arXiv:1512.04150) with a strict comparison. A heatmap that points nowhere gives an
    empty mask, never a full one: one without a positive value, a constant one, or one with a NaN or an infinity in it.

    Args:
        heatmap: `(H, W)`, any real numbers, not normalized.
        threshold: Fraction of the maximum, in [0, 1); 0 marks every positive pixel. Or a rule of `chosen_threshold`.

    Returns:
        `(H, W)` bool.

    Raises:
        KerasxaiError: The heatmap is not `(H, W)`, or the threshold lies outside [0, 1) or is no rule.

    Example:
        >>> heatmap_to_mask([[0.0, 0.1, 0.5, 1.0]]).tolist()
        [[False, False, True, True]]
    """
    fraction = chosen_threshold(heatmap, threshold)
    values = checked_heatmap(heatmap)
    if not has_evidence(values):
        return np.zeros(values.shape, bool)
    return values > fraction * values.max()


def mask_to_boxes(mask: ArrayLike, largest: bool = True) -> NDArray[np.int64]:
    """Put a tight box around the 8-connected components of a mask.

    Args:
        mask: `(H, W)` bool.
        largest: Only the component of most pixels (of equals, the one whose first pixel comes first, row by row);
            otherwise all, the largest first.

    Returns:
        `(K, 4)` int64 pixels, x0, y0, x1, y1, with x1 and y1 exclusive; `(0, 4)` for an empty mask.

    Raises:
        KerasxaiError: The mask is not `(H, W)`.

    Example:
        >>> mask_to_boxes([[0, 1, 1], [0, 1, 0]]).tolist()
        [[1, 0, 3, 2]]
    """
    labels, count = scipy.ndimage.label(checked_heatmap(mask) != 0, structure=EIGHT_NEIGHBORS)
    if not count:
        return np.zeros((0, 4), np.int64)
    sizes = np.bincount(labels.ravel())[1:]
    boxes = np.array([[x.start, y.start, x.stop, y.stop] for y, x in scipy.ndimage.find_objects(labels)], np.int64)
    order = np.argsort(-sizes, kind="stable")  # Labels are numbered row by row.
    return boxes[order[:1] if largest else order]


def heatmap_to_boxes(
    heatmap: ArrayLike, threshold: float | str = BOX_THRESHOLD, largest: bool = True
) -> NDArray[np.int64]:
    """Put boxes around what lies above a fraction of the heatmap's maximum.

    Zhou et al. (2016, arXiv:1512.04150): keep what is above 20 % of the maximum and take the box around the largest
    connected component. Pixels that touch at a corner are connected. This is not the box program the authors released
    (a distance transform at three gray levels), and not the protocol "wsolevaluation" of `kerasxai.metrics`.

    Args:
        heatmap: `(H, W)`, any real numbers, not normalized.
        threshold: Fraction of the maximum, in [0, 1), or a rule of `chosen_threshold`; the comparison is strict.
        largest: Only the box of the component of most pixels; otherwise all, the largest first.

    Returns:
        `(K, 4)` int64 pixels, x0, y0, x1, y1, with x1 and y1 exclusive. `(0, 4)` where the heatmap points nowhere, as
        `heatmap_to_mask` says.

    Raises:
        KerasxaiError: The heatmap is not `(H, W)`, or the threshold lies outside [0, 1) or is no rule.

    Example:
        >>> heatmap_to_boxes([[0.0, 0.0, 0.0], [0.0, 0.9, 1.0]]).tolist()
        [[1, 1, 3, 2]]
    """
    return mask_to_boxes(heatmap_to_mask(heatmap, threshold), largest)

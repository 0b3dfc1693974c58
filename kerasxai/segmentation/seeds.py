"""Seeds of a segmentation: the class maps of an image joined to one label map, and their mean IoU at all thresholds.

Each map is divided by its maximum. Where no class is above a threshold, the label is the background; elsewhere it is
the class with the largest value. AffinityNet (Ahn and Kwak 2018, arXiv:1803.10464) gives the background the score
`(1 - max)^power` instead: as the largest value rises, this score falls, so that a power is a threshold, see
`threshold_of`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from kerasxai.localization import has_evidence
from kerasxai.metrics.base import Metric, Result
from kerasxai.metrics.inputs import BACKGROUND, IGNORE, checked_heatmaps, checked_thresholds
from kerasxai.metrics.resizing import resize
from kerasxai.metrics.segmentation import MOST_CLASSES, checked_label_maps, iou_figures
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import real, whole

THRESHOLDS = tuple(round(0.01 * number, 2) for number in range(1, 100))
"""Background thresholds of a sweep."""


def threshold_of(power: float) -> float:
    """Return the threshold `t` at which the background's score `(1 - t)^power` equals the largest class value.

    Args:
        power: Above 0; a larger one gives less background.

    Example:
        >>> round(threshold_of(4.0), 4)
        0.2755
    """
    exponent = real("power", power, above=0)
    return float(brentq(lambda t: t - (1 - t) ** exponent, 0.0, 1.0))


def power_of(threshold: float) -> float:
    """Return the power of the background's score that has the same effect as a threshold in (0, 1).

    Example:
        >>> round(power_of(0.5), 4)
        1.0
    """
    value = real("threshold", threshold, 0, 1)
    return float(np.log(value) / np.log1p(-value))


def normalized(maps: ArrayLike | Sequence[ArrayLike], size: tuple[int, int] | None = None) -> NDArray[np.float64]:
    """Return class maps resized, clipped at 0, and each divided by its maximum; one without evidence is 0 everywhere.

    Args:
        maps: `(K, h, w)`, one map for each class, not normalized.
        size: Height and width of the result; None for those of the maps.

    Returns:
        `(K, H, W)` in [0, 1].
    """
    checked = checked_heatmaps(maps)
    if not checked and size is None:
        raise KerasxaiError("expected a size for an image without class maps, got None")
    resized = [np.maximum(resize(one, size or (one.shape[0], one.shape[1])), 0) for one in checked]
    scaled = [one / one.max() if has_evidence(one) else np.zeros_like(one) for one in resized]
    return np.stack(scaled) if scaled else np.zeros((0, *(size or (0, 0))))


def label_map(
    maps: ArrayLike | Sequence[ArrayLike],
    classes: ArrayLike,
    *,
    threshold: float | None = None,
    power: float | None = None,
    size: tuple[int, int] | None = None,
) -> NDArray[np.uint8]:
    """Join the maps of an image's classes to one label map.

    Args:
        maps: `(K, h, w)`, one map for each class, not normalized; K may be 0 if there is a size.
        classes: `(K,)` the classes of the maps.
        threshold: Share of each map's maximum, in [0, 1), up to which a pixel is background.
        power: In place of a threshold: the power of the background's score `(1 - max)^power`, above 0.
        size: Height and width of the result; None for those of the maps.

    Returns:
        `(H, W)` uint8: 0 background, c + 1 for class c.

    Raises:
        KerasxaiError: Shapes or numbers do not fit, or there is not one of threshold and power.

    Example:
        >>> label_map([[[0.0, 0.2, 2.0]], [[3.0, 0.0, 1.0]]], [4, 0], threshold=0.3).tolist()
        [[1, 0, 5]]
    """
    if power is not None and threshold is None:
        level = threshold_of(power)
    elif threshold is not None and power is None:
        level = float(checked_thresholds([threshold])[0])
    else:
        raise KerasxaiError(f"expected either threshold or power, got threshold={threshold} and power={power}")
    scores = normalized(maps, size)
    highest, labels = _highest(scores, _checked_classes(classes, len(scores), MOST_CLASSES))
    return np.where(highest > level, labels, BACKGROUND).astype(np.uint8)


class SeedIoU(Metric):
    """Mean IoU of the label maps made of class maps, at all background thresholds at once.

    For each threshold the same as `SegmentationIoU` of the label maps of `label_map`, from one pass in bounded memory.
    The literature chooses the threshold on training images, and keeps it for others: `result(threshold)`.

    Args:
        num_classes: Number of classes without the background, at most 254.
        thresholds: Rising, in [0, 1).

    Example:
        >>> metric = SeedIoU(2, thresholds=[0.1, 0.5])
        >>> metric.update([[[0.0, 0.2, 1.0]]], [0], [[0, 0, 1]])
        >>> metric.result()["threshold"], metric.result()["mean_iou"]
        (0.5, 1.0)
    """

    def __init__(self, num_classes: int, thresholds: Sequence[float] = THRESHOLDS) -> None:
        whole("num_classes", num_classes, 1, MOST_CLASSES)
        self.thresholds = checked_thresholds(thresholds)
        super().__init__(num_classes=int(num_classes), thresholds=self.thresholds.tolist())
        # By the number of thresholds that are exceeded.
        steps = np.zeros(len(self.thresholds) + 1, np.int64)
        by_class = np.zeros((num_classes, len(steps)), np.int64)
        self.totals = {
            "hits": by_class,
            "predicted": by_class.copy(),
            "background": steps,
            "truths": np.zeros(num_classes + 1, np.int64),
            "images": np.zeros(1, np.int64),
        }

    def update(self, maps: ArrayLike | Sequence[ArrayLike], classes: ArrayLike, class_mask: ArrayLike) -> None:
        """Count one image.

        Args:
            maps: `(K, h, w)`, one map for each class of the image, not normalized; resized to the mask. K may be 0.
            classes: `(K,)` the classes of the maps.
            class_mask: `(H, W)` the true labels: 0 background, c + 1 for class c, 255 ignored.

        Raises:
            KerasxaiError: Shapes or numbers do not fit; nothing is counted then.
        """
        count, steps = self.options["num_classes"], len(self.thresholds) + 1
        (mask,) = checked_label_maps("class_mask", [class_mask], count)
        scores = normalized(maps, (mask.shape[0], mask.shape[1]))
        highest, labels = _highest(scores, _checked_classes(classes, len(scores), count))
        counted = mask != IGNORE
        truth, found = mask[counted].astype(np.int64), labels[counted]
        exceeded = np.searchsorted(self.thresholds, highest[counted])
        # Pixels without a class exceed no threshold: their row, -1, is never read.
        cell, right = (found - 1) * steps + exceeded, truth == found
        chosen = found > BACKGROUND
        self.add(
            hits=np.bincount(cell[right & chosen], minlength=count * steps).reshape(count, steps),
            predicted=np.bincount(cell[chosen], minlength=count * steps).reshape(count, steps),
            background=np.bincount(exceeded[truth == BACKGROUND], minlength=steps),
            truths=np.bincount(truth, minlength=count + 1),
            images=1,
        )

    def result(self, threshold: float | None = None) -> Result:
        """Return the figures at one threshold.

        Args:
            threshold: One of the thresholds of the sweep; None for that with the highest mean IoU, the lowest of
                several.

        Returns:
            `mean_iou`, the IoU of the `background` and `by_class` (None for a class neither in the masks nor
            predicted), the `threshold`, the `power` with the same effect, the `curve` with `thresholds` and `mean_iou`,
            and the number of `images`.

        Raises:
            KerasxaiError: Nothing was counted, or the sweep has no such threshold.
        """
        pixels = self.counted("truths", "pixel that is not ignored")
        figures = [self._figures(index, pixels) for index in range(len(self.thresholds))]
        curve = [figure["mean_iou"] for figure in figures]
        best = int(np.argmax(curve)) if threshold is None else self._index(threshold)
        level = float(self.thresholds[best])
        return Result(
            **figures[best],
            threshold=level,
            power=power_of(level) if level else None,
            curve={"thresholds": self.thresholds.tolist(), "mean_iou": curve},
            images=int(self.totals["images"][0]),
        )

    def _index(self, threshold: float) -> int:
        near = np.flatnonzero(np.isclose(self.thresholds, threshold, rtol=0, atol=1e-9))
        if not len(near):
            raise KerasxaiError(f"threshold must be one of {self.thresholds.tolist()}, got {threshold}")
        return int(near[0])

    def _figures(self, index: int, pixels: int) -> Result:
        """Return the figures at the threshold of an index: pixels that exceed more thresholds have their class."""
        hits = self.totals["hits"][:, index + 1 :].sum(1)
        predicted = self.totals["predicted"][:, index + 1 :].sum(1)
        background = self.totals["background"][: index + 1].sum()
        return iou_figures(
            np.append(background, hits), np.append(pixels - predicted.sum(), predicted), self.totals["truths"]
        )


def _highest(scores: NDArray[np.float64], classes: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the largest score of each pixel, and the label of its class; of equal scores the first map's."""
    if not len(scores):
        return np.zeros(scores.shape[1:]), np.zeros(scores.shape[1:], np.int64)
    return scores.max(0), classes[scores.argmax(0)] + 1


def _checked_classes(classes: ArrayLike, count: int, num_classes: int) -> NDArray[np.int64]:
    array = np.asarray(classes)
    if array.shape != (count,) or (count and array.dtype.kind not in "iu") or len(np.unique(array)) != count:
        raise KerasxaiError(f"expected a different class for each of {count} maps, got {classes!r}")
    if count and not (array.min() >= 0 and array.max() < num_classes):
        raise KerasxaiError(f"classes must be from 0 to {num_classes - 1}, got {array}")
    return array.astype(np.int64)

"""Average precision of boxes, as in object detection on PASCAL VOC."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.metrics.base import CollectingMetric, Result
from kerasxai.metrics.boxes import box_iou
from kerasxai.metrics.classification import unique_names
from kerasxai.tools.errors import KerasxaiError


@dataclass(frozen=True)
class ImageBoxes:
    """The boxes of one image: those found, or the true ones.

    Attributes:
        boxes: `(K, 4)` x0, y0, x1, y1 in pixels, x1 and y1 exclusive.
        classes: `(K,)`.
        scores: `(K,)` confidences of found boxes.
        difficult: `(K,)` bool, which of the true boxes are difficult; None: none.
    """

    boxes: ArrayLike
    classes: ArrayLike
    scores: ArrayLike | None = None
    difficult: ArrayLike | None = None


class BoxAveragePrecision(CollectingMetric):
    """Mean over the classes of the average precision of their boxes, AP50 at the default IoU.

    The rule of PASCAL VOC since 2010 (Everingham et al. 2015, doi:10.1007/s11263-014-0733-5): boxes are ranked by
    score; each is compared with the true box of its class that it meets best, which can be found once, and further
    finds are errors; a find of a difficult box is neither right nor wrong. The area under the precision-recall curve
    takes at each recall the highest precision at this or any higher recall. Departures: IoU of half-open boxes instead
    of inclusive pixels, and boxes of equal scores count as one step, so that their order is without effect.

    Args:
        iou_threshold: A find is at least this.
        class_names: One for each class, keys of the result; None: class numbers.

    Example:
        >>> metric = BoxAveragePrecision()
        >>> metric.update(
        ...     ImageBoxes([[0, 0, 4, 4], [8, 8, 9, 9]], classes=[0, 0], scores=[0.9, 0.8]),
        ...     ImageBoxes([[0, 0, 4, 5], [5, 5, 6, 6]], classes=[0, 0]),
        ... )
        >>> float(metric.result())
        0.5
    """

    kept = ("classes", "scores", "right")

    def __init__(self, iou_threshold: float = 0.5, class_names: Sequence[str] | None = None) -> None:
        if not 0 < iou_threshold <= 1:
            raise KerasxaiError(f"iou_threshold must be a number in (0, 1], got {iou_threshold}")
        names = None if class_names is None else [str(name) for name in class_names]
        super().__init__(iou_threshold=float(iou_threshold), class_names=names)
        self.totals["images"] = np.zeros(1, np.int64)
        self.totals["positives"] = np.zeros(len(names) if names else 1, np.int64)

    def update(self, found: ImageBoxes, true: ImageBoxes) -> None:
        """Count one image.

        Args:
            found: With `scores`.
            true: All true boxes of the image.

        Raises:
            KerasxaiError: Shapes do not fit; nothing is counted then.
        """
        if found.scores is None:
            raise KerasxaiError("scores must be given for each found box, got None")
        boxes, classes = _checked(found)
        truths, true_classes = _checked(true)
        scores = _each("scores", found.scores, len(boxes)).astype(np.float64)
        if not np.isfinite(scores).all():
            raise KerasxaiError(f"scores must be finite, got {scores.tolist()}")
        hard = (
            np.zeros(len(truths), bool) if true.difficult is None else _each("difficult", true.difficult, len(truths))
        )
        hard = hard.astype(bool)
        right, counted = np.zeros(len(boxes), bool), np.ones(len(boxes), bool)
        ious = box_iou(boxes, truths) * (classes[:, None] == true_classes)
        taken = np.zeros(len(truths), bool)
        for number in np.argsort(-scores, kind="stable") if len(truths) else ():
            best = int(ious[number].argmax())
            if ious[number, best] < self.options["iou_threshold"]:
                continue
            counted[number] = not hard[best]
            right[number] = not hard[best] and not taken[best]
            taken[best] = True
        self.add(
            classes=classes[counted],
            scores=scores[counted],
            right=right[counted],
            positives=np.bincount(true_classes[~hard], minlength=1),
            images=1,
        )

    def result(self) -> Result:
        """Return `box_average_precision`, its parts `by_class` and the number of `images`.

        Classes without a true box are left out.

        Raises:
            KerasxaiError: There is no true box.
        """
        self.counted("positives", "true box")
        positives = self.totals["positives"]
        names = unique_names(self.options["class_names"], len(positives))
        found = {}
        for number in np.flatnonzero(positives):
            its = self.totals["classes"] == number
            found[names[number]] = average_precision(
                self.totals["scores"][its], self.totals["right"][its].astype(bool), int(positives[number])
            )
        mean = float(np.mean(list(found.values())))
        return Result(box_average_precision=mean, by_class=found, images=int(self.totals["images"][0]))


def average_precision(scores: NDArray[np.float64], right: NDArray[np.bool_], positives: int) -> float:
    """Return the area under the precision-recall curve, with the highest precision at this or any higher recall.

    Args:
        scores: `(M,)`.
        right: `(M,)` bool.
        positives: Number of true boxes, at least 1.
    """
    if not len(scores):
        return 0.0
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))
    hits = np.cumsum(right[order])[last]
    precision = np.maximum.accumulate((hits / (last + 1))[::-1])[::-1]
    return float((np.diff(hits, prepend=0) / positives * precision).sum())


def _checked(given: ImageBoxes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    boxes = np.asarray(given.boxes, np.float64)
    boxes = boxes.reshape(0, 4) if not boxes.size else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise KerasxaiError(f"expected finite boxes of shape (K, 4), got {boxes.tolist()}")
    classes = _each("classes", given.classes, len(boxes))
    if len(classes) and (classes.dtype.kind not in "iu" or classes.min() < 0):
        raise KerasxaiError(f"classes must be whole numbers from 0, got {classes.tolist()}")
    return boxes, classes.astype(np.int64)


def _each(name: str, values: ArrayLike, count: int) -> NDArray:
    array = np.asarray(values)
    if array.shape != (count,):
        raise KerasxaiError(f"{name} must have one entry for each of {count} boxes, got shape {array.shape}")
    return array

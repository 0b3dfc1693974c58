"""Mean intersection over union of label maps of several classes and background."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.metrics.base import Metric, Result
from kerasxai.metrics.inputs import IGNORE
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import whole

LabelMaps = ArrayLike | Sequence[ArrayLike]
"""`(B, H, W)`, or a list of `(H, W)` of any sizes: 0 background, c + 1 for class c."""
MOST_CLASSES = 254
"""Label maps have 8 bits, of which 0 is the background and 255 ignored."""


class SegmentationIoU(Metric):
    """Mean IoU of label maps and true masks, with the background as a class, as on PASCAL VOC.

    Pixels of all images are counted in one confusion matrix; the IoU of a class is `TP / (TP + FP + FN)`, and the mean
    is over the background and all classes of the data set (Everingham et al. 2010, doi:10.1007/s11263-009-0275-4). A
    class that is neither in the masks nor predicted has no IoU and is left out of the mean; one that is only predicted
    counts with 0. Pixels with 255 in the mask are ignored.

    Args:
        num_classes: Number of classes without the background, at most 254.

    Example:
        >>> metric = SegmentationIoU(2)
        >>> metric.update([[[0, 1, 2]]], [[[0, 1, 1]]])
        >>> metric.result()["by_class"]
        [0.5, 0.0]
    """

    def __init__(self, num_classes: int) -> None:
        whole("num_classes", num_classes, 1, MOST_CLASSES)
        super().__init__(num_classes=int(num_classes))
        side = num_classes + 1
        self.totals = {"confusion": np.zeros((side, side), np.int64), "images": np.zeros(1, np.int64)}

    def update(self, predicted: LabelMaps, class_masks: LabelMaps) -> None:
        """Count a batch.

        Args:
            predicted: `(B, H, W)`, or a list of `(H, W)`: 0 background, c + 1 for class c.
            class_masks: The true masks, of the same sizes; 255 is ignored.

        Raises:
            KerasxaiError: Shapes or numbers do not fit; nothing is counted then.
        """
        classes = self.options["num_classes"]
        maps = checked_label_maps("predicted", predicted, classes, ignore=False)
        masks = checked_label_maps("class_masks", class_masks, classes)
        if [one.shape for one in maps] != [one.shape for one in masks]:
            raise KerasxaiError(
                f"expected a class mask of the same size for each label map, got {_shapes(maps)} and {_shapes(masks)}"
            )
        side, counts = classes + 1, np.zeros((classes + 1) ** 2, np.int64)
        for one, mask in zip(maps, masks, strict=True):
            counted = mask != IGNORE
            pairs = mask[counted].astype(np.int64) * side + one[counted]
            counts += np.bincount(pairs, minlength=side * side)
        self.add(confusion=counts.reshape(side, side), images=len(maps))

    @property
    def confusion(self) -> NDArray[np.int64]:
        """The number of pixels, `(classes + 1, classes + 1)`: rows are the true labels, columns the predicted ones."""
        return self.totals["confusion"]

    def result(self) -> Result:
        """Return `mean_iou`, the IoU of the `background` and `by_class`, `pixel_accuracy`, and the number of `images`.

        A class without an IoU is None.
        """
        pixels = self.counted("confusion", "pixel that is not ignored")
        hits = np.diag(self.confusion)
        figures = iou_figures(hits, self.confusion.sum(0), self.confusion.sum(1))
        return Result(**figures, pixel_accuracy=float(hits.sum() / pixels), images=int(self.totals["images"][0]))


def iou_figures(hits: NDArray[np.int64], predicted: NDArray[np.int64], truths: NDArray[np.int64]) -> Result:
    """Return the mean IoU and its parts from pixel counts `(classes + 1,)`, the background first."""
    union = predicted + truths - hits
    ious = [float(hit / total) if total else None for hit, total in zip(hits, union, strict=True)]
    known = [iou for iou in ious if iou is not None]
    return Result(mean_iou=float(np.mean(known)), background=ious[0], by_class=ious[1:])


def checked_label_maps(
    name: str, label_maps: LabelMaps, num_classes: int, ignore: bool = True
) -> list[NDArray[np.uint8]]:
    """Return label maps as a list of `(H, W)` uint8.

    Args:
        name: Name of the argument, for the message.
        label_maps: `(B, H, W)`, or a list of `(H, W)`.
        num_classes: Number of classes without the background.
        ignore: Whether 255 is allowed.

    Raises:
        KerasxaiError: The shapes or the numbers are wrong.
    """
    try:
        maps = [np.asarray(one) for one in label_maps]  # type: ignore[union-attr]
    except TypeError:
        raise KerasxaiError(f"{name} must be label maps (B, H, W), got {type(label_maps).__name__}") from None
    for one in maps:
        if one.ndim != 2 or not one.size or one.dtype.kind not in "iu":
            raise KerasxaiError(f"{name} must be label maps (B, H, W) of integers, got {one.dtype} {one.shape} in it")
        valid = (one >= 0) & (one <= num_classes)
        strange = one[~(valid | (one == IGNORE)) if ignore else ~valid]
        if strange.size:
            rule = f"0 for the background and 1 to {num_classes} for the classes" + ", 255 for ignored" * ignore
            raise KerasxaiError(f"{name} must be {rule}, got {strange.ravel()[0]}")
    return [one.astype(np.uint8) for one in maps]


def _shapes(maps: list[NDArray[np.uint8]]) -> str:
    return ", ".join(map(str, dict.fromkeys(one.shape for one in maps))) or "none"

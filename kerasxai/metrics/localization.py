"""Metrics that compare the boxes of heatmaps with true boxes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.metrics.base import Metric, Result
from kerasxai.metrics.batch import BatchMeasure
from kerasxai.metrics.box_protocol import BoxProtocol
from kerasxai.metrics.inputs import (
    IGNORE,
    OBJECT,
    Heatmaps,
    ImageSize,
    checked_boxes,
    checked_count,
    checked_heatmaps,
    checked_masks,
    checked_thresholds,
    ranks,
    size_for,
)
from kerasxai.metrics.protocols import protocol_of
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import BOX_THRESHOLD

IOU_LEVELS = (30, 50, 70)


def grid_of(protocol: BoxProtocol, thresholds: ArrayLike | None, threshold: float | None = None) -> NDArray[np.float64]:
    """Return the thresholds to sweep: those given, or the protocol's own, and `threshold` among them."""
    grid = protocol.thresholds if thresholds is None else checked_thresholds(thresholds)
    if threshold is None:
        return grid
    checked_thresholds([threshold])
    near = np.isclose(grid, threshold, rtol=0, atol=1e-9)
    return grid if near.any() else np.sort(np.append(grid, threshold))


def index_of(grid: NDArray[np.float64], threshold: float) -> int:
    """Return the index of a threshold in the grid."""
    index = int(np.abs(grid - threshold).argmin())
    if not np.isclose(grid[index], threshold, rtol=0, atol=1e-9):
        raise KerasxaiError(f"expected a threshold of the sweep, got {threshold}; the nearest is {grid[index]:g}")
    return index


class BoxMetric(Metric):
    """A metric of best IoUs over a sweep of thresholds.

    Args:
        protocol: `"kerasxai"`: bilinear resizing, threshold as a fraction of the maximum, largest component by pixels,
            half-open boxes, a map without evidence has no box. `"wsolevaluation"`: Choe et al.'s pipeline to the
            last bit (cubic resizing, min-max, 8 bits, contours, inclusive IoU).
        thresholds: Rising, in [0, 1); None for the protocol's own (0.01 apart, or the reference's 0.001).
    """

    every = False

    def __init__(self, protocol: str = "kerasxai", thresholds: ArrayLike | None = None, **options: Any) -> None:
        given = None if thresholds is None else checked_thresholds(thresholds).tolist()
        self.protocol = protocol_of(protocol)
        super().__init__(protocol=protocol, thresholds=given, **options)
        self.grid = grid_of(self.protocol, given, options.get("threshold"))
        self.totals = {"images": np.zeros(1, int), "skipped": np.zeros(1, int)}

    def ious(
        self, heatmaps: Heatmaps, boxes: Sequence[ArrayLike] | NDArray, image_size: ImageSize
    ) -> NDArray[np.float64]:
        """Return `(B, T)` best IoUs; NaN for an image without any box of positive area."""
        maps = checked_heatmaps(heatmaps)
        checked_count("boxes", boxes, len(maps))
        sizes = [size_for(heatmap, image_size, self.protocol) for heatmap in maps]
        truths = [checked_boxes(truth, size, self.protocol) for truth, size in zip(boxes, sizes, strict=True)]
        rows = [
            self.protocol.best_ious(heatmap, truth, self.grid, size, self.every)
            if len(truth)
            else np.full(len(self.grid), np.nan)
            for heatmap, truth, size in zip(maps, truths, sizes, strict=True)
        ]
        return np.reshape(rows, (len(maps), len(self.grid)))


class MaxBoxAcc(BoxMetric):
    """Share of images whose box meets the truth, at the threshold that is best for the same images.

    Choe et al. (2020, arXiv:2001.07437). One box an image: the largest component's. Mind that the threshold is chosen
    on the images that are measured: an upper bound, not what a user gets. In percent, as the literature prints it.

    Args:
        protocol: As in `BoxMetric`.
        thresholds: As in `BoxMetric`.

    Example:
        >>> metric = MaxBoxAcc()
        >>> metric.update(np.eye(4)[None], [[[0, 0, 4, 4]]])
        >>> float(metric.result())
        100.0
    """

    def __init__(self, protocol: str = "kerasxai", thresholds: ArrayLike | None = None) -> None:
        super().__init__(protocol, thresholds)
        self.totals["hits"] = np.zeros((len(IOU_LEVELS), len(self.grid)), int)

    def update(self, heatmaps: Heatmaps, boxes: Sequence[ArrayLike], image_size: ImageSize = None) -> None:
        """Count a batch.

        Args:
            heatmaps: `(B, h, w)` or a list of `(h, w)`, of the true classes, not normalized.
            boxes: For each image `(k, 4)` x0, y0, x1, y1 in pixels of `image_size`; an image without a box is skipped
                and counted as skipped.
            image_size: One side or (height, width); None for the heatmap's own size (224 for `"wsolevaluation"`).

        Raises:
            KerasxaiError: Shapes or numbers do not fit; nothing is counted then.
        """
        self.count(self.ious(heatmaps, boxes, image_size))

    def count(self, ious: NDArray[np.float64]) -> None:
        """Count best IoUs `(B, T)`; a row of NaN is skipped."""
        known = ious[~np.isnan(ious).any(axis=1)]
        hits = np.stack([(known >= level / 100).sum(axis=0) for level in IOU_LEVELS])
        self.add(hits=hits, images=len(known), skipped=len(ious) - len(known))

    def count_batch(self, batch: BatchMeasure) -> None:
        """Count a batch that was checked before."""
        self.count(batch.ious(self.protocol, self.grid, self.every))

    def result(self) -> Result:
        """Return percents (`max_box_acc` is at IoU 0.5), the best thresholds, and the curves as fractions."""
        curves = self.totals["hits"] / self.counted()
        best = 100 * curves.max(axis=1)
        entries: dict[str, Any] = self.headline(best)
        for level, accuracy, curve in zip(IOU_LEVELS, best, curves, strict=True):
            entries[f"max_box_acc_{level}"] = float(accuracy)
            entries[f"best_threshold_{level}"] = float(self.grid[curve.argmax()])
            entries[f"curve_{level}"] = curve.tolist()
        entries |= {"thresholds": self.grid.tolist()}
        return Result(entries | {name: int(self.totals[name][0]) for name in ("images", "skipped")})

    def headline(self, best: NDArray[np.float64]) -> dict[str, Any]:
        """Return the first entry of the result."""
        return {"max_box_acc": float(best[IOU_LEVELS.index(50)])}


class MaxBoxAccV2(MaxBoxAcc):
    """The mean of MaxBoxAcc at IoU 0.3, 0.5 and 0.7, where any box of an image may be the one that meets the truth.

    Choe et al. (2020, arXiv:2007.04178). The threshold is chosen for each IoU on the images that are measured, and the
    best box for each image: more optimistic still. With `"wsolevaluation"` the boxes around holes count too, as the
    reference's contours do; with `"kerasxai"` only those of components.

    Args:
        protocol: As in `BoxMetric`.
        thresholds: As in `BoxMetric`.

    Example:
        >>> metric = MaxBoxAccV2(protocol="wsolevaluation")
        >>> metric.update(np.eye(4)[None], [[[0, 0, 3, 3]]], image_size=4)
        >>> float(metric.result())
        100.0
    """

    every = True

    def headline(self, best: NDArray[np.float64]) -> dict[str, Any]:
        """Return the first entry of the result."""
        return {"max_box_acc_v2": float(best.mean())}


class GTKnownLoc(BoxMetric):
    """Share of images whose true class's heatmap gives a box that meets the truth, at one threshold.

    The box of the largest component above 20 % of the maximum (Zhou et al. 2016, arXiv:1512.04150), IoU at least 0.5
    with any true box. The whole curve is kept: choose `best_threshold` on validation images, and take
    `at(threshold)` on test images. Fractions, not percents.

    Args:
        threshold: In [0, 1).
        iou_threshold: A hit is at least this.
        protocol: As in `BoxMetric`.
        thresholds: As in `BoxMetric`.

    Example:
        >>> metric = GTKnownLoc()
        >>> metric.update(np.eye(4)[None], [[[0, 0, 4, 3]]])
        >>> metric.result()["gt_known_loc"]
        1.0
    """

    def __init__(
        self,
        threshold: float = BOX_THRESHOLD,
        iou_threshold: float = 0.5,
        protocol: str = "kerasxai",
        thresholds: ArrayLike | None = None,
    ) -> None:
        super().__init__(protocol, thresholds, threshold=float(threshold), iou_threshold=float(iou_threshold))
        if not 0 < iou_threshold <= 1:
            raise KerasxaiError(f"iou_threshold must be a number in (0, 1], got {iou_threshold}")
        self.totals["hits"] = np.zeros(len(self.grid), int)

    def update(self, heatmaps: Heatmaps, boxes: Sequence[ArrayLike], image_size: ImageSize = None) -> None:
        """Count a batch; arguments and errors as in `MaxBoxAcc.update`."""
        self.count(self.ious(heatmaps, boxes, image_size))

    def count(self, ious: NDArray[np.float64]) -> None:
        """Count best IoUs `(B, T)` found elsewhere, at the thresholds of `grid`; a row of NaN is skipped."""
        known = ious[~np.isnan(ious).any(axis=1)]
        hits = (known >= self.options["iou_threshold"]).sum(axis=0)
        self.add(hits=hits, images=len(known), skipped=len(ious) - len(known))

    def count_batch(self, batch: BatchMeasure) -> None:
        """Count a batch that was checked before."""
        self.count(batch.ious(self.protocol, self.grid))

    def at(self, threshold: float) -> float:
        """Return the share of hits at a threshold of the grid."""
        return float(self.totals["hits"][index_of(self.grid, threshold)] / self.counted())

    def result(self) -> Result:
        """Return `gt_known_loc` at the threshold, the best threshold (the lowest of equals) and the curve."""
        curve = self.totals["hits"] / self.counted()
        return Result(
            gt_known_loc=self.at(self.options["threshold"]),
            threshold=self.options["threshold"],
            best_threshold=float(self.grid[curve.argmax()]),
            best_gt_known_loc=float(curve.max()),
            thresholds=self.grid.tolist(),
            curve=curve.tolist(),
            images=int(self.totals["images"][0]),
            skipped=int(self.totals["skipped"][0]),
        )


class TopKLoc(BoxMetric):
    """Share of images where the true class is among the k highest scores and its heatmap's box meets the truth.

    The heatmaps are of the TRUE class. Top-k Loc takes the box of a correct prediction, and only the true class is
    correct, so both are the same as long as a class's map does not depend on the prediction (for ACoL, explain with the
    true label). Fractions, not percents.

    Args:
        k: The k's.
        threshold: In [0, 1).
        iou_threshold: A hit is at least this.
        protocol: As in `BoxMetric`.
        thresholds: As in `BoxMetric`.

    Example:
        >>> metric = TopKLoc()
        >>> metric.update(np.eye(4)[None], [[[0, 0, 4, 4]]], scores=[[0.3, 0.7]], labels=[0])
        >>> metric.result()["top1_loc"], metric.result()["top5_loc"]
        (0.0, 1.0)
    """

    def __init__(
        self,
        k: Sequence[int] = (1, 5),
        threshold: float = BOX_THRESHOLD,
        iou_threshold: float = 0.5,
        protocol: str = "kerasxai",
        thresholds: ArrayLike | None = None,
    ) -> None:
        if not all(isinstance(top, int) and top > 0 for top in k) or not k:
            raise KerasxaiError(f"k must be numbers of classes such as (1, 5), got {k!r}")
        options = {"k": list(k), "threshold": float(threshold), "iou_threshold": float(iou_threshold)}
        super().__init__(protocol, thresholds, **options)
        self.totals |= {"hits": np.zeros((len(k), len(self.grid)), int), "right": np.zeros(len(k), int)}

    def update(
        self,
        heatmaps: Heatmaps,
        boxes: Sequence[ArrayLike],
        scores: ArrayLike,
        labels: ArrayLike,
        image_size: ImageSize = None,
    ) -> None:
        """Count a batch.

        Args:
            heatmaps: As in `MaxBoxAcc.update`; of the true classes.
            boxes: As in `MaxBoxAcc.update`.
            scores: `(B, classes)` logits or probabilities.
            labels: `(B,)` true classes.
            image_size: As in `MaxBoxAcc.update`.

        Raises:
            KerasxaiError: Shapes or numbers do not fit; nothing is counted then.
        """
        ious = self.ious(heatmaps, boxes, image_size)
        self.count(ious, ranks(scores, labels, len(ious)))

    def count(self, ious: NDArray[np.float64], place: NDArray[np.int64]) -> None:
        """Count best IoUs `(B, T)` found elsewhere and the ranks `(B,)` of the true classes among the scores."""
        known = ~np.isnan(ious).any(axis=1)
        within = place[known] < np.array(self.options["k"])[:, None]
        # Both conditions must hold for the same image.
        hits = np.einsum("kb,bt->kt", within.astype(int), (ious[known] >= self.options["iou_threshold"]).astype(int))
        self.add(hits=hits, right=within.sum(axis=1), images=known.sum(), skipped=(~known).sum())

    def count_batch(self, batch: BatchMeasure) -> None:
        """Count a batch that was checked before."""
        self.count(batch.ious(self.protocol, self.grid), batch.ranks)

    def result(self) -> Result:
        """Return `topK_loc` at the threshold, at its best threshold, and `topK_accuracy`, for each k."""
        images = self.counted()
        column = index_of(self.grid, self.options["threshold"])
        result = Result()
        for k, hits, right in zip(self.options["k"], self.totals["hits"], self.totals["right"], strict=True):
            result[f"top{k}_loc"] = float(hits[column] / images)
            result[f"top{k}_accuracy"] = float(right / images)
            result[f"top{k}_best_loc"] = float(hits.max() / images)
            result[f"top{k}_best_threshold"] = float(self.grid[hits.argmax()])
        return Result(result | {name: int(self.totals[name][0]) for name in ("images", "skipped")})


class MeanIoU(BoxMetric):
    """Mean IoU of the heatmap's box with the true box that it meets best, or of its mask with the true mask.

    Args:
        threshold: In [0, 1).
        of: `"boxes"` or `"masks"`.
        protocol: As in `BoxMetric`.

    Example:
        >>> metric = MeanIoU()
        >>> metric.update(np.eye(4)[None], [[[0, 0, 4, 2]]])
        >>> float(metric.result())
        0.5
    """

    def __init__(self, threshold: float = BOX_THRESHOLD, of: str = "boxes", protocol: str = "kerasxai") -> None:
        if of not in ("boxes", "masks"):
            raise KerasxaiError(f"expected of='boxes' or of='masks', got {of!r}")
        super().__init__(protocol, None, threshold=float(threshold), of=of)
        self.options.pop("thresholds")
        self.grid = checked_thresholds([threshold])
        self.totals["sum"] = np.zeros(1)

    def update(self, heatmaps: Heatmaps, truth: Sequence[ArrayLike] | NDArray, image_size: ImageSize = None) -> None:
        """Count a batch.

        Args:
            heatmaps: As in `MaxBoxAcc.update`.
            truth: Boxes as in `MaxBoxAcc.update`, or masks `(B, H, W)` with 1 object, 0 background, 255 ignore; an
                image without an object is skipped.
            image_size: As in `MaxBoxAcc.update`; masks bring their own size.

        Raises:
            KerasxaiError: Shapes or numbers do not fit; nothing is counted then.
        """
        if self.options["of"] == "boxes":
            ious = self.ious(heatmaps, truth, image_size)[:, 0]
        else:
            ious = self.mask_ious(heatmaps, truth)
        self.count(ious)

    def count(self, ious: NDArray[np.float64]) -> None:
        """Count IoUs `(B,)`; NaN is skipped."""
        known = ious[~np.isnan(ious)]
        self.add(sum=known.sum(), images=len(known), skipped=len(ious) - len(known))

    def count_batch(self, batch: BatchMeasure) -> None:
        """Count a batch that was checked before."""
        if self.options["of"] == "boxes":
            self.count(batch.ious(self.protocol, self.grid)[:, 0])
        elif "object" in batch.masks:
            self.count(self.mask_ious(batch.maps, batch.masks["object"]))

    def mask_ious(self, heatmaps: Heatmaps, truth: Sequence[ArrayLike] | NDArray) -> NDArray[np.float64]:
        """Return `(B,)` IoUs of masks; NaN where there is no object."""
        maps = checked_heatmaps(heatmaps)
        masks = checked_masks(np.asarray(truth), len(maps))
        ious = np.full(len(maps), np.nan)
        for index, (heatmap, mask) in enumerate(zip(maps, masks, strict=True)):
            found = self.protocol.mask_at(heatmap, self.options["threshold"], mask.shape) & (mask != IGNORE)
            if (mask == OBJECT).any():
                ious[index] = (found & (mask == OBJECT)).sum() / (found | (mask == OBJECT)).sum()
        return ious

    def result(self) -> Result:
        """Return `mean_iou`."""
        entries = {name: int(self.totals[name][0]) for name in ("images", "skipped")}
        return Result(mean_iou=float(self.totals["sum"][0] / self.counted()), **entries)

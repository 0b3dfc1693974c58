"""The pointing games: whether the highest values of a heatmap are on the object."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.metrics.base import Metric, Result
from kerasxai.metrics.batch import BatchMeasure
from kerasxai.metrics.inputs import (
    IGNORE,
    OBJECT,
    Heatmaps,
    ImageSize,
    checked_boxes,
    checked_count,
    checked_heatmaps,
    checked_labels,
    checked_masks,
    painted,
    size_for,
)
from kerasxai.metrics.kerasxai_protocol import bilinear_map
from kerasxai.metrics.protocols import KERASXAI
from kerasxai.tools.errors import KerasxaiError

Region = tuple[NDArray[np.float64], NDArray[np.uint8]]


def regions_of(batch: BatchMeasure) -> list[Region]:
    """Return the regions of a batch with boxes, as `regions` does."""
    return [
        (bilinear_map(heatmap, size), painted(boxes, size))
        for heatmap, size, boxes in zip(batch.maps, batch.sizes, batch.boxes, strict=True)
    ]


def regions(
    heatmaps: Heatmaps, boxes: Sequence[ArrayLike] | None, masks: ArrayLike | None, image_size: ImageSize
) -> list[Region]:
    """Return for each image the heatmap at the image's size and the object as a mask `(H, W)`."""
    maps = checked_heatmaps(heatmaps)
    if (boxes is None) == (masks is None):
        raise KerasxaiError(f"expected either boxes or masks, got {'neither' if boxes is None else 'both'}")
    if masks is not None:
        objects = list(checked_masks(masks, len(maps)))
    else:
        assert boxes is not None
        checked_count("boxes", boxes, len(maps))
        sizes = [size_for(heatmap, image_size, KERASXAI) for heatmap in maps]
        objects = [painted(checked_boxes(box, size, KERASXAI), size) for box, size in zip(boxes, sizes, strict=True)]
    return [(bilinear_map(heatmap, mask.shape), mask) for heatmap, mask in zip(maps, objects, strict=True)]


def hits(heatmap: NDArray[np.float64], mask: NDArray[np.uint8], tolerance: float) -> bool:
    """Return whether any pixel of the mask is closer than `tolerance` to the heatmap's first highest pixel."""
    if heatmap.max() <= 0:
        return False
    top, left = np.unravel_index(heatmap.argmax(), heatmap.shape)
    rows, columns = np.nonzero(mask == OBJECT)
    squared = (rows - top) ** 2 + (columns - left) ** 2
    return bool(((squared < tolerance**2) | (squared == 0)).any())


class PointingGame(Metric):
    """Share of images whose heatmap's highest pixel is on the object, or less than 15 pixels away.

    Zhang et al. (2018, arXiv:1608.00507), with the rule of TorchRay: a hit where any pixel of the object is nearer than
    the tolerance, strictly. Where several pixels are highest, the first row by row is the point. A map without
    evidence is a miss. Boxes are rounded to whole pixels.

    Args:
        tolerance: In pixels of the image; 0 requires the pixel itself.

    Example:
        >>> metric = PointingGame(tolerance=0)
        >>> metric.update([[[0.0, 1.0], [0.0, 0.0]]], [[[1, 0, 2, 1]]])
        >>> float(metric.result())
        1.0
    """

    def __init__(self, tolerance: float = 15) -> None:
        if not tolerance >= 0:
            raise KerasxaiError(f"tolerance must be a number of pixels from 0, got {tolerance}")
        super().__init__(tolerance=float(tolerance))
        self.totals = {name: np.zeros(1, int) for name in ("hits", "images", "skipped")}
        self.totals["classes"] = np.zeros((1, 2), int)

    def update(
        self,
        heatmaps: Heatmaps,
        boxes: Sequence[ArrayLike] | None = None,
        masks: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        image_size: ImageSize = None,
    ) -> None:
        """Count a batch.

        Args:
            heatmaps: `(B, h, w)` or a list of `(h, w)`, of the true classes; resized bilinearly to the image.
            boxes: For each image `(k, 4)` x0, y0, x1, y1 in pixels; or
            masks: `(B, H, W)` with 1 object, 0 background, 255 ignore. An image without an object is skipped.
            labels: `(B,)`, for the mean over classes.
            image_size: One side or (height, width) that the boxes belong to; None for the heatmap's own.

        Raises:
            KerasxaiError: Shapes or numbers do not fit; nothing is counted then.
        """
        self.count(regions(heatmaps, boxes, masks, image_size), labels)

    def count_batch(self, batch: BatchMeasure) -> None:
        """Count a batch that was checked before."""
        self.count(regions_of(batch), batch.labels)

    def count(self, pairs: list[Region], labels: ArrayLike | None = None) -> None:
        """Count heatmaps and objects as `regions` returns them."""
        classes = np.zeros(len(pairs), int) if labels is None else checked_labels(labels, len(pairs))
        known = np.array([(mask == OBJECT).any() for _, mask in pairs], bool)
        hit = np.array([hits(heatmap, mask, self.options["tolerance"]) for heatmap, mask in pairs], bool) & known
        by_class = np.stack([np.bincount(classes[hit], minlength=1 + classes.max(initial=0))] * 2, axis=1)
        by_class[:, 1] = np.bincount(classes[known], minlength=len(by_class))
        self.add(classes=by_class, hits=hit.sum(), images=known.sum(), skipped=(~known).sum())

    def result(self) -> Result:
        """Return `pointing_game`, the share of hits, and `by_class_mean`, the mean of the classes' shares."""
        images = self.counted()
        hit, images_of_class = self.totals["classes"][self.totals["classes"][:, 1] > 0].T
        return Result(
            pointing_game=float(self.totals["hits"][0] / images),
            by_class_mean=float((hit / images_of_class).mean()),
            images=images,
            skipped=int(self.totals["skipped"][0]),
        )


class PointingGameByClass(Metric):
    """The pointing game for several classes an image, as on PASCAL VOC and COCO: the mean of the classes' shares.

    Zhang et al. (2018, arXiv:1608.00507): each class of each image has a heatmap, whose highest pixel is a hit as in
    `PointingGame`. The subset `difficult` are pairs of image and class that `is_difficult_pair` describes. As in
    TorchRay, leave out pairs whose boxes are all marked difficult in the data set. Departure: classes without a pair
    are left out of the mean.

    Args:
        tolerance: In pixels of the image; the literature's 15 are of the original image.

    Example:
        >>> metric = PointingGameByClass(tolerance=0)
        >>> heatmaps = [[[0.0, 1.0], [0.0, 0.0]]] * 2
        >>> metric.update(heatmaps, labels=[0, 1], difficult=[False, True], boxes=[[[1, 0, 2, 1]], [[0, 1, 1, 2]]])
        >>> metric.result()["pointing_game"], metric.result()["pointing_game_difficult"]
        (0.5, 0.0)
    """

    def __init__(self, tolerance: float = 15) -> None:
        if not tolerance >= 0:
            raise KerasxaiError(f"tolerance must be a number of pixels from 0, got {tolerance}")
        super().__init__(tolerance=float(tolerance))
        # (C, 4): hits and pairs, hits and pairs of the difficult subset.
        self.totals = {"classes": np.zeros((1, 4), np.int64), "skipped": np.zeros(1, np.int64)}

    def update(
        self,
        heatmaps: Heatmaps,
        labels: ArrayLike,
        difficult: ArrayLike,
        boxes: Sequence[ArrayLike] | None = None,
        masks: ArrayLike | None = None,
        image_size: ImageSize = None,
    ) -> None:
        """Count pairs of image and class.

        Args:
            heatmaps: `(R, h, w)` or a list of `(h, w)`, each of the class of its pair.
            labels: `(R,)` the classes.
            difficult: `(R,)` bool, which pairs are in the difficult subset.
            boxes: For each pair `(k, 4)` the boxes of the class, in pixels; or
            masks: `(R, H, W)` with 1 where the class is, 0 elsewhere, 255 ignore. A pair without either is skipped.
            image_size: One side or (height, width) that the boxes belong to; None for the heatmap's own.

        Raises:
            KerasxaiError: Shapes or numbers do not fit; nothing is counted then.
        """
        pairs = regions(heatmaps, boxes, masks, image_size)
        classes, hard = checked_labels(labels, len(pairs)), np.asarray(difficult)
        checked_count("difficult", hard, len(pairs))
        known = np.array([(mask == OBJECT).any() for _, mask in pairs], bool)
        hit = np.array([hits(heatmap, mask, self.options["tolerance"]) for heatmap, mask in pairs], bool)
        self.count_hits(classes[known], hit[known], hard.astype(bool)[known], int((~known).sum()))

    def count_hits(
        self, labels: NDArray[np.int64], hit: NDArray[np.bool_], difficult: NDArray[np.bool_], skipped: int = 0
    ) -> None:
        """Count pairs whose hits `(R,)` are known."""
        length = 1 + labels.max(initial=0)
        groups = (hit, np.ones(len(labels), bool), hit & difficult, difficult)
        counts = np.stack([np.bincount(labels[group], minlength=length) for group in groups], axis=1)
        self.add(classes=counts, skipped=skipped)

    def result(self) -> Result:
        """Return the figures of all pairs and of the difficult subset.

        Returns:
            `pointing_game`, the mean of the classes' shares of hits, `by_class` from class numbers to shares, and
            `pairs`; `pointing_game_difficult`, `by_class_difficult` and `pairs_difficult`, the first None if the subset
            is empty; `skipped`.

        Raises:
            KerasxaiError: Nothing was counted.
        """
        counts = self.totals["classes"]
        if not counts[:, 1].any():
            raise KerasxaiError("PointingGameByClass: expected a pair with a box, got none; there is no result")
        result = Result()
        for suffix, (right, pairs) in {"": counts[:, :2].T, "_difficult": counts[:, 2:].T}.items():
            shares = {int(number): float(right[number] / pairs[number]) for number in np.flatnonzero(pairs)}
            result[f"pointing_game{suffix}"] = float(np.mean(list(shares.values()))) if shares else None
            result[f"by_class{suffix}"] = shares
            result[f"pairs{suffix}"] = int(pairs.sum())
        return Result(result | {"skipped": int(self.totals["skipped"][0])})


def is_difficult_pair(boxes: NDArray[np.float64], size: tuple[int, int], other_classes: bool) -> bool:
    """Return whether a pair of image and class is in the difficult subset of the pointing game.

    Zhang et al. (2018, arXiv:1608.00507): the boxes of the class have less than a quarter of the image's area in total,
    and the image has another class as well.

    Args:
        boxes: `(k, 4)` boxes of the class in pixels.
        size: `(H, W)` of the image.
        other_classes: Whether the image has another class.

    Example:
        >>> is_difficult_pair(np.array([[0, 0, 4, 5]]), (10, 10), True)
        True
    """
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1).sum()
    return other_classes and bool(area < size[0] * size[1] / 4)


class EnergyPointingGame(Metric):
    """Share of the heatmap's positive values on the object, as a mean over images.

    Wang et al. (2020, arXiv:1910.01279). Negative values are clipped; a map without evidence scores 0; ignored
    pixels do not count. The authors' program swaps x and y of the box; this one does not.

    Example:
        >>> metric = EnergyPointingGame()
        >>> metric.update([[[1.0, 3.0], [0.0, -2.0]]], [[[1, 0, 2, 1]]])
        >>> float(metric.result())
        0.75
    """

    def __init__(self) -> None:
        super().__init__()
        self.totals = {"sum": np.zeros(1), "images": np.zeros(1, int), "skipped": np.zeros(1, int)}

    def update(
        self,
        heatmaps: Heatmaps,
        boxes: Sequence[ArrayLike] | None = None,
        masks: ArrayLike | None = None,
        image_size: ImageSize = None,
    ) -> None:
        """Count a batch; arguments and errors as in `PointingGame.update`."""
        self.count(regions(heatmaps, boxes, masks, image_size))

    def count_batch(self, batch: BatchMeasure) -> None:
        """Count a batch that was checked before."""
        self.count(regions_of(batch))

    def count(self, pairs: list[Region]) -> None:
        """Count heatmaps and objects as `regions` returns them."""
        shares = [energy(heatmap, mask) for heatmap, mask in pairs if (mask == OBJECT).any()]
        self.add(sum=sum(shares), images=len(shares), skipped=len(pairs) - len(shares))

    def result(self) -> Result:
        """Return `energy_pointing_game` in [0, 1]."""
        images = self.counted()
        skipped = int(self.totals["skipped"][0])
        return Result(energy_pointing_game=float(self.totals["sum"][0] / images), images=images, skipped=skipped)


def energy(heatmap: NDArray[np.float64], mask: NDArray[np.uint8]) -> float:
    """Return the share of positive values within the mask."""
    positive = np.where(mask == IGNORE, 0, np.maximum(heatmap, 0))
    total = positive.sum()
    return float(positive[mask == OBJECT].sum() / total) if total > 0 else 0.0

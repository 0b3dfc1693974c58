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

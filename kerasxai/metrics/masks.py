"""Metrics that compare heatmaps with true masks."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.metrics.base import Metric, Result
from kerasxai.metrics.batch import BatchMeasure
from kerasxai.metrics.inputs import (
    BACKGROUND,
    IGNORE,
    OBJECT,
    Heatmaps,
    checked_heatmaps,
    checked_masks,
    checked_thresholds,
)
from kerasxai.metrics.protocols import protocol_of
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import BOX_THRESHOLD

INTERVAL = 0.001


class PxAP(Metric):
    """Pixel average precision: every pixel of every image is one example, its heatmap value the score.

    Choe et al. (2020, arXiv:2001.07437). Scores are counted in bins 0.001 wide over the whole data set; precision is
    summed over the steps of recall. In percent, as the literature prints it. A map without evidence scores zero on
    all its pixels, which gives the share of object pixels. `"wsolevaluation"` stretches each map between its minimum
    and maximum, `"kerasxai"` divides by the maximum and clips negative values.

    Args:
        protocol: `"kerasxai"` or `"wsolevaluation"`.

    Example:
        >>> metric = PxAP()
        >>> metric.update([[[0.0, 0.2, 1.0]]], [[[0, 0, 1]]])
        >>> float(metric.result())
        100.0
    """

    def __init__(self, protocol: str = "kerasxai") -> None:
        self.protocol = protocol_of(protocol)
        super().__init__(protocol=protocol)
        self.edges = np.append(np.arange(0, 1, INTERVAL), [1.0, 2.0, 3.0])
        empty = np.zeros(len(self.edges) - 1, int)
        self.totals = {"positives": empty, "negatives": empty, "images": np.zeros(1, int)}

    def update(self, heatmaps: Heatmaps, masks: ArrayLike) -> None:
        """Count a batch.

        Args:
            heatmaps: `(B, h, w)` or a list of `(h, w)`; resized to the masks.
            masks: `(B, H, W)` with 1 object, 0 background, 255 ignore; ignored pixels count as neither.

        Raises:
            KerasxaiError: Shapes or numbers do not fit; nothing is counted then.
        """
        maps = checked_heatmaps(heatmaps)
        checked = checked_masks(masks, len(maps))
        counts = np.zeros((2, len(self.edges) - 1), int)
        for heatmap, mask in zip(maps, checked, strict=True):
            scores = self.protocol.to_unit_map(heatmap, mask.shape)
            for row, kind in enumerate((OBJECT, BACKGROUND)):
                counts[row] += np.histogram(scores[mask == kind], bins=self.edges)[0]
        self.add(positives=counts[0], negatives=counts[1], images=len(maps))

    def count_batch(self, batch: BatchMeasure) -> None:
        """Count a batch that was checked before."""
        if "object" in batch.masks:
            self.update(batch.maps, batch.masks["object"])

    def result(self) -> Result:
        """Return `pxap` in percent."""
        positives = self.counted("positives", "object pixel")
        true = np.cumsum(self.totals["positives"][::-1])
        false = np.cumsum(self.totals["negatives"][::-1])
        precision = true / np.maximum(true + false, 1)
        # The highest bin, [2, 3], is empty: every step of recall counts.
        value = 100 * float((precision[1:] * np.diff(true / positives)).sum())
        return Result(pxap=value, images=int(self.totals["images"][0]), object_pixels=positives)


class MaskCoverage(Metric):
    """Recall and precision of the pixels above a threshold with respect to a mask.

    For the whole object or for parts of it: ACoL (Zhang et al. 2018, arXiv:1804.06962) is meant to cover more than the
    most discriminative part, which `recall` of the other parts shows and metrics of boxes do not. Means over images. A
    map that marks nothing has recall and precision 0; an image without the part does not count for that part.

    Args:
        thresholds: In [0, 1): fractions of the maximum for `"kerasxai"`, of the stretched 8-bit map for
            `"wsolevaluation"`.
        protocol: `"kerasxai"` or `"wsolevaluation"`.

    Example:
        >>> metric = MaskCoverage()
        >>> metric.update([[[0.0, 0.4, 1.0]]], {"body": [[[0, 1, 1]]]})
        >>> metric.result()["body"]["recall"]
        {'0.2': 1.0, '0.5': 0.5}
    """

    def __init__(self, thresholds: Sequence[float] = (BOX_THRESHOLD, 0.5), protocol: str = "kerasxai") -> None:
        grid = checked_thresholds(thresholds).tolist()
        self.protocol = protocol_of(protocol)
        super().__init__(thresholds=grid, protocol=protocol)

    def update(self, heatmaps: Heatmaps, masks: ArrayLike | Mapping[str, ArrayLike]) -> None:
        """Count a batch.

        Args:
            heatmaps: `(B, h, w)` or a list of `(h, w)`; resized to the masks.
            masks: `(B, H, W)` with 1 object, 0 background, 255 ignore; or a dict of such, by the name of the part.

        Raises:
            KerasxaiError: Shapes or numbers do not fit; nothing is counted then.
        """
        maps = checked_heatmaps(heatmaps)
        named: Mapping[str, ArrayLike] = masks if isinstance(masks, Mapping) else {"object": masks}
        checked = {name: checked_masks(mask, len(maps)) for name, mask in named.items()}
        shapes = {mask.shape[1:] for mask in checked.values()}
        if len(shapes) != 1:
            raise KerasxaiError(f"masks of all parts must have one size, got {sorted(shapes)}")
        amounts = {name: np.zeros((3, len(self.options["thresholds"]))) for name in checked}
        for index, heatmap in enumerate(maps):
            marked = [
                self.protocol.mask_at(heatmap, threshold, next(iter(shapes)))
                for threshold in self.options["thresholds"]
            ]
            for name, mask in checked.items():
                amounts[name] += coverage(np.stack(marked), mask[index])
        self.add(**amounts)

    def count_batch(self, batch: BatchMeasure) -> None:
        """Count a batch that was checked before."""
        if batch.masks and batch.maps:
            self.update(batch.maps, batch.masks)

    def result(self) -> Result:
        """Return for each name `recall` and `precision` by threshold, and the number of `images`."""
        result = Result()
        for name, (recall, precision, images) in self.totals.items():
            count = int(images[0])
            if count:
                result[name] = {"recall": self.keyed(recall / count), "precision": self.keyed(precision / count)}
                result[name]["images"] = count
        if not result:
            raise KerasxaiError("MaskCoverage: expected at least one object pixel, got none; there is no result")
        return result

    def keyed(self, values: NDArray[np.float64]) -> dict[str, float]:
        """Return values by their threshold."""
        return {f"{key:g}": float(value) for key, value in zip(self.options["thresholds"], values, strict=True)}


def coverage(marked: NDArray[np.bool_], mask: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return `(3, T)` recall, precision and 1 for marks `(T, H, W)`; zeros where the mask has no object."""
    part = mask == OBJECT
    if not part.any():
        return np.zeros((3, len(marked)))
    common = (marked & part).sum(axis=(1, 2))
    counted = (marked & (mask != IGNORE)).sum(axis=(1, 2))
    return np.stack([common / part.sum(), common / np.maximum(counted, 1), np.ones(len(marked))])

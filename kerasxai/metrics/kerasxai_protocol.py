"""The protocol `"kerasxai"`, in agreement with `kerasxai.localization.heatmap_to_boxes`."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.localization import checked_heatmap, has_evidence
from kerasxai.metrics.box_protocol import BoxProtocol, Levels, winners
from kerasxai.metrics.boxes import box_iou
from kerasxai.metrics.components import components_of
from kerasxai.metrics.resizing import resize


def bilinear_map(heatmap: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
    """Resize a heatmap bilinearly and keep its values; one without evidence becomes all zeros.

    Args:
        heatmap: `(h, w)`, any real numbers.
        size: `(H, W)`.
    """
    values = checked_heatmap(heatmap)
    if not has_evidence(values):
        return np.zeros(size)
    values = resize(values, size)
    return values if has_evidence(values) else np.zeros(size)


def largest_by_pixels(levels: NDArray[np.integer], heights: NDArray, count: int) -> NDArray[np.int64]:
    """Return `(count, 4)`, the box of the component with most pixels at each level, the first of equals; or zeros."""
    found = components_of(levels, heights, count)
    # One number for both criteria: the size, and among equal sizes the earlier first pixel.
    return winners(found, found.size * levels.size + (levels.size - 1 - found.first), count)


class KerasxaiProtocol(BoxProtocol):
    """Bilinear resizing, thresholds as fractions of the maximum, half-open boxes, the plain IoU."""

    name = "kerasxai"
    thresholds = np.arange(100) / 100

    def to_map(self, heatmap: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
        """Resize a heatmap bilinearly, see `bilinear_map`."""
        return bilinear_map(heatmap, size)

    def to_unit_map(self, heatmap: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
        """Resize a heatmap, cut off negative values and divide by the maximum."""
        values = self.to_map(heatmap, size)
        highest = values.max()
        return np.maximum(values, 0) / highest if highest > 0 else values

    def levels(self, heatmap: ArrayLike, thresholds: NDArray[np.float64], size: tuple[int, int]) -> Levels:
        """Count for each pixel the thresholds that its value exceeds."""
        heights = self.to_map(heatmap, size)
        # A map without evidence is all zeros by now, so that even a threshold of 0 marks none of its pixels.
        steps = np.searchsorted(thresholds * heights.max(), heights.ravel(), side="left").reshape(size)
        return Levels(steps, heights, len(thresholds), np.arange(len(thresholds)))

    def choose_boxes(self, levels: Levels) -> NDArray[np.int64]:
        """Return the box of the component with most pixels at each level."""
        return largest_by_pixels(levels.steps, levels.heights, levels.count)

    def all_boxes(self, levels: Levels) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Return level and box of all components."""
        found = components_of(levels.steps, levels.heights, levels.count)
        return found.level, found.boxes

    def iou(self, boxes: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
        """Return the IoU of half-open boxes."""
        return box_iou(boxes, truth)

    def true_boxes(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Leave out boxes without area."""
        return boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]

"""The protocol `"wsolevaluation"`."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.metrics.box_protocol import BoxProtocol, Levels
from kerasxai.metrics.boxes import box_iou
from kerasxai.metrics.wsol.contours import contours_of, largest_by_contour
from kerasxai.metrics.wsol.maps import reference_map

HIGHEST = 255  # An 8-bit map has no more distinct thresholds, however fine the grid.


class WsolProtocol(BoxProtocol):
    """Cubic resizing, min-max, 8 bits, contours clipped to the last pixel, and an IoU that counts the end pixel."""

    name = "wsolevaluation"
    default_size = (224, 224)
    thresholds = np.arange(0, 1, 0.001)
    always_has_box = True
    resizes_method_maps = True
    reports_max_box_acc = True

    def to_map(self, heatmap: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
        """Resize a heatmap and stretch it to [0, 1], see `reference_map`."""
        return reference_map(heatmap, size)

    def to_unit_map(self, heatmap: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
        """Resize a heatmap and stretch it to [0, 1], see `reference_map`."""
        return reference_map(heatmap, size)

    def levels(self, heatmap: ArrayLike, thresholds: NDArray[np.float64], size: tuple[int, int]) -> Levels:
        """Quantize the map to 8 bits; a threshold is a fraction of its highest value, without decimals."""
        heights = self.to_map(heatmap, size)
        bits = (heights * HIGHEST).astype(np.uint8)
        return Levels(bits.astype(np.intp), heights, HIGHEST, (thresholds * bits.max()).astype(np.intp))

    def choose_boxes(self, levels: Levels) -> NDArray[np.int64]:
        """Return the box of the largest contour area at each level."""
        return self.clip(largest_by_contour(levels.steps, levels.heights, levels.count), levels.steps.shape)

    def all_boxes(self, levels: Levels) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Return level and box of all contours, those of holes included."""
        level, boxes = contours_of(levels.steps, levels.heights, levels.count)
        return level, self.clip(boxes, levels.steps.shape)

    def iou(self, boxes: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
        """Return the IoU of boxes whose end pixel counts."""
        return box_iou(boxes, truth, inclusive=True)

    def true_boxes(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Cut off fractions and leave out rows of zeros; a box that ends where it begins is one pixel wide."""
        return np.trunc(boxes[boxes.any(axis=1)])

    def clip(self, boxes: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.int64]:
        """Clip x1 and y1 to the last pixel, as the reference does although they are exclusive."""
        return np.minimum(boxes, [size[1], size[0], size[1] - 1, size[0] - 1])

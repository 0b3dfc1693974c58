"""The interface of a box protocol: from a heatmap to boxes at every threshold, and the comparison of two boxes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.metrics.components import Components


@dataclass(frozen=True)
class Levels:
    """A heatmap in steps, so that one pass finds the boxes at every threshold.

    Attributes:
        steps: `(H, W)` integers in [0, count]; a pixel belongs to the object at level k where `steps > k`.
        heights: `(H, W)` the values that were quantized, which only decide which way is uphill.
        count: Number of levels.
        index: `(T,)` the level of each threshold.
    """

    steps: NDArray[np.integer]
    heights: NDArray
    count: int
    index: NDArray[np.intp]


class BoxProtocol(ABC):
    """How a heatmap becomes boxes and how a box is compared with the truth.

    A subclass defines the steps; the sweeps over thresholds below are built from them.

    Attributes:
        name: The name by which metrics choose the protocol.
        default_size: Image size `(H, W)` if none is given; None for the size of the heatmap.
        thresholds: Default thresholds of a sweep.
        always_has_box: Whether an empty mask still has a box, `[0, 0, 0, 0]`.
        resizes_method_maps: Whether the protocol does the resizing, so that methods must not resize their maps.
        reports_max_box_acc: Whether an evaluation includes MaxBoxAcc and MaxBoxAccV2.
    """

    name: str
    default_size: tuple[int, int] | None = None
    thresholds: NDArray[np.float64]
    always_has_box = False
    resizes_method_maps = False
    reports_max_box_acc = False

    @abstractmethod
    def to_map(self, heatmap: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
        """Resize a heatmap `(h, w)` to `(H, W)`; one without evidence becomes all zeros."""

    @abstractmethod
    def to_unit_map(self, heatmap: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
        """Resize a heatmap and scale it to [0, 1]."""

    @abstractmethod
    def levels(self, heatmap: ArrayLike, thresholds: NDArray[np.float64], size: tuple[int, int]) -> Levels:
        """Quantize a heatmap for thresholds `(T,)`, fractions of the maximum."""

    @abstractmethod
    def choose_boxes(self, levels: Levels) -> NDArray[np.int64]:
        """Return `(count, 4)`, the box of the largest component at each level; zeros if there is none."""

    @abstractmethod
    def all_boxes(self, levels: Levels) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Return the level `(M,)` and the box `(M, 4)` of all components at all levels."""

    @abstractmethod
    def iou(self, boxes: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
        """Return the intersection over union `(K, L)` of K boxes with L true boxes."""

    @abstractmethod
    def true_boxes(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the true boxes that count, without padding."""

    def clip(self, boxes: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.int64]:
        """Clip boxes to an image of `size`."""
        return boxes

    def largest_boxes(
        self, heatmap: ArrayLike, thresholds: NDArray[np.float64], size: tuple[int, int]
    ) -> NDArray[np.int64]:
        """Return the box of the largest component at every threshold.

        Args:
            heatmap: `(h, w)`, any real numbers.
            thresholds: `(T,)` rising, in [0, 1): fractions of the maximum.
            size: `(H, W)` of the image.

        Returns:
            `(T, 4)` int64 x0, y0, x1, y1; zeros where no pixel is above the threshold.
        """
        levels = self.levels(heatmap, thresholds, size)
        return self.choose_boxes(levels)[levels.index]

    def best_ious(
        self,
        heatmap: ArrayLike,
        boxes: ArrayLike,
        thresholds: NDArray[np.float64],
        size: tuple[int, int],
        every: bool = False,
    ) -> NDArray[np.float64]:
        """Return the best IoU of the heatmap's boxes with any true box, at every threshold.

        Args:
            heatmap: `(h, w)`, any real numbers.
            boxes: `(K, 4)` true boxes, K > 0, in pixels of `size`.
            thresholds: As in `largest_boxes`.
            size: `(H, W)` of the image.
            every: Compare the boxes of all components, not of the largest alone.

        Returns:
            `(T,)` float64.
        """
        levels = self.levels(heatmap, thresholds, size)
        if not every:
            return self.iou(self.choose_boxes(levels)[levels.index], boxes).max(axis=1)
        level, candidates = self.all_boxes(levels)
        best = np.zeros(levels.count)
        # A level without components has the box of an empty mask, which is one pixel under an inclusive IoU.
        best[np.bincount(level, minlength=levels.count) == 0] = self.iou([[0, 0, 0, 0]], boxes).max()
        np.maximum.at(best, level, self.iou(candidates, boxes).max(axis=1))
        return best[levels.index]

    def mask_at(self, heatmap: ArrayLike, threshold: float, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the mask `(H, W)` of pixels above one threshold."""
        levels = self.levels(heatmap, np.array([threshold]), size)
        return levels.steps > levels.index[0]


def winners(found: Components, score: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return `(count, 4)`, the box of highest score at each level (scores differ within a level), or zeros."""
    starts = np.searchsorted(found.level, np.arange(count + 1))
    occupied = np.flatnonzero(starts[1:] > starts[:-1])
    best = np.zeros(count, np.int64)
    # `reduceat` returns a single element for an empty slice, so empty levels are left out.
    best[occupied] = np.maximum.reduceat(score, starts[occupied]) if len(occupied) else 0
    entries = np.flatnonzero(score == best[found.level])
    boxes = np.zeros((count, 4), np.int64)
    boxes[found.level[entries]] = found.boxes[entries]
    return boxes

"""Deprecated: boxes at many thresholds are found by the protocols of `kerasxai.metrics.protocols`."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.metrics.kerasxai_protocol import largest_by_pixels
from kerasxai.metrics.protocols import WSOL, protocol_of
from kerasxai.metrics.wsol.contours import contour_area, contours_of, largest_by_contour
from kerasxai.metrics.wsol.protocol import HIGHEST as LEVELS
from kerasxai.tools.deprecation import warn_deprecated

__all__ = [
    "LEVELS",
    "best_ious",
    "boxes_at",
    "clipped",
    "contour_area",
    "contours_of",
    "largest_boxes",
    "largest_by_contour",
    "largest_by_pixels",
    "mask_at",
]

warn_deprecated("kerasxai.metrics.sweep", "kerasxai.metrics.protocols.protocol_of(...)")


def clipped(boxes: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.int64]:
    """Deprecated: use `WSOL.clip`."""
    return WSOL.clip(boxes, size)


def largest_boxes(
    heatmap: ArrayLike, thresholds: NDArray[np.float64], size: tuple[int, int], protocol: str = "kerasxai"
) -> NDArray[np.int64]:
    """Deprecated: use `protocol_of(...).largest_boxes`."""
    return protocol_of(protocol).largest_boxes(heatmap, thresholds, size)


def best_ious(
    heatmap: ArrayLike,
    boxes: ArrayLike,
    thresholds: NDArray[np.float64],
    size: tuple[int, int],
    protocol: str = "kerasxai",
    every: bool = False,
) -> NDArray[np.float64]:
    """Deprecated: use `protocol_of(...).best_ious`."""
    return protocol_of(protocol).best_ious(heatmap, boxes, thresholds, size, every)


def mask_at(
    heatmap: ArrayLike, threshold: float, size: tuple[int, int], protocol: str = "kerasxai"
) -> NDArray[np.bool_]:
    """Deprecated: use `protocol_of(...).mask_at`."""
    return protocol_of(protocol).mask_at(heatmap, threshold, size)


def boxes_at(
    heatmap: ArrayLike, threshold: float, size: tuple[int, int], protocol: str = "kerasxai", every: bool = False
) -> NDArray[np.int64]:
    """Deprecated: return the boxes `(K, 4)` at one threshold, see `protocol_of(...).largest_boxes` and `all_boxes`."""
    chosen = protocol_of(protocol)
    levels = chosen.levels(heatmap, np.array([threshold]), size)
    if not (levels.steps > levels.index[0]).any():
        return np.zeros((int(chosen.always_has_box), 4), np.int64)
    if not every:
        return chosen.choose_boxes(levels)[levels.index]
    level, boxes = chosen.all_boxes(levels)
    return boxes[level == levels.index[0]]

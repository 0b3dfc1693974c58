"""The boxes that a heatmap gives at many thresholds."""

import numpy as np
import scipy.ndimage
from numpy.typing import ArrayLike, NDArray

from kerasxai.localization import EIGHT_NEIGHBORS
from kerasxai.metrics.components import Components, components_of, holes_of
from kerasxai.metrics.protocols import box_iou, own_map, reference_map

LEVELS = 255  # An 8-bit map has no more distinct thresholds, however fine the grid.


def contour_area(component: NDArray[np.bool_]) -> int:
    """Twice the area of the polygon through the centers of a component's outer border pixels, as `cv2.contourArea`.

    Holes are filled where they are closed for 4-neighbors (`regionprops` fills for 8-neighbors, which differs).

    Args:
        component: `(H, W)` bool, one 8-connected component.
    """
    filled = scipy.ndimage.binary_fill_holes(component).astype(np.int8)
    blocks = filled[:-1, :-1] + filled[:-1, 1:] + filled[1:, :-1] + filled[1:, 1:]
    return int(2 * (blocks == 4).sum() + (blocks == 3).sum())


def winners(found: Components, score: NDArray[np.int64], count: int) -> NDArray[np.intp]:
    """Returns `(count,)` the entry of highest score at each level (scores differ within a level), -1 where none is."""
    starts = np.searchsorted(found.level, np.arange(count + 1))
    held = np.flatnonzero(starts[1:] > starts[:-1])
    best = np.zeros(count, np.int64)
    best[held] = np.maximum.reduceat(score, starts[held]) if len(held) else 0
    winner = np.full(count, -1)
    entries = np.flatnonzero(score == best[found.level])
    winner[found.level[entries]] = entries
    return winner


def largest_by_pixels(levels: NDArray[np.integer], heights: NDArray, count: int) -> NDArray[np.int64]:
    """Returns `(count, 4)`: at each level the box of the component of most pixels; of equals, the first; or zeros."""
    found = components_of(levels, heights, count)
    winner = winners(found, found.size * levels.size + (levels.size - 1 - found.first), count)
    boxes = np.zeros((count, 4), np.int64)
    boxes[winner >= 0] = found.boxes[winner[winner >= 0]]
    return boxes


def largest_by_contour(levels: NDArray[np.integer], heights: NDArray, count: int) -> NDArray[np.int64]:
    """Returns `(count, 4)`: at each level the box of the component of largest contour area; of equals, the last.

    The area counts holes as filled. Without holes it is known; with them only its bounds are, and those components are
    filled that could still win.
    """
    found = components_of(levels, heights, count, contour=True)
    area = found.size.copy()
    most = np.where(found.holes > 0, 2 * (found.boxes[:, 2:] - found.boxes[:, :2] - 1).prod(axis=1), area)
    floor = np.zeros(count, np.int64)
    np.maximum.at(floor, found.level, area)
    doubtful = np.flatnonzero((most > area) & (most >= floor[found.level]))
    rivals = np.bincount(found.level[most >= floor[found.level]], minlength=count)
    # Within a level, those that could be largest first.
    doubtful = doubtful[np.lexsort((-most[doubtful], found.level[doubtful]))]
    for entry in doubtful[rivals[found.level[doubtful]] > 1].tolist():
        level = found.level[entry]
        if most[entry] >= floor[level]:
            area[entry] = filled_area(levels, found, entry)
            floor[level] = max(floor[level], area[entry])
    winner = winners(found, area * levels.size + found.first, count)
    boxes = np.zeros((count, 4), np.int64)
    boxes[winner >= 0] = found.boxes[winner[winner >= 0]]
    return boxes


def filled_area(levels: NDArray[np.integer], found: Components, entry: int) -> int:
    """Returns the contour area of one component."""
    left, top, right, bottom = found.boxes[entry]
    mask = levels[top:bottom, left:right] > found.level[entry]
    labels, _ = scipy.ndimage.label(mask, structure=EIGHT_NEIGHBORS)
    return contour_area(labels == labels[0, found.first[entry] % levels.shape[1] - left])


def contours_of(
    levels: NDArray[np.integer], heights: NDArray, count: int
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Returns the level and the box of all contours: every component and every hole, whose contour runs around it."""
    found, holes = components_of(levels, heights, count), holes_of(levels, heights, count)
    return (
        np.concatenate([found.level, holes.level]),
        np.concatenate([found.boxes, holes.boxes + np.array([-1, -1, 1, 1])]),
    )


def clipped(boxes: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.int64]:
    """Clips x1 and y1 to the last pixel, as wsolevaluation does although they are exclusive."""
    return np.minimum(boxes, [size[1], size[0], size[1] - 1, size[0] - 1])


def quantized(
    heatmap: ArrayLike, thresholds: NDArray[np.float64], size: tuple[int, int], protocol: str
) -> tuple[NDArray[np.integer], NDArray[np.float64], int, NDArray[np.intp]]:
    """Returns levels, heights, their count, and for each threshold the level that it asks for."""
    if protocol == "wsolevaluation":
        heights = reference_map(heatmap, size)
        bits = (heights * 255).astype(np.uint8)
        return bits.astype(np.intp), heights, LEVELS, (thresholds * bits.max()).astype(np.intp)
    heights = own_map(heatmap, size)
    # A zero threshold must not reach below zero, and a map without evidence is all zeros.
    levels = np.searchsorted(thresholds * heights.max(), heights.ravel(), side="left").reshape(size)
    return levels, heights, len(thresholds), np.arange(len(thresholds))


def largest_boxes(
    heatmap: ArrayLike, thresholds: NDArray[np.float64], size: tuple[int, int], protocol: str = "kerasxai"
) -> NDArray[np.int64]:
    """Returns the box of the largest component at every threshold.

    Args:
        heatmap: `(h, w)`, any real numbers.
        thresholds: `(T,)` rising, in [0, 1): fractions of the maximum (of the 8-bit map for `"wsolevaluation"`).
        size: `(H, W)` the image's.
        protocol: `"kerasxai"` takes most pixels; `"wsolevaluation"` takes the largest contour area.

    Returns:
        `(T, 4)` int64 x0, y0, x1, y1; zeros where there is no box, which is an empty box in the one protocol and the
        first pixel in the other.
    """
    levels, heights, count, asked = quantized(heatmap, thresholds, size, protocol)
    if protocol == "wsolevaluation":
        return clipped(largest_by_contour(levels, heights, count), size)[asked]
    return largest_by_pixels(levels, heights, count)[asked]


def best_ious(
    heatmap: ArrayLike,
    boxes: ArrayLike,
    thresholds: NDArray[np.float64],
    size: tuple[int, int],
    protocol: str = "kerasxai",
    every: bool = False,
) -> NDArray[np.float64]:
    """Returns the best IoU of the heatmap's boxes with any true box, at every threshold.

    Args:
        heatmap: `(h, w)`, any real numbers.
        boxes: `(K, 4)` true boxes, K > 0, in pixels of `size`.
        thresholds: `(T,)` as in `largest_boxes`.
        size: `(H, W)` the image's.
        protocol: As in `largest_boxes`.
        every: Try all boxes, not the largest component's alone; `"wsolevaluation"` tries those of holes too.

    Returns:
        `(T,)` float64.
    """
    inclusive = protocol == "wsolevaluation"
    if not every:
        return box_iou(largest_boxes(heatmap, thresholds, size, protocol), boxes, inclusive).max(axis=1)
    levels, heights, count, asked = quantized(heatmap, thresholds, size, protocol)
    if inclusive:
        level, candidates = contours_of(levels, heights, count)
        candidates = clipped(candidates, size)
    else:
        found = components_of(levels, heights, count)
        level, candidates = found.level, found.boxes
    # Where nothing stands, the reference takes the first pixel; an empty box in the other protocol.
    best = np.zeros(count)
    if inclusive:
        best[np.bincount(level, minlength=count) == 0] = box_iou([[0, 0, 0, 0]], boxes, inclusive).max()
    np.maximum.at(best, level, box_iou(candidates, boxes, inclusive).max(axis=1))
    return best[asked]


def mask_at(
    heatmap: ArrayLike, threshold: float, size: tuple[int, int], protocol: str = "kerasxai"
) -> NDArray[np.bool_]:
    """Returns the mask `(H, W)` above one threshold; arguments as in `largest_boxes`."""
    levels, _, _, asked = quantized(heatmap, np.array([threshold]), size, protocol)
    return levels > asked[0]


def boxes_at(
    heatmap: ArrayLike, threshold: float, size: tuple[int, int], protocol: str = "kerasxai", every: bool = False
) -> NDArray[np.int64]:
    """Lists the boxes at one threshold; arguments as in `best_ious`.

    Returns:
        `(K, 4)` int64 in no particular order; K is 0 where nothing stands, but `"wsolevaluation"` then has the one box
        `[0, 0, 0, 0]`, its first pixel.
    """
    mask = mask_at(heatmap, threshold, size, protocol)
    reference = protocol == "wsolevaluation"
    if not mask.any():
        return np.zeros((int(reference), 4), np.int64)
    levels = mask.astype(np.intp)
    if every:
        boxes = contours_of(levels, levels, 1)[1] if reference else components_of(levels, levels, 1).boxes
    else:
        boxes = (largest_by_contour if reference else largest_by_pixels)(levels, levels, 1)
    return clipped(boxes, size) if reference else boxes

"""Boxes of contours, as `cv2.findContours` and `cv2.contourArea` give them."""

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from kerasxai.localization import EIGHT_NEIGHBORS
from kerasxai.metrics.box_protocol import winners
from kerasxai.metrics.components import Components, components_of, holes_of


def contour_area(component: NDArray[np.bool_]) -> int:
    """Return twice the area of the polygon through the centers of a component's outer border pixels.

    Holes are filled if they are closed for 4-neighbors (`regionprops` fills for 8-neighbors, which differs).

    Args:
        component: `(H, W)` bool, one 8-connected component.
    """
    filled = scipy.ndimage.binary_fill_holes(component).astype(np.int8)
    blocks = filled[:-1, :-1] + filled[:-1, 1:] + filled[1:, :-1] + filled[1:, 1:]
    return int(2 * (blocks == 4).sum() + (blocks == 3).sum())


def largest_by_contour(levels: NDArray[np.integer], heights: NDArray, count: int) -> NDArray[np.int64]:
    """Return `(count, 4)`, the box of the largest contour area at each level, the last of equals; or zeros.

    The area counts holes as filled. `components_of` knows it for components without holes; for those with holes it
    knows bounds, and only components that could still win are filled.
    """
    found = components_of(levels, heights, count, contour=True)
    area = found.size.copy()
    # With holes, the area lies between the one without them and that of the whole box.
    upper = np.where(found.holes > 0, 2 * (found.boxes[:, 2:] - found.boxes[:, :2] - 1).prod(axis=1), area)
    floor = np.zeros(count, np.int64)
    np.maximum.at(floor, found.level, area)
    uncertain = np.flatnonzero((upper > area) & (upper >= floor[found.level]))
    rivals = np.bincount(found.level[upper >= floor[found.level]], minlength=count)
    # The highest upper bound of a level first, so that it may rule out the others.
    uncertain = uncertain[np.lexsort((-upper[uncertain], found.level[uncertain]))]
    for entry in uncertain[rivals[found.level[uncertain]] > 1].tolist():
        level = found.level[entry]
        if upper[entry] >= floor[level]:
            area[entry] = filled_area(levels, found, entry)
            floor[level] = max(floor[level], area[entry])
    return winners(found, area * levels.size + found.first, count)


def filled_area(levels: NDArray[np.integer], found: Components, entry: int) -> int:
    """Return the contour area of one component."""
    left, top, right, bottom = found.boxes[entry]
    mask = levels[top:bottom, left:right] > found.level[entry]
    labels, _ = scipy.ndimage.label(mask, structure=EIGHT_NEIGHBORS)
    # The box may contain other components; the first pixel, in its top row, identifies the right one.
    return contour_area(labels == labels[0, found.first[entry] % levels.shape[1] - left])


def contours_of(
    levels: NDArray[np.integer], heights: NDArray, count: int
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return level and box of all contours: of every component and of every hole, whose contour runs around it."""
    found, holes = components_of(levels, heights, count), holes_of(levels, heights, count)
    return (
        np.concatenate([found.level, holes.level]),
        np.concatenate([found.boxes, holes.boxes + np.array([-1, -1, 1, 1])]),
    )

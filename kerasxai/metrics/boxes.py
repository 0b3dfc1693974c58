"""Intersection over union of boxes."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def box_iou(boxes: ArrayLike, others: ArrayLike, inclusive: bool = False) -> NDArray[np.float64]:
    """Return the intersection over union of each of two sets of boxes with the other.

    Args:
        boxes: `(K, 4)` x0, y0, x1, y1.
        others: `(L, 4)`.
        inclusive: Count x1 and y1 as part of the box (every side is one longer), as wsolevaluation and the ILSVRC
            tools do; otherwise they are exclusive.

    Returns:
        `(K, L)` float64 in [0, 1]; 0 where both boxes are empty.

    Example:
        >>> box_iou([[1, 2, 5, 6]], [[3, 1, 4, 5]], inclusive=True).tolist() == [[8 / 27]]
        True
    """
    end = 1 if inclusive else 0
    one = np.reshape(np.asarray(boxes), (-1, 4)).T[:, :, None]
    two = np.reshape(np.asarray(others), (-1, 4)).T[:, None, :]
    across = np.minimum(one[2], two[2]) - np.maximum(one[0], two[0]) + end
    down = np.minimum(one[3], two[3]) - np.maximum(one[1], two[1]) + end
    common = np.maximum(across, 0) * np.maximum(down, 0)
    areas = [(box[2] - box[0] + end) * (box[3] - box[1] + end) for box in (one, two)]
    union = areas[0] + areas[1] - common
    return np.divide(common, union, out=np.zeros(common.shape), where=union > 0)

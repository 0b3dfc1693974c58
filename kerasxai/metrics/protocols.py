"""How a heatmap is brought to the image's size and how two boxes are compared: two protocols.

`"kerasxai"`: bilinear resizing, thresholds as fractions of the maximum, half-open boxes, the plain IoU; a map that
points nowhere has no box. `"wsolevaluation"`: the pipeline of Choe et al. (2020, arXiv:2001.07437 and 2007.04178)
without OpenCV: cubic resizing with a = -0.75, min-max, 8 bits, boxes clipped to the last pixel, and an IoU that counts
the end pixel. In double precision its 8-bit maps equal the reference's, with three exceptions:

- Constant maps. OpenCV's rounding makes a constant 0.1 vary in its last digits, and the reference stretches that to a
  map full of objects; here a constant map is all zeros and has no box.
- Maps of one row or one column. One line of the enlarged map may be one level apart (0.4 % of the pixels at 224).
- Values that are large against their differences, such as values near 1e12 that differ by 1. Rounding in the resizing
  then decides about levels. In single precision (the reference resizes what the network returns) the same holds for
  values near 1000 that differ by 1, in up to 8 % of the pixels; other maps differ by one level in under 0.01 %.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from kerasxai.localization import checked_heatmap, has_evidence
from kerasxai.tools.errors import unknown

PROTOCOLS = ("kerasxai", "wsolevaluation")


def checked_protocol(protocol: str) -> str:
    """Returns the protocol's name, or raises a KerasxaiError that lists the names."""
    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    return protocol


def cubic_weights(fraction: NDArray[np.floating]) -> list[NDArray]:
    """Keys' kernel at the four pixels around a place, with OpenCV's a = -0.75 (TensorFlow's is -0.5).

    In single precision and in OpenCV's order of operations: the last digits decide about 8-bit levels now and then.
    """
    a, one, x = np.float32(-0.75), np.float32(1), fraction.astype(np.float32)

    def near(t: NDArray) -> NDArray:
        return ((a + 2) * t - (a + 3)) * t * t + one

    first = ((a * (x + one) - 5 * a) * (x + one) + 8 * a) * (x + one) - 4 * a
    return [first, near(x), near(one - x), one - first - near(x) - near(one - x)]


@lru_cache(maxsize=64)
def resize_matrix(size_out: int, size_in: int, kind: str) -> csr_array:
    """Returns the `(size_out, size_in)` matrix that resizes along one axis: pixel centers at half, border repeated.

    Sparse: of two or four pixels each, and BLAS would start its threads for such small products.

    Args:
        size_out: Pixels wanted.
        size_in: Pixels there are.
        kind: `"linear"` (what `tf.image.resize` does) or `"cubic"` (what `cv2.resize` does).
    """
    center = (np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5
    if kind == "cubic":
        center = center.astype(np.float32)
    below = np.floor(center)
    fraction = center - below
    weights = cubic_weights(fraction) if kind == "cubic" else [1 - fraction, fraction]
    matrix = np.zeros((size_out, size_in))
    for offset, weight in enumerate(weights, start=-1 if kind == "cubic" else 0):
        pixel = np.clip(below.astype(int) + offset, 0, size_in - 1)
        np.add.at(matrix, (np.arange(size_out), pixel), weight.astype(np.float64))
    return csr_array(matrix)


def resize(heatmap: NDArray[np.float64], size: tuple[int, int], kind: str = "linear") -> NDArray[np.float64]:
    """Resizes a heatmap `(h, w)` to `size = (H, W)`; `kind` as in `resize_matrix`, without antialiasing."""
    if heatmap.shape == size:
        return heatmap
    with np.errstate(invalid="ignore", over="ignore"):  # What is not finite then is dealt with by the caller.
        return (
            resize_matrix(size[0], heatmap.shape[0], kind) @ heatmap @ resize_matrix(size[1], heatmap.shape[1], kind).T
        )


def reference_map(heatmap: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
    """Resizes a heatmap as `cv2.resize(..., INTER_CUBIC)` does, then stretches it to [0, 1], as wsolevaluation does.

    Args:
        heatmap: `(h, w)`, any real numbers.
        size: `(H, W)`.

    Returns:
        `(H, W)` float64; all zeros where the heatmap is constant or holds a NaN or an infinity.

    Example:
        >>> reference_map([[1.0, 2.0, 3.0]], (1, 3)).tolist()
        [[0.0, 0.5, 1.0]]
    """
    raw = checked_heatmap(heatmap)
    # Looked at before resizing too, whose rounding would be stretched to a map full of objects.
    if flat(raw) or flat(values := resize(raw, size, "cubic")):
        return np.zeros(size)
    values = values - values.min()
    return values / values.max()


def flat(heatmap: NDArray[np.float64]) -> bool:
    """Tells whether a heatmap is constant or not finite."""
    lowest, highest = heatmap.min(), heatmap.max()
    return bool(not np.isfinite(lowest) or not np.isfinite(highest) or lowest == highest)


def own_map(heatmap: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
    """Resizes a heatmap bilinearly; all zeros where it points nowhere, otherwise with its own values.

    Args:
        heatmap: `(h, w)`, any real numbers.
        size: `(H, W)`.
    """
    values = checked_heatmap(heatmap)
    if not has_evidence(values):
        return np.zeros(size)
    values = resize(values, size)
    return values if has_evidence(values) else np.zeros(size)


def unit_map(heatmap: ArrayLike, size: tuple[int, int], protocol: str) -> NDArray[np.float64]:
    """Brings a heatmap to `size` and into [0, 1], as the protocol says.

    `"kerasxai"` divides by the maximum and cuts off what is negative; `"wsolevaluation"` stretches between minimum and
    maximum. A map that points nowhere is all zeros under both.
    """
    if protocol == "wsolevaluation":
        return reference_map(heatmap, size)
    values = own_map(heatmap, size)
    highest = values.max()
    return np.maximum(values, 0) / highest if highest > 0 else values


def resize_boxes(boxes: ArrayLike, size_in: tuple[int, int], size_out: tuple[int, int]) -> NDArray[np.int64]:
    """Scales boxes to another image size and cuts off the fractions, as wsolevaluation does with its ground truth.

    Args:
        boxes: `(K, 4)` x0, y0, x1, y1.
        size_in: `(H, W)` that the boxes belong to.
        size_out: `(H, W)` wanted.

    Returns:
        `(K, 4)` int64, with x1 at least x0 and y1 at least y0.

    Example:
        >>> resize_boxes([[1, 2, 4, 3]], (20, 10), (10, 35)).tolist()
        [[3, 1, 14, 1]]
    """
    scale = np.array([size_out[1] / size_in[1], size_out[0] / size_in[0]] * 2)
    scaled = (np.reshape(np.asarray(boxes, np.float64), (-1, 4)) * scale).astype(np.int64)
    scaled[:, 2:] = np.maximum(scaled[:, :2], scaled[:, 2:])
    return scaled


def box_iou(boxes: ArrayLike, others: ArrayLike, inclusive: bool = False) -> NDArray[np.float64]:
    """Intersection over union of every box with every other.

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

"""Heatmaps resized and scaled as the reference does."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.localization import checked_heatmap
from kerasxai.metrics.resizing import Kernel, resize


def cubic_weights(fraction: NDArray[np.floating]) -> list[NDArray]:
    """Return Keys' kernel at the four pixels around a position, with OpenCV's a = -0.75 (TensorFlow's is -0.5)."""
    # Single precision and OpenCV's order of operations: the last digits decide about 8-bit levels now and then.
    a, one, x = np.float32(-0.75), np.float32(1), fraction.astype(np.float32)

    def near(t: NDArray) -> NDArray:
        return ((a + 2) * t - (a + 3)) * t * t + one

    first = ((a * (x + one) - 5 * a) * (x + one) + 8 * a) * (x + one) - 4 * a
    return [first, near(x), near(one - x), one - first - near(x) - near(one - x)]


CUBIC = Kernel(cubic_weights, first=-1, precision=np.float32)
"""Bicubic interpolation as in `cv2.resize(..., INTER_CUBIC)`."""


def reference_map(heatmap: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
    """Resize a heatmap as `cv2.resize(..., INTER_CUBIC)` does, then stretch it to [0, 1].

    Args:
        heatmap: `(h, w)`, any real numbers.
        size: `(H, W)`.

    Returns:
        `(H, W)` float64; all zeros for a heatmap that is constant or contains a NaN or an infinity.

    Example:
        >>> reference_map([[1.0, 2.0, 3.0]], (1, 3)).tolist()
        [[0.0, 0.5, 1.0]]
    """
    raw = checked_heatmap(heatmap)
    # Checked before resizing too, because its rounding would be stretched to a map full of objects.
    if is_flat(raw) or is_flat(values := resize(raw, size, CUBIC)):
        return np.zeros(size)
    values = values - values.min()
    return values / values.max()


def is_flat(heatmap: NDArray[np.float64]) -> bool:
    """Return whether a heatmap is constant or not finite."""
    lowest, highest = heatmap.min(), heatmap.max()
    return bool(not np.isfinite(lowest) or not np.isfinite(highest) or lowest == highest)

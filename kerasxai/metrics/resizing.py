"""Resizing heatmaps along both axes by sparse matrices, in double precision and without antialiasing."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array


class Kernel(NamedTuple):
    """An interpolation kernel.

    Attributes:
        weights: From the fractional position of a pixel, in [0, 1), to the weights of its neighbors.
        first: Offset of the first neighbor from the pixel below the position.
        precision: Type in which positions are computed.
    """

    weights: Callable[[NDArray[np.floating]], list[NDArray]]
    first: int = 0
    precision: type[np.floating] = np.float64


LINEAR = Kernel(lambda fraction: [1 - fraction, fraction])
"""Bilinear interpolation as in `tf.image.resize`."""


@lru_cache(maxsize=64)
def resize_matrix(size_out: int, size_in: int, kernel: Kernel = LINEAR) -> csr_array:
    """Return the `(size_out, size_in)` matrix that resizes one axis: half-pixel centers, border pixels repeated.

    Args:
        size_out: Pixels after resizing.
        size_in: Pixels before resizing.
        kernel: The interpolation kernel.
    """
    center = ((np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5).astype(kernel.precision)
    below = np.floor(center)
    matrix = np.zeros((size_out, size_in))
    for offset, weight in enumerate(kernel.weights(center - below), start=kernel.first):
        pixel = np.clip(below.astype(int) + offset, 0, size_in - 1)
        # Unbuffered: at the border several neighbors are clipped to the same pixel, and their weights add up.
        np.add.at(matrix, (np.arange(size_out), pixel), weight.astype(np.float64))
    # Sparse, since each row has two or four entries, and BLAS would start its threads for such small products.
    return csr_array(matrix)


def resize(heatmap: NDArray[np.float64], size: tuple[int, int], kernel: Kernel = LINEAR) -> NDArray[np.float64]:
    """Resize a heatmap `(h, w)` to `size = (H, W)`; one of that size is returned unchanged."""
    if heatmap.shape == size:
        return heatmap
    rows, columns = (resize_matrix(out, n, kernel) for out, n in zip(size, heatmap.shape, strict=True))
    # Infinities turn into NaN here; every caller checks whether the result is finite.
    with np.errstate(invalid="ignore", over="ignore"):
        return rows @ heatmap @ columns.T

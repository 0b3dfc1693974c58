"""Linear imputation of removed pixels: each becomes the weighted mean of its neighbors."""

from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array, csr_array
from scipy.sparse.linalg import splu

# Weights of Rong et al.: direct neighbors 1/6, diagonal ones 1/12.
_OFFSETS = [offset for offset in product((-1, 0, 1), repeat=2) if offset != (0, 0)]
_WEIGHTS = {1: 1 / 6, 2: 1 / 12}
_LEAF = 16
"""Pixels below which a part of the image is not divided further."""


def imputed(images: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return images whose missing pixels are the weighted means of their eight neighbors.

    Neighbors outside of the image do not count. The equations of all missing pixels are solved in one system, so that
    a large hole is filled smoothly from its border; images with the same missing pixels share its factors.

    Args:
        images: `(..., H, W, C)`, finite.
        missing: `(H, W)`; at least one pixel must be known.
    """
    filled = np.array(images, np.float64)
    if not missing.any():
        return filled
    order, equations = _system(missing.shape)
    unknown = missing.ravel()[order]
    columns = np.moveaxis(filled.reshape(-1, missing.size, filled.shape[-1]), 1, 0).reshape(missing.size, -1)[order]
    columns[unknown] = 0
    rows = equations[unknown]
    square = rows[:, unknown]
    # The matrix is symmetric, so that its rows are its columns; and positive definite, so that no pivoting is needed.
    factors = splu(
        csc_array((square.data, square.indices, square.indptr), shape=square.shape),
        permc_spec="NATURAL",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    columns[unknown] = factors.solve(-(rows @ columns))
    flat = np.empty_like(columns)
    flat[order] = columns
    return np.moveaxis(flat.reshape(missing.size, -1, filled.shape[-1]), 0, 1).reshape(filled.shape)


@lru_cache(maxsize=4)
def _system(shape: tuple[int, int]) -> tuple[NDArray[np.int64], csr_array]:
    """Return an order of the pixels of an image, and the equations of all of them in this order.

    The order is that of nested dissection: the halves of a part before the line between them. Eliminating pixels in
    this order keeps factors sparse, for any subset of the pixels; it is found once for all sets of missing pixels.
    """
    order = np.array(_dissected(0, 0, *shape, width=shape[1]), np.int64)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    number = np.pad(rank.reshape(shape), 1, constant_values=-1)
    center = rank.ravel()
    diagonal = np.zeros(len(order))
    entries: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
    for down, aside in _OFFSETS:
        weight = _WEIGHTS[abs(down) + abs(aside)]
        neighbor = number[1 + down : 1 + down + shape[0], 1 + aside : 1 + aside + shape[1]].ravel()
        inside = neighbor >= 0
        diagonal[center[inside]] += weight
        entries.append((center[inside], neighbor[inside], np.full(int(inside.sum()), -weight)))
    entries.append((np.arange(len(order)), np.arange(len(order)), diagonal))
    i, j, values = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    return order, coo_array((values, (i, j)), shape=(len(order), len(order))).tocsr()


def _dissected(top: int, left: int, bottom: int, right: int, width: int) -> list[int]:
    """Return the numbers of the pixels of a rectangle in the order of nested dissection."""
    height, length = bottom - top, right - left
    if height * length <= _LEAF or min(height, length) < 1:
        return [i * width + j for i in range(top, bottom) for j in range(left, right)]
    if height >= length:
        middle = (top + bottom) // 2
        halves = _dissected(top, left, middle, right, width) + _dissected(middle + 1, left, bottom, right, width)
        return halves + [middle * width + j for j in range(left, right)]
    middle = (left + right) // 2
    halves = _dissected(top, left, bottom, middle, width) + _dissected(top, middle + 1, bottom, right, width)
    return halves + [i * width + middle for i in range(top, bottom)]

"""Linear imputation of removed pixels: each becomes the weighted mean of its neighbors."""

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array
from scipy.sparse.linalg import splu

# Weights of Rong et al.: direct neighbors 1/6, diagonal ones 1/12.
_OFFSETS = [offset for offset in product((-1, 0, 1), repeat=2) if offset != (0, 0)]
_WEIGHTS = {1: 1 / 6, 2: 1 / 12}


def imputed(image: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return an image whose missing pixels are the weighted means of their eight neighbors.

    Neighbors outside of the image do not count. The equations of all missing pixels are solved together, so that
    a large hole is filled smoothly from its border.

    Args:
        image: `(H, W, C)`, finite.
        missing: `(H, W)`; at least one pixel must be known.
    """
    filled = np.array(image, np.float64)
    if missing.any():
        system, known = _equations(filled, missing)
        # The matrix is symmetric and positive definite, so that no pivoting is needed and fill-in stays low.
        factors = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        filled[missing] = factors.solve(known)
    return filled


def _equations(image: NDArray[np.float64], missing: NDArray[np.bool_]) -> tuple[csc_array, NDArray[np.float64]]:
    """Return the matrix `(m, m)` and the right-hand sides `(m, C)` for `m` missing pixels."""
    count = int(missing.sum())
    rows, columns = np.nonzero(missing)
    # A border of pixels that are outside of the image saves four special cases.
    number = np.pad(np.where(missing, np.cumsum(missing.ravel()).reshape(missing.shape) - 1, -1), 1, constant_values=-2)
    colors = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    diagonal = np.zeros(count)
    right = np.zeros((count, image.shape[-1]))
    entries: list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]] = []
    for down, aside in _OFFSETS:
        weight = _WEIGHTS[abs(down) + abs(aside)]
        neighbors = rows + down + 1, columns + aside + 1
        found = number[neighbors]
        diagonal += weight * (found > -2)
        known = found == -1
        right[known] += weight * colors[neighbors][known]
        own = np.flatnonzero(found >= 0)
        entries.append((own, found[own], np.full(len(own), -weight)))
    entries.append((np.arange(count), np.arange(count), diagonal))
    i, j, values = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    return coo_array((values, (i, j)), shape=(count, count)).tocsc(), right

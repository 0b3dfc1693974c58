"""Heatmaps of many images as one array of half precision in a file."""

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kerasxai.tools.errors import KerasxaiError


def scaled(heatmaps: NDArray[np.float32]) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """Divide heatmaps by their largest absolute value, since those of gradients would underflow in half precision.

    Args:
        heatmaps: `(N, h, w)`.

    Returns:
        `(N, h, w)` in [-1, 1], to within 2**-11 of the heatmap's own scale, and the scales `(N,)`.

    Example:
        >>> scaled(np.full((1, 2, 2), 1e-9, np.float32))[0].max()
        np.float16(1.0)
    """
    scales = np.abs(heatmaps).max(axis=(1, 2))
    divisors = np.where(scales > 0, scales, 1).astype(np.float32)
    return (heatmaps / divisors[:, None, None]).astype(np.float16), divisors


class MapWriter:
    """Writes `(count, h, w)` float16 to a .npy file, batch by batch; rows without a heatmap are NaN.

    Args:
        path: The file; it is not written if there is no heatmap at all.
        count: The number of rows.
    """

    def __init__(self, path: Path, count: int) -> None:
        self.path, self.count = path, count
        self._shape: tuple[int, ...] | None = None
        self._missing = 0
        self._file = path.open("wb")

    def add(self, maps: NDArray[np.float16], rows: NDArray[np.int64], count: int) -> None:
        """Add the next `count` rows.

        Args:
            maps: `(k, h, w)`.
            rows: `(k,)` their positions among the new rows.
            count: The number of new rows.
        """
        if not len(maps):
            self._skip(count)
            return
        if self._shape is None:
            self._begin(maps.shape[1:])
        if maps.shape[1:] != self._shape:
            raise KerasxaiError(f"expected heatmaps of one shape, {self._shape}, got {maps.shape[1:]}")
        block = np.full((count, *maps.shape[1:]), np.nan, np.float16)
        block[rows] = maps
        self._file.write(block.tobytes())

    def _begin(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False}
        np.lib.format.write_array_header_1_0(self._file, {**header, "shape": (self.count, *shape)})
        self._skip(self._missing)

    def _skip(self, count: int) -> None:
        if self._shape is None:
            self._missing += count
        else:
            self._file.write(np.full((count, *self._shape), np.nan, np.float16).tobytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        if self._shape is None:
            self.path.unlink()

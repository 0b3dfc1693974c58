"""Values on a grid, computed at few positions first and then at all positions where they are large."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class CoarseToFine:
    """The positions of a grid, and which of them are computed.

    Attributes:
        shape: The number of positions along each axis.
        every: The step between coarse positions along each axis; the last position is coarse, too.
        share: The positions between coarse ones are computed if one of these has at least this share of the largest
            value, by absolute value; infinity for nowhere.
    """

    shape: tuple[int, ...]
    every: int
    share: float

    def values(self, compute: Callable[[NDArray[np.int64]], Values]) -> tuple[Values, int]:
        """Returns the value at each position, flat, and how many of them were computed.

        Where a position is not computed, its value is interpolated linearly between the coarse ones.

        Args:
            compute: Returns the values of positions, given by their numbers, row by row.
        """
        numbers = np.arange(np.prod(self.shape)).reshape(self.shape)
        lines = self._coarse()
        coarse = numbers[np.ix_(*lines)]
        found = compute(coarse.ravel()).reshape(coarse.shape)
        values = self._interpolated(found)
        fine = numbers[self._refined(found)]
        if len(fine):
            values.ravel()[fine] = compute(fine)
        return values.ravel(), coarse.size + len(fine)

    def _coarse(self) -> list[NDArray[np.int64]]:
        """Returns the coarse positions along each axis."""
        return [np.unique([*range(0, count, self.every), count - 1]) for count in self.shape]

    def _interpolated(self, found: Values) -> Values:
        values = found
        for axis, (count, line) in enumerate(zip(self.shape, self._coarse(), strict=True)):
            weights = np.stack([np.interp(np.arange(count), line, one) for one in np.eye(len(line))], 1)
            values = np.moveaxis(np.tensordot(values, weights, (axis, 1)), -1, axis)
        values = np.ascontiguousarray(values)
        # Not of the products, so that a coarse value stays the same to the bit.
        values[np.ix_(*self._coarse())] = found
        return values

    def _refined(self, found: Values) -> NDArray[np.bool_]:
        """Returns at which positions to compute, besides the coarse ones."""
        lines = self._coarse()
        sizes = np.abs(found)
        for axis, line in enumerate(lines):
            if len(line) > 1:
                both = [np.take(sizes, range(start, len(line) - 1 + start), axis) for start in (0, 1)]
                sizes = np.maximum(*both)
        refined = np.zeros(self.shape, bool)
        if math.isinf(self.share):
            return refined
        least = self.share * np.abs(found).max()
        for cell in itertools.product(*(range(count) for count in sizes.shape)):
            if sizes[cell] >= least:
                ends = [(line[i], line[min(i + 1, len(line) - 1)]) for i, line in zip(cell, lines, strict=True)]
                refined[tuple(slice(first, last + 1) for first, last in ends)] = True
        refined[np.ix_(*lines)] = False
        return refined

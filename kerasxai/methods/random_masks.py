"""Random masks: grids of visible cells, enlarged and shifted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray


def upsampled_masks(cells: tf.Tensor, shifts: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Returns masks `(n, H, W)` in [0, 1]: grids enlarged bilinearly, one cell larger than the image, and shifted.

    Bilinear enlargement is a product with one matrix per axis, so only the part inside the image is computed.
    """
    masks = cells
    for axis in reversed(range(1, len(cells.shape))):
        dims = tf.shape(masks)
        before, count, after = dims[1:axis], dims[axis], dims[axis + 1 :]
        weights = interpolation(count, shifts[:, axis - 1], shape[axis - 1])
        flat = tf.reshape(masks, (dims[0], tf.reduce_prod(before), count, tf.reduce_prod(after)))
        masks = weights[:, None] @ flat
        masks = tf.reshape(masks, tf.concat((dims[:axis], shape[axis - 1 : axis], after), 0))
    return masks


def interpolation(count: tf.Tensor, shifts: tf.Tensor, side: tf.Tensor) -> tf.Tensor:
    """Returns the weights `(n, side, count)` of the cells along one axis at each position, for each shift."""
    length = tf.cast(-(-side // (count - 1)), tf.float32)
    at = (tf.cast(tf.range(side), tf.float32) + tf.floor(shifts * length)[:, None] + 0.5) / length - 0.5
    at = tf.clip_by_value(at, 0.0, tf.cast(count - 1, tf.float32))
    return tf.nn.relu(1 - tf.abs(at[..., None] - tf.cast(tf.range(count), tf.float32)))


def random_grids(
    indices: Iterable[int], seed: int, grid: tuple[int, ...], probability: float, paired: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns the grids `(n, s + 1, t + 1)` and shifts `(n, 2)` of the masks with these indices, float32.

    Each mask has its own generator, so mask 7 is the same in every batch. If they are paired, each mask with an odd
    index is the complement of the one before.
    """
    members = [divmod(index, 2) if paired else (index, 0) for index in indices]
    generators = [np.random.default_rng([seed, number]) for number, _ in members]
    draws = [(g.random([cells + 1 for cells in grid]) < probability, g.random(len(grid))) for g in generators]
    cells, shifts = zip(*draws, strict=True)
    inverted = np.reshape([second for _, second in members], (-1, *[1] * len(grid)))
    return np.abs(np.stack(cells) - inverted).astype(np.float32), np.stack(shifts).astype(np.float32)


@dataclass(frozen=True)
class MaskSource:
    """The settings of `random_grids`."""

    seed: int
    grid: tuple[int, ...]
    probability: float
    paired: bool

    def draw(self, part: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns the grids and shifts of a part of all masks."""
        return random_grids(range(part.start, part.stop), self.seed, self.grid, self.probability, self.paired)

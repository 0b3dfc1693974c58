"""Reading outputs of layers as maps `(B, ..., K)`: series, images and volumes, channels first, tokens on a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import tensorflow as tf

from kerasxai.tools.errors import KerasxaiError

# Vision transformers put a class token, a distillation token, and four or five registers before their patches.
MOST_EXTRA_TOKENS = 8


def spatial_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the axes between batch and channels, or the length of tokens `(B, T)`.

    Args:
        shape: Of images `(B, H, W, C)`, series `(B, T, C)`, volumes `(B, D, H, W, C)` or tokens `(B, T)`.
    """
    return tuple(shape[1:] if len(shape) == 2 else shape[1:-1])


def spread(values: tf.Tensor, rank: int) -> tf.Tensor:
    """Returns `(B, K)` with axes of length 1 in between, to broadcast against tensors of this rank."""
    return tf.reshape(values, (-1, *[1] * (rank - 2), values.shape[-1]))


def resized(maps: tf.Tensor, size: Sequence[int] | tf.Tensor) -> tf.Tensor:
    """Resizes maps linearly with half-pixel centers, as `tf.image.resize` does, along one, two or three axes.

    Args:
        maps: `(B, ...)`.
        size: The new length of each axis, or a tensor of them.

    Returns:
        `(B, *size)` float32.
    """
    rank = maps.shape.rank - 1
    if rank == 2:
        return tf.image.resize(maps[..., None], size)[..., 0]
    if rank == 1:
        return tf.image.resize(maps[:, :, None, None], (size[0], 1))[..., 0, 0]
    depth, height, width = (tf.shape(maps)[axis] for axis in (1, 2, 3))
    deep = tf.image.resize(tf.reshape(maps, (-1, depth, height * width, 1)), (size[0], height * width))
    flat = tf.image.resize(tf.reshape(deep, (-1, height, width, 1)), (size[1], size[2]))
    return tf.reshape(flat, (-1, size[0], size[1], size[2]))


@dataclass(frozen=True)
class MapLayout:
    """How the output of a layer is read as a map `(B, ..., K)`.

    Attributes:
        channels_first: Whether it is `(B, K, ...)`.
        grid: The grid of tokens `(B, T, K)`, row by row; None if it is not made of tokens.
        extra: How many tokens precede those of the grid.
        frames: The number of frames T of maps `(B * T, h, w, K)`; None if frames are not in the batch.
    """

    channels_first: bool = False
    grid: tuple[int, ...] | None = None
    extra: int = 0
    frames: int | None = None

    @property
    def plain(self) -> bool:
        """Whether the output is such a map already."""
        return not self.channels_first and self.grid is None and self.frames is None

    def to_method(self, output: tf.Tensor) -> tf.Tensor:
        """Returns an output, or a gradient of its shape, as a map."""
        if self.frames is not None:
            return _split(replace(self, frames=None).to_method(output), self.frames)
        if self.grid is not None:
            return tf.reshape(output[:, self.extra :], (-1, *self.grid, output.shape[-1]))
        if self.channels_first:
            return tf.transpose(output, (0, *range(2, output.shape.rank), 1))
        return output

    def to_model(self, maps: tf.Tensor, output: tf.Tensor | None = None) -> tf.Tensor:
        """Returns a map in the layout of the layer; tokens before the grid are taken from `output`."""
        if self.frames is not None:
            dims = [tf.shape(maps)[i] if side is None else side for i, side in enumerate(maps.shape)]
            return replace(self, frames=None).to_model(tf.reshape(maps, [-1, *dims[2:]]), output)
        if self.grid is not None:
            tokens = tf.reshape(maps, (-1, math.prod(self.grid), maps.shape[-1]))
            # Tokens before the grid are part of the output, never of the map.
            return tokens if output is None else tf.concat([output[:, : self.extra], tokens], 1)
        if self.channels_first:
            last = maps.shape.rank - 1
            return tf.transpose(maps, (0, last, *range(1, last)))
        return maps


def _split(maps: tf.Tensor, frames: int) -> tf.Tensor:
    """Returns maps `(B * T, ..., K)` as `(B, T, ..., K)`."""
    dims = [tf.shape(maps)[i] if side is None else side for i, side in enumerate(maps.shape)]
    return tf.reshape(maps, [-1, frames, *dims[1:]])


def token_grid(
    count: int | None, shape: Sequence[int | None], given: tuple[int, ...] | None = None
) -> tuple[tuple[int, ...], int] | None:
    """Finds the grid of tokens, and how many tokens precede it.

    Args:
        count: How many tokens there are.
        shape: The spatial shape of the image, whose proportions the grid has; None where it is open.
        given: The grid, if the user chose it.

    Returns:
        The grid with the fewest tokens before it, at most eight, or None if there is none.
    """
    if count is None:
        return None
    if given is not None:
        extra = count - math.prod(given)
        return (given, extra) if extra >= 0 else None
    known = [side for side in shape if side is not None]
    same = len(known) < len(shape)
    proportions = [1] * len(shape) if same else [side // math.gcd(*known) for side in known]
    unit = math.prod(proportions)
    for extra in range(min(MOST_EXTRA_TOKENS + 1, count)):
        times, rest = divmod(count - extra, unit)
        length = round(times ** (1 / len(proportions)))
        if rest == 0 and times > 0 and length ** len(proportions) == times and count - extra > 1:
            return tuple(length * part for part in proportions), extra
    return None


def layout_of(
    output: tf.Tensor, first: bool, shape: Sequence[int | None], given: tuple[int, ...] | None
) -> MapLayout | None:
    """Returns how the output of a layer is read as a map of an input, or None if it is not a map.

    Args:
        output: The output, with a floating dtype.
        first: Whether its channels are first.
        shape: The spatial shape of the explained input, None where it is open.
        given: The grid of tokens, if the user chose it.
    """
    rank = output.shape.rank
    if rank == len(shape) + 2:
        return MapLayout(channels_first=first)
    if rank == 3:
        found = token_grid(output.shape[1], shape, given)
        return None if found is None else MapLayout(grid=found[0], extra=found[1])
    return None


def checked_grid(grid: Sequence[int] | None) -> tuple[int, ...] | None:
    """Returns the option `token_grid`, a tuple of whole numbers above 0, or None.

    Raises:
        KerasxaiError: It is something else.
    """
    if grid is None:
        return None
    lengths = tuple(grid) if isinstance(grid, (tuple, list)) else (grid,)
    if len(lengths) not in (2, 3) or not all(isinstance(length, int) and length > 0 for length in lengths):
        raise KerasxaiError(f"token_grid must be (rows, columns) or (planes, rows, columns) of tokens, got {grid!r}")
    return lengths

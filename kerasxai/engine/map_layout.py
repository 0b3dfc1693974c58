"""Reading what layers give as maps `(B, *sides, K)`: series, images and volumes, channels first, tokens on a grid."""

import math
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from kerasxai.tools.errors import KerasxaiError

# Class token, distillation token, and four or five registers: what vision transformers put before their patches.
MOST_EXTRA_TOKENS = 8


def spatial_shape(shape: Any) -> Any:
    """Returns the sides of inputs of a shape: what lies between batch and channels, and the length of tokens `(B, T)`.

    Args:
        shape: Of images `(B, H, W, C)`, series `(B, T, C)`, volumes `(B, D, H, W, C)` or tokens `(B, T)`.
    """
    return shape[1:] if len(shape) == 2 else shape[1:-1]


def spread(values: Any, rank: int) -> Any:
    """Returns `(B, K)` with axes of length 1 between, so that it lies beside tensors of so many dimensions."""
    return tf.reshape(values, (-1, *[1] * (rank - 2), values.shape[-1]))


def resized(maps: Any, size: Any) -> Any:
    """Resizes maps linearly with half-pixel centers, as `tf.image.resize` does, along one, two or three sides.

    Args:
        maps: `(B, *sides)`.
        size: As many numbers as there are sides, or a tensor of them.

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
    """How a layer's output is read as a map `(B, *sides, K)`.

    Attributes:
        channels_first: Whether it is `(B, K, *sides)`.
        grid: Of tokens `(B, T, K)` the grid that they lie on, row by row; else None.
        extra: How many tokens stand before those of the grid.
        frames: Of maps `(B * T, h, w, K)` whose frames lie in the batch how many, T; else None.
    """

    channels_first: bool = False
    grid: tuple[int, ...] | None = None
    extra: int = 0
    frames: int | None = None

    @property
    def plain(self) -> bool:
        """Whether the output is such a map already."""
        return not self.channels_first and self.grid is None and self.frames is None

    def to_method(self, output: Any) -> Any:
        """Returns an output, or a gradient of its shape, as a map."""
        if self.frames is not None:
            return _split(replace(self, frames=None).to_method(output), self.frames)
        if self.grid is not None:
            return tf.reshape(output[:, self.extra :], (-1, *self.grid, output.shape[-1]))
        if self.channels_first:
            return tf.transpose(output, (0, *range(2, output.shape.rank), 1))
        return output

    def to_model(self, shown: Any, output: Any = None) -> Any:
        """Returns a map in the layer's own form; tokens that stand before the grid are taken from `output`."""
        if self.frames is not None:
            dims = [tf.shape(shown)[i] if side is None else side for i, side in enumerate(shown.shape)]
            return replace(self, frames=None).to_model(tf.reshape(shown, [-1, *dims[2:]]), output)
        if self.grid is not None:
            tokens = tf.reshape(shown, (-1, math.prod(self.grid), shown.shape[-1]))
            return tokens if self.extra == 0 else tf.concat([output[:, : self.extra], tokens], 1)
        if self.channels_first:
            last = shown.shape.rank - 1
            return tf.transpose(shown, (0, last, *range(1, last)))
        return shown


def _split(maps: Any, frames: int) -> Any:
    """Returns maps `(B * T, *sides, K)` as `(B, T, *sides, K)`."""
    dims = [tf.shape(maps)[i] if side is None else side for i, side in enumerate(maps.shape)]
    return tf.reshape(maps, [-1, frames, *dims[1:]])


def token_grid(
    count: int | None, sides: Any, given: tuple[int, ...] | None = None
) -> tuple[tuple[int, ...], int] | None:
    """Finds the grid that tokens lie on, and how many tokens stand before it.

    Args:
        count: How many tokens there are.
        sides: The sides of the image, from which its proportions are taken, None where they are open.
        given: The grid, where the user says it.

    Returns:
        The grid with the fewest other tokens before it, at most eight, or None where there is none.
    """
    if count is None:
        return None
    if given is not None:
        extra = count - math.prod(given)
        return (given, extra) if extra >= 0 else None
    proportions = [1] * len(sides) if None in tuple(sides) else [side // math.gcd(*sides) for side in sides]
    unit = math.prod(proportions)
    for extra in range(min(MOST_EXTRA_TOKENS + 1, count)):
        times, rest = divmod(count - extra, unit)
        length = round(times ** (1 / len(proportions)))
        if rest == 0 and times > 0 and length ** len(proportions) == times and count - extra > 1:
            return tuple(length * part for part in proportions), extra
    return None


def form_of(output: Any, first: bool, sides: Any, given: tuple[int, ...] | None) -> MapLayout | None:
    """Returns how a layer's output is read as a map of an input with these sides, or None where it is none.

    Args:
        output: What the layer gave, with a floating dtype.
        first: Whether its channels come first.
        sides: The sides of the explained input, None where they are open.
        given: The grid of tokens, where the user says it.
    """
    rank = output.shape.rank
    if rank == len(sides) + 2:
        return MapLayout(channels_first=first)
    if rank == 3:
        found = token_grid(output.shape[1], sides, given)
        return None if found is None else MapLayout(grid=found[0], extra=found[1])
    return None


def checked_grid(grid: Any) -> tuple[int, ...] | None:
    """Returns the option `token_grid`, a tuple of whole numbers above 0, or None.

    Raises:
        KerasxaiError: It is something else.
    """
    if grid is None:
        return None
    sides = tuple(grid) if isinstance(grid, (tuple, list)) else (grid,)
    if len(sides) not in (2, 3) or not all(isinstance(side, int) and side > 0 for side in sides):
        raise KerasxaiError(f"token_grid must be (rows, columns) or (planes, rows, columns) of tokens, not {grid!r}")
    return sides

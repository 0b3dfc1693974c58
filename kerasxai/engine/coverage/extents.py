"""Which part of the explained input a map covers: crops, padding and resizing inside a model, read off a traced graph.

A map of a network lies over the whole image only where nothing before it crops or pads. What an operation does to the
rows and columns of a tensor is known for slices, padding, resizing and windows; what it is for any other operation
that changes their number is found by its gradient. Numbers that depend on the size of the image stay tensors.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.engine.map_layout import resized, sides_of

Number = Any
"""A float, or a scalar float32 tensor where it is known only when the model runs."""


@dataclass(frozen=True)
class Line:
    """What the places of a tensor cover along one side of the input.

    Attributes:
        first: Where the content of the tensor begins, as a fraction of the side of the input: 0 is its first edge.
        last: Where it ends: 1 is the last edge. Below `first` where the tensor is mirrored.
        before: How many places of padding stand before the content.
        after: How many stand behind it.
    """

    first: Number = 0.0
    last: Number = 1.0
    before: Number = 0.0
    after: Number = 0.0

    def padded(self, before: Number, after: Number) -> "Line":
        """Returns the line with so many more places on both ends."""
        return replace(self, before=self.before + before, after=self.after + after)

    def cut(self, before: Number, after: Number, count: Number) -> "Line":
        """Returns the line without so many of its `count` places on both ends; padding goes first."""
        each = (self.last - self.first) / (count - self.before - self.after)
        first = self.first + positive(before - self.before) * each
        last = self.last - positive(after - self.after) * each
        return Line(first, last, positive(self.before - before), positive(self.after - after))

    def scaled(self, factor: Number) -> "Line":
        """Returns the line of a tensor with so many times as many places."""
        return replace(self, before=self.before * factor, after=self.after * factor)

    def mirrored(self) -> "Line":
        """Returns the line of a tensor with its places in reverse."""
        return Line(self.last, self.first, self.after, self.before)

    def windowed(self, reach: int, same: bool, step: int) -> "Line":
        """Returns the line behind windows of `reach` + 1 places: those of a valid convolution use up padding.

        A valid convolution without padding before it is taken to cover what its input covers, as all maps of networks
        are laid over images; half of a kernel is less than a place of a late map.
        """
        used = 0.0 if same else max(0.0, (reach + 1 - step) / 2)
        total = self.before + self.after
        if not same and isinstance(total, float) and total <= reach:
            return replace(self, before=0.0, after=0.0)
        left = replace(self, before=positive(self.before - used), after=positive(self.after - used))
        return left.scaled(1 / step)

    def ends(self, count: Number) -> "Line":
        """Returns the line with the padding as a part of what is covered."""
        if isinstance(self.before, float) and isinstance(self.after, float) and self.before == self.after == 0:
            return self
        each = (self.last - self.first) / (count - self.before - self.after)
        return Line(self.first - self.before * each, self.last + self.after * each)


@dataclass(frozen=True)
class Cover:
    """What a tensor covers of the input.

    Attributes:
        lines: One for each side of the input.
        axes: Which axes of the tensor these are; None for a side that lies in the batch.
        sides: How long they are where `axes` is empty, since the tensor has none any more (tokens).
        deep: Whether a convolution, pooling or product lies behind.
        gone: Whether a sum over places lies behind, so that nothing has a place any more.
    """

    lines: tuple[Line, ...]
    axes: tuple[int | None, ...] = ()
    sides: tuple[int | None, ...] = ()
    deep: bool = False
    gone: bool = False

    def each(self, change: Any) -> "Cover":
        """Returns the cover with `change(line, axis)` for each line that has an axis."""
        lines = [line if axis is None else change(line, axis) for line, axis in zip(self.lines, self.axes, strict=True)]
        return replace(self, lines=tuple(lines))

    def laid_flat(self, tensor: Any) -> "Cover":
        """Returns the cover of a tensor that has lost the axes of another."""
        if not self.axes:
            return self
        sides = tuple(None if axis is None else tensor.shape[axis] for axis in self.axes)
        ended = self.each(lambda line, axis: line.ends(length(tensor, axis)))
        return replace(ended, axes=(), sides=sides)


def positive(number: Number) -> Number:
    """Returns a number, or 0 where it is negative."""
    return max(number, 0.0) if isinstance(number, float) else tf.nn.relu(number)


def length(tensor: Any, axis: int) -> Number:
    """Returns the length of an axis."""
    known = tensor.shape[axis]
    return tf.cast(tf.shape(tensor)[axis], tf.float32) if known is None else float(known)


def number_in(tensor: Any, *index: int) -> Number:
    """Returns one number of a tensor of settings."""
    known = tf.get_static_value(tensor, partial=True)
    value = None if known is None else known[index]
    return tf.cast(tensor[index], tf.float32) if value is None else float(value)


def extent_of(cover: Cover | None, tensor: Any) -> Any | None:
    """Returns which part of the input a map covers, `(sides, 2)` float32, or None where it is all of it.

    Row i holds where side i of the map begins and ends on the input, as fractions: (0, 1) is all of it, (0.25, 0.75)
    its middle half, (-0.1, 1.1) more than it has, and (1, 0) all of it in reverse.
    """
    if cover is None or cover.gone:
        return None
    lines = cover.laid_flat(tensor).lines
    whole = (isinstance(end, float) and abs(end - at) < _NEAR for x in lines for end, at in ((x.first, 0), (x.last, 1)))
    if all(whole):
        return None
    return tf.stack([tf.stack([tf.cast(end, tf.float32) for end in (line.first, line.last)]) for line in lines])


_NEAR = 1e-4


def laid_over(maps: Any, size: Any, extent: Any = None, outside: str = "zero") -> Any:
    """Lays maps over the input: bilinear, where they belong.

    Args:
        maps: `(B, *sides)`.
        size: The sides of the input.
        extent: `(sides, 2)`, see `extent_of`.
        outside: What stands where the maps do not reach: `"zero"`, or `"edge"` for what is nearest.

    Returns:
        `(B, *size)` float32.
    """
    result = tf.cast(maps, tf.float32)
    for axis in range(1, result.shape.rank):
        count, side = tf.cast(tf.shape(maps)[axis], tf.float32), size[axis - 1]
        first, last = extent[axis - 1, 0], extent[axis - 1, 1]
        at = (tf.cast(tf.range(side), tf.float32) + 0.5) / tf.cast(side, tf.float32)
        share = (at - first) / (last - first)
        place = tf.clip_by_value(share * count - 0.5, 0.0, count - 1)
        weights = tf.nn.relu(1 - tf.abs(place[:, None] - tf.range(count)))
        if outside == "zero":
            weights *= tf.cast((share > 0) & (share < 1), tf.float32)[:, None]
        letters = "abcd"[: result.shape.rank - 1]
        result = tf.einsum(
            f"z{letters},n{letters[axis - 1]}->z{letters.replace(letters[axis - 1], 'n')}", result, weights
        )
    return result


def cut_to(arrays: NDArray, extents: Any, side: int = 0) -> NDArray:
    """Returns of arrays over the input what the maps of one layer cover of it: the inverse of `over_input`.

    Args:
        arrays: `(B, H, W)`.
        extents: `(1, sides, 2)`, or None for maps that cover the whole input.
        side: From which side on.

    Returns:
        `(B, H', W')` to the nearest pixel, zeros where the maps reach beyond the input.
    """
    if extents is None or side == arrays.ndim - 1:
        return arrays
    axis, count = side + 1, arrays.shape[side + 1]
    first, last = (round(float(end) * count) for end in np.asarray(extents[0][side]))
    places = np.arange(first, last) if first < last else np.arange(first - 1, last - 1, -1)
    shape = [-1 if i == axis else 1 for i in range(arrays.ndim)]
    inside = ((places >= 0) & (places < count)).reshape(shape)
    taken = np.where(inside, arrays.take(np.clip(places, 0, count - 1), axis), 0)
    return cut_to(taken.astype(arrays.dtype), extents, side + 1)


def extents_of(seen: Any) -> Any:
    """Returns what the maps of an answer cover, `(maps, sides, 2)`, or None where all cover the whole input."""
    return getattr(seen, "extents", None)


def over_input(maps: Any, size: Any, extents: Any = None) -> Any:
    """Brings the maps of one layer to the size of the input, `(B, *size)`: resized, or laid where they belong.

    Args:
        maps: `(B, *sides)`.
        size: The sides of the input.
        extents: `(1, sides, 2)` as `ForwardPass` tells them, or None for maps that cover the whole input.
    """
    return resized(maps, size) if extents is None else laid_over(maps, size, extents[0])


def map_extent(extents: Any, size: Any) -> dict[str, tuple[tuple[float, float], ...]]:
    """Returns the note `map_extent`: where the maps of one layer begin and end along each side of the input, in pixels.

    Args:
        extents: `(1, sides, 2)`, or None.
        size: The sides of the input.

    Returns:
        An empty dict for maps that cover the whole input.
    """
    if extents is None or np.allclose(extents[0], [0, 1], atol=_NEAR):
        return {}
    pixels = np.asarray(extents[0]) * np.asarray(size, np.float64)[:, None]
    return {"map_extent": tuple((round(float(first), 3), round(float(last), 3)) for first, last in pixels)}


def whole_cover(images: Any) -> Cover:
    """Returns the cover of the explained input itself."""
    sides = len(sides_of(images.shape))
    return Cover((Line(),) * sides, tuple(range(1, sides + 1)))

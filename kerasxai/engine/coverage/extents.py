"""The part of the explained input that a map covers, behind crops, padding and resizing inside a model.

A map of a network covers the whole image only if nothing before it crops or pads. The effect of an operation on the
rows and columns of a tensor is known for slices, padding, resizing and windows; that of any other operation that
changes their number is measured with a ramp. Numbers that depend on the size of the image stay tensors.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.engine.map_layout import resized, spatial_shape

Number: TypeAlias = float | tf.Tensor
"""A float, or a scalar float32 tensor if it is known only when the model runs."""

# Extents this close to the whole input are rounding.
_NEAR = 1e-4


@dataclass(frozen=True)
class Interval:
    """The part of one axis of the input that the positions of a tensor cover.

    Attributes:
        start: Where the content of the tensor starts, as a fraction of the axis of the input: 0 is its first edge.
        end: Where it ends: 1 is the last edge. Below `start` if the tensor is flipped.
        before: How many positions of padding precede the content.
        after: How many follow it.
    """

    start: Number = 0.0
    end: Number = 1.0
    before: Number = 0.0
    after: Number = 0.0

    def padded(self, before: Number, after: Number) -> "Interval":
        """Returns the interval behind a padding."""
        return replace(self, before=self.before + before, after=self.after + after)

    def cropped(self, before: Number, after: Number, count: Number) -> "Interval":
        """Returns the interval of a tensor of `count` positions without some at both ends; padding goes first."""
        each = (self.end - self.start) / (count - self.before - self.after)
        start = self.start + positive(before - self.before) * each
        end = self.end - positive(after - self.after) * each
        return Interval(start, end, positive(self.before - before), positive(self.after - after))

    def scaled(self, factor: Number) -> "Interval":
        """Returns the interval of a tensor with `factor` times as many positions."""
        return replace(self, before=self.before * factor, after=self.after * factor)

    def flipped(self) -> "Interval":
        """Returns the interval of a tensor with its positions in reverse."""
        return Interval(self.end, self.start, self.after, self.before)

    def after_window(self, reach: int, same: bool, stride: int) -> "Interval":
        """Returns the interval behind windows of `reach + 1` positions, of which valid ones use up padding.

        A valid convolution without padding before it is taken to cover what its input covers, as maps are generally
        laid over images; half of a kernel is less than a position of a late map.
        """
        used = 0.0 if same else max(0.0, (reach + 1 - stride) / 2)
        total = self.before + self.after
        if not same and isinstance(total, float) and total <= reach:
            return replace(self, before=0.0, after=0.0)
        left = replace(self, before=positive(self.before - used), after=positive(self.after - used))
        return left.scaled(1 / stride)

    def with_padding(self, count: Number) -> "Interval":
        """Returns the interval with the padding as a part of its content, of `count` positions in all."""
        if isinstance(self.before, float) and isinstance(self.after, float) and self.before == self.after == 0:
            return self
        each = (self.end - self.start) / (count - self.before - self.after)
        return Interval(self.start - self.before * each, self.end + self.after * each)


@dataclass(frozen=True)
class Coverage:
    """The part of the input that a tensor covers.

    Attributes:
        intervals: One for each spatial axis of the input.
        axes: The axes of the tensor that these are; None for one that was moved into the batch. Empty if the tensor has
            no such axes any more, as tokens.
        lost_shape: The lengths of the axes, if `axes` is empty.
        behind_kernel: Whether a convolution, pooling or product precedes the tensor.
        is_reduced: Whether a sum over positions precedes it, so that its entries have no position.
    """

    intervals: tuple[Interval, ...]
    axes: tuple[int | None, ...] = ()
    lost_shape: tuple[int | None, ...] = ()
    behind_kernel: bool = False
    is_reduced: bool = False

    def each(self, change: Callable[[Interval, int], Interval]) -> "Coverage":
        """Returns the coverage with `change(interval, axis)` for each interval that has an axis."""
        pairs = zip(self.intervals, self.axes, strict=True)
        return replace(self, intervals=tuple(x if axis is None else change(x, axis) for x, axis in pairs))

    def with_axes(self, change: Callable[[int], int]) -> "Coverage":
        """Returns the coverage of a tensor whose axis `change(axis)` was `axis`."""
        return replace(self, axes=tuple(None if axis is None else change(axis) for axis in self.axes))

    def flattened(self, tensor: tf.Tensor) -> "Coverage":
        """Returns the coverage behind an operation that takes the spatial axes from a tensor."""
        if not self.axes:
            return self
        lost_shape = tuple(None if axis is None else tensor.shape[axis] for axis in self.axes)
        # Padding is counted in positions of the axis, which is lost.
        ended = self.each(lambda interval, axis: interval.with_padding(length(tensor, axis)))
        return replace(ended, axes=(), lost_shape=lost_shape)


def positive(number: Number) -> Number:
    """Returns a number, or 0 if it is negative."""
    return max(number, 0.0) if isinstance(number, float) else tf.nn.relu(number)


def length(tensor: tf.Tensor, axis: int) -> Number:
    """Returns the length of an axis."""
    known = tensor.shape[axis]
    return tf.cast(tf.shape(tensor)[axis], tf.float32) if known is None else float(known)


def number_in(tensor: tf.Tensor, *index: int) -> Number:
    """Returns one number of an operation's settings, a float if it is constant."""
    known = tf.get_static_value(tensor, partial=True)
    value = None if known is None else known[index]
    return tf.cast(tensor[index], tf.float32) if value is None else float(value)


def extent_of(coverage: Coverage | None, tensor: tf.Tensor) -> tf.Tensor | None:
    """Returns the part of the input that a map covers, `(axes, 2)` float32, or None if it is all of it.

    Row i holds where axis i of the map starts and ends on the input, as fractions: (0, 1) is all of it, (0.25, 0.75)
    its middle half, (-0.1, 1.1) reaches beyond it, and (1, 0) is all of it in reverse.
    """
    if coverage is None or coverage.is_reduced:
        return None
    intervals = coverage.flattened(tensor).intervals
    edges = [(x, whole) for interval in intervals for x, whole in ((interval.start, 0), (interval.end, 1))]
    if all(isinstance(x, float) and abs(x - whole) < _NEAR for x, whole in edges):
        return None
    return tf.stack(
        [[tf.cast(interval.start, tf.float32), tf.cast(interval.end, tf.float32)] for interval in intervals]
    )


def laid_over(
    maps: tf.Tensor | NDArray[Any], size: tuple[int, ...] | tf.Tensor, extent: tf.Tensor, outside: str = "zero"
) -> tf.Tensor:
    """Resizes maps bilinearly to the part of the input that they cover.

    Args:
        maps: `(B, *spatial)`.
        size: The spatial shape of the input.
        extent: `(axes, 2)`, see `extent_of`.
        outside: What fills the input where the maps do not reach: `"zero"`, or `"edge"` for the nearest entry.

    Returns:
        `(B, *size)` float32.
    """
    result = tf.cast(maps, tf.float32)
    for axis in range(1, result.shape.rank):
        count, pixels = tf.cast(tf.shape(maps)[axis], tf.float32), size[axis - 1]
        start, end = extent[axis - 1, 0], extent[axis - 1, 1]
        # Of each pixel's center: its place in the extent, 0 to 1, and from it the position in the map.
        center = (tf.cast(tf.range(pixels), tf.float32) + 0.5) / tf.cast(pixels, tf.float32)
        fraction = (center - start) / (end - start)
        position = tf.clip_by_value(fraction * count - 0.5, 0.0, count - 1)
        # Linear interpolation as a matrix: each pixel has weights for its two nearest positions.
        weights = tf.nn.relu(1 - tf.abs(position[:, None] - tf.range(count)))
        if outside == "zero":
            weights *= tf.cast((fraction > 0) & (fraction < 1), tf.float32)[:, None]
        letters = "abcd"[: result.shape.rank - 1]
        letter = letters[axis - 1]
        result = tf.einsum(f"z{letters},n{letter}->z{letters.replace(letter, 'n')}", result, weights)
    return result


def cut_to(arrays: NDArray[Any], extents: tf.Tensor | NDArray[Any] | None, axis: int = 0) -> NDArray[Any]:
    """Crops arrays over the input to the part that the maps of one layer cover: the inverse of `over_input`.

    Args:
        arrays: `(B, H, W)`.
        extents: `(1, axes, 2)`, or None for maps that cover the whole input.
        axis: The first spatial axis to crop.

    Returns:
        `(B, H', W')` to the nearest pixel, zeros where the maps reach beyond the input.
    """
    if extents is None or axis == arrays.ndim - 1:
        return arrays
    count = arrays.shape[axis + 1]
    start, end = (round(float(one) * count) for one in np.asarray(extents[0][axis]))
    positions = np.arange(start, end) if start < end else np.arange(start - 1, end - 1, -1)
    shape = [-1 if i == axis + 1 else 1 for i in range(arrays.ndim)]
    inside = ((positions >= 0) & (positions < count)).reshape(shape)
    taken = np.where(inside, arrays.take(np.clip(positions, 0, count - 1), axis + 1), 0)
    return cut_to(taken.astype(arrays.dtype), extents, axis + 1)


def extents_of(answer: object) -> tf.Tensor | None:
    """Returns the extents of the maps of an answer, `(maps, axes, 2)`, or None if all cover the whole input."""
    return getattr(answer, "extents", None)


def over_input(
    maps: tf.Tensor | NDArray[Any], size: tuple[int, ...] | tf.Tensor, extents: tf.Tensor | None = None
) -> tf.Tensor:
    """Resizes the maps of one layer to the input, `(B, *size)`, or to the part of it that they cover.

    Args:
        maps: `(B, *spatial)`.
        size: The spatial shape of the input.
        extents: `(1, axes, 2)` as a `ForwardPass` reports them, or None for maps that cover the whole input.
    """
    return resized(maps, size) if extents is None else laid_over(maps, size, extents[0])


def map_extent(
    extents: tf.Tensor | NDArray[Any] | None, size: tuple[int, ...]
) -> dict[str, tuple[tuple[float, float], ...]]:
    """Returns the diagnostic `map_extent`: where the maps of one layer start and end on the input, in pixels.

    Args:
        extents: `(1, axes, 2)`, or None.
        size: The spatial shape of the input.

    Returns:
        An empty dict for maps that cover the whole input.
    """
    if extents is None or np.allclose(extents[0], [0, 1], atol=_NEAR):
        return {}
    pixels = np.asarray(extents[0]) * np.asarray(size, np.float64)[:, None]
    return {"map_extent": tuple((round(float(start), 3), round(float(end), 3)) for start, end in pixels)}


def whole_input(images: tf.Tensor) -> Coverage:
    """Returns the coverage of the explained input itself."""
    axes = len(spatial_shape(images.shape))
    return Coverage((Interval(),) * axes, tuple(range(1, axes + 1)))

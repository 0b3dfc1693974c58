"""Reading off a traced graph what each tensor covers of the explained input; see `kerasxai.engine.coverage.extents`."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import tensorflow as tf

from kerasxai.engine.coverage.extents import Cover, Line, Number, extent_of, length, whole_cover
from kerasxai.engine.coverage.rules import PIXELWISE, READERS, WINDOWS, restored
from kerasxai.engine.map_layout import sides_of
from kerasxai.tools.errors import KerasxaiWarning

# What only asks how large a tensor is does not look at its values.
_SHAPES = {"Shape", "ShapeN", "Size", "Rank"}
_PRODUCTS = {"MatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"}
# What moves pixels without a rule that holds for whole rows and columns.
_WARPS = {"ImageProjectiveTransformV2", "ImageProjectiveTransformV3", "GatherNd", "CropAndResize", "Roll", "While"}
_WARPS |= {"StatelessWhile", "ScatterNd", "TensorScatterUpdate"}


class Covers:
    """What the maps that a pass was asked for cover of the explained input, in their order.

    Args:
        images: The graph's tensor of the explained input.
        tape: Recorded the pass, persistent; None where the pass has no gradients.
    """

    def __init__(self, images: Any, tape: tf.GradientTape | None) -> None:
        self._images = images
        self._tape = tape
        self._extents: dict[Any, Any | None] = {}

    def add(self, tensor: Any) -> None:
        """Notes the extent of one map, and warns of a model whose geometry cannot be read."""
        if tensor.ref() in self._extents or self._images.shape.rank < 3 or not hasattr(self._images, "op"):
            return
        reader = CoverReader(self._images, self._tape)
        self._extents[tensor.ref()] = reader.extent(tensor)
        if reader.unread:
            unread = ", ".join(sorted(reader.unread))
            warnings.warn(
                f"the model moves or cuts its input by operations that cannot be read ({unread}): the map is laid over "
                "the input as if they were not there; compare it with occlusion or saliency",
                KerasxaiWarning,
                stacklevel=2,
            )

    @property
    def told(self) -> dict[str, Any]:
        """The key `extents`, `(maps, sides, 2)`, where any map covers another part of the input than all of it."""
        found = list(self._extents.values())
        if all(extent is None for extent in found):
            return {}
        whole = tf.constant([[0.0, 1.0]] * len(sides_of(self._images.shape)))
        return {"extents": tf.stack([whole if extent is None else extent for extent in found])}


class CoverReader:
    """Reads covers off a traced graph, from the input up.

    Args:
        images: The graph's tensor of the explained input, `(B, *sides, C)`.
        tape: Recorded the pass, persistent; None where the pass has no gradients.

    Attributes:
        unread: The operations that may move what a map shows in a way that could not be read.
    """

    def __init__(self, images: Any, tape: tf.GradientTape | None) -> None:
        self._tape = tape
        self.unread: set[str] = set()
        self._known: dict[Any, Cover | None] = {images.ref(): whole_cover(images)}

    def extent(self, tensor: Any) -> Any | None:
        """Returns which part of the input a tensor covers; see `kerasxai.engine.coverage.extents.extent_of`."""
        return extent_of(self.of(tensor), tensor)

    def of(self, tensor: Any) -> Cover | None:
        """Returns the cover of a tensor, None if it does not depend on the input."""
        waiting = [tensor]
        while waiting:
            last = waiting[-1]
            missing = [x for x in _looked_at(last) if x.ref() not in self._known]
            if last.ref() in self._known:
                waiting.pop()
            elif missing:
                waiting += missing
            else:
                self._known[waiting.pop().ref()] = self._read(last)
        return self._known[tensor.ref()]

    def _read(self, tensor: Any) -> Cover | None:
        inputs = [(x, cover) for x in _looked_at(tensor) if (cover := self._known[x.ref()]) is not None]
        if not inputs:
            return None
        op = tensor.op
        source, cover = self._leading(tensor, inputs)
        if op.type in _PRODUCTS:
            cover = replace(cover, deep=True)
        if not cover.axes:
            return restored(tensor, cover)
        reader: Callable[..., Cover | None] | None = READERS.get(op.type)
        if op.type == "ConcatV2":
            return self._joined(tensor, inputs)
        if op.type in _WARPS and not cover.deep:
            self.unread.add(op.type)
            return cover if tensor.shape.rank == source.shape.rank else cover.laid_flat(source)
        return reader(tensor, source, cover) if reader else self._other(tensor, source, cover)

    def _leading(self, tensor: Any, inputs: list[tuple[Any, Cover]]) -> tuple[Any, Cover]:
        """Returns the input that says where the places of an operation lie."""

        def rank(pair: tuple[Any, Cover]) -> tuple[bool, bool, bool]:
            x, cover = pair
            # A gate (B, 1, 1, K), or tokens that were summed up, say nothing.
            broad = bool(cover.axes) and all(a is None or x.shape[a] != 1 for a in cover.axes)
            return broad, bool(cover.axes), not cover.gone

        best = max(map(rank, inputs))
        # Of shifted copies of a map, whose sum is a window, the one in the middle has no padding left.
        first, *others = sorted((pair for pair in inputs if rank(pair) == best), key=lambda pair: _padding_of(pair[1]))
        if tensor.op.type not in WINDOWS | _PRODUCTS and any(_apart(first, other) for other in others):
            self.unread.add(tensor.op.type)
        return first

    def _other(self, tensor: Any, source: Any, cover: Cover) -> Cover:
        """Reads an operation of which nothing is known but what goes in and what comes out."""
        axes = [axis for axis in cover.axes if axis is not None]
        if tensor.shape.rank != source.shape.rank:
            if not cover.deep:
                self.unread.add(tensor.op.type)
            return cover.laid_flat(source)
        changed = any(tensor.shape[axis] != source.shape[axis] or tensor.shape[axis] is None for axis in axes)
        if cover.deep or tensor.op.type in PIXELWISE or not (changed or tensor.op.type in {"If", "StatelessIf"}):
            return cover
        found = None if self._tape is None else _measured(tensor, source, cover, self._tape)
        if found is None:
            self.unread.add(tensor.op.type)
        return found or cover

    def _joined(self, tensor: Any, inputs: list[tuple[Any, Cover]]) -> Cover:
        """Reads a concatenation: along a side, what does not depend on the input is padding."""
        axis = int(tf.get_static_value(tensor.op.inputs[-1])) % tensor.shape.rank
        parts = list(tensor.op.inputs)[:-1]
        _, cover = self._leading(tensor, inputs)
        if axis not in cover.axes:
            return cover
        alive = [i for i, x in enumerate(parts) if self._known[x.ref()] is not None]
        if len(alive) > 1:
            if not cover.deep:
                self.unread.add("ConcatV2")
            return cover
        zero: Number = 0.0
        before = sum((length(x, axis) for x in parts[: alive[0]]), zero)
        after = sum((length(x, axis) for x in parts[alive[0] + 1 :]), zero)
        return cover.each(lambda line, at: line.padded(before, after) if at == axis else line)


def _looked_at(tensor: Any) -> list[Any]:
    return [] if tensor.op.type in _SHAPES else list(tensor.op.inputs)


def _padding_of(cover: Cover) -> float:
    ends = [end for line in cover.lines for end in (line.before, line.after)]
    return sum(end if isinstance(end, float) else 0.0 for end in ends)


def _apart(one: tuple[Any, Cover], two: tuple[Any, Cover]) -> bool:
    """Returns whether two maps that come together are known to cover the input differently, by more than a place.

    Behind a convolution they may be shifted against each other.
    """
    (x, cover), (y, other) = one, two
    if not cover.axes or cover.axes != other.axes:
        return False
    for axis, mine, theirs in zip(cover.axes, cover.lines, other.lines, strict=True):
        if axis is None or x.shape[axis] is None or x.shape[axis] != y.shape[axis]:
            continue
        mine, theirs = (line.ends(float(x.shape[axis])) for line in (mine, theirs))
        if not all(isinstance(end, float) for end in (mine.first, mine.last, theirs.first, theirs.last)):
            continue
        shifts = (mine.first - theirs.first, mine.last - theirs.last)
        differences = [shifts[0] - shifts[1]] if cover.deep else shifts
        if any(abs(difference) * x.shape[axis] > 1.01 for difference in differences):
            return True
    return False


def _measured(tensor: Any, source: Any, cover: Cover, tape: tf.GradientTape) -> Cover | None:
    """Returns the cover behind an operation whose gradient says where it puts each place of what goes in."""
    if not (tensor.dtype.is_floating and source.dtype.is_floating):
        return None
    weights = tape.gradient(tensor, source, output_gradients=tf.ones_like(tensor))
    if weights is None:
        return None

    def along(line: Line, axis: int) -> Line:
        others = [i for i in range(tensor.shape.rank) if i != axis]
        numbers = tf.range(tf.cast(tf.shape(tensor)[axis], tensor.dtype))
        ramp = tf.reshape(numbers, [-1 if i == axis else 1 for i in range(tensor.shape.rank)])
        ramped = tape.gradient(tensor, source, output_gradients=tf.ones_like(tensor) * ramp)
        weight, total = (tf.cast(tf.reduce_sum(x, others), tf.float32) for x in (weights, ramped))
        seen = tf.cast(tf.abs(weight) > 1e-6 * tf.reduce_max(tf.abs(weight)), tf.float32)
        count, at = length(source, axis), tf.range(tf.cast(tf.shape(source)[axis], tf.float32))
        place = seen * tf.math.divide_no_nan(total, weight)
        mean_at, mean_place = (tf.reduce_sum(seen * x) / tf.reduce_sum(seen) for x in (at, place))
        spread = tf.reduce_sum(seen * tf.square(at - mean_at))
        step = tf.where(
            spread > 0, tf.math.divide_no_nan(tf.reduce_sum(seen * (at - mean_at) * (place - mean_place)), spread), 1.0
        )
        whole = line.ends(count)
        each = (whole.last - whole.first) / count
        # Where the edges of the result lie among the places of the source.
        edges = ((end - mean_place) / step + mean_at for end in (-0.5, length(tensor, axis) - 0.5))
        first, last = (whole.first + (edge + 0.5) * each for edge in edges)
        return Line(first, last)

    return cover.each(along)

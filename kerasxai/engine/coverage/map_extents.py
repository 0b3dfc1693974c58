"""Reading what each tensor of a traced graph covers of the explained input; see `kerasxai.engine.coverage.extents`."""

import warnings
from dataclasses import replace
from typing import Any

import tensorflow as tf

from kerasxai.engine.coverage.extents import Coverage, Interval, Number, extent_of, length, whole_input
from kerasxai.engine.coverage.graph_reader import GraphReader
from kerasxai.engine.coverage.rules import PIXELWISE, RULES, WINDOWS, unflattened
from kerasxai.engine.graph import copied
from kerasxai.engine.map_layout import spatial_shape
from kerasxai.tools.errors import KerasxaiWarning

_PRODUCTS = {"MatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"}
# These move pixels, and no rule holds for whole rows and columns.
_WARPS = {"ImageProjectiveTransformV2", "ImageProjectiveTransformV3", "GatherNd", "CropAndResize", "Roll", "While"}
_WARPS |= {"StatelessWhile", "ScatterNd", "TensorScatterUpdate"}


class MapExtents:
    """The extents on the explained input of all maps that a pass explains, in their order.

    Args:
        images: The explained input in the traced graph.
    """

    def __init__(self, images: tf.Tensor) -> None:
        self._images = images
        self._extents: dict[Any, tf.Tensor | None] = {}

    def add(self, tensor: tf.Tensor) -> None:
        """Adds a map, and warns of a model whose geometry cannot be read."""
        # Tokens (B, T) have no geometry, and an array of a plain function has no graph.
        if tensor.ref() in self._extents or self._images.shape.rank < 3 or not hasattr(self._images, "op"):
            return
        reader = CoverageReader(self._images)
        self._extents[tensor.ref()] = extent_of(reader.read(tensor), tensor)
        if reader.unread:
            unread = ", ".join(sorted(reader.unread))
            warnings.warn(
                f"the model moves or crops its input by operations that cannot be read ({unread}): the map is laid "
                "over the input as if they did not exist; compare it with occlusion or saliency",
                KerasxaiWarning,
                stacklevel=2,
            )

    @property
    def diagnostics(self) -> dict[str, tf.Tensor]:
        """The key `extents`, `(maps, axes, 2)`, if any map does not cover the whole input."""
        found = list(self._extents.values())
        if all(extent is None for extent in found):
            return {}
        whole = tf.constant([[0.0, 1.0]] * len(spatial_shape(self._images.shape)))
        return {"extents": tf.stack([whole if extent is None else extent for extent in found])}


class CoverageReader(GraphReader[Coverage]):
    """Reads off a traced graph what tensors cover of the explained input, from the input up.

    Args:
        images: The explained input in the traced graph, `(B, *spatial, C)`.

    Attributes:
        unread: The operations that may move what a map shows in a way that could not be read.
    """

    def __init__(self, images: tf.Tensor) -> None:
        super().__init__(images, whole_input(images))
        self.unread: set[str] = set()

    def _read_output(self, tensor: tf.Tensor, inputs: list[tuple[tf.Tensor, Coverage]]) -> Coverage | None:
        op = tensor.op
        source, coverage = self._leading(tensor, inputs)
        if op.type in _PRODUCTS:
            coverage = replace(coverage, behind_kernel=True)
        if not coverage.axes:
            return unflattened(tensor, coverage)
        if op.type == "ConcatV2":
            return self._concatenation(tensor, inputs)
        if op.type in _WARPS and not coverage.behind_kernel:
            self.unread.add(op.type)
            return coverage if tensor.shape.rank == source.shape.rank else coverage.flattened(source)
        rule = RULES.get(op.type)
        return rule(tensor, source, coverage) if rule else self._unknown(tensor, source, coverage)

    def _leading(self, tensor: tf.Tensor, inputs: list[tuple[tf.Tensor, Coverage]]) -> tuple[tf.Tensor, Coverage]:
        """Returns the input that decides where the positions of an output are."""

        def rank(pair: tuple[tf.Tensor, Coverage]) -> tuple[bool, bool, bool]:
            x, coverage = pair
            # A gate (B, 1, 1, K), or tokens that were summed over, has no positions to compare.
            is_broad = bool(coverage.axes) and all(a is None or x.shape[a] != 1 for a in coverage.axes)
            return is_broad, bool(coverage.axes), not coverage.is_reduced

        best = max(map(rank, inputs))
        # If shifted copies of a map are summed to a window, the copy in the middle has no padding left.
        equal = (pair for pair in inputs if rank(pair) == best)
        first, *rest = sorted(equal, key=lambda pair: _padding(pair[1]))
        if tensor.op.type not in WINDOWS | _PRODUCTS and any(_differ(first, other) for other in rest):
            self.unread.add(tensor.op.type)
        return first

    def _unknown(self, tensor: tf.Tensor, source: tf.Tensor, coverage: Coverage) -> Coverage:
        """Returns the coverage behind an operation that has no rule, from its input and output."""
        op = tensor.op
        if tensor.shape.rank != source.shape.rank:
            if not coverage.behind_kernel:
                self.unread.add(op.type)
            return coverage.flattened(source)
        axes = [axis for axis in coverage.axes if axis is not None]
        is_resized = any(tensor.shape[axis] != source.shape[axis] or tensor.shape[axis] is None for axis in axes)
        # A condition may flip the image without resizing it. Late operations move maps by less than a position.
        may_move = is_resized or op.type in {"If", "StatelessIf"}
        if coverage.behind_kernel or op.type in PIXELWISE or not may_move:
            return coverage
        measured = _measured(tensor, source, coverage)
        if measured is None:
            self.unread.add(op.type)
        return measured or coverage

    def _concatenation(self, tensor: tf.Tensor, inputs: list[tuple[tf.Tensor, Coverage]]) -> Coverage:
        """Returns the coverage of a concatenation: along a spatial axis, parts that do not depend on it are padding."""
        axis = int(tf.get_static_value(tensor.op.inputs[-1])) % tensor.shape.rank
        parts = list(tensor.op.inputs)[:-1]
        _, coverage = self._leading(tensor, inputs)
        if axis not in coverage.axes:
            return coverage
        content = [i for i, x in enumerate(parts) if self._known[x.ref()] is not None]
        if len(content) > 1:
            # Parts of the image in another order, for instance.
            if not coverage.behind_kernel:
                self.unread.add("ConcatV2")
            return coverage
        zero: Number = 0.0
        before = sum((length(x, axis) for x in parts[: content[0]]), zero)
        after = sum((length(x, axis) for x in parts[content[0] + 1 :]), zero)
        return coverage.each(lambda interval, at: interval.padded(before, after) if at == axis else interval)


def _padding(coverage: Coverage) -> float:
    ends = [end for interval in coverage.intervals for end in (interval.before, interval.after)]
    return sum(end if isinstance(end, float) else 0.0 for end in ends)


def _differ(one: tuple[tf.Tensor, Coverage], two: tuple[tf.Tensor, Coverage]) -> bool:
    """Returns whether two inputs of an operation cover parts of the image that differ by more than a position.

    Behind a convolution they may be shifted against each other.
    """
    (x, coverage), (y, other) = one, two
    if not coverage.axes or coverage.axes != other.axes:
        return False
    for axis, first, second in zip(coverage.axes, coverage.intervals, other.intervals, strict=True):
        if axis is None or x.shape[axis] is None or x.shape[axis] != y.shape[axis]:
            continue
        first, second = (interval.with_padding(float(x.shape[axis])) for interval in (first, second))
        if not all(isinstance(end, float) for end in (first.start, first.end, second.start, second.end)):
            continue
        shifts = (first.start - second.start, first.end - second.end)
        differences = [shifts[0] - shifts[1]] if coverage.behind_kernel else shifts
        # As fractions of the image, times the number of positions; a hundredth is rounding.
        if any(abs(difference) * x.shape[axis] > 1.01 for difference in differences):
            return True
    return False


def _measured(tensor: tf.Tensor, source: tf.Tensor, coverage: Coverage) -> Coverage | None:
    """Returns the coverage behind an operation, from where it moves each entry of a ramp."""
    if not (tensor.dtype.is_floating and source.dtype.is_floating):
        return None
    # Operations before the first convolution are nearly always affine: f(x) - f(0) is linear. Their gradient would show
    # the same, but no tape records them behind a cast of integers.
    offset = copied(tensor, source, tf.zeros_like(source))
    weights = copied(tensor, source, tf.ones_like(source)) - offset

    def along(interval: Interval, axis: int) -> Interval:
        ranks = range(tensor.shape.rank)
        numbers = tf.range(tf.cast(tf.shape(source)[axis], source.dtype))
        ramp = tf.ones_like(source) * tf.reshape(numbers, [-1 if i == axis else 1 for i in ranks])
        ramped = copied(tensor, source, ramp) - offset
        weight, total = (
            tf.cast(tf.reduce_sum(x, [i for i in ranks if i != axis]), tf.float32) for x in (weights, ramped)
        )
        # Padding does not respond.
        is_used = tf.cast(tf.abs(weight) > 1e-6 * tf.reduce_max(tf.abs(weight)), tf.float32)
        position = is_used * tf.math.divide_no_nan(total, weight)
        # A least-squares line through (index in the output, position in the source).
        index = tf.range(tf.cast(tf.shape(tensor)[axis], tf.float32))
        mean_index, mean_position = (tf.reduce_sum(is_used * x) / tf.reduce_sum(is_used) for x in (index, position))
        spread = tf.reduce_sum(is_used * tf.square(index - mean_index))
        covariance = tf.reduce_sum(is_used * (index - mean_index) * (position - mean_position))
        slope = tf.where(spread > 0, tf.math.divide_no_nan(covariance, spread), 1.0)
        # Where the edges of the output are among the positions of the source, and from there on the input.
        edges = ((end - mean_index) * slope + mean_position for end in (-0.5, length(tensor, axis) - 0.5))
        count = length(source, axis)
        whole = interval.with_padding(count)
        each = (whole.end - whole.start) / count
        start, end = (whole.start + (edge + 0.5) * each for edge in edges)
        return Interval(start, end)

    return coverage.each(along)

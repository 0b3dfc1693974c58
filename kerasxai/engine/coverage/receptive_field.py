"""Receptive fields of the tensors of a traced graph: the pixels that each entry depends on.

Other than `map_extents`, which places a map on the image and may guess, these are exact: an operation without a rule is
an error.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.engine.coverage.graph_reader import REDUCTIONS, GraphReader
from kerasxai.tools.errors import KerasxaiError


@dataclass(frozen=True)
class AxisField:
    """The receptive field along one axis: index `i` depends on pixels `first + i * stride` to `last + i * stride`."""

    stride: int
    first: int
    last: int

    def after_window(self, size: int, stride: int, padding: int, dilation: int = 1) -> "AxisField":
        """Returns the field behind a sliding window with so much padding before the first position."""
        first = self.first - padding * self.stride
        # The last element of the window lies (size - 1) * dilation positions behind its first.
        last = self.last + ((size - 1) * dilation - padding) * self.stride
        return AxisField(self.stride * stride, first, last)

    def shifted(self, positions: int) -> "AxisField":
        """Returns the field of a tensor whose index 0 is so many positions further on."""
        pixels = positions * self.stride
        return AxisField(self.stride, self.first + pixels, self.last + pixels)


@dataclass(frozen=True)
class MapField:
    """The receptive field of a tensor.

    Attributes:
        rows: The field along the height, None where each entry depends on all rows.
        columns: The field along the width, None where each entry depends on all columns.
        axes: The axes of rows and columns in the tensor; None where it has none any more, as behind a sum.
        flat_channels: The channels of a map whose positions are flattened, `(B * h * w, C)`; else 0.
    """

    rows: AxisField | None
    columns: AxisField | None
    axes: tuple[int, int] | None = (1, 2)
    flat_channels: int = 0

    @property
    def is_global(self) -> bool:
        """Whether every entry depends on the whole image."""
        return self.rows is None and self.columns is None

    def each(self, change: Callable[[AxisField, int], AxisField]) -> "MapField":
        """Returns the field with `change(field, axis)` in place of those along the axes."""
        assert self.axes is not None
        pairs = zip((self.rows, self.columns), self.axes, strict=True)
        rows, columns = (None if field is None else change(field, axis) for field, axis in pairs)
        return replace(self, rows=rows, columns=columns)

    def shifted(self, positions: Callable[[int], int]) -> "MapField":
        """Returns the field of a tensor whose index 0 is `positions(axis)` further on along each axis."""
        return self.each(lambda field, axis: field.shifted(positions(axis)))

    def strided(self, factor: Callable[[int], float]) -> "MapField":
        """Returns the field with the strides times `factor(axis)`, a fraction where positions get denser."""
        return self.each(lambda field, axis: replace(field, stride=round(field.stride * factor(axis))))


_GLOBAL = MapField(None, None, None)
# Each entry of the output depends on the entry of the input at the same position.
_POINTWISE = frozenset(
    """
    Abs Atan BiasAdd Cast CheckNumerics ClipByValue Cos Elu EnsureShape Erf Erfc Exp Expm1 Floor FusedBatchNorm
    FusedBatchNormV2 FusedBatchNormV3 Identity Inv LeakyRelu Log Log1p Neg PreventGradient Reciprocal Relu Relu6 Rint
    Round Rsqrt Selu Sigmoid Sign Sin Snapshot Softplus Softsign Sqrt Square StopGradient Tanh
    """.split()  # noqa: SIM905
)
# The same of several inputs.
_ELEMENTWISE = frozenset(
    """
    Add AddN AddV2 ConcatV2 Div DivNoNan Equal Greater GreaterEqual Less LessEqual LogicalAnd LogicalOr Maximum
    Minimum Mul MulNoNan NotEqual Pow RealDiv Select SelectV2 SquaredDifference Sub Xdivy
    """.split()  # noqa: SIM905
)
_PRODUCTS = {"Mul", "MulNoNan"}


class ReceptiveFieldReader(GraphReader[MapField]):
    """Reads receptive fields off a traced graph, from the image up.

    Args:
        image: The image `(B, H, W, C)` in the traced graph.
        gates: Whether factors that depend on the whole image count, as those of squeeze and excitation.
    """

    def __init__(self, image: tf.Tensor, gates: bool = True) -> None:
        # A pixel depends on itself.
        super().__init__(image, MapField(AxisField(1, 0, 0), AxisField(1, 0, 0)))
        self._gates = gates

    def _read_output(self, tensor: tf.Tensor, inputs: list[tuple[tf.Tensor, MapField]]) -> MapField | None:
        op = tensor.op
        fields = [field for _, field in inputs]
        if all(field.is_global for field in fields):
            # No operation narrows the field of an entry that depends on everything.
            return replace(_GLOBAL, axes=(1, 2) if tensor.shape.rank == 4 else None)
        if op.type == "IdentityN":
            # Output i is input i, and any of them may not depend on the image.
            return self._known[op.inputs[tensor.value_index].ref()]
        if op.type in _POINTWISE:
            return fields[0]
        if op.type in _ELEMENTWISE:
            return self._elementwise(tensor, fields)
        rule = self._reduction if op.type in REDUCTIONS else getattr(self, f"_{op.type.lower()}", None)
        if rule is None:
            raise _unreadable(op, f"a {op.type}")
        return rule(tensor, fields[0])

    def _elementwise(self, tensor: tf.Tensor, fields: list[MapField]) -> MapField:
        op = tensor.op
        if op.type == "ConcatV2":
            axis = int(tf.get_static_value(op.inputs[-1])) % tensor.shape.rank
            if any(field.axes and axis in field.axes for field in fields):
                raise _unreadable(op, "a concatenation of maps along their height or width")
        local = [field for field in fields if not field.is_global]
        if op.type in _PRODUCTS and not self._gates:
            fields = local
        if len({(field.axes, field.flat_channels) for field in local}) > 1:
            raise _unreadable(op, "maps of different layouts")
        return replace(
            local[0],
            rows=_union([field.rows for field in fields], op),
            columns=_union([field.columns for field in fields], op),
        )

    def _conv2d(self, tensor: tf.Tensor, field: MapField) -> MapField:
        return self._window(tensor, field, tensor.op.inputs[1].shape[:2], tensor.op.get_attr("dilations"))

    _depthwiseconv2dnative = _conv2d

    def _maxpool(self, tensor: tf.Tensor, field: MapField) -> MapField:
        sizes = tensor.op.get_attr("ksize")
        return self._window(tensor, field, [sizes[axis] for axis in _window_axes(tensor.op)], (1, 1, 1, 1))

    _avgpool = _maxpool

    def _window(self, tensor: tf.Tensor, field: MapField, sizes: Sequence[int], dilations: Sequence[int]) -> MapField:
        op = tensor.op
        axes = _window_axes(op)
        if field.axes != axes or field.flat_channels:
            raise _unreadable(op, "a window over other axes than height and width")
        strides = op.get_attr("strides")

        def behind(field: AxisField, axis: int) -> AxisField:
            size, stride, dilation = sizes[axes.index(axis)], strides[axis], dilations[axis]
            return field.after_window(size, stride, _padding_before(op, axis, size, dilation), dilation)

        return field.each(behind)

    def _softmax(self, tensor: tf.Tensor, field: MapField) -> MapField:
        # Over the last axis: the channels, which do not move positions.
        if field.flat_channels or field.axes == (1, 2):
            return field
        raise _unreadable(tensor.op, "a softmax over positions")

    _logsoftmax = _softmax

    def _pad(self, tensor: tf.Tensor, field: MapField) -> MapField:
        paddings = _static(tensor.op.inputs[1], tensor.op)
        return field.shifted(lambda axis: -int(paddings[axis][0]))

    _padv2 = _pad

    # TensorFlow computes a dilated convolution as a dense one on every n-th row and column, which SpaceToBatchND moves
    # into the batch and BatchToSpaceND back. The batch is ignored: all n maps have the field of the first.
    def _spacetobatchnd(self, tensor: tf.Tensor, field: MapField) -> MapField:
        block, paddings = (_static(x, tensor.op) for x in tensor.op.inputs[1:])
        padded = field.shifted(lambda axis: -int(paddings[axis - 1][0]))
        return padded.strided(lambda axis: int(block[axis - 1]))

    def _batchtospacend(self, tensor: tf.Tensor, field: MapField) -> MapField:
        block, crops = (_static(x, tensor.op) for x in tensor.op.inputs[1:])
        for axis, one in zip(field.axes or (), (field.rows, field.columns), strict=True):
            if one is not None and one.stride % int(block[axis - 1]):
                raise _unreadable(tensor.op, "a stride that its block size does not divide")
        dense = field.strided(lambda axis: 1 / int(block[axis - 1]))
        return dense.shifted(lambda axis: int(crops[axis - 1][0]))

    def _stridedslice(self, tensor: tf.Tensor, field: MapField) -> MapField:
        op = tensor.op
        begin, step = _static(op.inputs[1], op), _static(op.inputs[3], op)
        special = [op.get_attr(name) for name in ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")]
        if any(special) or (step < 0).any() or (begin < 0).any():
            raise _unreadable(op, "a slice with new, removed or reversed axes")
        mask = op.get_attr("begin_mask")
        # A slice may name fewer axes than there are: the rest is taken whole.
        starts = [0 if mask >> axis & 1 else int(start) for axis, start in enumerate(begin)] + [0] * 4
        steps = [int(one) for one in step] + [1] * 4
        return field.shifted(lambda axis: starts[axis]).strided(lambda axis: steps[axis])

    def _transpose(self, tensor: tf.Tensor, field: MapField) -> MapField:
        order = _static(tensor.op.inputs[1], tensor.op).tolist()
        assert field.axes is not None
        return replace(field, axes=(order.index(field.axes[0]), order.index(field.axes[1])))

    def _reduction(self, tensor: tf.Tensor, field: MapField) -> MapField:
        op = tensor.op
        if field.flat_channels or field.axes is None:
            raise _unreadable(op, "a reduction over flattened positions")
        axes = {int(axis) % op.inputs[0].shape.rank for axis in np.ravel(_static(op.inputs[1], op))}
        rows = None if field.axes[0] in axes else field.rows
        columns = None if field.axes[1] in axes else field.columns
        if rows is None and columns is None:
            return _GLOBAL
        if not op.get_attr("keep_dims") and (axes & set(field.axes) or min(axes) < max(field.axes)):
            raise _unreadable(op, "a reduction that moves height or width to other axes")
        return replace(field, rows=rows, columns=columns)

    def _reshape(self, tensor: tf.Tensor, field: MapField) -> MapField:
        before, after = tensor.op.inputs[0].shape, tensor.shape
        # Flatten: one row for each image.
        if after.rank == 2 and None not in before[1:] and after[-1] == math.prod(before[1:]):
            return _GLOBAL
        # A dense layer on a map flattens its positions, (B * h * w, C), and restores them behind its product.
        if field.axes == (1, 2) and not field.flat_channels and after.rank == 2 and after[-1] in (before[-1], None):
            return replace(field, flat_channels=before[-1])
        if field.flat_channels and after.rank == 4:
            return replace(field, flat_channels=0)
        if field.axes == (1, 2) and after.rank == 4 and before.rank == 4 and after[1:3] == before[1:3]:
            return field
        raise _unreadable(tensor.op, "a reshape that moves positions")

    def _matmul(self, tensor: tf.Tensor, field: MapField) -> MapField:
        kernel = tensor.op.inputs[1]
        # The reshape before may have left the number of channels open; here the kernel shows it.
        if self._known[kernel.ref()] is None and field.flat_channels and kernel.shape[0] == field.flat_channels:
            return replace(field, flat_channels=kernel.shape[1])
        raise _unreadable(tensor.op, "a product over positions")


def _window_axes(op: tf.Operation) -> tuple[int, int]:
    return (1, 2) if op.get_attr("data_format") == b"NHWC" else (2, 3)


def _padding_before(op: tf.Operation, axis: int, size: int, dilation: int) -> int:
    """Returns how many positions of padding a window adds before the first one."""
    padding = op.get_attr("padding")
    if padding == b"VALID":
        return 0
    if padding == b"EXPLICIT":
        return op.get_attr("explicit_paddings")[2 * axis]
    # "SAME" pads the least that gives ceil(length / stride) positions, the smaller half before the first.
    length, stride = op.inputs[0].shape[axis], op.get_attr("strides")[axis]
    covered = (math.ceil(length / stride) - 1) * stride + (size - 1) * dilation + 1
    return max(covered - length, 0) // 2


def _union(fields: list[AxisField | None], op: tf.Operation) -> AxisField | None:
    """Returns the smallest field that contains those of all inputs of an operation."""
    local = [field for field in fields if field is not None]
    if len(local) < len(fields):
        return None
    if len({field.stride for field in local}) > 1:
        raise _unreadable(op, "maps of different strides")
    return AxisField(local[0].stride, min(field.first for field in local), max(field.last for field in local))


def _static(tensor: tf.Tensor, op: tf.Operation) -> NDArray[np.integer]:
    """Returns the settings of an operation, which must not depend on the data."""
    value = tf.get_static_value(tensor)
    if value is None:
        raise _unreadable(op, "settings that depend on the data")
    return value


def _unreadable(op: tf.Operation, reason: str) -> KerasxaiError:
    return KerasxaiError(
        f"expected operations whose receptive field is known, got {reason} at {op.name}; the receptive field cannot be "
        "read through it: choose a layer before"
    )

"""How the rows and columns of tensors in a traced graph hang on those of the image."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from kerasxai.tools.errors import KerasxaiError


@dataclass(frozen=True)
class Span:
    """Along one axis: index `i` of a tensor hangs on pixels `first + i * stride` to `last + i * stride`."""

    stride: int
    first: int
    last: int

    def windowed(self, size: int, step: int, before: int, dilation: int = 1) -> "Span":
        """Returns the span behind a window of so many places, with so much padding before the first."""
        first = self.first - before * self.stride
        last = self.last + ((size - 1) * dilation - before) * self.stride
        return Span(self.stride * step, first, last)


@dataclass(frozen=True)
class Spans:
    """Of one tensor: the spans of rows and columns, None for the whole image, and which axes those are.

    `axes` is None where the tensor has no such axes any more: it is summed up. `in_one_row` is
    the number of channels where the places are laid in one row, `(B * h * w, C)`, and else 0.
    """

    rows: Span | None
    columns: Span | None
    axes: tuple[int, int] | None = (1, 2)
    in_one_row: int = 0

    @property
    def whole(self) -> bool:
        """Whether every entry sees the whole image."""
        return self.rows is None and self.columns is None


_WHOLE = Spans(None, None, None)
_SAME = frozenset(
    """
    Abs Atan BiasAdd Cast CheckNumerics ClipByValue Cos Elu EnsureShape Erf Erfc Exp Expm1 Floor FusedBatchNorm
    FusedBatchNormV2 FusedBatchNormV3 Identity Inv LeakyRelu Log Log1p Neg PreventGradient Reciprocal Relu Relu6 Rint
    Round Rsqrt Selu Sigmoid Sign Sin Snapshot Softplus Softsign Sqrt Square StopGradient Tanh
    """.split()  # noqa: SIM905
)
_TOGETHER = frozenset(
    """
    Add AddN AddV2 ConcatV2 Div DivNoNan Equal Greater GreaterEqual Less LessEqual LogicalAnd LogicalOr Maximum
    Minimum Mul MulNoNan NotEqual Pow RealDiv Select SelectV2 SquaredDifference Sub Xdivy
    """.split()  # noqa: SIM905
)
_REDUCTIONS = {"Mean", "Sum", "Max", "Min", "Prod", "All", "Any", "EuclideanNorm"}
_FACTORS = {"Mul", "MulNoNan"}
# What only asks how large a tensor is does not look at its values.
_SHAPES = {"Shape", "ShapeN", "Size", "Rank"}


class SpanReader:
    """Reads spans off a traced graph, from the image up.

    Args:
        image: The graph's tensor `(B, H, W, C)`.
        gates: Whether factors that see the whole image count.
    """

    def __init__(self, image: Any, gates: bool = True) -> None:
        self._gates = gates
        self._known: dict[Any, Spans | None] = {image.ref(): Spans(Span(1, 0, 0), Span(1, 0, 0))}

    def of(self, tensor: Any) -> Spans | None:
        """Returns the spans of a tensor, None if it does not hang on the image."""
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

    def _read(self, tensor: Any) -> Spans | None:
        op = tensor.op
        inputs = [self._known[x.ref()] for x in _looked_at(tensor)]
        alive = [spans for spans in inputs if spans is not None]
        if not alive:
            return None
        if all(spans.whole for spans in alive):
            # Whatever is done to it, no entry can see less, and none sees more.
            return replace(_WHOLE, axes=_kept_axes(tensor, alive[0]))
        if op.type in _SAME or op.type == "IdentityN":
            return inputs[_index(tensor)] if op.type == "IdentityN" else alive[0]
        if op.type in _TOGETHER:
            return self._together(tensor, inputs)
        reader = getattr(self, f"_{op.type.lower()}", None)
        if op.type in _REDUCTIONS:
            reader = self._reduction
        if reader is None:
            raise KerasxaiError(
                f"the receptive field cannot be read through the operation {op.type} ({op.name}); take a layer before"
            )
        return reader(tensor, alive[0])

    def _together(self, tensor: Any, inputs: list[Spans | None]) -> Spans:
        op = tensor.op
        if op.type == "ConcatV2":
            axis = int(tf.get_static_value(op.inputs[-1])) % tensor.shape.rank
            if any(spans and spans.axes and axis in spans.axes for spans in inputs):
                raise KerasxaiError(f"the receptive field cannot be read: {op.name} joins maps side by side")
        alive = [spans for spans in inputs if spans is not None]
        local = [spans for spans in alive if not spans.whole]
        if op.type in _FACTORS and not self._gates:
            alive = local
        if len({(spans.axes, spans.in_one_row) for spans in local}) > 1:
            raise KerasxaiError(f"the receptive field cannot be read: {op.name} joins maps of other layouts")
        return replace(
            local[0],
            rows=_union([spans.rows for spans in alive], op.name),
            columns=_union([spans.columns for spans in alive], op.name),
        )

    def _conv2d(self, tensor: Any, spans: Spans) -> Spans:
        kernel = tensor.op.inputs[1].shape
        return self._window(tensor, spans, (kernel[0], kernel[1]), tensor.op.get_attr("dilations"))

    _depthwiseconv2dnative = _conv2d

    def _maxpool(self, tensor: Any, spans: Spans) -> Spans:
        return self._window(tensor, spans, tensor.op.get_attr("ksize"), None)

    _avgpool = _maxpool

    def _window(self, tensor: Any, spans: Spans, sizes: Any, dilations: Any) -> Spans:
        op = tensor.op
        axes = (1, 2) if op.get_attr("data_format") == b"NHWC" else (2, 3)
        if spans.axes != axes or spans.in_one_row:
            raise KerasxaiError(f"the receptive field cannot be read through {op.name}, which slides over other axes")
        sizes = sizes if len(sizes) == 2 else [sizes[axis] for axis in axes]
        found = []
        for number, (axis, span) in enumerate(zip(axes, (spans.rows, spans.columns), strict=True)):
            step = op.get_attr("strides")[axis]
            dilation = 1 if dilations is None else dilations[axis]
            before = self._padding_before(op, axis, sizes[number], step, dilation)
            found.append(None if span is None else span.windowed(sizes[number], step, before, dilation))
        return replace(spans, rows=found[0], columns=found[1])

    def _padding_before(self, op: Any, axis: int, size: int, step: int, dilation: int) -> int:
        padding = op.get_attr("padding")
        if padding == b"VALID":
            return 0
        if padding == b"EXPLICIT":
            return op.get_attr("explicit_paddings")[2 * axis]
        extent = op.inputs[0].shape[axis]
        reach = (math.ceil(extent / step) - 1) * step + (size - 1) * dilation + 1
        return max(reach - extent, 0) // 2

    def _softmax(self, tensor: Any, spans: Spans) -> Spans:
        if spans.in_one_row or spans.axes == (1, 2):
            return spans
        raise KerasxaiError(f"the receptive field cannot be read through {tensor.op.name}, taken over places")

    _logsoftmax = _softmax

    def _pad(self, tensor: Any, spans: Spans) -> Spans:
        paddings = _static(tensor.op.inputs[1], tensor.op)
        return self._shifted(spans, lambda axis: -int(paddings[axis][0]))

    _padv2 = _pad

    def _spacetobatchnd(self, tensor: Any, spans: Spans) -> Spans:
        # The first half of how TensorFlow carries out a dilated convolution: every n-th row becomes a map of its own.
        block, paddings = (_static(x, tensor.op) for x in tensor.op.inputs[1:])
        shifted = self._shifted(spans, lambda axis: -int(paddings[axis - 1][0]))
        return self._strided(shifted, lambda axis: int(block[axis - 1]))

    def _batchtospacend(self, tensor: Any, spans: Spans) -> Spans:
        block, crops = (_static(x, tensor.op) for x in tensor.op.inputs[1:])
        for axis, span in zip(spans.axes or (), (spans.rows, spans.columns), strict=True):
            if span is not None and span.stride % int(block[axis - 1]):
                raise KerasxaiError(f"the receptive field cannot be read through {tensor.op.name}")
        dense = self._strided(spans, lambda axis: 1 / int(block[axis - 1]))
        return self._shifted(dense, lambda axis: int(crops[axis - 1][0]))

    def _stridedslice(self, tensor: Any, spans: Spans) -> Spans:
        op = tensor.op
        begin, step = _static(op.inputs[1], op), _static(op.inputs[3], op)
        special = [op.get_attr(name) for name in ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")]
        if any(special) or (step < 0).any() or (begin < 0).any():
            raise KerasxaiError(f"the receptive field cannot be read through {op.name}")
        mask = op.get_attr("begin_mask")
        starts = [0 if mask >> axis & 1 else int(start) for axis, start in enumerate(begin)] + [0] * 4
        steps = [int(one) for one in step] + [1] * 4
        return self._strided(self._shifted(spans, lambda axis: starts[axis]), lambda axis: steps[axis])

    def _transpose(self, tensor: Any, spans: Spans) -> Spans:
        order = _static(tensor.op.inputs[1], tensor.op).tolist()
        assert spans.axes is not None
        return replace(spans, axes=(order.index(spans.axes[0]), order.index(spans.axes[1])))

    def _reduction(self, tensor: Any, spans: Spans) -> Spans:
        op = tensor.op
        axes = {int(axis) % op.inputs[0].shape.rank for axis in np.ravel(_static(op.inputs[1], op))}
        if spans.in_one_row or spans.axes is None:
            raise KerasxaiError(f"the receptive field cannot be read through {op.name}")
        rows = None if spans.axes[0] in axes else spans.rows
        columns = None if spans.axes[1] in axes else spans.columns
        if rows is None and columns is None:
            return _WHOLE
        if not op.get_attr("keep_dims") and (axes & set(spans.axes) or min(axes) < max(spans.axes)):
            raise KerasxaiError(f"the receptive field cannot be read through {op.name}")
        return replace(spans, rows=rows, columns=columns)

    def _reshape(self, tensor: Any, spans: Spans) -> Spans:
        before, after = tensor.op.inputs[0].shape, tensor.shape
        if after.rank == 2 and None not in before[1:] and after[-1] == math.prod(before[1:]):
            return _WHOLE
        # A dense layer on a map lays its places in one row, (B * h * w, C), and takes them apart again.
        if spans.axes == (1, 2) and not spans.in_one_row and after.rank == 2 and after[-1] in (before[-1], None):
            return replace(spans, in_one_row=before[-1])
        if spans.in_one_row and after.rank == 4:
            return replace(spans, in_one_row=0)
        if spans.axes == (1, 2) and after.rank == 4 and before.rank == 4 and after[1:3] == before[1:3]:
            return spans
        raise KerasxaiError(f"the receptive field cannot be read through the reshaping {tensor.op.name}")

    def _matmul(self, tensor: Any, spans: Spans) -> Spans:
        kernel = tensor.op.inputs[1]
        # Only now it is sure how many channels a row has: as many as the kernel takes.
        if self._known[kernel.ref()] is None and spans.in_one_row and kernel.shape[0] == spans.in_one_row:
            return replace(spans, in_one_row=kernel.shape[1])
        raise KerasxaiError(f"the receptive field cannot be read through the product {tensor.op.name}")

    def _shifted(self, spans: Spans, by: Any) -> Spans:
        return self._each(spans, lambda span, axis: Span(span.stride, *_moved(span, by(axis) * span.stride)))

    def _strided(self, spans: Spans, by: Any) -> Spans:
        return self._each(spans, lambda span, axis: replace(span, stride=round(span.stride * by(axis))))

    def _each(self, spans: Spans, change: Any) -> Spans:
        assert spans.axes is not None
        pairs = zip((spans.rows, spans.columns), spans.axes, strict=True)
        rows, columns = (None if span is None else change(span, axis) for span, axis in pairs)
        return replace(spans, rows=rows, columns=columns)


def _looked_at(tensor: Any) -> list[Any]:
    return [] if tensor.op.type in _SHAPES else list(tensor.op.inputs)


def _index(tensor: Any) -> int:
    return [x.ref() for x in tensor.op.outputs].index(tensor.ref())


def _moved(span: Span, by: int) -> tuple[int, int]:
    return span.first + by, span.last + by


def _union(spans: list[Span | None], where: str) -> Span | None:
    known = [span for span in spans if span is not None]
    if len(known) < len(spans):
        return None
    if len({span.stride for span in known}) > 1:
        raise KerasxaiError(f"the receptive field cannot be read: {where} joins maps of other strides")
    return Span(known[0].stride, min(span.first for span in known), max(span.last for span in known))


def _kept_axes(tensor: Any, spans: Spans) -> tuple[int, int] | None:
    return (1, 2) if tensor.shape.rank == 4 else None


def _static(tensor: Any, op: Any) -> np.ndarray:
    value = tf.get_static_value(tensor)
    if value is None:
        raise KerasxaiError(f"the receptive field cannot be read through {op.name}: its settings hang on the data")
    return value

"""Rules for the effect of single operations on what a tensor covers; see `kerasxai.engine.coverage.map_extents`.

Each rule takes the output, the input, and the coverage of the input, and returns the coverage of the output.
"""

from collections.abc import Callable
from dataclasses import replace

import tensorflow as tf

from kerasxai.engine.coverage.extents import Coverage, Interval, Number, length, number_in
from kerasxai.engine.coverage.graph_reader import REDUCTIONS

Rule = Callable[[tf.Tensor, tf.Tensor, Coverage], Coverage | None]

# These compute each position alone, so that nothing moves even if the length of an axis is unknown before the run.
PIXELWISE = set(
    """
    Abs Add AddN AddV2 BiasAdd Cast CheckNumerics ClipByValue Cos Div DivNoNan Elu EnsureShape Equal Erf Exp Expm1 Fill
    Floor FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Greater GreaterEqual Identity Inv LeakyRelu Less LessEqual
    Log Log1p LogicalAnd LogicalNot LogicalOr Maximum Minimum Mul MulNoNan Neg NotEqual OnesLike Pow PreventGradient
    Reciprocal RealDiv Relu Relu6 Rint Round Rsqrt Select SelectV2 Selu Sigmoid Sign Sin Snapshot Softmax Softplus
    Softsign Sqrt Square SquaredDifference StopGradient Sub Tanh Xdivy ZerosLike
    """.split()  # noqa: SIM905
)
WINDOWS = {
    *("Conv2D", "Conv3D", "DepthwiseConv2dNative", "MaxPool", "MaxPoolV2", "MaxPool3D", "AvgPool", "AvgPool3D"),
    "ExtractImagePatches",
}
_RESIZES = {
    *("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea", "ScaleAndTranslate", "SpaceToDepth"),
    "DepthToSpace",
}


def unflattened(tensor: tf.Tensor, coverage: Coverage) -> Coverage:
    """Returns the coverage of a tensor behind one without spatial axes, with axes again if tokens became a map."""
    shape = coverage.lost_shape
    count = len(shape)
    is_map = count and tensor.shape.rank == count + 2 and None not in shape and tuple(tensor.shape[1:-1]) == shape
    return replace(coverage, axes=tuple(range(1, count + 1)), lost_shape=()) if is_map else coverage


def _pad(tensor: tf.Tensor, source: tf.Tensor, coverage: Coverage) -> Coverage:
    pads = tensor.op.inputs[1]
    return coverage.each(lambda interval, axis: interval.padded(number_in(pads, axis, 0), number_in(pads, axis, 1)))


def _slice(tensor: tf.Tensor, source: tf.Tensor, coverage: Coverage) -> Coverage:
    begin = tensor.op.inputs[1]

    def along(interval: Interval, axis: int) -> Interval:
        start, count = number_in(begin, axis), length(source, axis)
        return interval.cropped(start, count - start - length(tensor, axis), count)

    return coverage.each(along)


def _strided_slice(tensor: tf.Tensor, source: tf.Tensor, coverage: Coverage) -> Coverage | None:
    """The rule of `x[:, a:b]`, also with steps, with `...`, and with axes that are added or removed."""
    op = tensor.op
    masks = {name: op.get_attr(f"{name}_mask") for name in ("begin", "ellipsis", "new_axis", "shrink_axis")}
    entries = op.inputs[1].shape[0]
    if entries is None:
        return coverage.flattened(source)
    new = sum(masks["new_axis"] >> i & 1 for i in range(entries))
    intervals = list(coverage.intervals)
    # The axis of the output for each axis of the input that stays.
    moved: dict[int, int] = {}
    axis = out = 0
    for entry in range(entries):
        if masks["ellipsis"] >> entry & 1:
            for _ in range(source.shape.rank - (entries - 1 - new)):
                moved[axis] = out
                axis, out = axis + 1, out + 1
        elif masks["new_axis"] >> entry & 1:
            out += 1
        elif masks["shrink_axis"] >> entry & 1:
            axis += 1
        else:
            if axis in coverage.axes:
                i = coverage.axes.index(axis)
                begins_open = bool(masks["begin"] >> entry & 1)
                intervals[i] = _stepped(intervals[i], tensor, source, (axis, out), entry, begins_open)
            moved[axis] = out
            axis, out = axis + 1, out + 1
    # Axes without an entry are taken whole.
    for rest in range(axis, source.shape.rank):
        moved[rest] = out + rest - axis
    if any(axis is not None and axis not in moved for axis in coverage.axes):
        return coverage.flattened(source)
    return replace(coverage, intervals=tuple(intervals)).with_axes(moved.__getitem__)


def _stepped(
    interval: Interval, tensor: tf.Tensor, source: tf.Tensor, axes: tuple[int, int], entry: int, begins_open: bool
) -> Interval:
    """Returns the interval behind one entry of a strided slice, from an axis of the source to one of the tensor."""
    count, taken = length(source, axes[0]), length(tensor, axes[1])
    step = number_in(tensor.op.inputs[3], entry)
    if not isinstance(step, float):
        return interval
    begin = _begin(tensor.op.inputs[1], entry, count, step, begins_open)
    if step == 1:
        return interval.cropped(begin, count - begin - taken, count)
    # Every n-th position also covers those up to the next one, as behind a strided convolution.
    ends = (begin, count - begin - taken * step) if step > 0 else (begin + taken * step + 1, count - 1 - begin)
    low, high = (0.0 if isinstance(end, float) and abs(end) < abs(step) else end for end in ends)
    cropped = interval.cropped(low, high, count).scaled(1 / abs(step))
    return cropped if step > 0 else cropped.flipped()


def _begin(begins: tf.Tensor, entry: int, count: Number, step: float, is_open: bool) -> Number:
    """Returns the first position that an entry of a strided slice takes."""
    if is_open:
        return 0.0 if step > 0 else count - 1
    begin = number_in(begins, entry)
    # Negative ones count from the end.
    if isinstance(begin, float):
        return begin + count if begin < 0 else begin
    return tf.where(begin < 0, begin + count, begin)


def _reverse(tensor: tf.Tensor, source: tf.Tensor, coverage: Coverage) -> Coverage:
    axes = {int(axis) % tensor.shape.rank for axis in tf.get_static_value(tensor.op.inputs[1])}
    return coverage.each(lambda interval, axis: interval.flipped() if axis in axes else interval)


def _transpose(tensor: tf.Tensor, source: tf.Tensor, coverage: Coverage) -> Coverage:
    order = tf.get_static_value(tensor.op.inputs[1])
    return coverage.flattened(source) if order is None else coverage.with_axes(order.tolist().index)


def _expand_dims(tensor: tf.Tensor, source: tf.Tensor, coverage: Coverage) -> Coverage:
    new = int(tf.get_static_value(tensor.op.inputs[1])) % tensor.shape.rank
    return coverage.with_axes(lambda axis: axis + (axis >= new))


def _squeeze(tensor: tf.Tensor, source: tf.Tensor, coverage: Coverage) -> Coverage:
    removed = [axis % source.shape.rank for axis in tensor.op.get_attr("squeeze_dims")]
    if not removed or any(axis in removed for axis in coverage.axes):
        return coverage.flattened(source)
    return coverage.with_axes(lambda axis: axis - sum(one < axis for one in removed))


def _reshape(tensor: tf.Tensor, source: tf.Tensor, coverage: Coverage) -> Coverage:
    """The rule of a reshape that keeps the spatial axes, or moves the frames of a clip into the batch or back."""
    before, after = source.shape, tensor.shape
    known = [axis for axis in coverage.axes if axis is not None]
    # By how many axes height and width move: not at all, or by one that goes into the batch or comes out of it.
    for shift in (0, -1, 1):
        start, stop = min(known), max(known) + 1
        # Frames that go into the batch leave the first of three spatial axes without one.
        if shift == -1 and coverage.axes[0] == 1 and len(known) > 1:
            start = 2
        kept = after.rank is not None and after.rank >= stop + shift and start + shift >= 1
        if kept and before[start:stop] == after[start + shift : stop + shift] and None not in before[start:stop]:
            if shift == 0 and before[1:start] == after[1:start]:
                return coverage
            if shift == -1 and start == 2 and after.rank == before.rank - 1:
                return replace(coverage, axes=(None, *(axis - 1 for axis in known[1:])))
            if shift == 1 and coverage.axes[0] is None and after.rank == before.rank + 1:
                return replace(coverage, axes=(1, *(axis + 1 for axis in known)))
    return coverage.flattened(source)


def _window(tensor: tf.Tensor, source: tf.Tensor, coverage: Coverage) -> Coverage:
    """The rule of convolutions, poolings and patches."""
    op = tensor.op
    attributes = op.node_def.attr
    padding = op.get_attr("padding")

    def along(interval: Interval, axis: int) -> Interval:
        size = 1
        if op.type.endswith(("Conv2D", "Conv3D", "Native")):
            # A kernel (*spatial, C, K) has neither batch nor channels before its spatial axes.
            size = op.inputs[1].shape[axis - 1 - _is_channels_first(op)]
        if "ksizes" in attributes or "ksize" in attributes:
            size = op.get_attr("ksizes" if "ksizes" in attributes else "ksize")[axis]
        dilation = op.get_attr("dilations")[axis] if "dilations" in attributes else 1
        stride = int(op.get_attr("strides")[axis]) if "strides" in attributes else 1
        if padding == b"EXPLICIT":
            interval = interval.padded(*map(float, op.get_attr("explicit_paddings")[2 * axis : 2 * axis + 2]))
        return interval.after_window((int(size or 1) - 1) * dilation, padding == b"SAME", stride)

    return replace(coverage.each(along), behind_kernel=True)


def _is_channels_first(op: tf.Operation) -> bool:
    return "data_format" in op.node_def.attr and op.get_attr("data_format").startswith(b"NC")


def _resize(tensor: tf.Tensor, source: tf.Tensor, coverage: Coverage) -> Coverage:
    return coverage.each(lambda interval, axis: interval.scaled(length(tensor, axis) / length(source, axis)))


# TensorFlow computes a dilated convolution as a dense one on every n-th row and column, which SpaceToBatchND moves into
# the batch and BatchToSpaceND back.
def _space_to_batch(tensor: tf.Tensor, source: tf.Tensor, coverage: Coverage) -> Coverage:
    block, pads = tensor.op.inputs[1:]

    def along(interval: Interval, axis: int) -> Interval:
        padded = interval.padded(number_in(pads, axis - 1, 0), number_in(pads, axis - 1, 1))
        return padded.scaled(1 / number_in(block, axis - 1))

    return coverage.each(along)


def _batch_to_space(tensor: tf.Tensor, source: tf.Tensor, coverage: Coverage) -> Coverage:
    block, crops = tensor.op.inputs[1:]

    def along(interval: Interval, axis: int) -> Interval:
        factor = number_in(block, axis - 1)
        before, after = (number_in(crops, axis - 1, end) for end in (0, 1))
        return interval.scaled(factor).cropped(before, after, length(source, axis) * factor)

    return coverage.each(along)


def _stack(tensor: tf.Tensor, source: tf.Tensor, coverage: Coverage) -> Coverage:
    new = tensor.op.get_attr("axis") % tensor.shape.rank
    return coverage.with_axes(lambda axis: axis + (axis >= new))


def _unstack(tensor: tf.Tensor, source: tf.Tensor, coverage: Coverage) -> Coverage:
    removed = tensor.op.get_attr("axis") % source.shape.rank
    if removed in coverage.axes:
        return coverage.flattened(source)
    return coverage.with_axes(lambda axis: axis - (axis > removed))


def _reduce(tensor: tf.Tensor, source: tf.Tensor, coverage: Coverage) -> Coverage:
    axes = tf.get_static_value(tensor.op.inputs[1])
    if axes is None:
        return replace(coverage.flattened(source), is_reduced=True)
    removed = {int(axis) % source.shape.rank for axis in axes.ravel()}
    if removed & set(coverage.axes):
        return replace(coverage.flattened(source), lost_shape=(), is_reduced=True)
    if tensor.op.get_attr("keep_dims"):
        return coverage
    return coverage.with_axes(lambda axis: axis - sum(one < axis for one in removed))


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Pad", "PadV2", "MirrorPad"), _pad),
    "Slice": _slice,
    "StridedSlice": _strided_slice,
    "ReverseV2": _reverse,
    "Transpose": _transpose,
    "ExpandDims": _expand_dims,
    "Squeeze": _squeeze,
    "Pack": _stack,
    "Unpack": _unstack,
    "Reshape": _reshape,
    "SpaceToBatchND": _space_to_batch,
    "BatchToSpaceND": _batch_to_space,
    **dict.fromkeys(WINDOWS, _window),
    **dict.fromkeys(_RESIZES, _resize),
    **dict.fromkeys(REDUCTIONS, _reduce),
}

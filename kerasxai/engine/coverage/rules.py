"""What single operations of a traced graph do to the cover of a tensor; see `kerasxai.engine.coverage.covers`.

Each rule takes what comes out, what went in, and the cover of that, and returns the cover of what comes out.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import tensorflow as tf

from kerasxai.engine.coverage.extents import Cover, Line, Number, length, number_in

# What treats each place alone, so that nothing moves even where the length of a side is not known before the run.
PIXELWISE = set(
    """
    Abs Add AddN AddV2 BiasAdd Cast CheckNumerics ClipByValue Cos Div DivNoNan Elu EnsureShape Equal Erf Exp Expm1 Fill
    Floor FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Greater GreaterEqual Identity Inv LeakyRelu Less LessEqual
    Log Log1p LogicalAnd LogicalNot LogicalOr Maximum Minimum Mul MulNoNan Neg NotEqual OnesLike Pow PreventGradient
    Reciprocal RealDiv Relu Relu6 Rint Round Rsqrt Select SelectV2 Selu Sigmoid Sign Sin Snapshot Softmax Softplus
    Softsign Sqrt Square SquaredDifference StopGradient Sub Tanh Xdivy ZerosLike
    """.split()  # noqa: SIM905
)
_REDUCTIONS = {"Mean", "Sum", "Max", "Min", "Prod", "All", "Any", "EuclideanNorm"}
WINDOWS = {
    "Conv2D", "Conv3D", "DepthwiseConv2dNative", "MaxPool", "MaxPoolV2", "MaxPool3D", "AvgPool", "AvgPool3D",
    "ExtractImagePatches",
}  # fmt: skip
_RESIZES = {
    "ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea", "ScaleAndTranslate", "SpaceToDepth",
    "DepthToSpace",
}  # fmt: skip


def restored(tensor: Any, cover: Cover) -> Cover:
    """Returns the cover of a tensor without axes, with those that it has again: tokens laid out as a map."""
    count = len(cover.sides)
    if (
        count
        and tensor.shape.rank == count + 2
        and tuple(tensor.shape[1:-1]) == cover.sides
        and None not in cover.sides
    ):
        return replace(cover, axes=tuple(range(1, count + 1)), sides=())
    return cover


def _padding(tensor: Any, source: Any, cover: Cover) -> Cover:
    pads = tensor.op.inputs[1]
    return cover.each(lambda line, axis: line.padded(number_in(pads, axis, 0), number_in(pads, axis, 1)))


def _cut(line: Line, tensor: Any, source: Any, axis: int, begin: Number) -> Line:
    count, taken = length(source, axis), length(tensor, axis)
    return line.cut(begin, count - begin - taken, count)


def _slice(tensor: Any, source: Any, cover: Cover) -> Cover:
    begin = tensor.op.inputs[1]
    return cover.each(lambda line, axis: _cut(line, tensor, source, axis, number_in(begin, axis)))


def _strided_slice(tensor: Any, source: Any, cover: Cover) -> Cover | None:
    """Reads `x[:, a:b]`, also with steps, with `...`, with new axes, and with axes that go."""
    op = tensor.op
    masks = {name: op.get_attr(f"{name}_mask") for name in ("begin", "ellipsis", "new_axis", "shrink_axis")}
    entries = op.inputs[1].shape[0]
    if entries is None:
        return cover.laid_flat(source)
    new = sum(masks["new_axis"] >> i & 1 for i in range(entries))
    lines: list[Line] = list(cover.lines)
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
            if axis in cover.axes:
                side = cover.axes.index(axis)
                open_begin = bool(masks["begin"] >> entry & 1)
                lines[side] = _stepped(lines[side], tensor, source, (axis, out), entry, open_begin)
            moved[axis] = out
            axis, out = axis + 1, out + 1
    for rest in range(axis, source.shape.rank):
        moved[rest] = out + rest - axis
    if any(axis is not None and axis not in moved for axis in cover.axes):
        return cover.laid_flat(source)
    return replace(cover, lines=tuple(lines), axes=tuple(None if axis is None else moved[axis] for axis in cover.axes))


def _stepped(line: Line, tensor: Any, source: Any, axes: tuple[int, int], entry: int, open_begin: bool) -> Line:
    count, taken = length(source, axes[0]), length(tensor, axes[1])
    step = number_in(tensor.op.inputs[3], entry)
    if not isinstance(step, float):
        return line
    begin = (0.0 if step > 0 else count - 1) if open_begin else number_in(tensor.op.inputs[1], entry)
    begin = tf.where(begin < 0, begin + count, begin) if not isinstance(begin, float) else begin
    begin = begin + count if isinstance(begin, float) and begin < 0 else begin
    if step == 1:
        return line.cut(begin, count - begin - taken, count)
    # Every other place stands for the one behind it as well, as behind a strided convolution.
    ends = (begin, count - begin - taken * step) if step > 0 else (begin + taken * step + 1, count - 1 - begin)
    low, high = (0.0 if isinstance(end, float) and abs(end) < abs(step) else end for end in ends)
    cut = line.cut(low, high, count).scaled(1 / abs(step))
    return cut if step > 0 else cut.mirrored()


def _reverse(tensor: Any, source: Any, cover: Cover) -> Cover:
    axes = {int(axis) % tensor.shape.rank for axis in tf.get_static_value(tensor.op.inputs[1])}
    return cover.each(lambda line, axis: line.mirrored() if axis in axes else line)


def _transpose(tensor: Any, source: Any, cover: Cover) -> Cover:
    order = tf.get_static_value(tensor.op.inputs[1])
    if order is None:
        return cover.laid_flat(source)
    return replace(cover, axes=tuple(None if axis is None else order.tolist().index(axis) for axis in cover.axes))


def _expanded(tensor: Any, source: Any, cover: Cover) -> Cover:
    at = int(tf.get_static_value(tensor.op.inputs[1])) % tensor.shape.rank
    return replace(cover, axes=tuple(None if axis is None else axis + (axis >= at) for axis in cover.axes))


def _squeezed(tensor: Any, source: Any, cover: Cover) -> Cover:
    gone = [axis % source.shape.rank for axis in tensor.op.get_attr("squeeze_dims")]
    if not gone or any(axis in gone for axis in cover.axes):
        return cover.laid_flat(source)
    axes = (None if axis is None else axis - sum(one < axis for one in gone) for axis in cover.axes)
    return replace(cover, axes=tuple(axes))


def _reshaped(tensor: Any, source: Any, cover: Cover) -> Cover:
    """Reads a reshaping that leaves the sides alone, or lays the frames of a clip in the batch and takes them out."""
    before, after, known = source.shape, tensor.shape, [axis for axis in cover.axes if axis is not None]
    for shift in (0, -1, 1):
        start, stop = min(known), max(known) + 1
        # Frames in the batch leave the first of three sides without an axis.
        if shift == -1 and cover.axes[0] == 1 and len(known) > 1:
            start = 2
        kept = after.rank is not None and after.rank >= stop + shift and start + shift >= 1
        if kept and before[start:stop] == after[start + shift : stop + shift] and None not in before[start:stop]:
            if shift == 0 and before[1:start] == after[1:start]:
                return cover
            if shift == -1 and start == 2 and after.rank == before.rank - 1:
                return replace(cover, axes=(None, *(axis - 1 for axis in known[1:])))
            if shift == 1 and cover.axes[0] is None and after.rank == before.rank + 1:
                return replace(cover, axes=(1, *(axis + 1 for axis in known)))
    return cover.laid_flat(source)


def _windowed(tensor: Any, source: Any, cover: Cover) -> Cover:
    op = tensor.op
    padding = op.get_attr("padding")

    def along(line: Line, axis: int) -> Line:
        size = (
            op.inputs[1].shape[axis - 1 - _channels_first(op)]
            if op.type.endswith(("Conv2D", "Conv3D", "Native"))
            else 1
        )
        if "ksizes" in op.node_def.attr or "ksize" in op.node_def.attr:
            size = op.get_attr("ksizes" if "ksizes" in op.node_def.attr else "ksize")[axis]
        spread = op.get_attr("dilations")[axis] if "dilations" in op.node_def.attr else 1
        same = padding == b"SAME"
        step = int(op.get_attr("strides")[axis]) if "strides" in op.node_def.attr else 1
        reach = (int(size or 1) - 1) * spread
        if padding == b"EXPLICIT":
            line = line.padded(*map(float, op.get_attr("explicit_paddings")[2 * axis : 2 * axis + 2]))
        return line.windowed(reach, same, step)

    return replace(cover.each(along), deep=True)


def _channels_first(op: Any) -> int:
    return int("data_format" in op.node_def.attr and op.get_attr("data_format").startswith(b"NC"))


def _resized(tensor: Any, source: Any, cover: Cover) -> Cover:
    return cover.each(lambda line, axis: line.scaled(length(tensor, axis) / length(source, axis)))


def _to_phases(tensor: Any, source: Any, cover: Cover) -> Cover:
    """Reads the first half of how TensorFlow carries out a dilated convolution: every n-th row becomes a map."""
    block, pads = tensor.op.inputs[1:]

    def along(line: Line, axis: int) -> Line:
        padded = line.padded(number_in(pads, axis - 1, 0), number_in(pads, axis - 1, 1))
        return padded.scaled(1 / number_in(block, axis - 1))

    return cover.each(along)


def _from_phases(tensor: Any, source: Any, cover: Cover) -> Cover:
    block, crops = tensor.op.inputs[1:]

    def along(line: Line, axis: int) -> Line:
        scale = number_in(block, axis - 1)
        before, after = (number_in(crops, axis - 1, end) for end in (0, 1))
        return line.scaled(scale).cut(before, after, length(source, axis) * scale)

    return cover.each(along)


def _stacked(tensor: Any, source: Any, cover: Cover) -> Cover:
    at = tensor.op.get_attr("axis") % tensor.shape.rank
    return replace(cover, axes=tuple(None if axis is None else axis + (axis >= at) for axis in cover.axes))


def _unstacked(tensor: Any, source: Any, cover: Cover) -> Cover:
    at = tensor.op.get_attr("axis") % source.shape.rank
    if at in cover.axes:
        return cover.laid_flat(source)
    return replace(cover, axes=tuple(None if axis is None else axis - (axis > at) for axis in cover.axes))


def _reduced(tensor: Any, source: Any, cover: Cover) -> Cover:
    axes = tf.get_static_value(tensor.op.inputs[1])
    if axes is None:
        return replace(cover.laid_flat(source), gone=True)
    gone = {int(axis) % source.shape.rank for axis in axes.ravel()}
    if gone & set(cover.axes):
        return replace(cover.laid_flat(source), sides=(), gone=True)
    if tensor.op.get_attr("keep_dims"):
        return cover
    moved = (None if axis is None else axis - sum(one < axis for one in gone) for axis in cover.axes)
    return replace(cover, axes=tuple(moved))


READERS: dict[str, Callable[[Any, Any, Cover], Cover | None]] = {
    **dict.fromkeys(("Pad", "PadV2", "MirrorPad"), _padding),
    "Slice": _slice,
    "StridedSlice": _strided_slice,
    "ReverseV2": _reverse,
    "Transpose": _transpose,
    "ExpandDims": _expanded,
    "Squeeze": _squeezed,
    "Pack": _stacked,
    "Unpack": _unstacked,
    "Reshape": _reshaped,
    "SpaceToBatchND": _to_phases,
    "BatchToSpaceND": _from_phases,
    **dict.fromkeys(WINDOWS, _windowed),
    **dict.fromkeys(_RESIZES, _resized),
    **dict.fromkeys(_REDUCTIONS, _reduced),
}

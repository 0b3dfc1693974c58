"""Recompute only the part of an early feature map that a patch of the image can affect.

A patch of 32 pixels affects 13 x 13 of the 56 x 56 positions of MobileNetV2's first blocks, which take half of the time
of a pass. These positions equal what the same layers make of a crop around the patch, because convolutions compute the
same at every position; the rest of the map is copied (Nakandala et al. 2019, "Incremental and Approximate Inference for
Faster Occlusion-based Deep CNN Explanations", SIGMOD). Nothing is approximated: receptive fields are read off the
traced graph, and where an operation cannot be read, a layer before it is taken, or none.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from kerasxai.engine.coverage.receptive_field import AxisField, ReceptiveFieldReader
from kerasxai.engine.fast.switch import enabled
from kerasxai.engine.graph import ancestors, between, copied
from kerasxai.engine.tracing import Call
from kerasxai.tools.errors import KerasxaiError

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import ForwardPass

# The same at each position, wherever it is, and padded with nothing but zeros.
_TRANSLATION_EQUIVARIANT = frozenset(
    """
    Add AddV2 AvgPool BiasAdd Cast Conv2D DepthwiseConv2dNative Elu EnsureShape Erf Exp FusedBatchNormV3 Identity
    LeakyRelu MaxPool Maximum Minimum Mul Neg Pad Relu Relu6 Rsqrt Selu Sigmoid Softplus Sqrt Square Sub Tanh
    """.split()  # noqa: SIM905
)
# Measured on a CPU, in multiplications: writing and reading an entry of a map, pasting one into the rest of a map.
_COST_OF_ENTRY = 20
_COST_OF_PASTING = 60
# Below this part of the cost of a pass a crop is used; estimates are rough, and a crop is traced once more.
_WORTHWHILE = 0.9


@dataclass(frozen=True)
class Crop:
    """The positions of a map that a patch affects, and the crop of the image that they depend on.

    Attributes:
        path: The path of the layer that returns the map.
        output: The map, `(B, h, w, K)`, in the traced graph.
        image: The image, `(B, H, W, C)`, in the traced graph.
        patch: Height and width of the patch in pixels.
        size: Height and width of the crop in pixels.
        fields: The receptive fields of the map along rows and columns.
    """

    path: str
    output: tf.Tensor
    image: tf.Tensor
    patch: tuple[int, int]
    size: tuple[int, int]
    fields: tuple[AxisField, AxisField]

    @property
    def fraction(self) -> float:
        """The area of the crop as a fraction of the image."""
        return math.prod(self.size) / math.prod(self.image.shape[1:3])

    def recompute(
        self, crops_at: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], corners: tf.Tensor, unchanged: tf.Tensor
    ) -> tf.Tensor:
        """Returns the map `(n, h, w, K)` of images that differ from one image in a patch alone.

        Args:
            crops_at: Returns the crops `(n, r, s, C)` of these images at their rows `(n, r)` and columns `(n, s)`.
            corners: `(n, 2)` int32, top and left of the patches.
            unchanged: `(1, h, w, K)`, the map of the image without a patch.
        """
        starts, first, last = zip(*(self._affected(axis, corners[:, axis]) for axis in (0, 1)), strict=True)
        rows, columns = (starts[axis][:, None] + tf.range(self.size[axis]) for axis in (0, 1))
        # The early layers once more, on the crops; what they compute of the whole image is pruned from the graph.
        changed = copied(self.output, self.image, crops_at(rows, columns))
        is_affected = tf.constant(True)
        for axis in (0, 1):
            positions = tf.range(self.output.shape[axis + 1])
            inside = (positions >= first[axis][:, None]) & (positions <= last[axis][:, None])
            is_affected &= inside[:, :, None] if axis == 0 else inside[:, None, :]
            # Spread the map of the crop over the whole map: position p is at p - start / stride in the crop. Positions
            # outside are clipped, since they are replaced below.
            in_crop = positions - starts[axis][:, None] // self.fields[axis].stride
            in_crop = tf.clip_by_value(in_crop, 0, changed.shape[axis + 1] - 1)
            changed = tf.gather(changed, in_crop, axis=axis + 1, batch_dims=1)
        return where_positions(is_affected, changed, unchanged)

    def _affected(self, axis: int, corner: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the start of each crop along an axis in pixels, and the first and last position that it affects."""
        field, length = self.fields[axis], self.image.shape[axis + 1]
        # Position i sees pixels first + i * stride to last + i * stride, and is affected if one is in the patch:
        # i >= (corner - last) / stride, rounded up, and i <= (corner + patch - 1 - first) / stride, rounded down.
        first = tf.maximum(-((field.last - corner) // field.stride), 0)
        last = tf.minimum(
            (corner + self.patch[axis] - 1 - field.first) // field.stride, self.output.shape[axis + 1] - 1
        )
        # Crops start at a multiple of the stride, so that their positions coincide with those of the whole map. At the
        # edges they are moved inside, where the layers' own padding is that of the whole image.
        start = (first * field.stride + field.first) // field.stride * field.stride
        return tf.clip_by_value(start, 0, length - self.size[axis]), first, last


def where_positions(condition: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Returns `tf.where(condition[..., None], x, y)`.

    Each position is copied with all its channels, which took half the time of a condition broadcast along them.

    Args:
        condition: `(n, h, w)` bool.
        x: `(n, h, w, K)`.
        y: `(n, h, w, K)` or `(1, h, w, K)`.
    """
    y = tf.broadcast_to(y, tf.shape(x))
    rows = [tf.reshape(each, (-1, x.shape[-1])) for each in (x, y)]
    # The first version of Select takes one condition a row; tf.where has no such form.
    chosen = tf.raw_ops.Select(condition=tf.reshape(condition, (-1,)), x=rows[0], y=rows[1])
    return tf.ensure_shape(tf.reshape(chosen, tf.shape(x)), x.shape)


def best_crop(fp: "ForwardPass", patch: tuple[int, int]) -> Crop | None:
    """Returns the crop that saves most of the time of a pass, or None if none saves any.

    Args:
        fp: The pass.
        patch: Height and width of the patch in pixels.
    """
    if not enabled() or not isinstance(fp.images, tf.Tensor) or None in fp.images.shape[1:]:
        return None
    ends = [fp.score, *(x for x in tf.nest.flatten(fp.outputs) if isinstance(x, tf.Tensor))]
    whole, reader = _cost(ancestors(*ends)), ReceptiveFieldReader(fp.images)
    paths = [call.path for call in fp.calls]
    found: list[tuple[float, Crop]] = []
    for call in fp.calls:
        # A layer that is called twice cannot be overridden in one of its calls.
        crop = _crop(fp.images, call, patch, reader) if paths.count(call.path) == 1 else None
        if crop is not None:
            saved = (1 - crop.fraction) * _cost(ancestors(crop.output))
            pasting = _COST_OF_PASTING * crop.output.shape[1:].num_elements()
            found.append((1 - (saved - pasting) / whole, crop))
    # The checks copy operations, so that only the cheapest crops are checked.
    for cost, crop in sorted(found, key=lambda pair: pair[0]):
        if cost >= _WORTHWHILE:
            break
        # Where the image also reaches the score around the map, the whole image is needed anyway.
        is_only_path = fp.images.ref() not in ancestors(*ends, without=crop.output)
        if is_only_path and _is_equivariant(crop) and _accepts_crop(crop):
            return crop
    return None


def crop_of(image: tf.Tensor, path: str, output: tf.Tensor, patch: tuple[int, int]) -> Crop:
    """Returns the crop for the layer that `best_crop` chose, in another traced pass.

    Args:
        image: The image in the traced graph.
        path: The layer's path.
        output: The layer's output.
        patch: Height and width of the patch in pixels.
    """
    crop = _crop(image, Call(path, None, output), patch, ReceptiveFieldReader(image))
    assert crop is not None
    return crop


def _crop(image: tf.Tensor, call: Call, patch: tuple[int, int], reader: ReceptiveFieldReader) -> Crop | None:
    output = call.output
    if not isinstance(output, tf.Tensor) or output.shape.rank != 4 or not output.dtype.is_floating:
        return None
    try:
        field = reader.read(output)
    except KerasxaiError:
        # No receptive field can be read, and the plain pass is as right.
        return None
    if field is None or field.rows is None or field.columns is None or field.axes != (1, 2):
        return None
    fields = (field.rows, field.columns)
    lengths, positions = tuple(image.shape[1:3]), tuple(output.shape[1:3])
    # Only if the stride divides the image the positions of a crop coincide with those of the whole map.
    if any(length != count * one.stride for length, count, one in zip(lengths, positions, fields, strict=True)):
        return None
    size = (_crop_length(fields[0], patch[0], lengths[0]), _crop_length(fields[1], patch[1], lengths[1]))
    crop = Crop(call.path, output, image, patch, size, fields)
    return crop if crop.fraction < 1 else None


def _crop_length(field: AxisField, patch: int, length: int) -> int:
    """Returns the length of the crop that covers the receptive fields of all affected positions."""
    extent = field.last - field.first
    affected = (patch - 1 + extent) // field.stride + 1
    # One stride more, since crops start at a multiple of the stride.
    pixels = (affected - 1) * field.stride + extent + field.stride
    return min(-(-pixels // field.stride) * field.stride, length)


def _is_equivariant(crop: Crop) -> bool:
    """Returns whether each operation between image and map computes the same at all positions."""
    return all(op.type in _TRANSLATION_EQUIVARIANT for op in between(crop.image, crop.output).values())


def _accepts_crop(crop: Crop) -> bool:
    """Returns whether the layers accept a crop, and give the expected number of positions."""
    zeros = tf.zeros((1, *crop.size, crop.image.shape[3]), crop.image.dtype)
    try:
        output = copied(crop.output, crop.image, zeros)
    except ValueError:
        # A constant of the size of the whole image, such as a mask.
        return False
    return output.shape[1:3] == [length // field.stride for length, field in zip(crop.size, crop.fields, strict=True)]


def _cost(tensors: set[Any]) -> float:
    """Estimates the time of the convolutions and products that give these tensors, in multiplications for one image."""
    total = 0.0
    for ref in tensors:
        tensor = ref.deref()
        op, entries = tensor.op, tensor.shape[1:].num_elements()
        if entries and op.type in ("Conv2D", "DepthwiseConv2dNative", "MatMul"):
            kernel = op.inputs[1].shape
            # The kernel's axes that are summed over for one entry.
            summed = {"Conv2D": kernel[:3], "DepthwiseConv2dNative": kernel[:2], "MatMul": kernel[:1]}[op.type]
            total += entries * (_COST_OF_ENTRY + (summed.num_elements() or 0))
    return total

"""What a patch of the image changes in an early feature map, so that only that is computed anew.

A patch of 32 pixels changes 13 x 13 of the 56 x 56 places of MobileNetV2's first blocks, which take half of the time.
These places are what the same layers make of a piece of the image around the patch, because convolutions treat all
places alike; the rest of the map stays as it was (Nakandala et al. 2019, "Incremental and Approximate Inference for
Faster Occlusion-based Deep CNN Explanations", SIGMOD). Nothing is approximated: how far each operation looks is read
off the traced graph, and where one cannot be read, a layer before it is taken, or none.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from kerasxai.engine.fast.receptive_field import Span, SpanReader
from kerasxai.engine.graph import ancestors, between, copied
from kerasxai.engine.tracing import Call
from kerasxai.tools.errors import KerasxaiError

# What does the same at each place, knows nothing of where it is, and pads with nothing but its own zeros.
_ALIKE = frozenset(
    """
    Add AddV2 AvgPool BiasAdd Cast Conv2D DepthwiseConv2dNative Elu EnsureShape Erf Exp FusedBatchNormV3 Identity
    LeakyRelu MaxPool Maximum Minimum Mul Neg Pad Relu Relu6 Rsqrt Selu Sigmoid Softplus Sqrt Square Sub Tanh
    """.split()  # noqa: SIM905
)
# An entry of a map takes as long as about so many products, to be written and to be read again.
_ENTRY = 20
# An entry of the map where the window is pasted into the rest takes as long as so many products.
_PASTING = 60
_WORTHWHILE = 0.9


@dataclass(frozen=True)
class Window:
    """The places of a map that hang on a patch, and the piece of the image that they hang on.

    Attributes:
        path: The path of the layer that gives the map.
        output: The map, `(B, h, w, K)`, in the traced graph.
        image: The image, `(B, H, W, C)`, in the traced graph.
        patch: Height and width of the patch in pixels.
        piece: Height and width of the piece of the image.
        spans: How rows and columns of the map hang on those of the image.
    """

    path: str
    output: Any
    image: Any
    patch: tuple[int, int]
    piece: tuple[int, int]
    spans: tuple[Span, Span]

    @property
    def part(self) -> float:
        """Which part of the image the piece is."""
        return math.prod(self.piece) / math.prod(self.image.shape[1:3])

    def changed(self, pieces_at: Callable[[Any, Any], Any], corners: Any, before: Any) -> Any:
        """Returns the map `(n, h, w, K)` of images that differ from one image in a patch alone.

        Args:
            pieces_at: Gives the pieces `(n, r, s, C)` of these images, of their rows `(n, r)` and columns `(n, s)`.
            corners: `(n, 2)` int32, where the patches stand (top, left).
            before: `(1, h, w, K)`, the map of the image without a patch.
        """
        starts, first, last = zip(*(self._places(axis, corners[:, axis]) for axis in (0, 1)), strict=True)
        rows, columns = (starts[axis][:, None] + tf.range(self.piece[axis]) for axis in (0, 1))
        changed = copied(self.output, self.image, pieces_at(rows, columns))
        inside = tf.constant(True)
        for axis in (0, 1):
            places = tf.range(self.output.shape[axis + 1])
            here = (places >= first[axis][:, None]) & (places <= last[axis][:, None])
            inside &= here[:, :, None] if axis == 0 else here[:, None, :]
            there = places - starts[axis][:, None] // self.spans[axis].stride
            there = tf.clip_by_value(there, 0, changed.shape[axis + 1] - 1)
            changed = tf.gather(changed, there, axis=axis + 1, batch_dims=1)
        return by_place(inside, changed, before)

    def _places(self, axis: int, corner: Any) -> tuple[Any, Any, Any]:
        """Returns where the pieces start along an axis, and the first and the last place that hang on the patches."""
        span, extent = self.spans[axis], self.image.shape[axis + 1]
        first = tf.maximum(-((span.last - corner) // span.stride), 0)
        last = tf.minimum((corner + self.patch[axis] - 1 - span.first) // span.stride, self.output.shape[axis + 1] - 1)
        start = (first * span.stride + span.first) // span.stride * span.stride
        return tf.clip_by_value(start, 0, extent - self.piece[axis]), first, last


def by_place(choice: Any, one: Any, other: Any) -> Any:
    """Returns `tf.where(choice[..., None], one, other)`.

    Each place is copied with all its channels, which took half the time of a choice that is broadcast along them.

    Args:
        choice: `(n, h, w)` bool.
        one: `(n, h, w, K)`.
        other: `(n, h, w, K)` or `(1, h, w, K)`.
    """
    other = tf.broadcast_to(other, tf.shape(one))
    rows = [tf.reshape(x, (-1, one.shape[-1])) for x in (one, other)]
    chosen = tf.raw_ops.Select(condition=tf.reshape(choice, (-1,)), x=rows[0], y=rows[1])
    return tf.ensure_shape(tf.reshape(chosen, tf.shape(one)), one.shape)


def best_window(seen: Any, patch: tuple[int, int]) -> Window | None:
    """Returns the window that saves most of the time of a pass, or None where none saves any.

    Args:
        seen: A `ForwardPass` in a traced graph.
        patch: Height and width of the patch in pixels.
    """
    if not isinstance(seen.images, tf.Tensor) or None in seen.images.shape[1:]:
        return None
    ends = [seen.score, *(x for x in tf.nest.flatten(seen.outputs) if isinstance(x, tf.Tensor))]
    whole, reader = _cost(ancestors(*ends)), SpanReader(seen.images)
    paths = [call.path for call in seen.calls]
    found: list[tuple[float, Window]] = []
    for call in seen.calls:
        window = _window(seen.images, call, patch, reader) if paths.count(call.path) == 1 else None
        if window is not None:
            saved = (1 - window.part) * _cost(ancestors(window.output))
            found.append((1 - (saved - _PASTING * window.output.shape[1:].num_elements()) / whole, window))
    for cost, window in sorted(found, key=lambda pair: pair[0]):
        alone = seen.images.ref() not in ancestors(*ends, without=window.output)
        if cost < _WORTHWHILE and alone and _is_alike(window) and _fits(window):
            return window
    return None


def window_of(image: Any, path: str, output: Any, patch: tuple[int, int]) -> Window:
    """Returns the window of a patch in the map of the layer that `best_window` chose, in another traced pass.

    Args:
        image: The image in the traced graph.
        path: The layer's path.
        output: The layer's output.
        patch: Height and width of the patch in pixels.
    """
    window = _window(image, Call(path, None, output), patch, SpanReader(image))
    assert window is not None
    return window


def _window(image: Any, call: Call, patch: tuple[int, int], reader: SpanReader) -> Window | None:
    output = call.output
    if not isinstance(output, tf.Tensor) or output.shape.rank != 4 or not output.dtype.is_floating:
        return None
    try:
        spans = reader.of(output)
    except KerasxaiError:
        return None
    if spans is None or spans.rows is None or spans.columns is None or spans.axes != (1, 2):
        return None
    both = (spans.rows, spans.columns)
    sides, places = tuple(image.shape[1:3]), tuple(output.shape[1:3])
    if any(side != place * span.stride for side, place, span in zip(sides, places, both, strict=True)):
        return None
    pieces = (_piece(both[0], patch[0], sides[0]), _piece(both[1], patch[1], sides[1]))
    window = Window(call.path, output, image, patch, pieces, both)
    return window if window.part < 1 else None


def _piece(span: Span, length: int, side: int) -> int:
    """Returns how many pixels hold all that the places look at which hang on a patch of so many pixels."""
    places = (length - 1 + span.last - span.first) // span.stride + 1
    pixels = (places - 1) * span.stride + span.last - span.first + span.stride
    return min(-(-pixels // span.stride) * span.stride, side)


def _is_alike(window: Window) -> bool:
    """Tells whether each operation between image and map treats all places alike."""
    return all(op.type in _ALIKE for op in between(window.image, window.output).values())


def _fits(window: Window) -> bool:
    """Tells whether the layers take a piece of the image, and make of it as many places as they should."""
    piece = tf.zeros((1, *window.piece, window.image.shape[3]), window.image.dtype)
    try:
        made = copied(window.output, window.image, piece)
    except ValueError:
        return False
    expected = [side // span.stride for side, span in zip(window.piece, window.spans, strict=True)]
    return made.shape[1:3] == expected


def _cost(tensors: set[Any]) -> float:
    """Returns about how long convolutions and products take to give these tensors, for one image."""
    total = 0.0
    for ref in tensors:
        tensor = ref.deref()
        op, entries = tensor.op, tensor.shape[1:].num_elements()
        if entries and op.type in ("Conv2D", "DepthwiseConv2dNative", "MatMul"):
            kernel = op.inputs[1].shape
            used = {"Conv2D": kernel[:3], "DepthwiseConv2dNative": kernel[:2], "MatMul": kernel[:1]}[op.type]
            total += entries * (_ENTRY + (used.num_elements() or 0))
    return total

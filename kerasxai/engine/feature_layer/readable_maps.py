"""Recognition of feature maps: the tensors of a traced pass with positions that correspond to those of the input."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import tensorflow as tf

from kerasxai.engine.feature_layer.score_paths import ScorePaths
from kerasxai.engine.images.video_frames import frames_after
from kerasxai.engine.map_layout import MOST_EXTRA_TOKENS, MapLayout, layout_of

Shape = tuple[int | None, ...]
# Conv1D is computed as Conv2D on a map of height 1, whose axis is added before and removed behind it.
_KEEP_ORDER = {"Squeeze", "ExpandDims"}


@dataclass(frozen=True)
class _Context:
    """Facts about a tensor that follow from its dominators.

    Attributes:
        map_shape: The spatial shape of the last map before it, None if there is none.
        tokens: How many tokens the last sequence `(B, T, K)` behind that map has, None if there is none.
        is_vector: Whether a layer before returned one vector `(B, K)`, behind which sequences are not positions.
        frames: How many frames of a clip are in the batch, None if none are.
    """

    map_shape: Shape | None = None
    tokens: int | None = None
    is_vector: bool = False
    frames: int | None = None


class MapReader:
    """Reads tensors as maps `(B, *spatial, K)`: maps with channels last or first, and tokens on the grid of a map.

    Args:
        paths: The paths from the explained input to the score.
        spatial_shape: The spatial shape of the explained input.
        grid: The grid of tokens, if the user gave one.
        has_name: Whether a tensor is the output of a layer or of an operation between layers. The rest are details of a
            layer: a dense layer flattens tokens to `(B * T, K)`.
    """

    def __init__(
        self,
        paths: ScorePaths,
        spatial_shape: Shape,
        grid: tuple[int, ...] | None,
        has_name: Callable[[tf.Tensor], bool],
    ) -> None:
        self._has_name = has_name
        self._paths = paths
        self._spatial_shape = spatial_shape
        self._grid = grid
        self._contexts: dict[str, _Context] = {}
        self._layouts: dict[str, MapLayout | None] = {}

    def layout(self, tensor: tf.Tensor) -> MapLayout | None:
        """Returns the layout of a tensor on the paths as a map of more than one position, None if it is not one."""
        if tensor.name not in self._layouts:
            self._read(tensor)
        return self._layouts[tensor.name]

    def _read(self, tensor: tf.Tensor) -> None:
        unread = []
        for above in self._paths.dominators(tensor):
            if above.name in self._layouts:
                break
            unread.append(above)
        # From the input on, because each context is made from that of the dominator before.
        for one in reversed(unread):
            parent = self._paths.parent(one)
            known = self._contexts[parent.name] if parent is not None else _Context()
            layout = self._layout(one, known)
            self._layouts[one.name] = layout
            self._contexts[one.name] = self._context(one, layout, known)

    def _layout(self, tensor: tf.Tensor, known: _Context) -> MapLayout | None:
        rank, full = tensor.shape.rank, len(self._spatial_shape) + 2
        if not tensor.dtype.is_floating:
            return None
        if known.frames is not None and frames_after(tensor, known.frames, None, full - 2) is not None:
            return self._layout_of_frames(tensor, known.frames) if rank == full - 1 else None
        if rank == full:
            layout = data_format(tensor)
            if layout is None:
                return None
            channels_first = layout == "channels_first"
            shape = map_shape(tensor, channels_first)
            # A pooled map (B, 1, 1, K) has no positions.
            if None not in shape and math.prod(n or 0 for n in shape) == 1:
                return None
            return MapLayout(channels_first=channels_first) if self._fits_tokens(shape, known) else None
        if rank == 3 and len(self._spatial_shape) > 1 and not known.is_vector:
            return self._layout_of_tokens(tensor, known)
        return None

    def _layout_of_frames(self, tensor: tf.Tensor, frames: int) -> MapLayout | None:
        channels_first = is_channels_first(tensor)
        shape = map_shape(tensor, channels_first)
        return None if all(n == 1 for n in shape) else MapLayout(channels_first=channels_first, frames=frames)

    def _fits_tokens(self, shape: Shape, known: _Context) -> bool:
        """Returns whether a map made of tokens has their grid; queries and keys `(B, T, heads, K)` have not."""
        if known.tokens is None or None in shape:
            return True
        if 1 in shape:
            return False
        extra = known.tokens - math.prod(n or 1 for n in shape)
        return 0 <= extra <= MOST_EXTRA_TOKENS

    def _layout_of_tokens(self, tensor: tf.Tensor, known: _Context) -> MapLayout | None:
        if self._grid is not None:
            return layout_of(tensor, False, self._spatial_shape, self._grid)
        # Without a map before, the grid is guessed from the proportions of the image.
        if known.map_shape is None or known.map_shape == self._spatial_shape:
            return layout_of(tensor, False, self._spatial_shape, None)
        if None in known.map_shape:
            return None
        layout = layout_of(tensor, False, self._spatial_shape, tuple(n or 1 for n in known.map_shape))
        return layout if layout is not None and layout.extra <= MOST_EXTRA_TOKENS else None

    def _context(self, tensor: tf.Tensor, layout: MapLayout | None, known: _Context) -> _Context:
        rank, full = tensor.shape.rank, len(self._spatial_shape) + 2
        frames = frames_after(tensor, known.frames, self._spatial_shape[0], len(self._spatial_shape))
        if layout is not None and layout.frames is not None:
            return _Context((frames, *map_shape(tensor, layout.channels_first)), frames=frames)
        if frames != known.frames:
            return replace(known, frames=frames)
        # A new map makes earlier tokens and vectors irrelevant.
        if rank == full and layout is not None:
            return _Context(map_shape(tensor, layout.channels_first))
        if rank == 3 and full > 3:
            shape = known.map_shape if layout is None else known.map_shape or layout.grid
            return replace(known, map_shape=shape, tokens=tensor.shape[1])
        if rank == 2 and self._has_name(tensor):
            return replace(known, is_vector=True)
        return known


def map_shape(tensor: tf.Tensor, channels_first: bool) -> Shape:
    """Returns the spatial shape of a map `(B, *spatial, K)`, or `(B, K, *spatial)` with channels first."""
    return tuple(tensor.shape[2:] if channels_first else tensor.shape[1:-1])


def is_channels_first(tensor: tf.Tensor) -> bool:
    """Returns whether a map is `(B, K, *spatial)`; see `data_format`."""
    return data_format(tensor) == "channels_first"


def data_format(tensor: tf.Tensor) -> str | None:
    """Returns the data format of a map, `"channels_last"` or `"channels_first"`; None if its spatial axes are permuted.

    Convolutions, poolings and normalizations have one as attribute; transpositions behind them are followed. The
    explained input has its channels last.

    Args:
        tensor: `(B, *spatial, K)` or `(B, K, *spatial)`, of three dimensions or more.
    """
    rank = tensor.shape.rank
    # Backwards through the graph: the axis of the current tensor that each axis of the map comes from.
    order = list(range(rank))
    while True:
        op = tensor.op
        attribute = _data_format_of(op)
        if attribute is not None:
            return _format_name(order, attribute.startswith("NC"))
        if op.type == "Transpose" and tensor.shape.rank == rank:
            permutation = tf.get_static_value(op.inputs[1])
            order = order if permutation is None else [int(permutation[axis]) for axis in order]
        same_rank = op.type in _KEEP_ORDER
        before = [x for x in op.inputs if x.dtype.is_floating and (same_rank or x.shape.rank == tensor.shape.rank)]
        if not before:
            return _format_name(order, False)
        # Weights, whose first dimension is known, show nothing of the order of the axes.
        tensor = next((x for x in before if x.shape.rank and x.shape[0] is None), before[0])


def _format_name(order: list[int], source_has_channels_first: bool) -> str | None:
    rank = len(order)
    last, first = list(range(rank)), [0, rank - 1, *range(1, rank - 1)]
    if source_has_channels_first:
        last, first = [0, *range(2, rank), 1], list(range(rank))
    return "channels_last" if order == last else "channels_first" if order == first else None


def _data_format_of(op: tf.Operation) -> str | None:
    if op.outputs[0].shape.rank is None or op.outputs[0].shape.rank < 3:
        return None
    try:
        value = op.get_attr("data_format")
    except ValueError:
        return None
    return value.decode() if isinstance(value, bytes) else None

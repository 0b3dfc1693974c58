"""Which tensors of a traced pass can be read as maps of the explained input, decided by what the graph does."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from kerasxai.engine.feature_layer.score_paths import ScorePaths
from kerasxai.engine.images.video_frames import frames_after
from kerasxai.engine.map_layout import MOST_EXTRA_TOKENS, MapLayout, form_of

Sides = tuple[int | None, ...]
# A convolution of a series is one of an image with a side of 1, added before and removed behind it.
_KEEP_ORDER = {"Squeeze", "ExpandDims"}


@dataclass(frozen=True)
class _Context:
    """What the dominators of a tensor say of it.

    Attributes:
        map_sides: The sides of the nearest map above it, None where there is none.
        tokens: How many tokens the nearest sequence `(B, T, K)` behind that map has, None where there is none.
        frames: How many frames of a clip lie in the batch, None where none do.
        is_vector: Whether a layer above gave one vector `(B, K)`, behind which sequences are no positions of the input.
    """

    map_sides: Sides | None = None
    tokens: int | None = None
    is_vector: bool = False
    frames: int | None = None


class Readings:
    """Reads tensors as maps `(B, *sides, K)`: maps with channels last or first, and tokens on the grid of a map.

    Args:
        paths: The paths from the explained input to the score.
        sides: The sides of the explained input.
        grid: The grid of tokens, if the user gave one.
        has_name: Whether a tensor is the output of a layer or of an operation between layers. Others are details of a
            layer: a dense layer on tokens lays them in rows `(B * T, K)`.
    """

    def __init__(
        self, paths: ScorePaths, sides: Any, grid: tuple[int, ...] | None, has_name: Callable[[tf.Tensor], bool]
    ) -> None:
        self._has_name = has_name
        self._paths = paths
        self._sides: Sides = tuple(sides)
        self._grid = grid
        self._contexts: dict[str, _Context] = {}
        self._forms: dict[str, MapLayout | None] = {}

    def form(self, tensor: tf.Tensor) -> MapLayout | None:
        """Returns how a tensor on the paths is read as a map with more than one position, or None if it is no map."""
        if tensor.name not in self._forms:
            self._read(tensor)
        return self._forms[tensor.name]

    def context(self, tensor: tf.Tensor) -> _Context:
        """Returns what is known above a tensor, the tensor included."""
        self.form(tensor)
        return self._contexts[tensor.name]

    def _read(self, tensor: tf.Tensor) -> None:
        unread = []
        for above in self._paths.dominators(tensor):
            if above.name in self._forms:
                break
            unread.append(above)
        for one in reversed(unread):
            parent = self._paths.parent(one)
            known = self._contexts[parent.name] if parent is not None else _Context()
            form = self._form(one, known)
            self._forms[one.name] = form
            self._contexts[one.name] = self._context(one, form, known)

    def _form(self, tensor: tf.Tensor, known: _Context) -> MapLayout | None:
        rank, full = tensor.shape.rank, len(self._sides) + 2
        if not tensor.dtype.is_floating:
            return None
        if known.frames is not None and frames_after(tensor, known.frames, None, full - 2) is not None:
            return self._form_of_frames(tensor, known.frames) if rank == full - 1 else None
        if rank == full:
            axes = axes_of_map(tensor)
            first = axes == "first"
            sides = sides_of_map(tensor, first)
            if axes is None:
                return None
            if math.prod(1 if side is None else side for side in sides) == 1 and None not in sides:
                return None
            return MapLayout(channels_first=first) if self._follows_tokens(sides, known) else None
        if rank == 3 and len(self._sides) > 1 and not known.is_vector:
            return self._form_of_tokens(tensor, known)
        return None

    def _form_of_frames(self, tensor: tf.Tensor, frames: int) -> MapLayout | None:
        first = is_channels_first(tensor)
        sides = sides_of_map(tensor, first)
        return None if all(side == 1 for side in sides) else MapLayout(channels_first=first, frames=frames)

    def _follows_tokens(self, sides: Sides, known: _Context) -> bool:
        """Returns whether a map made of tokens has their grid; queries and keys `(B, T, heads, K)` have not."""
        if known.tokens is None or None in sides:
            return True
        if 1 in sides:
            return False
        extra = known.tokens - math.prod(side or 1 for side in sides)
        return 0 <= extra <= MOST_EXTRA_TOKENS

    def _form_of_tokens(self, tensor: tf.Tensor, known: _Context) -> MapLayout | None:
        if self._grid is not None:
            return form_of(tensor, False, self._sides, self._grid)
        if known.map_sides is None or known.map_sides == self._sides:
            return form_of(tensor, False, self._sides, None)
        if None in known.map_sides:
            return None
        form = form_of(tensor, False, self._sides, tuple(side or 1 for side in known.map_sides))
        return form if form is not None and form.extra <= MOST_EXTRA_TOKENS else None

    def _context(self, tensor: tf.Tensor, form: MapLayout | None, known: _Context) -> _Context:
        rank, full = tensor.shape.rank, len(self._sides) + 2
        frames = frames_after(tensor, known.frames, self._sides[0], len(self._sides))
        if form is not None and form.frames is not None:
            return _Context((frames, *sides_of_map(tensor, form.channels_first)), frames=frames)
        if frames != known.frames:
            return replace(known, frames=frames)
        if rank == full and form is not None:
            return _Context(sides_of_map(tensor, form.channels_first))
        if rank == 3 and full > 3:
            sides = known.map_sides if form is None else known.map_sides or form.grid
            return replace(known, map_sides=sides, tokens=tensor.shape[1])
        if rank == 2 and self._has_name(tensor):
            return replace(known, is_vector=True)
        return known


def sides_of_map(tensor: tf.Tensor, first: bool) -> Sides:
    """Returns the sides of a map `(B, *sides, K)`, or `(B, K, *sides)` with channels first."""
    return tuple(tensor.shape[2:] if first else tensor.shape[1:-1])


def is_channels_first(tensor: tf.Tensor) -> bool:
    """Returns whether a map is `(B, K, *sides)`, by the operations it comes from; see `axes_of_map`."""
    return axes_of_map(tensor) == "first"


def axes_of_map(tensor: tf.Tensor) -> str | None:
    """Returns where the channels of a map are, `"last"` or `"first"`, or None if its sides have changed places.

    Convolutions, poolings and normalizations carry their data format; transpositions behind them are followed. The
    explained input itself has its channels last.

    Args:
        tensor: `(B, *sides, K)` or `(B, K, *sides)`, of three dimensions or more.
    """
    rank = tensor.shape.rank
    # Which axis of the tensor that is looked at each axis of the map comes from.
    order = list(range(rank))
    while True:
        op = tensor.op
        layout = _data_format(op)
        if layout is not None:
            return _order_name(order, layout.startswith("NC"))
        if op.type == "Transpose" and tensor.shape.rank == rank:
            permutation = tf.get_static_value(op.inputs[1])
            order = order if permutation is None else [int(permutation[axis]) for axis in order]
        same_rank = op.type in _KEEP_ORDER
        before = [x for x in op.inputs if x.dtype.is_floating and (same_rank or x.shape.rank == tensor.shape.rank)]
        if not before:
            return _order_name(order, False)
        # Weights, whose first dimension is known, tell nothing about the order of the axes.
        tensor = next((x for x in before if x.shape.rank and x.shape[0] is None), before[0])


def _order_name(order: list[int], source_is_first: bool) -> str | None:
    rank = len(order)
    last, first = list(range(rank)), [0, rank - 1, *range(1, rank - 1)]
    if source_is_first:
        last, first = [0, *range(2, rank), 1], list(range(rank))
    return "last" if order == last else "first" if order == first else None


def _data_format(op: tf.Operation) -> str | None:
    if op.outputs[0].shape.rank is None or op.outputs[0].shape.rank < 3:
        return None
    try:
        value = op.get_attr("data_format")
    except ValueError:
        return None
    return value.decode() if isinstance(value, bytes) else None

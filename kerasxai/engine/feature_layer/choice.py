"""Choice of the explained tensors of a traced pass: the named ones, or the last map that all evidence passes."""

import functools
import math
from dataclasses import dataclass

import keras
import networkx
import tensorflow as tf

from kerasxai.engine.feature_layer.readable_maps import MapReader, data_format, map_shape
from kerasxai.engine.feature_layer.score_paths import ScorePaths, nearest_common_dominator
from kerasxai.engine.graph import ancestors, descendants, origin
from kerasxai.engine.layers import find_call, no_map
from kerasxai.engine.map_layout import MapLayout, layout_of, spatial_shape
from kerasxai.engine.tensor_names import TensorNames, is_operation
from kerasxai.engine.tracing import Call
from kerasxai.tools.errors import KerasxaiError

_MAPS = {
    1: "a feature map (batch, steps, channels)",
    2: "a feature map (batch, height, width, channels)",
    3: "a feature map (batch, depth, height, width, channels)",
}
# These take single positions out of a sequence, such as the class token.
_SELECTIONS = {"StridedSlice", "Slice", "GatherV2", "Split", "SplitV", "Unpack"}
# Patches are embedded by one or two layers; tokens behind more maps hold features of a network.
_FEW_MAPS = 2


@dataclass(frozen=True)
class ExplainedMap:
    """A tensor that is explained as a feature map.

    Attributes:
        path: The layer's path, `"shared:1"` for the second of several calls, or an operation's name.
        tensor: Its output.
        layout: Its layout as a map.
    """

    path: str
    tensor: tf.Tensor
    layout: MapLayout


class Choice:
    """Chooses the explained tensors of one traced pass.

    Args:
        model: The model.
        calls: The calls of the pass.
        score: The explained score.
        images: The explained input.
        grid: The grid of tokens, if the user gave one.
    """

    def __init__(
        self, model: keras.Model, calls: list[Call], score: tf.Tensor, images: tf.Tensor, grid: tuple[int, ...] | None
    ) -> None:
        self._model = model
        self._calls = calls
        self._score = score
        self._images = images
        self._grid = grid
        self._spatial_shape = tuple(spatial_shape(images.shape))

    @functools.cached_property
    def names(self) -> TensorNames:
        """The names of the tensors of the pass."""
        return TensorNames(self._calls, self._score.graph)

    @functools.cached_property
    def _paths(self) -> ScorePaths:
        return ScorePaths(self._images, self._score)

    @functools.cached_property
    def _reader(self) -> MapReader:
        return MapReader(self._paths, self._spatial_shape, self._grid, lambda x: self.names.name_of(x) is not None)

    def default(self) -> list[ExplainedMap]:
        """Returns the last map that every path from the input to the score passes.

        If branches run in parallel to the end, no map between them and the score has all evidence: then the last map
        of each branch. Behind a class token the gradient of all other tokens is 0: then the tokens that the last
        attention takes.

        Raises:
            KerasxaiError: No tensor that the score depends on can be read as a map of the input.
        """
        chosen = [self._before_selection(tensor) for tensor in self._parallel(self._paths.last(self._is_candidate))]
        if not chosen:
            raise no_map(None, len(self._spatial_shape), self._calls)
        if len(chosen) == 1 and self._has_unreadable_tokens_behind(chosen[0]):
            name = self.names.name_of((self._maps_above(chosen[0]) or chosen)[0])
            raise no_map(name, len(self._spatial_shape), self._calls)
        # Branches may share a map.
        maps = [self._explained(tensor) for tensor in {x.name: x for x in chosen}.values()]
        return sorted(maps, key=lambda one: one.path)

    def named(self, path: str) -> ExplainedMap:
        """Returns the map of a layer's path or an operation's name.

        Raises:
            KerasxaiError: It was not called, is not one map, or the explained score does not depend on it.
        """
        if is_operation(path):
            return self._checked(path, self.names.operation(path))
        path, call = self._named_call(path)
        return self._checked(path, call.output)

    def layout(self, tensor: tf.Tensor) -> MapLayout | None:
        """Returns the layout of a tensor that the user named, or that belongs to the head, as a map, or None."""
        # Tokens, and maps whose frames are in the batch, have fewer dimensions than the input.
        fewer = tensor.shape.rank < len(self._spatial_shape) + 2
        if (tensor.shape.rank == 3 or fewer) and tensor in self._paths:
            layout = self._reader.layout(tensor)
            if layout is not None:
                return layout
        axes = data_format(tensor) if (tensor.shape.rank or 0) > 2 else "channels_last"
        return None if axes is None else layout_of(tensor, axes == "channels_first", self._spatial_shape, self._grid)

    def is_map(self, tensor: tf.Tensor) -> bool:
        """Returns whether a tensor can be explained as a map of more than one position."""
        if tensor in self._paths:
            return self._reader.layout(tensor) is not None
        layout = self.layout(tensor)
        return layout is not None and (layout.grid is not None or _positions(tensor, layout) != 1)

    def _is_candidate(self, tensor: tf.Tensor) -> bool:
        if self.names.name_of(tensor) is None or self._reader.layout(tensor) is None:
            return False
        # A flattened map has the name of the map.
        return tensor.shape.rank == len(self._spatial_shape) + 2 or origin(tensor).op.type != "Reshape"

    def _parallel(self, last: list[tf.Tensor]) -> list[tf.Tensor]:
        """Returns one tensor for each of the branches that run in parallel to the end.

        Maps of which one leads to the other belong to one branch, such as a map and the attention that weights it: they
        are represented by the nearest map that all their paths pass.
        """
        connected = networkx.Graph()
        connected.add_nodes_from(x.name for x in last)
        for tensor in last:
            reached = self._paths.reaches(tensor)
            connected.add_edges_from((tensor.name, other.name) for other in last if other.name in reached)
        found: list[tf.Tensor] = []
        for branch in networkx.connected_components(connected):
            members = [x for x in last if x.name in branch]
            common = nearest_common_dominator(self._paths, members, self._is_candidate)
            found += members if common is None else [common]
        # All evidence of a branch whose map is made of another chosen one is in that one too.
        names = {x.name for x in found}
        apart = [x for x in found if not any(y.name in names for y in list(self._paths.dominators(x))[1:])]
        return sorted(apart, key=self._paths.number)

    def _before_selection(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns a map whose positions all reach the score: those before attention, if only one token is read."""
        if not self._is_selected_from(tensor):
            return tensor
        mixing = self._paths.last_mixing(tensor)
        before = () if mixing is None else self._paths.dominators(mixing)
        return next((x for x in before if x is not mixing and self._is_candidate(x)), tensor)

    def _is_selected_from(self, tensor: tf.Tensor) -> bool:
        """Returns whether the score depends on single positions of a sequence only."""
        layout = self._reader.layout(tensor)
        consumers = self._paths.consumers(tensor)
        if tensor.shape.rank != 3 or layout is None or any(op.type not in _SELECTIONS for op in consumers):
            return False
        selected = [x for op in consumers for x in op.outputs if x in self._paths]
        counts = [1 if x.shape.rank == 2 else x.shape[1] for x in selected]
        return None not in counts and 0 < sum(counts) <= max(1, layout.extra)

    def _has_unreadable_tokens_behind(self, tensor: tf.Tensor) -> bool:
        """Returns whether attention works on tokens behind a map whose grid is unclear.

        The map is then often no more than an embedding of patches, whose heatmap would show little.
        """
        layout = self._reader.layout(tensor)
        if len(self._spatial_shape) < 2 or (layout is not None and layout.frames is not None):
            return False
        attention = self._paths.first_product(tensor)
        if attention is None:
            return False
        # Tokens that were already mixed, or made of several maps, are features and worth a heatmap.
        deep = self._paths.last_mixing(tensor) is not None or len(self._maps_above(tensor)) > _FEW_MAPS
        if tensor.shape.rank == 3 and deep:
            return False
        above = {x.name for x in self._paths.dominators(tensor)}
        between = [x for x in self._paths.dominators(attention) if x.name not in above]
        sequences = [x for x in between if x.shape.rank == 3 and x.shape[1] not in (None, 1)]
        return any(self._reader.layout(x) is None for x in sequences)

    def _maps_above(self, tensor: tf.Tensor) -> list[tf.Tensor]:
        """Returns the maps among a tensor and those that dominate it, without tokens, the nearest first."""
        return [x for x in self._paths.dominators(tensor) if x.shape.rank != 3 and self._is_candidate(x)]

    def _explained(self, tensor: tf.Tensor) -> ExplainedMap:
        call = self.names.call_of(tensor)
        output = tensor if call is None else call.output
        layout = self._reader.layout(tensor)
        name = self.names.name_of(tensor)
        assert layout is not None and name is not None
        return ExplainedMap(name, output, layout)

    def _named_call(self, path: str) -> tuple[str, Call]:
        _, layer, number = find_call(self._model, path)
        own = [call for call in self._calls if call.layer is layer]
        if not own:
            raise KerasxaiError(
                f"expected a layer that is called when the model runs, got {path!r}, which is not called; choose one "
                "that list_layers shows"
            )
        # Of several calls one may be of the explained input, and the rest of other inputs.
        if number is None and len(own) > 1:
            after = descendants(self._images)
            mine = [call for call in own if all(x.ref() in after for x in tf.nest.flatten(call.output))]
            if len(mine) == 1:
                number = own.index(mine[0])
                path = f"{path}:{number}"
        if number is None and len(own) > 1:
            raise KerasxaiError(
                f"expected one call of a layer, got {path!r}, which is called {len(own)} times in one pass; choose "
                f"'{path}:0' to '{path}:{len(own) - 1}'"
            )
        if number is not None and number >= len(own):
            raise KerasxaiError(
                f"expected the number of a call, got {path!r}; the layer is called {len(own)} times in one pass, "
                "counted from 0"
            )
        return path, own[number or 0]

    def _checked(self, path: str, output: tf.Tensor) -> ExplainedMap:
        kind = "operation" if is_operation(path) else "layer"
        layout = None
        if isinstance(output, tf.Tensor) and output.dtype.is_floating and output.shape.rank is not None:
            layout = self.layout(output)
        if layout is None:
            raise _unreadable(f"{kind} {path!r}", output, self._spatial_shape, self._grid)
        if layout.grid is None and _positions(output, layout) == 1:
            raise KerasxaiError(
                f"expected a map of more than one position, got one of a single position from {kind} {path!r}; its "
                "heatmap would be constant"
            )
        if output.ref() not in descendants(self._images):
            raise KerasxaiError(
                f"expected a {kind} that depends on the explained input, got {path!r}; image_input= says which input "
                "that is"
            )
        # A tensor of which only the shape is used has no gradient.
        if output.ref() not in ancestors(self._score, shapes=False):
            raise KerasxaiError(
                f"expected a {kind} that feeds the explained score, got {path!r}, which has no gradient; choose another"
            )
        return ExplainedMap(path, output, layout)


def _positions(tensor: tf.Tensor, layout: MapLayout) -> int:
    """Returns how many positions a map has, with 2 for each unknown length."""
    return math.prod(n or 2 for n in map_shape(tensor, layout.channels_first))


def _unreadable(
    what: str, output: object, spatial_shape: tuple[int | None, ...], grid: tuple[int, ...] | None
) -> KerasxaiError:
    expected = _MAPS.get(len(spatial_shape), "a feature map")
    shapes = tf.nest.map_structure(lambda x: tuple(x.shape), output)
    if not isinstance(output, tf.Tensor) or output.shape.rank != 3 or len(spatial_shape) < 2:
        return KerasxaiError(f"expected {expected}, got {shapes} from {what}")
    if grid is not None:
        return KerasxaiError(f"expected tokens that fill the token_grid {grid}, got {shapes} from {what}")
    named = ", ".join(["rows", "columns"] if len(spatial_shape) == 2 else ["planes", "rows", "columns"])
    return KerasxaiError(
        f"expected {expected}, got {shapes} from {what}; if these are tokens, pass their grid, token_grid=({named})"
    )

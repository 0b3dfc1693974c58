"""Which tensor of a traced pass is explained: the one that was named, or the last one that all evidence passes."""

import functools
import math
from dataclasses import dataclass
from typing import Any

import networkx
import tensorflow as tf

from kerasxai.engine.feature_layer.readable_maps import Readings, axes_of_map, sides_of_map
from kerasxai.engine.feature_layer.score_paths import ScorePaths, nearest_common_dominator
from kerasxai.engine.graph import ancestors, descendants, origin
from kerasxai.engine.layers import find_call, no_map
from kerasxai.engine.map_layout import MapLayout, form_of, sides_of
from kerasxai.engine.tensor_names import TensorNames, is_operation
from kerasxai.engine.tracing import Call
from kerasxai.tools.errors import KerasxaiError

_MAPS = {
    1: "a feature map (batch, steps, channels)",
    2: "a feature map (batch, height, width, channels)",
    3: "a feature map (batch, depth, height, width, channels)",
}
# What takes single positions out of a sequence, such as the class token.
_SELECTIONS = {"StridedSlice", "Slice", "GatherV2", "Split", "SplitV", "Unpack"}
# Patches are embedded in one or two layers; tokens made of more maps hold features of their own.
_FEW_MAPS = 2


@dataclass(frozen=True)
class Place:
    """Where a method explains.

    Attributes:
        path: The layer's path, `"shared:1"` for the second of several calls, or an operation's name.
        tensor: Its output.
        form: How it is read as a map.
    """

    path: str
    tensor: tf.Tensor
    form: MapLayout


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
        self, model: Any, calls: list[Call], score: tf.Tensor, images: tf.Tensor, grid: tuple[int, ...] | None
    ) -> None:
        self._model = model
        self._calls = calls
        self._score = score
        self._images = images
        self._grid = grid
        self._sides = tuple(sides_of(images.shape))

    @functools.cached_property
    def names(self) -> TensorNames:
        """The names of the tensors of the pass."""
        return TensorNames(self._calls, self._score.graph)

    @functools.cached_property
    def _paths(self) -> ScorePaths:
        return ScorePaths(self._images, self._score)

    @functools.cached_property
    def _readings(self) -> Readings:
        return Readings(self._paths, self._sides, self._grid, lambda x: self.names.name_of(x) is not None)

    def default(self) -> list[Place]:
        """Returns the last map that every path from the input to the score passes.

        Where branches run in parallel to the end, no map between them and the score has all evidence: then the last
        map of each branch. Behind a class token the gradient of all other tokens is 0, so that the tokens which the
        last attention takes are explained there.

        Raises:
            KerasxaiError: No tensor that the score depends on can be read as a map of the input.
        """
        chosen = [self._read_everywhere(tensor) for tensor in self._parallel(self._paths.last(self._is_candidate))]
        if not chosen:
            raise no_map(None, len(self._sides), self._calls)
        if len(chosen) == 1 and self._has_unreadable_tokens_behind(chosen[0]):
            name = self.names.name_of((self._maps_above(chosen[0]) or chosen)[0])
            raise no_map(name, len(self._sides), self._calls)
        places = [self._place(tensor) for tensor in {x.name: x for x in chosen}.values()]
        return sorted(places, key=lambda place: place.path)

    def named(self, path: str) -> Place:
        """Returns the place of a layer's path or an operation's name.

        Raises:
            KerasxaiError: It was not called, is not one map, or the explained score does not depend on it.
        """
        if is_operation(path):
            return self._checked(path, self.names.operation(path))
        path, call = self._named_call(path)
        return self._checked(path, call.output)

    def form(self, tensor: tf.Tensor) -> MapLayout | None:
        """Returns how a tensor that the user named, or that belongs to the head, is read as a map, or None."""
        # Tokens, and maps whose frames lie in the batch, have fewer dimensions than the input.
        fewer = tensor.shape.rank < len(self._sides) + 2
        if (tensor.shape.rank == 3 or fewer) and tensor in self._paths:
            form = self._readings.form(tensor)
            if form is not None:
                return form
        axes = axes_of_map(tensor) if (tensor.shape.rank or 0) > 2 else "last"
        return None if axes is None else form_of(tensor, axes == "first", self._sides, self._grid)

    def is_map(self, tensor: tf.Tensor) -> bool:
        """Returns whether a tensor is read as a map of the input with more than one position."""
        if tensor in self._paths:
            return self._readings.form(tensor) is not None
        form = self.form(tensor)
        return form is not None and (form.grid is not None or _positions(tensor, form) != 1)

    def _is_candidate(self, tensor: tf.Tensor) -> bool:
        if self.names.name_of(tensor) is None or self._readings.form(tensor) is None:
            return False
        # A map laid in one row is named as the map.
        return tensor.shape.rank == len(self._sides) + 2 or origin(tensor).op.type != "Reshape"

    def _parallel(self, last: list[tf.Tensor]) -> list[tf.Tensor]:
        """Returns one tensor for each of the branches that run in parallel to the end.

        Maps of which one leads to the other belong to one branch, such as a map and the attention that it is weighted
        by: the nearest map that all their paths pass stands for them.
        """
        together = networkx.Graph()
        together.add_nodes_from(x.name for x in last)
        for tensor in last:
            reached = self._paths.reaches(tensor)
            together.add_edges_from((tensor.name, other.name) for other in last if other.name in reached)
        found: list[tf.Tensor] = []
        for branch in networkx.connected_components(together):
            members = [x for x in last if x.name in branch]
            common = nearest_common_dominator(self._paths, members, self._is_candidate)
            found += members if common is None else [common]
        # All evidence of a branch whose map is made of another chosen one is in that one too.
        names = {x.name for x in found}
        apart = [x for x in found if not any(y.name in names for y in list(self._paths.dominators(x))[1:])]
        return sorted(apart, key=self._paths.number)

    def _read_everywhere(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns a map whose positions all reach the score: of tokens of which one is read, those before attention."""
        if not self._is_selected_from(tensor):
            return tensor
        mixing = self._paths.last_mixing(tensor)
        before = () if mixing is None else self._paths.dominators(mixing)
        return next((x for x in before if x is not mixing and self._is_candidate(x)), tensor)

    def _is_selected_from(self, tensor: tf.Tensor) -> bool:
        """Returns whether the score depends on single positions of a sequence only."""
        form = self._readings.form(tensor)
        takers = self._paths.consumers(tensor)
        if tensor.shape.rank != 3 or form is None or any(op.type not in _SELECTIONS for op in takers):
            return False
        selected = [x for op in takers for x in op.outputs if x in self._paths]
        counts = [1 if x.shape.rank == 2 else x.shape[1] for x in selected]
        return None not in counts and 0 < sum(counts) <= max(1, form.extra)

    def _has_unreadable_tokens_behind(self, tensor: tf.Tensor) -> bool:
        """Returns whether attention works on tokens behind a map that lie on no clear grid.

        The map is then often no more than an embedding of patches, whose heatmap would say little.
        """
        form = self._readings.form(tensor)
        if len(self._sides) < 2 or (form is not None and form.frames is not None):
            return False
        attention = self._paths.first_product(tensor)
        if attention is None:
            return False
        deep = self._paths.last_mixing(tensor) is not None or len(self._maps_above(tensor)) > _FEW_MAPS
        if tensor.shape.rank == 3 and deep:
            return False
        above = {x.name for x in self._paths.dominators(tensor)}
        between = [x for x in self._paths.dominators(attention) if x.name not in above]
        sequences = [x for x in between if x.shape.rank == 3 and x.shape[1] not in (None, 1)]
        return any(self._readings.form(x) is None for x in sequences)

    def _maps_above(self, tensor: tf.Tensor) -> list[tf.Tensor]:
        """Returns the maps that are no tokens among a tensor and those that dominate it, the nearest first."""
        return [x for x in self._paths.dominators(tensor) if x.shape.rank != 3 and self._is_candidate(x)]

    def _place(self, tensor: tf.Tensor) -> Place:
        call = self.names.call_of(tensor)
        output = tensor if call is None else call.output
        form = self._readings.form(tensor)
        name = self.names.name_of(tensor)
        assert form is not None and name is not None
        return Place(name, output, form)

    def _named_call(self, path: str) -> tuple[str, Call]:
        _, layer, number = find_call(self._model, path)
        own = [call for call in self._calls if call.layer is layer]
        if not own:
            raise KerasxaiError(f"layer {path!r} is not called when the model runs; choose one that list_layers shows")
        if number is None and len(own) > 1:
            after = descendants(self._images)
            mine = [call for call in own if all(x.ref() in after for x in tf.nest.flatten(call.output))]
            if len(mine) == 1:
                number = own.index(mine[0])
                path = f"{path}:{number}"
        if number is None and len(own) > 1:
            raise KerasxaiError(
                f"layer {path!r} is called {len(own)} times in one pass; its map is not one map: choose '{path}:0' to "
                f"'{path}:{len(own) - 1}'"
            )
        if number is not None and number >= len(own):
            raise KerasxaiError(f"layer {path!r} is not called so often: {len(own)} times in one pass, counted from 0")
        return path, own[number or 0]

    def _checked(self, path: str, output: Any) -> Place:
        kind = "operation" if is_operation(path) else "layer"
        readable = isinstance(output, tf.Tensor) and output.dtype.is_floating and output.shape.rank is not None
        form = self.form(output) if readable else None
        if form is None:
            raise _unreadable(f"{kind} {path!r}", output, self._sides, self._grid)
        if form.grid is None and _positions(output, form) == 1:
            raise KerasxaiError(f"{kind} {path!r} gives a map of 1 place: its heatmap would be constant")
        if output.ref() not in descendants(self._images):
            raise KerasxaiError(
                f"{kind} {path!r} does not look at the explained input; image_input= says which that is"
            )
        # What only gives its shape has no gradient.
        if output.ref() not in ancestors(self._score, shapes=False):
            raise KerasxaiError(f"{kind} {path!r} does not feed the explained score: it has no gradient")
        return Place(path, output, form)


def _positions(tensor: tf.Tensor, form: MapLayout) -> int:
    """Returns how many positions a map has, sides of unknown length counted as 2."""
    return math.prod(side or 2 for side in sides_of_map(tensor, form.channels_first))


def _unreadable(what: str, output: Any, sides: tuple[int | None, ...], grid: tuple[int, ...] | None) -> KerasxaiError:
    shapes = tf.nest.map_structure(lambda x: tuple(x.shape), output)
    if not isinstance(output, tf.Tensor) or output.shape.rank != 3 or len(sides) < 2:
        return KerasxaiError(f"{what} gives {shapes}, not {_MAPS.get(len(sides), 'a feature map')}")
    if grid is not None:
        return KerasxaiError(f"{what} gives {shapes}, whose tokens do not fill the token_grid {grid}")
    named = ", ".join(["rows", "columns"] if len(sides) == 2 else ["planes", "rows", "columns"])
    return KerasxaiError(
        f"{what} gives {shapes}, not {_MAPS[len(sides)]}; if these are tokens, say on which grid they lie: "
        f"token_grid=({named})"
    )

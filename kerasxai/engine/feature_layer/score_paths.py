"""The part of a traced graph that leads from the explained input to the score, and its dominators.

A tensor dominates the score if every path from the input to the score passes through it: only such a tensor holds all
evidence of an image. If branches run in parallel to the end, no single tensor holds it all.
"""

from collections.abc import Callable, Iterable, Iterator

import networkx
import tensorflow as tf

from kerasxai.engine.graph import SAME_VALUE, descendants

_RESHAPES = {"Reshape", "Squeeze", "ExpandDims", "Transpose"}
# These turn integers, such as uint8 pixels or the ids of words, into numbers with a gradient.
_LOOKUPS = {"Cast", "ResourceGather", "GatherV2", "OneHot"}
# These prepare floating numbers for a cast to integers.
_ROUNDING = {"Round", "ClipByValue", "Maximum", "Minimum"}
_SHAPES = {"Shape", "ShapeN", "Size", "Rank"}
_PRODUCTS = {"BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "MatMul"}
_LOOPS = {"While", "StatelessWhile", "PartitionedCall", "StatefulPartitionedCall"}


class ScorePaths:
    """Floating tensors on the paths along which the score can be differentiated to the input.

    Shapes, comparisons and class indices also depend on the input, but carry no gradient: paths through integers are
    omitted, and so are stopped gradients, unless nothing else leads to the input.

    Args:
        images: The explained input in a traced graph.
        score: The explained score, or any other tensor of the same graph.

    Attributes:
        score: The score.
        tensors: The tensors by name, in the order of the graph.
    """

    def __init__(self, images: tf.Tensor, score: tf.Tensor) -> None:
        self.score = score
        self._root = images.name
        self._number = {op.name: i for i, op in enumerate(score.graph.get_operations())}
        # Positions in the graph are an order in which each tensor follows its inputs.
        self._graph = _between(images, score, {"StopGradient"})
        if images.name not in self._graph:
            self._graph = _between(images, score, set())
        reached = {name for name in self._graph if name != self._root}
        by_name = {name: self._graph.nodes[name]["tensor"] for name in reached}
        self.tensors: dict[str, tf.Tensor] = dict(sorted(by_name.items(), key=lambda item: self.number(item[1])))
        self._parents: dict[str, str] = (
            networkx.immediate_dominators(self._graph, self._root) if self._root in self._graph else {}
        )

    def __contains__(self, tensor: tf.Tensor) -> bool:
        return tensor.name in self.tensors

    def number(self, tensor: tf.Tensor) -> int:
        """Returns the position of a tensor's operation in the graph."""
        return self._number[tensor.op.name]

    def parent(self, tensor: tf.Tensor) -> tf.Tensor | None:
        """Returns the immediate dominator of a tensor, None for the input."""
        return self.tensors.get(self._parents.get(tensor.name, ""))

    def dominators(self, tensor: tf.Tensor) -> Iterator[tf.Tensor]:
        """Yields a tensor and all that dominate it, the nearest first, without the input."""
        found: tf.Tensor | None = tensor if tensor in self else None
        while found is not None:
            yield found
            above = self.parent(found)
            found = None if above is found else above

    def last(self, accepted: Callable[[tf.Tensor], bool]) -> list[tf.Tensor]:
        """Returns the accepted tensors with a path to the score without another accepted one, in the graph's order."""
        found: set[str] = set()
        stack, visited = [self.score.name], {self.score.name}
        while stack:
            name = stack.pop()
            if name not in self.tensors:
                continue
            if accepted(self.tensors[name]):
                found.add(name)
                continue
            before = [x for x in self._graph.predecessors(name) if x not in visited]
            visited.update(before)
            stack += before
        return [tensor for name, tensor in self.tensors.items() if name in found]

    def reaches(self, tensor: tf.Tensor) -> set[str]:
        """Returns the names of all tensors that a tensor leads to."""
        return networkx.descendants(self._graph, tensor.name)

    def consumers(self, tensor: tf.Tensor) -> list[tf.Operation]:
        """Returns the operations on the paths that consume a tensor, behind identities and casts."""
        found: list[tf.Operation] = []
        for name in self._graph.successors(tensor.name):
            after = self.tensors[name]
            found += self.consumers(after) if after.op.type in SAME_VALUE else [after.op]
        return found

    def last_mixing(self, tensor: tf.Tensor) -> tf.Tensor | None:
        """Returns the last tensor before another that mixes positions.

        That is a product of two tensors that both depend on the input, as in attention, or a recurrent loop.
        """
        above = networkx.ancestors(self._graph, tensor.name)
        mixed = (x for x in reversed(self.tensors.values()) if x.name in above)
        return next((x for x in mixed if x.op.type in _LOOPS or self._is_product(x)), None)

    def first_product(self, tensor: tf.Tensor) -> tf.Tensor | None:
        """Returns the first product behind a tensor of two tensors that both depend on the input, or None."""
        behind = self.reaches(tensor)
        return next((x for x in self.tensors.values() if x.name in behind and self._is_product(x)), None)

    def _is_product(self, tensor: tf.Tensor) -> bool:
        return tensor.op.type in _PRODUCTS and sum(x.name in self._graph for x in tensor.op.inputs) > 1


def _between(images: tf.Tensor, score: tf.Tensor, barriers: set[str]) -> networkx.DiGraph:
    """Returns the graph of floating tensors between an input and a score, empty if no path connects them."""
    after = descendants(images)
    sources = _differentiable_sources(images)
    graph = networkx.DiGraph()
    stack, visited = [score], {score.ref()}
    while stack:
        tensor = stack.pop()
        graph.add_node(tensor.name, tensor=tensor)
        if tensor is not images and tensor.ref() in sources:
            graph.add_edge(images.name, tensor.name)
            continue
        for before in [] if tensor.op.type in barriers else tensor.op.inputs:
            if _has_gradient(before) and before.ref() in after:
                graph.add_edge(before.name, tensor.name)
                if before.ref() not in visited:
                    visited.add(before.ref())
                    stack.append(before)
    if images.name not in graph:
        return networkx.DiGraph()
    graph.nodes[images.name]["tensor"] = images
    # Tensors that depend on the input only by integers were added from the score, and are not reached from the input.
    kept = networkx.descendants(graph, images.name) | {images.name}
    return graph.subgraph(kept)


def _has_gradient(tensor: tf.Tensor) -> bool:
    # Recurrent loops store the steps of a sequence in tensor lists of dtype variant.
    return tensor.dtype.is_floating or tensor.dtype == tf.variant


def _differentiable_sources(images: tf.Tensor) -> set[object]:
    """Returns the first floating tensors behind inputs that are or become integers.

    Pixels may be rounded, cropped and resized as integers before the model casts them; the ids of words are looked up
    without that.
    """
    pixels = images.shape.rank is not None and images.shape.rank > 2
    found: set[object] = set()
    # Forward from the input, as long as the values are integers or are about to be.
    stack, visited = [images], {images.ref()}
    while stack:
        tensor = stack.pop()
        for op in tensor.consumers():
            if op.type in _SHAPES:
                continue
            same = op.type in SAME_VALUE | _RESHAPES | _ROUNDING
            for after in op.outputs:
                whole = after.dtype.is_integer and (same or (pixels and tensor.dtype.is_integer))
                rounded = after.dtype.is_floating and tensor.dtype.is_floating and op.type in _ROUNDING
                if (whole or rounded) and after.ref() not in visited:
                    visited.add(after.ref())
                    stack.append(after)
                known = pixels or op.type in _LOOKUPS | _RESHAPES
                if known and after.dtype.is_floating and not tensor.dtype.is_floating:
                    found.add(after.ref())
    return found


def nearest_common_dominator(
    paths: ScorePaths, tensors: Iterable[tf.Tensor], accepted: Callable[[tf.Tensor], bool]
) -> tf.Tensor | None:
    """Returns the nearest accepted tensor that dominates each of some tensors, or None."""
    first, *rest = tensors
    shared = [{x.name for x in paths.dominators(other)} for other in rest]
    for candidate in paths.dominators(first):
        if accepted(candidate) and all(candidate.name in names for names in shared):
            return candidate
    return None

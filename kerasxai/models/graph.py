"""What is known of a functional model's graph: which tensors are maps, at which stride, and what everything passes."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import keras

from kerasxai.engine.keras_internals import functional_of, nodes_by_depth
from kerasxai.tools.errors import KerasxaiError, unknown

MERGES = ("Add", "Concatenate")
_GLOBAL_POOLING = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
_ENLARGING = (keras.layers.Conv2DTranspose, keras.layers.UpSampling2D)


@dataclass(frozen=True)
class Place:
    """One call in a graph.

    Attributes:
        operation: The layer (or operation) that is called.
        tensor: Its symbolic output.
        stride: By how much the map is smaller than the image, or None where the output is no map.
        trunk: Whether every path from the image to the output leads through it.
    """

    operation: Any
    tensor: Any
    stride: float | None
    trunk: bool

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.operation.name


def nodes(model: keras.Model) -> list[Any]:
    """Returns the nodes of a functional or sequential model, inputs left out, in the order in which they are run."""
    by_depth = nodes_by_depth(functional_of(model))
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]


def places(model: keras.Model) -> list[Place]:
    """Returns every call in a functional or sequential model, in the order in which they are run.

    Example:
        >>> [place.name for place in places(model) if place.stride == 16][-1]
        'block6a_expand_activation'
    """
    found = []
    strides: dict[int, float | None] = {id(tensor): 1.0 for tensor in model.inputs}
    waiting = Counter(id(tensor) for node in nodes(model) for tensor in node.arguments.keras_tensors)
    waiting.update(id(tensor) for tensor in model.outputs)
    opened = {id(tensor) for tensor in model.inputs}
    for node in nodes(model):
        taken = node.arguments.keras_tensors
        for tensor in taken:
            waiting[id(tensor)] -= 1
            if waiting[id(tensor)] == 0:
                opened.discard(id(tensor))
        known = [stride for tensor in taken if (stride := strides.get(id(tensor))) is not None]
        for tensor in node.outputs:
            strides[id(tensor)] = _stride(node.operation, taken, tensor, max(known, default=None))
            opened.add(id(tensor))
        output = node.outputs[0]
        found.append(Place(node.operation, output, strides[id(output)], opened == {id(output)}))
    return found


def _stride(operation: Any, taken: list[Any], output: Any, before: float | None) -> float | None:
    if before is None or len(output.shape) != 4 or isinstance(operation, _GLOBAL_POOLING):
        return None
    shrinks = _shrinks(operation, taken[0].shape[1:3], output.shape[1:3])
    return None if shrinks is None else before * shrinks


def _shrinks(operation: Any, before: Any, after: Any) -> float | None:
    """Returns by how much an operation makes a map smaller: as it says itself, else as the shapes say.

    What leaves one place and is no convolution is a pooling over all places, and gives None.
    """
    if isinstance(operation, keras.Model) and hasattr(operation, "inputs") and operation.inputs:
        inner = {id(place.tensor): place.stride for place in places(operation)}
        return inner.get(id(operation.outputs[0])) or 1.0
    if isinstance(operation, keras.layers.UpSampling2D):
        return 1 / operation.size[0]
    strides = getattr(operation, "strides", None)
    if strides is not None:
        first = strides if isinstance(strides, int) else strides[0]
        return 1 / first if isinstance(operation, _ENLARGING) else float(first)
    if tuple(after) == (1, 1) and tuple(before) != (1, 1):
        return None
    if not before[0] or not after[0]:
        return 1.0
    return 2.0 ** round(math.log2(before[0] / after[0]))


def _ends_a_block(place: Place) -> bool:
    """Whether a place is a rectifier, a layer with one inside, or where branches come together."""
    operation = place.operation
    if type(operation).__name__ in MERGES:
        return True
    activations = (keras.layers.Activation, keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)
    if isinstance(operation, (*activations, keras.layers.PReLU)):
        return True
    return getattr(operation, "activation", keras.activations.linear) is not keras.activations.linear


def find_features(model: keras.Model, features: int | str | None) -> Place:
    """Finds the feature map that a head shall stand on.

    Args:
        model: A functional or sequential model.
        features: The name of a layer; or a stride (8, 16, 32): the last map of that stride which everything passes and
            which ends a block (a rectifier, a sum or a concatenation; failing that any layer; where nothing is passed
            by everything, as in NASNet, the last of the widest sums and concatenations); or None: the
            last map that everything passes.

    Returns:
        The place of the map.

    Raises:
        KerasxaiError: There is no such layer or stride, or the layer's output is no map.

    Example:
        >>> find_features(model, 16).name
        'block6a_expand_activation'
    """
    all_places = places(model)
    maps = [place for place in all_places if place.stride is not None]
    if isinstance(features, str):
        named = [place for place in all_places if place.name == features]
        if not named:
            raise unknown("layer", features, [place.name for place in maps])
        if named[-1].stride is None:
            raise KerasxaiError(f"layer {features!r} gives no feature map but shape {tuple(named[-1].tensor.shape)}")
        return named[-1]
    trunk = [place for place in maps if place.trunk]
    if features is None:
        if not trunk:
            raise KerasxaiError(f"model {model.name!r} has no feature map (B, h, w, C) that all of it passes")
        return trunk[-1]
    trunk = [place for place in trunk if place.stride == features]
    at_stride = [place for place in maps if place.stride == features]
    merges = [place for place in at_stride if type(place.operation).__name__ in MERGES]
    widest = max((place.tensor.shape[-1] for place in merges), default=None)
    wide = [place for place in merges if place.tensor.shape[-1] == widest]
    for choice in ([place for place in trunk if _ends_a_block(place)], trunk, wide, at_stride):
        if choice:
            return choice[-1]
    strides = sorted({f"{place.stride:g}" for place in maps if place.stride}, key=float)
    raise KerasxaiError(f"model {model.name!r} has no map of stride {features}; there are: {', '.join(strides)}")

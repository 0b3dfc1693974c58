"""Layers of a model: their paths, how to find one, and the specs of its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import tensorflow as tf

from kerasxai.engine.keras_internals import child_layers, input_structure
from kerasxai.engine.tracing import Call
from kerasxai.tools.errors import KerasxaiError, unknown

if TYPE_CHECKING:
    from kerasxai.engine.inputs import Specs

LayerName: TypeAlias = "str | keras.Layer | tuple[str | keras.Layer, int]"
"""A path, a name, the layer itself, or one of several calls of it, `(layer, number)`."""

OPERATION = " (operation)"
"""Ends the name of an operation that is no layer: `"stage3/add (operation)"`."""


def walk(model: keras.Layer) -> Iterator[tuple[str, keras.Layer]]:
    """Yields `(path, layer)` for every layer of a model at any depth, the model itself last, with the path "".

    A path joins layer names with "/": `"backbone/top_activation"`. Where two layers of one parent have the same name,
    the later ones get "_1", "_2", ... appended. A shared layer is listed once, at its first position.

    Args:
        model: keras.Layer Keras model or layer.
    """
    yield from _walk(model, "", {id(model)})
    yield "", model


def _walk(parent: keras.Layer, prefix: str, visited: set[int]) -> Iterator[tuple[str, keras.Layer]]:
    names: dict[str, int] = {}
    for layer in child_layers(parent):
        count = names.get(layer.name, 0)
        names[layer.name] = count + 1
        path = f"{prefix}{layer.name}" + (f"_{count}" if count else "")
        if id(layer) not in visited:
            visited.add(id(layer))
            yield from _walk(layer, f"{path}/", visited)
            yield path, layer


def find_layer(model: keras.Layer, layer: str | keras.Layer) -> tuple[str, keras.Layer]:
    """Finds a layer by its path, by a name that only one layer has, or by the layer itself.

    Args:
        model: The model.
        layer: A path such as `"backbone/top_activation"`, a name, a layer object, or the attributes that lead to one in
            a subclassed model, `"encoder/blocks/2"` or `"encoder.blocks[2]"`.

    Returns:
        The full path and the layer.

    Raises:
        KerasxaiError: No layer or several layers match; the message lists similar names.
    """
    layers = dict(walk(model))
    del layers[""]
    if not isinstance(layer, str):
        for path, candidate in layers.items():
            if candidate is layer:
                return path, candidate
        raise KerasxaiError(f"expected a layer of the model {model.name!r}, got {getattr(layer, 'name', layer)!r}")
    if layer in layers:
        return layer, layers[layer]
    same = [path for path in layers if path.endswith(f"/{layer}")]
    if len(same) > 1:
        raise KerasxaiError(f"expected the name of one layer, got {layer!r}; choose one of {', '.join(same)}")
    if same:
        return same[0], layers[same[0]]
    attribute = _by_attributes(model, layer)
    for path, candidate in layers.items():
        if candidate is attribute:
            return path, candidate
    raise unknown("layer", layer, layers)


def _by_attributes(model: keras.Layer, path: str) -> object:
    """Follows attributes, indices of lists and keys of dicts, as in `"encoder.blocks[2]"`; None if there is none."""
    found: Any = model
    for part in path.replace("[", "/").replace("]", "").replace(".", "/").split("/"):
        if isinstance(found, dict):
            found = found.get(part)
        elif isinstance(found, (list, tuple)):
            found = found[int(part)] if part.isdecimal() and int(part) < len(found) else None
        else:
            found = getattr(found, part, None)
    return found


def find_call(model: keras.Layer, layer: LayerName) -> tuple[str, keras.Layer | None, int | None]:
    """Finds a layer as `find_layer` does, and which of its calls is meant.

    Args:
        model: The model.
        layer: As for `find_layer`; for one of several calls, counted from 0, `"shared:1"` or `("shared", 1)`.

    Returns:
        The path, with `:number` if one call is meant; the layer; the number or None. The name of an
        operation is looked up when the model is traced; its layer is None.
    """
    if isinstance(layer, str) and layer.endswith(OPERATION):
        return layer, None, None
    if isinstance(layer, tuple):
        layer, number = layer
    elif isinstance(layer, str) and layer.rpartition(":")[2].isdecimal() and layer not in dict(walk(model)):
        layer, _, number = layer.rpartition(":")
    else:
        return *find_layer(model, layer), None
    path, found = find_layer(model, layer)
    return f"{path}:{int(number)}", found, int(number)


def positions(tensor: tf.Tensor, first: bool = False) -> int | None:
    """Returns how many positions a map `(B, ..., K)` has, or None if its size is known only when the model runs."""
    shape = tensor.shape[2:] if first else tensor.shape[1:-1]
    return shape.num_elements()


def is_feature_map(tensor: object, first: bool = False, rank: int = 4) -> bool:
    """Whether a traced tensor is a floating map `(B, ..., K)` with more than one position.

    Args:
        tensor: Any output of a layer.
        first: Whether channels are first, `(B, K, ...)`.
        rank: How many dimensions it must have: 3 for series, 4 for images, 5 for volumes.
    """
    return (
        isinstance(tensor, tf.Tensor)
        and tensor.dtype.is_floating
        and tensor.shape.rank == rank
        and positions(tensor, first) not in (0, 1)
    )


def opaque_model_error(calls: list[Call]) -> KerasxaiError | None:
    """Returns the error for a model that was loaded from a SavedModel, which hides its layers, or None."""
    if not any(isinstance(call.layer, keras.layers.TFSMLayer) for call in calls):
        return None
    return KerasxaiError(
        "expected a model with layers, got a keras.layers.TFSMLayer, which hides them; use a method that only needs "
        "scores, such as occlusion, rise, lime or kernelshap, or load the .keras file"
    )


def no_map(last: str | None, axes: int = 2, calls: Sequence[Call] = ()) -> KerasxaiError:
    """Returns the error for a model without a map to explain by default.

    Args:
        last: The name of the last map, if attention on tokens follows that are not on a clear grid.
        axes: How many spatial axes a map has.
        calls: The calls of the traced pass.
    """
    opaque = opaque_model_error(list(calls))
    if last is None and opaque is not None:
        return opaque
    if last is None:
        form = ("steps", "height, width", "depth, height, width")[min(axes, 3) - 1]
        return KerasxaiError(
            f"expected a layer with a feature map (batch, {form}, channels) of more than one position, got a model "
            "that has no feature map; use a method that needs no layer"
        )
    return KerasxaiError(
        f"expected token layers on a clear grid after the map {last!r}, which only embeds patches, got none; choose a "
        "layer with layer=, and its grid with token_grid="
    )


def input_specs(model: keras.Layer) -> Specs:
    """Returns the inputs of a model as a structure of `tf.TensorSpec` with any batch size, or None if it has none.

    Args:
        model: A built Keras model. Subclassed models have no input shape.
    """
    try:
        # Only a functional model keeps the structure (list, dict) of its inputs; a sequential one has a list of one.
        inputs = model.input if input_structure(model) is not None else model.inputs
    except (AttributeError, ValueError):
        return None
    if inputs is None:
        return None
    if isinstance(inputs, (list, tuple)) and len(inputs) == 1:
        inputs = inputs[0]
    return tf.nest.map_structure(lambda spec: tf.TensorSpec((None, *spec.shape[1:]), spec.dtype), inputs)


def input_names(model: keras.Layer) -> list[str]:
    """Returns the names of a model's inputs in the order of `tf.nest.flatten(input_specs(model))`, or an empty list."""
    try:
        return [tensor.name for tensor in tf.nest.flatten(model.input)] if input_structure(model) is not None else []
    except (AttributeError, ValueError):
        return []


def listed_layers(layer: LayerName | Sequence[LayerName] | None) -> list[LayerName]:
    """Returns the layers that a user chose: none, one, one of several calls `(layer, number)`, or a list."""
    if layer is None:
        return []
    one = not isinstance(layer, (list, tuple)) or (len(layer) == 2 and isinstance(layer[1], int))
    return [layer] if one else list(layer)

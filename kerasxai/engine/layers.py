"""Layers of a model: their paths, how to find one, and what a model says of its inputs."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from kerasxai.engine.keras_internals import child_layers, input_structure
from kerasxai.engine.tracing import Call
from kerasxai.tools.errors import KerasxaiError, unknown

LayerName: TypeAlias = "str | keras.Layer | tuple[str | keras.Layer, int]"
"""A path, a name, the layer itself, or one of several calls of it, `(layer, number)`."""

OPERATION = " (operation)"
"""Ends the name of an operation that is no layer: `"stage3/add (operation)"`."""


def walk(model: Any) -> Iterator[tuple[str, Any]]:
    """Yields `(path, layer)` for every layer of a model at any depth, the model itself last, with the path "".

    A path joins layer names with "/": `"backbone/top_activation"`. Where two layers of one parent have the same name,
    the later ones get "_1", "_2", ... behind it. A layer that is shared is listed once, where it stands first.

    Args:
        model: Any Keras model or layer.
    """
    yield from _walk(model, "", {id(model)})
    yield "", model


def _walk(parent: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    names: dict[str, int] = {}
    for layer in child_layers(parent):
        count = names.get(layer.name, 0)
        names[layer.name] = count + 1
        path = f"{prefix}{layer.name}" + (f"_{count}" if count else "")
        if id(layer) not in seen:
            seen.add(id(layer))
            yield from _walk(layer, f"{path}/", seen)
            yield path, layer


def find_layer(model: Any, layer: Any) -> tuple[str, Any]:
    """Finds a layer by its path, by a name that only one layer has, or by the layer itself.

    Args:
        model: The model that holds it, at any depth.
        layer: A path such as `"backbone/top_activation"`, a name, a layer object, or the attributes that lead to one in
            a subclassed model, `"encoder/blocks/2"` or `"encoder.blocks[2]"`.

    Returns:
        The full path and the layer.

    Raises:
        KerasxaiError: No layer or several layers answer; the message lists near names.
    """
    layers = dict(walk(model))
    del layers[""]
    if not isinstance(layer, str):
        for path, candidate in layers.items():
            if candidate is layer:
                return path, candidate
        raise KerasxaiError(f"layer {getattr(layer, 'name', layer)!r} does not belong to the model {model.name!r}")
    if layer in layers:
        return layer, layers[layer]
    same = [path for path in layers if path.endswith(f"/{layer}")]
    if len(same) > 1:
        raise KerasxaiError(f"several layers are called {layer!r}; give one of the paths {', '.join(same)}")
    if same:
        return same[0], layers[same[0]]
    held = _by_attributes(model, layer)
    for path, candidate in layers.items():
        if candidate is held:
            return path, candidate
    raise unknown("layer", layer, layers)


def _by_attributes(model: Any, path: str) -> Any:
    """Follows attributes, places in lists and keys of dicts, as in `"encoder.blocks[2]"`; None where they end."""
    held = model
    for part in path.replace("[", "/").replace("]", "").replace(".", "/").split("/"):
        if isinstance(held, dict):
            held = held.get(part)
        elif isinstance(held, (list, tuple)):
            held = held[int(part)] if part.isdecimal() and int(part) < len(held) else None
        else:
            held = getattr(held, part, None)
    return held


def find_call(model: Any, layer: Any) -> tuple[str, Any, int | None]:
    """Finds a layer as `find_layer` does, and which of its calls is meant.

    Args:
        model: The model that holds it.
        layer: As for `find_layer`; for one of several calls, counted from 0, `"shared:1"` or `("shared", 1)`.

    Returns:
        The path, with the number behind a colon where there is one; the layer; the number or None. The name of an
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


def places(tensor: Any, first: bool = False) -> int | None:
    """Returns how many places a map `(B, *sides, K)` has, or None where its size is not known before the run."""
    sides = tensor.shape[2:] if first else tensor.shape[1:-1]
    return sides.num_elements()


def is_feature_map(tensor: Any, first: bool = False, rank: int = 4) -> bool:
    """Tells whether a traced tensor is a floating map `(B, *sides, K)` with more than one place.

    Args:
        tensor: Anything a layer gave.
        first: Whether channels come first, `(B, K, *sides)`.
        rank: How many dimensions it must have: 3 for series, 4 for images, 5 for volumes.
    """
    return (
        isinstance(tensor, tf.Tensor)
        and tensor.dtype.is_floating
        and tensor.shape.rank == rank
        and places(tensor, first) not in (0, 1)
    )


def hidden_layers(calls: list[Call]) -> KerasxaiError | None:
    """Returns the error for a model that was loaded from a SavedModel, whose layers cannot be looked at, or None."""
    if not any(isinstance(call.layer, keras.layers.TFSMLayer) for call in calls):
        return None
    return KerasxaiError(
        "keras.layers.TFSMLayer hides the layers of the model that it loaded; explain it with a method that only asks "
        "for scores, such as occlusion, rise, lime or kernelshap, or load the .keras file"
    )


def no_map(last: str | None, sides: int = 2, calls: Sequence[Call] = ()) -> KerasxaiError:
    """Returns the error for a model in which no map can be explained by default.

    Args:
        last: The name of the last map, if attention works on unreadable tokens behind it.
        sides: How many sides a map has.
        calls: The calls of the traced pass.
    """
    hidden = hidden_layers(list(calls))
    if last is None and hidden is not None:
        return hidden
    if last is None:
        form = ("steps", "height, width", "depth, height, width")[min(sides, 3) - 1]
        return KerasxaiError(
            f"the model has no feature map: no layer that the score depends on gives (batch, {form}, channels) "
            "with more than one place; methods that need a layer cannot explain it"
        )
    return KerasxaiError(
        f"the model works on tokens after its last map {last!r}, which is then no more than an embedding of "
        "patches, and none of its token layers lies on a clear grid; name a layer with layer=, and its grid with "
        "token_grid="
    )


def input_specs(model: Any) -> Any:
    """Returns what a model takes as a structure of `tf.TensorSpec` with an open batch, or None if it says nothing.

    Args:
        model: A built Keras model. Subclassed models know no input shape.
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


def input_names(model: Any) -> list[str]:
    """Returns the names of a model's inputs in the order of `tf.nest.flatten(input_specs(model))`, or an empty list."""
    try:
        return [tensor.name for tensor in tf.nest.flatten(model.input)] if input_structure(model) is not None else []
    except (AttributeError, ValueError):
        return []


def listed_layers(layer: Any) -> list[Any]:
    """Returns the layers that a user names: none, one, one of several calls `(layer, number)`, or a list."""
    if layer is None:
        return []
    one = not isinstance(layer, (list, tuple)) or (len(layer) == 2 and isinstance(layer[1], int))
    return [layer] if one else list(layer)

"""Layers of a model: their paths, how to find one, and which of them gives the map that feeds the head."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from kerasxai.core.errors import KerasxaiError, unknown
from kerasxai.core.graph import ancestors, origin
from kerasxai.core.maps import form_of, sides_of
from kerasxai.core.tracing import Call, one_pass_at_a_time, recorded


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
    # Keras has no public way to the layers inside a layer that is not a model.
    for layer in parent._flatten_layers(include_self=False, recursive=False):
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
        The path, with the number behind a colon where there is one; the layer; the number or None.
    """
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


def channels_first(calls: list[Call]) -> bool:
    """Tells whether the map that the last of some calls gives is `(B, K, *sides)`.

    Activations, normalizations and sums do not say; the last layer that does holds for them.
    """
    rank = calls[-1].output.shape.rank if calls and isinstance(calls[-1].output, tf.Tensor) else None
    formats = (
        getattr(call.layer, "data_format", None)
        for call in reversed(calls)
        if isinstance(call.output, tf.Tensor) and call.output.shape.rank == rank
    )
    return next((form for form in formats if form is not None), None) == "channels_first"


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


def inside_attention(calls: list[Call]) -> tuple[str, ...]:
    """Returns what the paths begin with of layers inside attention: (batch, tokens, heads, size) is no map."""
    return tuple(f"{call.path}/" for call in calls if "Attention" in type(call.layer).__name__)


def last_map(calls: list[Call], needed: set[Any], rank: int = 4) -> tuple[Call | None, bool]:
    """Finds the map that feeds the head: the last map in call order that the score depends on.

    "The last convolution" is a 1x1 map on some networks, a fraction of the channels on others, and stands before a
    normalization or a sum on most; the last tensor that the score still depends on is none of these.

    Args:
        calls: The calls of one traced pass, in the order in which they finished.
        needed: The references of the tensors that the score depends on.
        rank: How many dimensions a map has: 3 for series, 4 for images, 5 for volumes.

    Returns:
        The call, or None; where a layer and the model around it give the same tensor, the innermost layer's. And
        whether the model works on tokens after it, as vision transformers do.
    """
    attention = inside_attention(calls)
    chosen: Call | None = None
    tokens_after = False
    for i, call in enumerate(calls):
        output = call.output
        if not isinstance(output, tf.Tensor) or output.ref() not in needed or not call.path:
            continue
        if call.path.startswith(attention):
            continue
        if is_feature_map(output, channels_first(calls[: i + 1]), rank):
            if chosen is None or origin(output) is not origin(chosen.output):
                chosen, tokens_after = call, False
        elif rank > 3 and output.shape.rank == 3 and output.shape[1] not in (None, 1) and output.dtype.is_floating:
            tokens_after = True
    return chosen, tokens_after


def hidden_layers(calls: list[Call]) -> KerasxaiError | None:
    """Returns the error for a model that was loaded from a SavedModel, whose layers cannot be looked at, or None."""
    if not any(isinstance(call.layer, keras.layers.TFSMLayer) for call in calls):
        return None
    return KerasxaiError(
        "keras.layers.TFSMLayer hides the layers of the model that it loaded; explain it with a method that only asks "
        "for scores, such as occlusion, rise, lime or kernelshap, or load the .keras file"
    )


def no_map(chosen: Call | None, sides: int = 2, calls: Sequence[Call] = ()) -> KerasxaiError:
    """Returns the error for a model of whose layers none can be explained by default.

    Args:
        chosen: The last map, where tokens come after it.
        sides: How many sides a map has.
        calls: The calls of the traced pass.
    """
    hidden = hidden_layers(list(calls))
    if chosen is None and hidden is not None:
        return hidden
    if chosen is None:
        form = ("steps", "height, width", "depth, height, width")[min(sides, 3) - 1]
        return KerasxaiError(
            f"the model has no feature map: no layer that the score depends on gives (batch, {form}, channels) "
            "with more than one place; methods that need a layer cannot explain it"
        )
    return KerasxaiError(
        f"the model works on tokens after its last map {chosen.path!r}, which is then no more than an embedding of "
        "patches, and none of its token layers lies on a clear grid; name a layer with layer=, and its grid with "
        "token_grid="
    )


def last_feature_map(calls: list[Call], score: Any) -> Call:
    """Chooses the map that feeds the head, see `last_map`.

    Raises:
        KerasxaiError: The model has no feature map, or works on tokens after it, as vision transformers do.
    """
    chosen, tokens_after = last_map(calls, ancestors(score, shapes=False))
    if chosen is None or tokens_after:
        raise no_map(chosen)
    return chosen


@dataclass(frozen=True)
class LayerInfo:
    """One row of `list_layers`: path, class, output shape with the batch first, and whether it can be explained."""

    path: str
    kind: str
    shape: tuple[int | None, ...] | None
    is_feature_map: bool


def input_specs(model: Any) -> Any:
    """Returns what a model takes as a structure of `tf.TensorSpec` with an open batch, or None if it says nothing.

    Args:
        model: A built Keras model. Subclassed models know no input shape.
    """
    try:
        # Only a functional model keeps the structure (list, dict) of its inputs; a sequential one has a list of one.
        inputs = model.input if hasattr(model, "_inputs_struct") else model.inputs
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
        return [tensor.name for tensor in tf.nest.flatten(model.input)] if hasattr(model, "_inputs_struct") else []
    except (AttributeError, ValueError):
        return []


def list_layers(model: Any, images: Any = None) -> list[LayerInfo]:
    """Lists every layer of a model at any depth, in the order in which they are called.

    Args:
        model: Any Keras model: functional, sequential, nested or subclassed.
        images: A batch to trace with, `(N, H, W, C)`; needed only for models that do not know their input shape.

    Returns:
        One `LayerInfo` for each call that was reached; a layer that is called twice stands there twice.

    Raises:
        KerasxaiError: The model does not know its input shape and no images were given.

    Example:
        >>> [row.path for row in kerasxai.list_layers(model) if row.is_feature_map][-1]
        'backbone/top_activation'
    """
    specs = input_specs(model)
    if images is not None:
        specs = tf.nest.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:]), tf.float32), images)
    if specs is None:
        raise KerasxaiError(f"the model {model.name!r} does not know its input shape; pass images to trace it with")
    calls: list[Call] = []
    sides = sides_of(max((spec.shape for spec in tf.nest.flatten(specs)), key=len))

    @tf.function(autograph=False)
    @one_pass_at_a_time
    def trace(inputs: Any) -> Any:
        with recorded(walk(model), calls.append):
            return model(inputs, training=False)

    trace.get_concrete_function(specs)
    attention = inside_attention(calls)
    return [_info(calls, i, sides, attention) for i, call in enumerate(calls) if call.path]


def _info(calls: list[Call], number: int, sides: Any, attention: tuple[str, ...]) -> LayerInfo:
    call = calls[number]
    first = tf.nest.flatten(call.output)[0]
    known = isinstance(first, tf.Tensor) and first.shape.rank is not None
    explained = False
    if known and first is call.output and first.dtype.is_floating and not call.path.startswith(attention):
        turned = channels_first(calls[: number + 1])
        form = form_of(first, turned, sides, None)
        explained = form is not None and (form.grid is not None or places(first, turned) not in (0, 1))
    own = [one for one in calls if one.layer is call.layer]
    path = call.path if len(own) == 1 else f"{call.path}:{own.index(call)}"
    return LayerInfo(path, type(call.layer).__name__, tuple(first.shape) if known else None, explained)

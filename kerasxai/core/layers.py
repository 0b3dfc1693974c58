"""Layers of a model: their paths, how to find one, and which of them gives the map that feeds the head."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from kerasxai.core.errors import KerasxaiError, unknown
from kerasxai.core.graph import ancestors, origin
from kerasxai.core.tracing import Call, recorded


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
        layer: A path such as `"backbone/top_activation"`, a name, or a layer object.

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
    if not same:
        raise unknown("layer", layer, layers)
    return same[0], layers[same[0]]


def places(tensor: Any, first: bool = False) -> int | None:
    """Returns how many places a map `(B, h, w, K)` has, or None where its size is not known before the run."""
    height, width = tensor.shape[2:] if first else tensor.shape[1:3]
    return None if height is None or width is None else height * width


def channels_first(calls: list[Call]) -> bool:
    """Tells whether the map that the last of some calls gives is `(B, K, h, w)`.

    Activations, normalizations and sums do not say; the last layer that does holds for them.
    """
    formats = (
        getattr(call.layer, "data_format", None)
        for call in reversed(calls)
        if isinstance(call.output, tf.Tensor) and call.output.shape.rank == 4
    )
    return next((form for form in formats if form is not None), None) == "channels_first"


def is_feature_map(tensor: Any, first: bool = False) -> bool:
    """Tells whether a traced tensor is a floating map `(B, h, w, K)` with more than one place.

    Args:
        tensor: Anything a layer gave.
        first: Whether channels come first, `(B, K, h, w)`.
    """
    return (
        isinstance(tensor, tf.Tensor)
        and tensor.dtype.is_floating
        and tensor.shape.rank == 4
        and places(tensor, first) not in (0, 1)
    )


def last_feature_map(calls: list[Call], score: Any) -> Call:
    """Chooses the map that feeds the head: the last map in call order that the score depends on.

    "The last convolution" is a 1x1 map on some networks, a fraction of the channels on others, and stands before a
    normalization or a sum on most; the last tensor that the score still depends on is none of these.

    Args:
        calls: The calls of one traced pass, in the order in which they finished.
        score: The traced score, `(B,)`.

    Returns:
        The call; where a layer and the model around it give the same tensor, the innermost layer's.

    Raises:
        KerasxaiError: The model has no feature map, or works on tokens after it, as vision transformers do.
    """
    needed = ancestors(score)
    # Inside attention, (batch, tokens, heads, size) looks like a map and is none.
    attention = tuple(f"{call.path}/" for call in calls if "Attention" in type(call.layer).__name__)
    chosen: Call | None = None
    tokens_after = False
    for i, call in enumerate(calls):
        output = call.output
        if not isinstance(output, tf.Tensor) or output.ref() not in needed or not call.path:
            continue
        if call.path.startswith(attention):
            continue
        if is_feature_map(output, channels_first(calls[: i + 1])):
            if chosen is None or origin(output) is not origin(chosen.output):
                chosen, tokens_after = call, False
        elif output.shape.rank == 3 and output.shape[1] not in (None, 1) and output.dtype.is_floating:
            tokens_after = True
    if chosen is None:
        raise KerasxaiError(
            "the model has no feature map: no layer that the score depends on gives (batch, height, width, channels) "
            "with more than one place; methods that need a layer cannot explain it"
        )
    if tokens_after:
        raise KerasxaiError(
            f"the model works on tokens after its last map {chosen.path!r}, which is then no more than an embedding of "
            "patches; name a layer with layer="
        )
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

    @tf.function(autograph=False)
    def trace(inputs: Any) -> Any:
        with recorded(walk(model), calls.append):
            return model(inputs, training=False)

    trace.get_concrete_function(specs)
    return [_info(call) for call in calls if call.path]


def _info(call: Call) -> LayerInfo:
    first = tf.nest.flatten(call.output)[0]
    shape = tuple(first.shape) if isinstance(first, tf.Tensor) and first.shape.rank is not None else None
    return LayerInfo(call.path, type(call.layer).__name__, shape, is_feature_map(call.output))


def image_side(model: Any, wanted: int | None) -> tuple[int, int]:
    """Returns the height and width that a model takes; `wanted` must agree with a model of fixed size."""
    fixed = tuple(model.input_shape[1:3]) if getattr(model, "inputs", None) else (None, None)
    if None in fixed:
        return (wanted or 224, wanted or 224)
    if wanted is not None and (wanted, wanted) != fixed:
        raise KerasxaiError(f"the model takes images of {fixed[0]} x {fixed[1]} pixels; leave --image-size out")
    return fixed[0], fixed[1]

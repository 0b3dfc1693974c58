"""The table of a model's layers: path, class, output shape, and whether a layer-based method can explain it."""

from dataclasses import dataclass

import keras
import tensorflow as tf

from kerasxai.engine.feature_layer.choice import Choice
from kerasxai.engine.inputs import Inputs
from kerasxai.engine.layers import input_specs, walk
from kerasxai.engine.tracing import Call, one_pass_at_a_time, recorded
from kerasxai.tools.errors import KerasxaiError


@dataclass(frozen=True)
class LayerInfo:
    """One row of `list_layers`: path, class, output shape with the batch first, and whether it can be explained."""

    path: str
    kind: str
    shape: tuple[int | None, ...] | None
    is_feature_map: bool


def list_layers(model: keras.Model, images: Inputs = None) -> list[LayerInfo]:
    """Lists every layer of a model at any depth, in the order in which they are called.

    Args:
        model: keras.Model Keras model: functional, sequential, nested or subclassed.
        images: A batch to trace with, `(N, H, W, C)`; needed only for models without an input shape.

    Returns:
        One `LayerInfo` per call; a layer that is called twice is listed twice.

    Raises:
        KerasxaiError: The model has no input shape and no images were given.

    Example:
        >>> [row.path for row in kerasxai.list_layers(model) if row.is_feature_map][-1]
        'backbone/top_activation'
    """
    specs = input_specs(model)
    if images is not None:
        specs = tf.nest.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:]), tf.float32), images)
    if specs is None:
        raise KerasxaiError(
            f"expected images to trace {model.name!r}, a model without an input shape, got none; pass images="
        )
    calls: list[Call] = []
    rows: list[LayerInfo] = []

    @tf.function(autograph=False)
    @one_pass_at_a_time
    def trace(inputs: Inputs) -> Inputs:
        with recorded(walk(model), calls.append):
            outputs = model(inputs, training=False)
        rows.extend(_rows(model, calls, inputs, outputs))
        return outputs

    trace.get_concrete_function(specs)
    return rows


def _rows(model: keras.Model, calls: list[Call], inputs: Inputs, outputs: Inputs) -> list[LayerInfo]:
    # A number that depends on all outputs, so every layer is on a path to it.
    floating = [x for x in tf.nest.flatten(outputs) if isinstance(x, tf.Tensor) and x.dtype.is_floating]
    total = tf.add_n([tf.cast(tf.reduce_sum(x), tf.float32) for x in floating]) if floating else tf.constant(0.0)
    explained = max(tf.nest.flatten(inputs), key=lambda x: len(x.shape))
    choice = Choice(model, calls, total, explained, None)
    return [_info(choice, call) for call in calls if call.path]


def _info(choice: Choice, call: Call) -> LayerInfo:
    first = tf.nest.flatten(call.output)[0]
    known = isinstance(first, tf.Tensor) and first.shape.rank is not None
    explained = known and first is call.output and first.dtype.is_floating and choice.is_map(first)
    return LayerInfo(
        choice.names.path_of(call), type(call.layer).__name__, tuple(first.shape) if known else None, explained
    )

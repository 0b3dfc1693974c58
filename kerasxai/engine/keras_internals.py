"""Every use of a name of Keras or TensorFlow that is not public, each with the reason.

Tried on Keras 3.15 and TensorFlow 2.21. A test of each function fails where a release moves a name, and another test
finds such names in any other file.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorflow.python import pywrap_tfe
from tensorflow.python.framework import ops

if TYPE_CHECKING:
    # The import of Keras registers this package's layers, whose modules import this one.
    import keras

INPUT_CONVERSION = "_convert_inputs_to_tensors"
"""The method of a functional model that casts its flat inputs to the declared dtypes."""

INPUT_CHECK = "_assert_input_compatibility"
"""The method of a layer that compares the shape of its inputs with its `input_spec`."""

CLEAR_LOSSES = "_clear_losses"
"""The method of a layer that drops the losses which its calls added, those of an enclosing call too."""

# Attributes of the datasets behind `shuffle` and of those that make another order at each iteration.
_RESHUFFLING = ("_reshuffle_each_iteration", "_rerandomize")


def child_layers(layer: keras.Layer) -> list[keras.Layer]:
    """Returns the layers directly inside a layer; public only for models (`model.layers`)."""
    return list(layer._flatten_layers(include_self=False, recursive=False))


def layer_tree(layer: keras.Layer) -> list[keras.Layer]:
    """Returns a layer and every layer inside it, in a fixed order; public only for models."""
    return list(layer._flatten_layers())


def takes_training(layer: keras.Layer) -> bool:
    """Returns whether `call` has an argument `training`, as Keras reads it from the signature."""
    return bool(layer._call_has_training_arg)


def build_training_state(model: keras.Model, batches: tf.data.Dataset) -> None:
    """Builds metrics, loss and optimizer of a compiled model for the batches of `fit`.

    `fit` builds them in the trace of its first step, and therefore traces that step twice: a third of the time until
    the first step. No weight changes and no random number is drawn.
    """
    specs = tf.nest.flatten(batches.element_spec)
    if all(isinstance(spec, tf.TensorSpec) and spec.shape.rank is not None for spec in specs):
        # Models that run with arrays alone, not with symbolic tensors, are built by `fit`, which reports real mistakes.
        with contextlib.suppress(Exception):
            model._symbolic_build(data_batch=batches.element_spec)


def functional_of(model: keras.Model) -> Any:
    """Returns the functional model that a sequential one builds inside itself; other models are returned unchanged."""
    return getattr(model, "_functional", None) or model


def converts_inputs(layer: keras.Operation) -> bool:
    """Returns whether a layer is a functional model, which casts its inputs by the method `INPUT_CONVERSION`."""
    return hasattr(layer, INPUT_CONVERSION)


def declared_inputs(functional: keras.Model) -> list[keras.KerasTensor]:
    """Returns the flat symbolic inputs in the order in which a functional model casts them."""
    return list(functional._inputs)


def input_structure(model: keras.Model) -> Any:
    """Returns the structure (list, tuple, dict) of a functional model's inputs, or None for any other model."""
    return getattr(model, "_inputs_struct", None)


def output_structure(model: keras.Model) -> Any:
    """Returns the structure of a functional model's outputs, or None for any other model."""
    return getattr(model, "_outputs_struct", None)


def nodes_by_depth(functional: keras.Model) -> Mapping[int, list[Any]]:
    """Returns the nodes of a functional model by their distance from the outputs."""
    return functional._nodes_by_depth


def called_graph(tensor: tf.Tensor) -> Any:
    """Returns the graph of the function whose call gave a tensor, or None where it cannot be found."""
    try:
        return tensor.graph._get_function(tensor.op.get_attr("f").name).graph
    except (AttributeError, ValueError):
        return None


def forget_custom_gradients(graph: tf.Graph) -> None:
    """Removes the custom gradients of a finished trace from TensorFlow's registry.

    Each call of a function with a custom gradient, such as swish, registers one for the life of the process, and with
    it the whole graph. All gradients of a trace are built while it is traced. There is no way to unregister.
    """
    registered = getattr(ops.gradient_registry, "_registry", {})
    for op in graph.get_operations():
        if op.type == "IdentityN":
            name = dict(op.node_def.attr).get("_gradient_op_type")
            if name is not None and name.s.startswith(b"CustomGradient-"):
                registered.pop(name.s.decode(), None)


@contextlib.contextmanager
def recording_gradients() -> Iterator[None]:
    """Lets tapes record in the block, also below a `tf.init_scope`, which stops all tapes of its thread.

    A score function may leave the trace that calls it by `tf.init_scope` and explain another model.
    """
    if not pywrap_tfe.TFE_Py_TapeSetIsStopped():
        yield
        return
    pywrap_tfe.TFE_Py_TapeSetRestartOnThread()
    try:
        yield
    finally:
        pywrap_tfe.TFE_Py_TapeSetStopOnThread()


def operation_of(tensor: keras.KerasTensor) -> keras.Operation:
    """Returns the layer or operation that gives a symbolic tensor."""
    return tensor._keras_history.operation


@functools.cache
def uses_onednn() -> bool:
    """Returns whether TensorFlow computes with oneDNN, as it does where the CPU or the user says so.

    False where TensorFlow does not say it at all.
    """
    try:
        from tensorflow.python.util import _pywrap_util_port
    except ImportError:
        return False
    return bool(getattr(_pywrap_util_port, "IsMklEnabled", bool)())


def is_reshuffled(dataset: tf.data.Dataset) -> bool:
    """Returns whether a `tf.data.Dataset` changes its order at each iteration; False where that cannot be read."""
    if any(getattr(dataset, name, None) for name in _RESHUFFLING):
        return True
    try:
        return any(is_reshuffled(source) for source in dataset._inputs())
    except (AttributeError, NotImplementedError):
        return False

"""Copies of a functional model's graph, with some layers replaced; weights are copied or shared."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from kerasxai.engine.keras_internals import functional_of, input_structure, layer_tree, output_structure
from kerasxai.models.graph import nodes
from kerasxai.tools.errors import KerasxaiError, unknown


def rerun(model: keras.Model, inputs: Sequence[keras.KerasTensor], call: Callable[..., Any]) -> list[keras.KerasTensor]:
    """Run the graph of a functional or sequential model on other symbolic inputs.

    Args:
        model: The model; it is not changed.
        inputs: Symbolic tensors in place of `model.inputs`.
        call: Receives each operation and the new arguments of its call, and returns the new outputs of the call.

    Returns:
        Symbolic tensors in place of `model.outputs`.

    Example:
        >>> outputs = rerun(model, [keras.Input((64, 64, 3))], lambda layer, *args, **kwargs: layer(*args, **kwargs))
    """
    tensors = {id(old): new for old, new in zip(model.inputs, inputs, strict=True)}
    for node in nodes(model):
        args, kwargs = node.arguments.fill_in(tensors)
        outputs = keras.tree.flatten(call(node.operation, *args, **kwargs))
        tensors.update({id(old): new for old, new in zip(node.outputs, outputs, strict=True)})
    return [tensors[id(tensor)] for tensor in model.outputs]


def assemble(
    model: keras.Model, inputs: Sequence[keras.KerasTensor], outputs: Sequence[keras.KerasTensor]
) -> keras.Model:
    """Return a model from new tensors, with the name, the class and the input and output structure of another model."""
    graph = functional_of(model)
    packed_inputs = keras.tree.pack_sequence_as(input_structure(graph), inputs)
    packed_outputs = keras.tree.pack_sequence_as(output_structure(graph), outputs)
    kind = keras.Model if isinstance(model, keras.Sequential) else type(model)
    return kind(packed_inputs, packed_outputs, name=model.name)


def inputs_like(tensors: Sequence[keras.KerasTensor], names: Sequence[str | None]) -> list[keras.KerasTensor]:
    """Return new symbolic inputs with the shapes and dtypes of given tensors."""
    return [keras.Input(t.shape[1:], name=n, dtype=t.dtype) for t, n in zip(tensors, names, strict=True)]


def insert_layers(model: keras.Model, layers: Mapping[str, keras.Layer]) -> keras.Model:
    """Return a copy of a model, weights included, with additional layers.

    Args:
        model: A functional or sequential model.
        layers: Maps the name of a layer to the new layer that follows it.

    Raises:
        KerasxaiError: There is no such layer, or the new one does not fit.

    Example:
        >>> insert_layers(backbone, {"block5a_add": AttentionDropout()})
    """
    names = [node.operation.name for node in nodes(model)]
    for name, layer in layers.items():
        if name not in names:
            raise unknown("layer", name, names)
        if not isinstance(layer, keras.Layer):
            raise KerasxaiError(f"expected a Keras layer to insert after {name!r}, got {type(layer).__name__}")

    def call(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        copy = call_with_copied_weights(operation) if isinstance(operation, keras.Layer) else operation
        outputs = copy(*args, **kwargs)
        return layers[operation.name](outputs) if operation.name in layers else outputs

    inputs = inputs_like(model.inputs, [tensor.name for tensor in model.inputs])
    try:
        return assemble(model, inputs, rerun(model, inputs, call))
    except ValueError as error:
        raise KerasxaiError(f"cannot insert layers into {model.name!r}: {str(error).splitlines()[0]}") from error


def is_graph(operation: object) -> bool:
    """Return whether an operation is a model with a known graph."""
    return isinstance(operation, keras.Model) and bool(getattr(operation, "inputs", None))


def share_variables(layer: keras.Layer, **changes: Any) -> keras.Layer:
    """Return a layer with other settings that shares the variables of a built layer.

    Args:
        layer: A layer that was called.
        **changes: Entries of its config to change; the shapes of the weights must not depend on them.
    """
    copy = type(layer).from_config({**layer.get_config(), **changes})
    for own, source in zip(layer_tree(copy), layer_tree(layer), strict=True):
        for name, value in list(vars(source).items()):
            if isinstance(value, keras.Variable):
                setattr(own, name, value)
        # The variables exist, and `from_config` set every attribute that the config has: `build` must not run again.
        own.built = True
    return copy


def call_with_copied_weights(layer: keras.Layer, **changes: Any) -> Callable[..., Any]:
    """Return a function that calls a new layer, made from another's config, and then copies the weights.

    The weights are copied after the call because that builds the new layer.
    """
    copy = type(layer).from_config({**layer.get_config(), **changes})

    def call(*args: Any, **kwargs: Any) -> Any:
        outputs = copy(*args, **kwargs)
        for own, source in zip(layer_tree(copy), layer_tree(layer), strict=True):
            stored: dict[str, Any] = {}
            source.save_own_variables(stored)
            if stored:
                own.load_own_variables(stored)
        return outputs

    return call

"""Running a functional model's graph anew, with some layers exchanged and the weights as they were."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from kerasxai.engine.keras_internals import functional_of, input_structure, layer_tree, output_structure
from kerasxai.models.graph import nodes
from kerasxai.tools.errors import KerasxaiError, unknown


def rerun(model: keras.Model, inputs: list[Any], call: Callable[..., Any]) -> list[Any]:
    """Runs the graph of a functional or sequential model on other symbolic inputs.

    Args:
        model: The model whose graph is run; it stays as it is.
        inputs: Symbolic tensors in the place of `model.inputs`.
        call: Takes each operation and the new arguments of its call, and returns the call's new outputs.

    Returns:
        Symbolic tensors in the place of `model.outputs`.

    Example:
        >>> outputs = rerun(model, [keras.Input((64, 64, 3))], lambda layer, *args, **kwargs: layer(*args, **kwargs))
    """
    tensors = {id(old): new for old, new in zip(model.inputs, inputs, strict=True)}
    for node in nodes(model):
        args, kwargs = node.arguments.fill_in(tensors)
        outputs = keras.tree.flatten(call(node.operation, *args, **kwargs))
        tensors.update({id(old): new for old, new in zip(node.outputs, outputs, strict=True)})
    return [tensors[id(tensor)] for tensor in model.outputs]


def assemble(model: keras.Model, inputs: list[Any], outputs: list[Any]) -> keras.Model:
    """Returns a model from new tensors with the name, the class, and the shape of inputs and outputs of another."""
    graph = functional_of(model)
    given = keras.tree.pack_sequence_as(input_structure(graph), inputs)
    made = keras.tree.pack_sequence_as(output_structure(graph), outputs)
    kind = keras.Model if isinstance(model, keras.Sequential) else type(model)
    return kind(given, made, name=model.name)


def inputs_like(tensors: list[Any], names: list[str | None]) -> list[Any]:
    """Returns new symbolic inputs with the shapes and the types of given tensors."""
    return [keras.Input(t.shape[1:], name=n, dtype=t.dtype) for t, n in zip(tensors, names, strict=True)]


def inserted(model: keras.Model, layers: Mapping[str, keras.Layer]) -> keras.Model:
    """Returns a copy of a model, weights included, with more layers in it.

    Args:
        model: A functional or sequential model.
        layers: For the name of a layer the new layer that follows it.

    Raises:
        KerasxaiError: There is no such layer, or the new one does not fit behind it.

    Example:
        >>> inserted(backbone, {"block5a_add": AttentionDropout()})
    """
    names = [node.operation.name for node in nodes(model)]
    for name, layer in layers.items():
        if name not in names:
            raise unknown("layer", name, names)
        if not isinstance(layer, keras.Layer):
            raise KerasxaiError(f"what follows {name!r} must be a Keras layer, not {type(layer).__name__}")

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        made = copied(operation) if isinstance(operation, keras.Layer) else operation
        outputs = made(*args, **kwargs)
        return layers[operation.name](outputs) if operation.name in layers else outputs

    inputs = inputs_like(model.inputs, [tensor.name for tensor in model.inputs])
    try:
        return assemble(model, inputs, rerun(model, inputs, call))
    except ValueError as error:
        raise KerasxaiError(f"cannot put layers into {model.name!r}: {str(error).splitlines()[0]}") from error


def is_graph(operation: Any) -> bool:
    """Whether an operation is a model whose graph is known."""
    return isinstance(operation, keras.Model) and bool(getattr(operation, "inputs", None))


def twin(layer: keras.Layer, **changes: Any) -> keras.Layer:
    """Returns a layer with other settings that holds the very variables of a built layer, not copies.

    Args:
        layer: A layer that has been called.
        **changes: Entries of its config that shall differ; they must leave the shapes of the weights alone.
    """
    other = type(layer).from_config({**layer.get_config(), **changes})
    for ours, theirs in zip(layer_tree(other), layer_tree(layer), strict=True):
        for name, value in list(vars(theirs).items()):
            if isinstance(value, keras.Variable):
                setattr(ours, name, value)
        # Nothing is left to build; what stands in the config but is no variable was set by `from_config`.
        ours.built = True
    return other


def copied(layer: keras.Layer, **changes: Any) -> Callable[..., Any]:
    """Returns what calls a new layer made from another's config, and then gives it a copy of the weights."""
    other = type(layer).from_config({**layer.get_config(), **changes})

    def call(*args: Any, **kwargs: Any) -> Any:
        outputs = other(*args, **kwargs)
        for ours, theirs in zip(layer_tree(other), layer_tree(layer), strict=True):
            stored: dict[str, Any] = {}
            theirs.save_own_variables(stored)
            if stored:
                ours.load_own_variables(stored)
        return outputs

    return call

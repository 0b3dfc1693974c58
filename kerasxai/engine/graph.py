"""Reading a traced graph: which tensor is the logit, what feeds the head, what a score depends on.

A traced pass is a graph whatever kind of model it came from, so that what is read here is found in functional,
sequential, nested and subclassed models alike.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

SAME_VALUE = {"Identity", "Cast", "EnsureShape", "StopGradient", "PreventGradient", "Snapshot", "CheckNumerics"}
SAME_ORDER = SAME_VALUE | {"Reshape", "Squeeze", "ExpandDims"}
_ADDITIONS = {"BiasAdd", "AddV2", "Add"}


def origin(tensor: Any, through: Iterable[str] = SAME_VALUE) -> Any:
    """Returns the tensor that `tensor` only passes on: what stands before identities and casts."""
    through = set(through)
    while tensor.op.type in through:
        tensor = tensor.op.inputs[0]
    return tensor


def before_last_activation(outputs: Any) -> Any | None:
    """Returns the logits under a final softmax or sigmoid, or None where there is no such operation at the end.

    Args:
        outputs: A model's output in a traced graph, `(B, C)` or with places, `(B, ..., C)`.

    Returns:
        The input of the softmax, its logarithm or the sigmoid, which may be followed by identities, casts and reshapes.
    """
    last = _last_activation(outputs)
    if last is None:
        return None
    logits = last.inputs[0]
    if last is origin(outputs).op:
        return logits
    return tf.ensure_shape(tf.reshape(logits, tf.shape(outputs)), outputs.shape)


def last_activation(outputs: Any) -> str | None:
    """Returns `"Softmax"`, `"LogSoftmax"` or `"Sigmoid"` where outputs end in one, else None."""
    last = _last_activation(outputs)
    return None if last is None else last.type


def _last_activation(outputs: Any) -> Any | None:
    last = origin(outputs, SAME_ORDER).op
    if last.type in {"Softmax", "LogSoftmax"}:
        # A softmax over other numbers than the last ones of the output is none over its classes.
        return last if last.outputs[0].shape[-1] == outputs.shape[-1] else None
    return last if last.type == "Sigmoid" else None


def ancestors(*tensors: Any, differentiable: bool = False, shapes: bool = True, without: Any = None) -> set[Any]:
    """Returns the references of all tensors in the same graph that `tensors` are computed from, with their own.

    Args:
        *tensors: Tensors of one traced graph.
        differentiable: Leaves out what lies behind integers, booleans and stopped gradients.
        shapes: Whether what only gives its shape counts.
        without: A tensor that is left out, with what lies behind it alone; None leaves out none.
    """
    ends = {"StopGradient"} if differentiable else set()
    ends |= set() if shapes else {"Shape", "ShapeN", "Size", "Rank"}
    waiting = [tensor for tensor in tensors if tensor is not without]
    found = {tensor.ref() for tensor in waiting}
    while waiting:
        op = waiting.pop().op
        for before in [] if op.type in ends else op.inputs:
            taken = before is not without and (before.dtype.is_floating or not differentiable)
            if taken and before.ref() not in found:
                found.add(before.ref())
                waiting.append(before)
    return found


def copied(output: Any, source: Any, instead: Any) -> Any:
    """Returns what a tensor would be with another in place of a source, from a copy of the operations between.

    Args:
        output: The tensor.
        source: A tensor of the same graph that it is computed from.
        instead: What takes the place of `source`, in the same graph.

    Raises:
        ValueError: An operation does not take `instead`.
    """
    copies = between(source, output)
    definition = tf.compat.v1.GraphDef(versions=output.graph.graph_def_versions)
    given: dict[str, Any] = {}
    for op in copies.values():
        node = definition.node.add()
        node.CopyFrom(op.node_def)
        without_surroundings(node)
        given |= {x.name: x for x in op.inputs if x.op.name not in copies}
    given[source.name] = instead
    return tf.graph_util.import_graph_def(definition, given, [output.name], name="copied")[0]


def replaced(outputs: Any, source: Any, instead: Any) -> Any:
    """Returns a structure of tensors as it would be with another tensor in place of a source; see `copied`."""
    return tf.nest.map_structure(lambda x: copied(x, source, instead) if source.ref() in ancestors(x) else x, outputs)


def between(source: Any, output: Any) -> dict[str, Any]:
    """Returns the operations that `output` is computed by from `source`, by name, in the order of the graph."""
    needed = ancestors(output)
    after = {source.ref()}
    found = {}
    for op in output.graph.get_operations():
        if any(x.ref() in after for x in op.inputs) and any(x.ref() in needed for x in op.outputs):
            after |= {x.ref() for x in op.outputs}
            found[op.name] = op
    return found


def without_surroundings(node: Any) -> None:
    """Takes from an operation's definition where it stood and what it waited for, which may be left out of a copy."""
    node.attr.pop("_class", None)
    node.input[:] = [name for name in node.input if not name.startswith("^")]


def descendants(tensor: Any) -> set[Any]:
    """Returns the references of all tensors in the same graph that are computed from one, with its own."""
    found = {tensor.ref()}
    waiting = [tensor]
    while waiting:
        for op in waiting.pop().consumers():
            for after in op.outputs:
                if after.ref() not in found:
                    found.add(after.ref())
                    waiting.append(after)
    return found


def _is_weight(tensor: Any) -> bool:
    return origin(tensor, SAME_ORDER).op.type in {"ReadVariableOp", "Const", "Placeholder"}


def _without_bias(tensor: Any) -> Any:
    tensor = origin(tensor)
    while tensor.op.type in _ADDITIONS and _is_weight(tensor.op.inputs[1]):
        tensor = origin(tensor.op.inputs[0])
    return tensor


def pooled_map(tensor: Any) -> Any | None:
    """Returns the feature map `(B, *sides, K)` that was averaged over its places to give `tensor`, or None.

    Args:
        tensor: The output of a global average pooling, `(B, K)`, perhaps reshaped, cast or passed through a dropout.
    """
    pooled = origin(tensor, SAME_ORDER)
    rank = pooled.op.inputs[0].shape.rank if pooled.op.type == "Mean" else None
    if rank not in (3, 4, 5):
        return None
    axes = tf.get_static_value(pooled.op.inputs[1])
    axes = [] if axes is None else sorted(np.ravel(axes) % rank)
    if axes == list(range(1, rank - 1)):
        return origin(pooled.op.inputs[0])
    first = axes == list(range(2, rank))
    return tf.transpose(pooled.op.inputs[0], (0, *range(2, rank), 1)) if first else None


def pooled_then_dense(logits: Any) -> tuple[Any, Any] | None:
    """Finds a global average pooling and one dense layer at the end of a traced graph.

    Args:
        logits: The class scores before softmax or sigmoid, `(B, C)`.

    Returns:
        The feature map `(B, h, w, K)` and the kernel `(K, C)`, read live from the variable, or None where the model
        does not end so. A bias may follow the kernel; a dropout may stand between.
    """
    product = _without_bias(logits).op
    if product.type != "MatMul":
        return None
    features = pooled_map(product.inputs[0])
    if features is None or not _is_weight(product.inputs[1]):
        return None
    kernel = product.inputs[1]
    return features, tf.transpose(kernel) if product.get_attr("transpose_b") else kernel

"""Reading a traced graph: which tensor is the logit, what feeds the head, what a score depends on.

Every traced pass is a graph, so functional, sequential, nested and subclassed models are read alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from kerasxai.engine.inputs import Inputs

Reference: TypeAlias = "tf.types.experimental.TensorLike"
"""The hashable `tensor.ref()`."""

SAME_VALUE = {"Identity", "Cast", "EnsureShape", "StopGradient", "PreventGradient", "Snapshot", "CheckNumerics"}
SAME_ORDER = SAME_VALUE | {"Reshape", "Squeeze", "ExpandDims"}
_ADDITIONS = {"BiasAdd", "AddV2", "Add"}


def origin(tensor: tf.Tensor, through: Iterable[str] = SAME_VALUE) -> tf.Tensor:
    """Returns the tensor before identities and casts."""
    through = set(through)
    while tensor.op.type in through:
        tensor = tensor.op.inputs[0]
    return tensor


def before_last_activation(outputs: tf.Tensor) -> tf.Tensor | None:
    """Returns the logits before a final softmax or sigmoid, or None if there is none.

    Args:
        outputs: A model's output in a traced graph, `(B, C)` or with positions, `(B, ..., C)`.

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


def last_activation(outputs: tf.Tensor) -> str | None:
    """Returns `"Softmax"`, `"LogSoftmax"` or `"Sigmoid"` if outputs end in one, else None."""
    last = _last_activation(outputs)
    return None if last is None else last.type


def _last_activation(outputs: tf.Tensor) -> tf.Operation | None:
    last = origin(outputs, SAME_ORDER).op
    if last.type in {"Softmax", "LogSoftmax"}:
        # A softmax over another axis is not over classes.
        return last if last.outputs[0].shape[-1] == outputs.shape[-1] else None
    return last if last.type == "Sigmoid" else None


def ancestors(
    *tensors: tf.Tensor, differentiable: bool = False, shapes: bool = True, without: tf.Tensor | None = None
) -> set[Reference]:
    """Returns the references of tensors and of everything in their graph that they are computed from.

    Args:
        *tensors: Tensors of one traced graph.
        differentiable: Whether to stop at integers, booleans and stopped gradients.
        shapes: Whether a tensor of which only the shape is used counts.
        without: A tensor to exclude, with everything that is only reached through it.
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


def copied(output: tf.Tensor, source: tf.Tensor, instead: tf.Tensor) -> tf.Tensor:
    """Returns a copy of a tensor, computed from another tensor in place of a source.

    Args:
        output: The tensor.
        source: A tensor of the same graph that it is computed from.
        instead: The replacement of `source`, in the same graph.

    Raises:
        ValueError: An operation does not accept `instead`.
    """
    copies = between(source, output)
    definition = tf.compat.v1.GraphDef(versions=output.graph.graph_def_versions)
    given: dict[str, tf.Tensor] = {}
    for op in copies.values():
        node = definition.node.add()
        node.CopyFrom(op.node_def)
        without_surroundings(node)
        given |= {x.name: x for x in op.inputs if x.op.name not in copies}
    given[source.name] = instead
    return tf.graph_util.import_graph_def(definition, given, [output.name], name="copied")[0]


def replaced(outputs: Inputs, source: tf.Tensor, instead: tf.Tensor) -> Inputs:
    """Returns a structure of tensors, computed from another tensor in place of a source; see `copied`."""
    return tf.nest.map_structure(lambda x: copied(x, source, instead) if source.ref() in ancestors(x) else x, outputs)


def between(source: tf.Tensor, output: tf.Tensor) -> dict[str, tf.Operation]:
    """Returns the operations between `source` and `output` by name, in the order of the graph."""
    needed = ancestors(output)
    after = {source.ref()}
    found = {}
    for op in output.graph.get_operations():
        if any(x.ref() in after for x in op.inputs) and any(x.ref() in needed for x in op.outputs):
            after |= {x.ref() for x in op.outputs}
            found[op.name] = op
    return found


def without_surroundings(node: tf.compat.v1.NodeDef) -> None:
    """Removes colocation and control inputs from the definition of an operation, since a copy may lack them."""
    node.attr.pop("_class", None)
    node.input[:] = [name for name in node.input if not name.startswith("^")]


def descendants(tensor: tf.Tensor) -> set[Reference]:
    """Returns the references of a tensor and of everything in its graph that is computed from it."""
    found = {tensor.ref()}
    waiting = [tensor]
    while waiting:
        for op in waiting.pop().consumers():
            for after in op.outputs:
                if after.ref() not in found:
                    found.add(after.ref())
                    waiting.append(after)
    return found


def _is_weight(tensor: tf.Tensor) -> bool:
    return origin(tensor, SAME_ORDER).op.type in {"ReadVariableOp", "Const", "Placeholder"}


def _without_bias(tensor: tf.Tensor) -> tf.Tensor:
    tensor = origin(tensor)
    while tensor.op.type in _ADDITIONS and _is_weight(tensor.op.inputs[1]):
        tensor = origin(tensor.op.inputs[0])
    return tensor


def pooled_map(tensor: tf.Tensor) -> tf.Tensor | None:
    """Returns the feature map `(B, *positions, K)` whose mean over its positions is `tensor`, or None.

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


def pooled_then_dense(logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor] | None:
    """Finds a global average pooling and one dense layer at the end of a traced graph.

    Args:
        logits: The class scores before softmax or sigmoid, `(B, C)`.

    Returns:
        The feature map `(B, h, w, K)` and the kernel `(K, C)`, read live from the variable, or None if the model
        has another end. A bias may follow the kernel, and a dropout may be in between.
    """
    product = _without_bias(logits).op
    if product.type != "MatMul":
        return None
    features = pooled_map(product.inputs[0])
    if features is None or not _is_weight(product.inputs[1]):
        return None
    kernel = product.inputs[1]
    return features, tf.transpose(kernel) if product.get_attr("transpose_b") else kernel

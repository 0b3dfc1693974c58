"""Bounds of a tensor that hold for every image, read from the last operations of a traced graph.

Bounds distinguish probabilities from logits: an average of two softmaxes is in [0, 1] whatever the weights are, and the
output of a matrix product is not. Values could not prove it, because logits may be in [0, 1] by chance.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kerasxai.engine.graph import SAME_ORDER, SAME_VALUE, origin
from kerasxai.engine.keras_internals import called_graph

Bounds = tuple[float, float]

UNBOUNDED: Bounds = (-math.inf, math.inf)
# The range of an operation, whatever its input is.
_FIXED: dict[str, Bounds] = {
    "Softmax": (0, 1),
    "Sigmoid": (0, 1),
    "LogSoftmax": (-math.inf, 0),
    "Softplus": (0, math.inf),
    "Relu": (0, math.inf),
    "Relu6": (0, 6),
    "Tanh": (-1, 1),
    "Softsign": (-1, 1),
    "Erf": (-1, 1),
    "Erfc": (0, 2),
    "Sin": (-1, 1),
    "Cos": (-1, 1),
    "Atan": (-math.pi / 2, math.pi / 2),
    "Square": (0, math.inf),
    "Abs": (0, math.inf),
    "OneHot": (0, 1),
}
# Operations with learned weights: their outputs can be any numbers.
_UNBOUNDED = {
    *("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "BiasAdd", "BiasAddV1", "Placeholder"),
    *("Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "FusedBatchNorm", "FusedBatchNormV3"),
    *("ReadVariableOp", "ResourceGather", "RandomStandardNormal"),
}
# The output has no entry that is smaller or larger than all entries of the input.
_SAME_BOUNDS = SAME_ORDER | {
    *(
        "Transpose",
        "StridedSlice",
        "Slice",
        "Mean",
        "Max",
        "Min",
        "MaxPool",
        "AvgPool",
        "GatherV2",
        "GatherNd",
        "TopKV2",
    ),
    *("BroadcastTo", "Tile", "Split", "Unpack", "ReverseV2", "IdentityN", "FakeQuantWithMinMaxVars", "SplitV"),
}
# Monotone functions map bounds to bounds.
_RISING: dict[str, Callable[[float], float]] = {
    "Exp": lambda x: math.exp(x) if x < 700 else math.inf,
    "Sqrt": lambda x: math.sqrt(max(x, 0.0)),
    "Log": lambda x: -math.inf if x <= 0 else math.log(x),
    "Log1p": lambda x: -math.inf if x <= -1 else math.log1p(x),
    "Expm1": lambda x: math.expm1(x) if x < 700 else math.inf,
}
# A call as one operation, whose body can be read.
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
# Python code, branches and loops: nothing is known of what they return.
_OPAQUE = {
    *("PyFunc", "PyFuncStateless", "EagerPyFunc", "If", "StatelessIf", "While", "StatelessWhile", "Case"),
    "XlaCallModule",
}


def bounds_of(tensor: tf.Tensor) -> Bounds | None:
    """Returns the bounds of a tensor, or None if an operation hides how it is computed.

    Args:
        tensor: A tensor of a traced graph.

    Returns:
        `(lowest, highest)`, infinite if there is no bound.
    """
    return _bounds(tensor, {})


def _bounds(tensor: tf.Tensor, known: dict[Any, Bounds | None]) -> Bounds | None:
    if tensor.ref() not in known:
        # A provisional value ends the recursion at a cycle, which only loops have.
        known[tensor.ref()] = UNBOUNDED
        known[tensor.ref()] = _computed(tensor, known)
    return known[tensor.ref()]


def _computed(tensor: tf.Tensor, known: dict[Any, Bounds | None]) -> Bounds | None:
    op = tensor.op
    if op.type in _FIXED:
        return _FIXED[op.type]
    if op.type == "MatMul" and origin(op.inputs[0], SAME_ORDER).op.type == "Softmax":
        # A mixture of distributions is one again if the rows of the other factor are distributions.
        return None
    if op.type in _UNBOUNDED:
        return UNBOUNDED
    if op.type == "Const":
        return _of_constant(tensor)
    if op.type in _CALLS:
        return _in_function(tensor)
    if op.type in _OPAQUE:
        return None
    if op.type in {"RealDiv", "DivNoNan"} and _is_share(op, known):
        return 0, 1
    # Integer inputs are axes, shapes and indices.
    inputs = [_bounds(x, known) for x in op.inputs if x.dtype.is_floating]
    found = [x for x in inputs if x is not None]
    return _of_operation(op, tensor, found) if found and len(found) == len(inputs) else None


def _of_constant(tensor: tf.Tensor) -> Bounds:
    value = tf.get_static_value(tensor)
    if value is None or not value.size or not np.isfinite(np.asarray(value, np.float64)).all():
        return UNBOUNDED
    return float(np.min(value)), float(np.max(value))


def _of_operation(op: tf.Operation, tensor: tf.Tensor, inputs: list[Bounds]) -> Bounds | None:
    """Returns the bounds of an operation from those of its floating inputs."""
    kind = op.type
    if kind == "IdentityN":
        # A call with a custom gradient, such as swish, passes its output and its inputs on: output i is input i.
        floating = [x for x in op.inputs if x.dtype.is_floating]
        source = op.inputs[tensor.value_index]
        return next((b for x, b in zip(floating, inputs, strict=True) if x is source), UNBOUNDED)
    if kind in _SAME_BOUNDS:
        return inputs[0]
    if kind in _RISING:
        return _RISING[kind](inputs[0][0]), _RISING[kind](inputs[0][1])
    if kind == "AddN":
        return sum(low for low, _ in inputs), sum(high for _, high in inputs)
    if kind in {"ConcatV2", "Pack", "Select", "SelectV2", "Pad", "PadV2"}:
        # Pad fills with 0.
        joined = [*inputs, (0, 0)] if kind == "Pad" else inputs
        return min(low for low, _ in joined), max(high for _, high in joined)
    if kind in {"ClipByValue", "Maximum", "Minimum"}:
        return _clipped(kind, inputs)
    if kind == "Neg":
        return -inputs[0][1], -inputs[0][0]
    if kind in {"Sum", "Prod"}:
        return _reduced(kind, op, inputs[0])
    if len(inputs) == 2 and kind in _PAIRS:
        return _PAIRS[kind](*inputs)
    # An operation without a rule: a bounded input may have become probabilities, an unbounded one has not.
    bounded = any(math.isfinite(low) or math.isfinite(high) for low, high in inputs)
    return None if bounded else UNBOUNDED


def _clipped(kind: str, inputs: list[Bounds]) -> Bounds:
    """Returns the bounds of a maximum, a minimum or a clip `(x, low, high)`."""
    (low, high), *limits = inputs
    if kind == "ClipByValue":
        (least, _), (_, most) = limits
        return min(max(low, least), most), max(min(high, most), least)
    choose = max if kind == "Maximum" else min
    return choose(low, limits[0][0]), choose(high, limits[0][1])


def _reduced(kind: str, op: tf.Operation, bounds: Bounds) -> Bounds:
    """Returns the bounds of a sum or product over axes of known or unknown length."""
    low, high = bounds
    if kind == "Prod":
        return (0, 1) if low >= 0 and high <= 1 else (0 if low >= 0 else -math.inf, math.inf)
    # A sum of n entries is within n times the bounds of one; with none at all it is 0.
    shape, axes = op.inputs[0].shape, tf.get_static_value(op.inputs[1])
    count = math.inf
    if shape.rank is not None and axes is not None:
        lengths = [shape[int(axis)] for axis in np.ravel(axes)]
        count = math.inf if None in lengths else math.prod(lengths)
    return _product(low, count) if low < 0 else low * min(count, 1), _product(high, count)


def _product(a: float, b: float) -> float:
    # 0 times infinity is 0 here: infinity means any finite number.
    return 0.0 if a == 0 or b == 0 else a * b


def _added(a: Bounds, b: Bounds) -> Bounds:
    return a[0] + b[0], a[1] + b[1]


def _subtracted(a: Bounds, b: Bounds) -> Bounds:
    return a[0] - b[1], a[1] - b[0]


def _multiplied(a: Bounds, b: Bounds) -> Bounds:
    products = [_product(x, y) for x in a for y in b]
    return min(products), max(products)


def _divided(a: Bounds, b: Bounds) -> Bounds:
    # Near a divisor of 0 the quotient has no bound.
    if b[0] < 0 < b[1] or b == (0, 0):
        return UNBOUNDED
    inverse = 1 / b[1] if b[1] else -math.inf, 1 / b[0] if b[0] else math.inf
    return _multiplied(a, inverse)


def _raised(a: Bounds, b: Bounds) -> Bounds:
    if a[0] < 0:
        return UNBOUNDED
    return (0, 1) if a[1] <= 1 and b[0] >= 0 else (0, math.inf)


_PAIRS: dict[str, Callable[[Bounds, Bounds], Bounds]] = {
    "Add": _added,
    "AddV2": _added,
    "Sub": _subtracted,
    "Mul": _multiplied,
    "RealDiv": _divided,
    "DivNoNan": _divided,
    "Pow": _raised,
}


def _is_share(op: tf.Operation, known: dict[Any, Bounds | None]) -> bool:
    """Returns whether a division is `x / sum(x)` with x of 0 or more, as in a hand-written softmax."""
    part, whole = (origin(x, SAME_VALUE) for x in op.inputs)
    # A small number may have been added against a division by 0.
    while whole.op.type in SAME_ORDER | {"AddV2", "Maximum"}:
        whole = whole.op.inputs[0]
    if whole.op.type != "Sum" or not _same(part, whole.op.inputs[0]):
        return False
    bounds = _bounds(part, known)
    return bounds is not None and bounds[0] >= 0


def _same(a: tf.Tensor, b: tf.Tensor, depth: int = 4) -> bool:
    """Returns whether two tensors are the same, or computed the same way, as `exp(x)` written twice."""
    a, b = origin(a, SAME_VALUE), origin(b, SAME_VALUE)
    if a is b:
        return True
    if depth == 0 or a.op.type != b.op.type or len(a.op.inputs) != len(b.op.inputs):
        return False
    if not a.op.inputs:
        values = tf.get_static_value(a), tf.get_static_value(b)
        return values[0] is not None and values[1] is not None and bool(np.array_equal(*values))
    return all(_same(x, y, depth - 1) for x, y in zip(a.op.inputs, b.op.inputs, strict=True))


def _in_function(tensor: tf.Tensor) -> Bounds | None:
    """Returns the bounds of an output of a function called as one operation, as in a SavedModel."""
    body = called_graph(tensor)
    return (
        None if body is None or tensor.value_index >= len(body.outputs) else bounds_of(body.outputs[tensor.value_index])
    )

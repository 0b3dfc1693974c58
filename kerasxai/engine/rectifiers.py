"""Custom backward rules for ReLUs, as guided backpropagation and the deconvnet need them.

A traced pass marks its `Relu` and `Relu6` operations, whichever layer or function made them: `activation="relu"`,
layers, `keras.ops.relu` nodes, nested models, a bare `tf.nn.relu`. The rule is chosen when a gradient is built, so one
pass serves plain and ruled gradients.

Leaky and smooth activations (LeakyReLU, PReLU, ELU, swish, GELU) are not rectifiers: negative values pass, and their
gradient is kept. The same holds for gates made of ReLU6, hard sigmoid and hard swish.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar

import tensorflow as tf

from kerasxai.engine.graph import ancestors
from kerasxai.tools.errors import KerasxaiError

RULES = ("guided", "deconvnet")
_TYPES = {"Relu": "KerasxaiRelu", "Relu6": "KerasxaiRelu6"}
_rule: ContextVar[str | None] = ContextVar("rule", default=None)
_reached: ContextVar[list[tf.Operation]] = ContextVar("reached")


def marked() -> AbstractContextManager[None]:
    """Marks the rectifiers that are made in the block, in the graph that is being traced."""
    return tf.compat.v1.get_default_graph().gradient_override_map(_TYPES)


@contextlib.contextmanager
def ruled(rule: str | None) -> Iterator[list[tf.Operation]]:
    """Sets the rule of the gradients that are built in the block.

    Args:
        rule: `"guided"` passes `relu(dy) * (0 < x)`, for ReLU6 also `* (x < 6)`; `"deconvnet"` passes `relu(dy)`; None
            passes the derivative.

    Yields:
        The rectifiers that the gradients went through, filled by the end of the block.
    """
    reached: list[tf.Operation] = []
    tokens = _rule.set(rule), _reached.set(reached)
    try:
        yield reached
    finally:
        _rule.reset(tokens[0])
        _reached.reset(tokens[1])


@tf.RegisterGradient("KerasxaiRelu")
def _relu(op: tf.Operation, upstream: tf.Tensor) -> tf.Tensor:
    return _ruled(op, upstream, tf.raw_ops.ReluGrad)


@tf.RegisterGradient("KerasxaiRelu6")
def _relu6(op: tf.Operation, upstream: tf.Tensor) -> tf.Tensor:
    return _ruled(op, upstream, tf.raw_ops.Relu6Grad)


def _ruled(op: tf.Operation, upstream: tf.Tensor, derivative: Callable[..., tf.Tensor]) -> tf.Tensor:
    rule = _rule.get()
    if rule is not None and _is_rectifier(op):
        _reached.get().append(op)
        upstream = tf.nn.relu(upstream)
        if rule == "deconvnet":
            return upstream
    return derivative(gradients=upstream, features=op.outputs[0])


def _is_rectifier(op: tf.Operation) -> bool:
    return not _is_hard_sigmoid(op) and not _is_leaky(op)


def _is_hard_sigmoid(op: tf.Operation) -> bool:
    """`relu6(x + 3)`, which is then divided by 6."""
    before = op.inputs[0].op
    if op.type != "Relu6" or before.type not in {"Add", "AddV2"}:
        return False
    added = (tf.get_static_value(x) for x in before.inputs)
    return any(value is not None and value.size == 1 and value.item() == 3 for value in added)


def _is_leaky(op: tf.Operation) -> bool:
    """A weighted sum of `relu(x)` and `relu(-x)`, of which PReLU is made."""
    source = op.inputs[0]
    if source.op.type == "Neg":
        siblings = source.op.inputs[0].consumers()
    else:
        siblings = [relu for negative in source.consumers() if negative.type == "Neg" for relu in _next(negative)]
    sums = _sums(op)
    return any(other.type in _TYPES and other is not op and _sums(other) & sums for other in siblings)


def _next(op: tf.Operation) -> list[tf.Operation]:
    return [consumer for output in op.outputs for consumer in output.consumers()]


def _sums(op: tf.Operation) -> set[str]:
    """Returns the names of the sums of an operation's output, perhaps weighted or negated."""
    found, waiting = set(), _next(op)
    while waiting:
        after = waiting.pop()
        if after.type in {"Add", "AddV2", "Sub"}:
            found.add(after.name)
        elif after.type in {"Mul", "Neg"}:
            waiting += _next(after)
    return found


def ruled_gradients(
    score: tf.Tensor, sources: list[tf.Tensor], upstream: tf.Tensor, rule: str
) -> tuple[list[tf.Tensor | None], list[tf.Operation]]:
    """Returns the gradients of traced scores under a rule, and the rectifiers that the rule acted on.

    This is `tf.gradients` and not a tape, because a tape looks up the gradient of an operation by its type when it
    records it, so a bare `tf.nn.relu` inside the `call` of a foreign layer could not be given another one.

    Args:
        score: `(B,)`.
        sources: Tensors of the same graph.
        upstream: The gradient of the scores, `(B,)`.
        rule: A name in `RULES`.

    Raises:
        KerasxaiError: The rule does not reach all rectifiers, or there are none.
    """
    with ruled(rule) as reached:
        gradients = tf.gradients(score, sources, grad_ys=upstream)
    if all(gradient is not None for gradient in gradients):
        check_reached(score, sources, reached, rule)
    return gradients, reached


def check_reached(score: tf.Tensor, sources: list[tf.Tensor], reached: list[tf.Operation], rule: str) -> None:
    """Checks that a rule acted on every rectifier.

    Args:
        score: The traced score.
        sources: The tensors whose gradients were taken.
        reached: The rectifiers that `ruled` yielded.
        rule: The rule's name, for the message.

    Raises:
        KerasxaiError: There is no rectifier on the path, or one that the rule cannot reach.
    """
    between = ancestors(score, differentiable=True)
    below = ancestors(*sources)
    on_path = {x.op.name for x in (y.deref() for y in between - below) if x.op.type in _TYPES and _is_rectifier(x.op)}
    missed = len(on_path - {op.name for op in reached})
    functions = tf.compat.v1.get_default_graph().as_graph_def().library.function
    unreachable = sum(node.op in _TYPES for function in functions for node in function.node_def)
    if missed or unreachable:
        raise KerasxaiError(
            f"expected rectifiers that the {rule} rule can reach, got {missed + unreachable} inside a tf.function, a "
            "loop or a custom gradient (such as that of keras.RematScope) in the model's call"
        )
    if not reached:
        raise KerasxaiError(
            f"expected a model with rectifiers (ReLU or ReLU6) for the {rule} rule, got one without; with swish, GELU "
            "or leaky activations it would be the plain gradient, use saliency"
        )

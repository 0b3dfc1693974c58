"""Asking one question many times of the same weights: a traced graph whose weights are constants.

TensorFlow multiplies constant scales into constant kernels once, makes one operation of a convolution, its bias and its
rectifier, and orders kernels for the machine once. A frozen graph knows nothing of the variables it was made from, so
that these are compared with it, bit by bit, before each loop.
"""

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import tensorflow as tf

from kerasxai.engine.fast.batchnorm_folding import FENCE
from kerasxai.engine.graph import ancestors, without_surroundings

WORTHWHILE = 400 * 224 * 224
"""How many pixels a question is asked about before its weights are frozen.

Freezing took as long as it saves in about 400 passes of 224 x 224 pixels (MobileNetV2 on a CPU).
"""
# TensorFlow keeps several copies of a constant, for as long as the frozen graph is kept.
_MOST_BYTES = 300 * 2**20
_MOST_FROZEN = 2


class Freezer:
    """Chooses between a traced question with live weights and the same with frozen ones, for the loops of a view."""

    def __init__(self) -> None:
        self._weighed: dict[Any, _Weighed] = {}
        self._lock = threading.RLock()
        self._passes = 0
        self._compared: set[Any] = set()

    def for_call(self) -> Self:
        """Returns a freezer with loops of its own and the frozen questions of this one, which threads may share."""
        return copy.copy(self)

    @contextlib.contextmanager
    def loop(self, passes: int) -> Iterator[None]:
        """Tells how many images go through the model until weights may change; within another loop, each time round.

        Args:
            passes: How many images; 0 where nothing shall be frozen.
        """
        before, self._passes = self._passes, (self._passes or 1) * passes
        if not before:
            self._compared = set()
        try:
            yield
        finally:
            self._passes = before

    def best(self, concrete: Any, pixels: int) -> Callable[..., Any]:
        """Returns what answers a traced question soonest: itself, or in a long loop the same with frozen weights.

        Args:
            concrete: The traced question, a `ConcreteFunction`.
            pixels: How many pixels an image has.
        """
        if not self._passes:
            return concrete
        with self._lock:
            weighed = self._weighed.pop(concrete, None) or _Weighed(concrete)
            self._weighed[concrete] = weighed
            if concrete not in self._compared:
                self._compared.add(concrete)
                weighed.weigh(self._passes * pixels)
                for old in [one for one in self._weighed.values() if one.frozen is not None][:-_MOST_FROZEN]:
                    old.forget()
            return weighed.frozen or concrete

    def made(self, function: Callable[..., Any]) -> bool:
        """Tells whether a function is a question with frozen weights, whose answer depends on its inputs alone."""
        with self._lock:
            return any(one.frozen is function for one in self._weighed.values())

    def forget(self, concrete: Any) -> None:
        """Drops what is kept of a traced question."""
        with self._lock:
            self._weighed.pop(concrete, None)


class _Weighed:
    """A traced question, the weights it met last, and how many pixels it was asked about with these."""

    def __init__(self, concrete: Any) -> None:
        self.frozen: Callable[..., Any] | None = None
        self._concrete = concrete
        self._reads = weight_reads(concrete)
        self._weights: list[np.ndarray] = []
        self._pixels = 0

    def weigh(self, pixels: int) -> None:
        """Prepares a loop over so many pixels: forgets what is stale, and freezes where that pays."""
        if not self._reads:
            return
        weights = [read.value() for read in self._reads]
        if not (self._weights and all(map(_same_bits, weights, self._weights))):
            self.forget()
            self._weights = weights
        self._pixels += pixels
        if self.frozen is None and self._pixels >= WORTHWHILE and sum(w.nbytes for w in weights) <= _MOST_BYTES:
            self.frozen = frozen(self._concrete, dict(zip(self._reads, weights, strict=True)))

    def forget(self) -> None:
        """Drops the frozen question, and begins to count anew."""
        self.frozen, self._weights, self._pixels = None, [], 0


@dataclass(frozen=True, eq=False)
class Read:
    """Where a traced graph reads a weight: the operation's name, and the variable or the captured tensor."""

    name: str
    source: Any
    dtype: Any

    def value(self) -> np.ndarray:
        """Returns the live value."""
        live = self.source
        if live.dtype == tf.resource:
            live = tf.raw_ops.ReadVariableOp(resource=live, dtype=self.dtype)
        return live.numpy()


def weight_reads(concrete: Any) -> list[Read]:
    """Returns where a traced question reads its weights; nothing where it does more with state than to read weights.

    Lookup tables, random states, assertions, and the variables of loops and functions of their own are such state.
    """
    if any(op.op_def.is_stateful and op.type != "ReadVariableOp" for op in concrete.graph.get_operations()):
        return []
    needed = ancestors(*concrete.outputs)
    given = len(concrete.inputs) - len(concrete.captured_inputs)
    reads = []
    for inner, outer in zip(concrete.inputs[given:], concrete.captured_inputs, strict=True):
        users = [op for op in inner.consumers() if any(x.ref() in needed for x in op.outputs)]
        if inner.dtype == tf.resource and all(op.type == "ReadVariableOp" for op in users):
            reads += [Read(op.name, outer, op.get_attr("dtype")) for op in users]
        elif inner.dtype.is_floating or inner.dtype.is_integer or inner.dtype.is_bool:
            reads.append(Read(inner.op.name, outer, inner.dtype))
        else:
            return []
    return reads


def frozen(concrete: Any, weights: dict[Read, np.ndarray]) -> Any:
    """Returns a `ConcreteFunction` that answers as a traced question does, from the weights as they are given.

    Args:
        concrete: The traced question.
        weights: The value for each of its `weight_reads`.
    """
    inputs = concrete.inputs[: len(concrete.inputs) - len(concrete.captured_inputs)]
    needed = {x.deref().op.name for x in ancestors(*concrete.outputs)}
    replaced = {read.name for read in weights} | {tensor.op.name for tensor in inputs}
    definition = _definition(concrete, needed - replaced)

    def answer(*given: Any) -> Any:
        fed = {tensor.name: value for tensor, value in zip(inputs, given, strict=True) if tensor.op.name in needed}
        fed |= {f"{read.name}:0": tf.constant(value) for read, value in weights.items()}
        names = [tensor.name for tensor in concrete.outputs]
        outputs = tf.graph_util.import_graph_def(definition, fed, names, name="frozen")
        return tf.nest.pack_sequence_as(concrete.structured_outputs, outputs)

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in inputs]
    return tf.function(answer, autograph=False).get_concrete_function(*specs)


def _definition(concrete: Any, names: set[str]) -> Any:
    """Returns the definition of the operations of these names in a traced graph."""
    whole = concrete.graph.as_graph_def()
    kept = tf.compat.v1.GraphDef(versions=whole.versions, library=whole.library)
    for node in whole.node:
        if node.name in names:
            made = kept.node.add()
            made.CopyFrom(node)
            without_surroundings(made)
            if node.op == "EnsureShape" and FENCE in node.name:
                made.op = "Identity"
                del made.attr["shape"]
    return kept


def _same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one.reshape(-1).view(np.uint8), other.reshape(-1).view(np.uint8))

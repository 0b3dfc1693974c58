"""Long loops on a copy of a traced graph whose weights are constants.

TensorFlow then multiplies constant scales into constant kernels once, fuses a convolution with its bias and rectifier,
and reorders kernels for the CPU once. Such a graph knows nothing of the variables that it was made from, so these are
compared with its constants, bit by bit, before each loop.
"""

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.engine.fast.batchnorm_folding import FENCE
from kerasxai.engine.fast.switch import enabled
from kerasxai.engine.graph import ancestors, without_surroundings

ConcreteFunction: TypeAlias = tf.types.experimental.ConcreteFunction
Function = Callable[..., Any]

WORTHWHILE = 400 * 224 * 224
"""How many pixels go through a traced query before its weights become constants.

Making them constants took as long as it saves in about 400 passes of 224 x 224 pixels (MobileNetV2 on a CPU).
"""
# TensorFlow holds several copies of a constant for as long as the graph lives.
_MAX_BYTES = 300 * 2**20
_MAX_GRAPHS = 2


class ConstantWeights:
    """Chooses between a traced query with live weights and its copy with constant ones."""

    def __init__(self) -> None:
        # In the order of their last use, the latest last.
        self._candidates: dict[ConcreteFunction, _Candidate] = {}
        self._lock = threading.RLock()
        self._images = 0
        self._compared: set[ConcreteFunction] = set()

    def for_call(self) -> Self:
        """Returns an object with loops of its own that shares the graphs of this one; threads may use both."""
        return copy.copy(self)

    @contextlib.contextmanager
    def loop(self, images: int) -> Iterator[None]:
        """Opens a loop within which weights do not change; nested loops multiply.

        Args:
            images: How many images go through the model in the loop; 0 to keep live weights.
        """
        outer, self._images = self._images, (self._images or 1) * images
        if not outer:
            # Weights may have changed since the last loop.
            self._compared = set()
        try:
            yield
        finally:
            self._images = outer

    def fastest(self, concrete: ConcreteFunction, pixels: int) -> Function:
        """Returns the fastest function for a traced query: itself, or in a long loop its copy with constant weights.

        Args:
            concrete: The traced query.
            pixels: The number of pixels of an image.
        """
        if not self._images or not enabled():
            return concrete
        with self._lock:
            # Taken out and put back: the most recently used is last.
            candidate = self._candidates.pop(concrete, None) or _Candidate(concrete)
            self._candidates[concrete] = candidate
            if concrete not in self._compared:
                self._compared.add(concrete)
                candidate.prepare(self._images * pixels)
                for old in [one for one in self._candidates.values() if one.constant is not None][:-_MAX_GRAPHS]:
                    old.reset()
            return candidate.constant or concrete

    def is_constant(self, function: Function) -> bool:
        """Returns whether a function has constant weights, so that its result depends on its arguments alone."""
        with self._lock:
            return any(one.constant is function for one in self._candidates.values())

    def forget(self, concrete: ConcreteFunction) -> None:
        """Drops the copy of a traced query."""
        with self._lock:
            self._candidates.pop(concrete, None)


class _Candidate:
    """A traced query, the weights at its last loop, and how many pixels went through it with these."""

    def __init__(self, concrete: ConcreteFunction) -> None:
        self.constant: Function | None = None
        self._concrete = concrete
        self._reads = weight_reads(concrete)
        self._weights: list[NDArray[Any]] = []
        self._pixels = 0

    def prepare(self, pixels: int) -> None:
        """Prepares a loop over so many pixels: drops a stale copy, and makes one where that pays."""
        if not self._reads:
            return
        weights = [read.value() for read in self._reads]
        if not (self._weights and all(map(_has_same_bits, weights, self._weights))):
            self.reset()
            self._weights = weights
        self._pixels += pixels
        fits = sum(w.nbytes for w in weights) <= _MAX_BYTES
        if self.constant is None and self._pixels >= WORTHWHILE and fits:
            self.constant = with_constant_weights(self._concrete, dict(zip(self._reads, weights, strict=True)))

    def reset(self) -> None:
        """Drops the copy, and counts pixels from 0."""
        self.constant, self._weights, self._pixels = None, [], 0


@dataclass(frozen=True, eq=False)
class WeightRead:
    """A place in a traced graph where a weight is read.

    Attributes:
        name: The operation's name.
        source: The variable's handle, or the captured tensor.
        dtype: The dtype of the weight.
    """

    name: str
    source: tf.Tensor
    dtype: tf.DType

    def value(self) -> NDArray[Any]:
        """Returns the live value."""
        live = self.source
        if live.dtype == tf.resource:
            live = tf.raw_ops.ReadVariableOp(resource=live, dtype=self.dtype)
        return live.numpy()


def weight_reads(concrete: ConcreteFunction) -> list[WeightRead]:
    """Returns all reads of weights in a traced query; an empty list if it has any other state.

    Other state is lookup tables, random generators, assertions, and variables that loops and functions read inside.
    """
    if any(op.op_def.is_stateful and op.type != "ReadVariableOp" for op in concrete.graph.get_operations()):
        return []
    needed = ancestors(*concrete.outputs)
    # A function's inputs are its arguments, then what it captured from outside.
    arguments = len(concrete.inputs) - len(concrete.captured_inputs)
    reads = []
    for inner, outer in zip(concrete.inputs[arguments:], concrete.captured_inputs, strict=True):
        users = [op for op in inner.consumers() if any(x.ref() in needed for x in op.outputs)]
        if inner.dtype == tf.resource and all(op.type == "ReadVariableOp" for op in users):
            reads += [WeightRead(op.name, outer, op.get_attr("dtype")) for op in users]
        elif inner.dtype.is_floating or inner.dtype.is_integer or inner.dtype.is_bool:
            reads.append(WeightRead(inner.op.name, outer, inner.dtype))
        else:
            return []
    return reads


def with_constant_weights(concrete: ConcreteFunction, weights: dict[WeightRead, NDArray[Any]]) -> ConcreteFunction:
    """Returns a copy of a traced query with constants in place of its weights.

    Args:
        concrete: The traced query.
        weights: The value of each of its `weight_reads`.
    """
    inputs = concrete.inputs[: len(concrete.inputs) - len(concrete.captured_inputs)]
    needed = {x.deref().op.name for x in ancestors(*concrete.outputs)}
    # Reads and arguments are left out of the copy and mapped to constants and new arguments.
    replaced = {read.name for read in weights} | {tensor.op.name for tensor in inputs}
    definition = _definition(concrete, needed - replaced)

    def constant(*arguments: tf.Tensor) -> Any:
        # An argument that nothing depends on is not in the copy, and import_graph_def refuses unknown names.
        given = {tensor.name: x for tensor, x in zip(inputs, arguments, strict=True) if tensor.op.name in needed}
        given |= {f"{read.name}:0": tf.constant(value) for read, value in weights.items()}
        names = [tensor.name for tensor in concrete.outputs]
        outputs = tf.graph_util.import_graph_def(definition, given, names, name="constant_weights")
        return tf.nest.pack_sequence_as(concrete.structured_outputs, outputs)

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in inputs]
    return tf.function(constant, autograph=False).get_concrete_function(*specs)


def _definition(concrete: ConcreteFunction, names: set[str]) -> tf.compat.v1.GraphDef:
    """Returns the definition of the operations of these names in a traced graph."""
    whole = concrete.graph.as_graph_def()
    definition = tf.compat.v1.GraphDef(versions=whole.versions, library=whole.library)
    for node in whole.node:
        if node.name in names:
            kept = definition.node.add()
            kept.CopyFrom(node)
            # Placement and control inputs name operations that are not copied.
            without_surroundings(kept)
            if node.op == "EnsureShape" and FENCE in node.name:
                # With constant weights the fused operation is the faster one.
                kept.op = "Identity"
                del kept.attr["shape"]
    return definition


def _has_same_bits(one: NDArray[Any], other: NDArray[Any]) -> bool:
    # As bytes: -0.0 equals 0.0, and NaN does not equal itself.
    return np.array_equal(one.reshape(-1).view(np.uint8), other.reshape(-1).view(np.uint8))

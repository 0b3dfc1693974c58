"""Names for the tensors of a traced pass: the layer that returned one, or the operation inside a layer that made it."""

import re
from collections import Counter

import keras
import numpy as np
import tensorflow as tf

from kerasxai.engine.graph import SAME_VALUE, origin
from kerasxai.engine.layers import OPERATION
from kerasxai.engine.tracing import Call
from kerasxai.tools.errors import unknown

_KINDS = {
    "addv2": "add",
    "addn": "add",
    "concatv2": "concatenate",
    "mul": "multiply",
    "realdiv": "divide",
    "sub": "subtract",
    "avgpool": "average_pool",
    "maxpool": "max_pool",
}
# Gradients stop here, so the tensor before a stopped gradient is explained separately.
_SAME_GRADIENT = SAME_VALUE - {"StopGradient", "PreventGradient"}


def is_operation(name: str) -> bool:
    """Returns whether a name is that of an operation rather than of a layer."""
    return name.endswith(OPERATION)


class TensorNames:
    """Names the tensors of one traced pass.

    An operation is named after the layer (or model) whose own `call` made it and its kind, numbered in the order of the
    calls: `"add (operation)"`, `"stage3/add_1 (operation)"`. Operations inside a layer that calls no other layers have
    no name: what such a layer returns has the layer's.

    Args:
        calls: The calls of the pass, in the order in which they finished.
        graph: The traced graph.
    """

    def __init__(self, calls: list[Call], graph: tf.Graph) -> None:
        self._calls = calls
        self._numbers = Counter(id(call.layer) for call in calls)
        self._returned: dict[str, Call] = {}
        self._aliases: dict[str, Call] = {}
        for call in calls:
            if isinstance(call.output, tf.Tensor):
                self._returned.setdefault(call.output.name, call)
                self._aliases.setdefault(origin(call.output, _SAME_GRADIENT).name, call)
        self._operations = self._named_operations(graph)
        self._names = {tensor.name: name for name, tensor in self._operations.items()}

    def call_of(self, tensor: tf.Tensor) -> Call | None:
        """Returns the innermost call that returned a tensor, or one that it only passes on; None if there is none."""
        return self._returned.get(tensor.name) or self._aliases.get(origin(tensor, _SAME_GRADIENT).name)

    def name_of(self, tensor: tf.Tensor) -> str | None:
        """Returns a layer's path, with `":1"` for the second of several calls, an operation's name, or None."""
        call = self.call_of(tensor)
        if call is not None and call.path:
            return self.path_of(call)
        return self._names.get(tensor.name) or self._names.get(origin(tensor, _SAME_GRADIENT).name)

    def path_of(self, call: Call) -> str:
        """Returns the path of a call's layer, with the number of the call where there are several."""
        if self._numbers[id(call.layer)] == 1:
            return call.path
        own = [one for one in self._calls if one.layer is call.layer]
        return f"{call.path}:{own.index(call)}"

    def operation(self, name: str) -> tf.Tensor:
        """Returns the tensor of an operation's name.

        Raises:
            KerasxaiError: There is no such operation; the message lists similar names.
        """
        if name not in self._operations:
            raise unknown("operation", name, self._operations)
        return self._operations[name]

    def _named_operations(self, graph: tf.Graph) -> dict[str, tf.Tensor]:
        operations = graph.get_operations()
        owners = np.full(len(operations), -1)
        for i in reversed(range(len(self._calls))):
            owners[self._calls[i].start : self._calls[i].stop] = i
        composite = {i for i, call in enumerate(self._calls) if _makes_operations(call)}
        found: dict[str, tf.Tensor] = {}
        counted: Counter[tuple[int, str]] = Counter()
        for op, owner in zip(operations, owners.tolist(), strict=True):
            if owner not in composite or len(op.outputs) != 1 or not op.outputs[0].dtype.is_floating:
                continue
            kind = _kind(op.type)
            number = counted[owner, kind]
            counted[owner, kind] += 1
            path = self.path_of(self._calls[owner])
            found[f"{path}/{kind}".lstrip("/") + (f"_{number}" if number else "") + OPERATION] = op.outputs[0]
        return found


def _makes_operations(call: Call) -> bool:
    """Returns whether the operations of a call's own are named: those of models, and of layers made of other layers."""
    if isinstance(call.layer, keras.Model) or not call.path:
        return True
    return call.has_inner_calls and not type(call.layer).__module__.startswith("keras.")


def _kind(operation_type: str) -> str:
    lowered = operation_type.lower()
    return _KINDS.get(lowered) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", operation_type).lower()

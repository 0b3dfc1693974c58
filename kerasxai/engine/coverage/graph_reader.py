"""Base of the readers that follow a property of the image through a traced graph, operation by operation."""

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import tensorflow as tf

Property = TypeVar("Property")

REDUCTIONS = {"Mean", "Sum", "Max", "Min", "Prod", "All", "Any", "EuclideanNorm"}
"""Operations that combine the entries along some axes to one."""

# These read the shape of their input and not its values.
_SHAPES = {"Shape", "ShapeN", "Size", "Rank"}


class GraphReader(ABC, Generic[Property]):
    """Computes a property of each tensor from those of the inputs of its operation.

    Args:
        image: The explained input in the traced graph.
        of_image: Its property.
    """

    def __init__(self, image: tf.Tensor, of_image: Property) -> None:
        # By reference, because tensors cannot be keys. None for tensors that do not depend on the image.
        self._known: dict[Any, Property | None] = {image.ref(): of_image}

    def read(self, tensor: tf.Tensor) -> Property | None:
        """Returns the property of a tensor, None if it does not depend on the image."""
        # Depth first on an explicit stack: networks are deeper than Python's recursion limit.
        stack = [tensor]
        while stack:
            last = stack[-1]
            missing = [x for x in value_inputs(last) if x.ref() not in self._known]
            if last.ref() in self._known:
                stack.pop()
            elif missing:
                stack += missing
            else:
                self._known[stack.pop().ref()] = self._read(last)
        return self._known[tensor.ref()]

    def _read(self, tensor: tf.Tensor) -> Property | None:
        pairs = ((x, self._known[x.ref()]) for x in value_inputs(tensor))
        inputs = [(x, found) for x, found in pairs if found is not None]
        return self._read_output(tensor, inputs) if inputs else None

    @abstractmethod
    def _read_output(self, tensor: tf.Tensor, inputs: list[tuple[tf.Tensor, Property]]) -> Property | None:
        """Returns the property of an operation's output.

        Args:
            tensor: The output.
            inputs: The inputs that depend on the image, with their properties; at least one.
        """


def value_inputs(tensor: tf.Tensor) -> list[tf.Tensor]:
    """Returns the inputs of a tensor's operation whose values count."""
    return [] if tensor.op.type in _SHAPES else list(tensor.op.inputs)

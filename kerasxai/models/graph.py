"""The graph of a functional model: its feature maps, their strides, and which of them every path passes."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kerasxai.engine.keras_internals import functional_of, nodes_by_depth
from kerasxai.tools.errors import KerasxaiError, unknown

MERGES = ("Add", "Concatenate")
_GLOBAL_POOLING = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
_UPSAMPLING = (keras.layers.Conv2DTranspose, keras.layers.UpSampling2D)
_ACTIVATIONS = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.ELU,
    keras.layers.PReLU,
)


@dataclass(frozen=True)
class LayerOutput:
    """The output of one call in a graph.

    Attributes:
        operation: The layer (or operation) that is called.
        tensor: Its symbolic output.
        stride: The size of the image divided by the size of the map; None if the output is not a feature map.
        on_every_path: Whether every path from the image to the model's output passes the tensor.
    """

    operation: keras.Operation
    tensor: keras.KerasTensor
    stride: float | None
    on_every_path: bool

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.operation.name


def nodes(model: keras.Model) -> list[Any]:
    """Return the nodes of a functional or sequential model without its inputs, in execution order."""
    by_depth = nodes_by_depth(functional_of(model))
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]


def layer_outputs(model: keras.Model) -> list[LayerOutput]:
    """Return the output of every call in a functional or sequential model, in execution order.

    Example:
        >>> [output.name for output in layer_outputs(model) if output.stride == 16][-1]
        'block6a_expand_activation'
    """
    found = []
    strides: dict[int, float | None] = {id(tensor): 1.0 for tensor in model.inputs}
    # Every path passes a tensor if it is the only one that later calls still need: no branch runs in parallel to it.
    uses_left = Counter(id(tensor) for node in nodes(model) for tensor in node.arguments.keras_tensors)
    uses_left.update(id(tensor) for tensor in model.outputs)
    needed = {id(tensor) for tensor in model.inputs}
    for node in nodes(model):
        inputs = node.arguments.keras_tensors
        for tensor in inputs:
            uses_left[id(tensor)] -= 1
            if uses_left[id(tensor)] == 0:
                needed.discard(id(tensor))
        known = [stride for tensor in inputs if (stride := strides.get(id(tensor))) is not None]
        for tensor in node.outputs:
            strides[id(tensor)] = _stride(node.operation, inputs, tensor, max(known, default=None))
            needed.add(id(tensor))
        output = node.outputs[0]
        found.append(LayerOutput(node.operation, output, strides[id(output)], needed == {id(output)}))
    return found


def _stride(
    operation: keras.Operation, inputs: Sequence[keras.KerasTensor], output: keras.KerasTensor, before: float | None
) -> float | None:
    if before is None or len(output.shape) != 4 or isinstance(operation, _GLOBAL_POOLING):
        return None
    factor = _downsampling(operation, inputs[0].shape[1:3], output.shape[1:3])
    return None if factor is None else before * factor


def _downsampling(
    operation: keras.Operation, before: tuple[int | None, ...], after: tuple[int | None, ...]
) -> float | None:
    """Return the factor by which an operation makes a map smaller, from its strides or else from the shapes.

    None for a pooling over all positions: any operation that leaves one position and has no strides.
    """
    if isinstance(operation, keras.Model) and hasattr(operation, "inputs") and operation.inputs:
        inner = {id(output.tensor): output.stride for output in layer_outputs(operation)}
        return inner.get(id(operation.outputs[0])) or 1.0
    if isinstance(operation, keras.layers.UpSampling2D):
        return 1 / operation.size[0]
    strides = getattr(operation, "strides", None)
    if strides is not None:
        first = strides if isinstance(strides, int) else strides[0]
        return 1 / first if isinstance(operation, _UPSAMPLING) else float(first)
    if tuple(after) == (1, 1) and tuple(before) != (1, 1):
        return None
    if not before[0] or not after[0]:
        return 1.0
    # Unpadded windows make a map a little smaller than half; strides of networks are powers of 2.
    return 2.0 ** round(math.log2(before[0] / after[0]))


def _ends_block(output: LayerOutput) -> bool:
    """Return whether an output is that of an activation, of a layer with one, or a sum or concatenation of branches."""
    operation = output.operation
    if type(operation).__name__ in MERGES or isinstance(operation, _ACTIVATIONS):
        return True
    return getattr(operation, "activation", keras.activations.linear) is not keras.activations.linear


def find_features(model: keras.Model, features: int | str | None) -> LayerOutput:
    """Find the feature map for a head.

    Args:
        model: A functional or sequential model.
        features: The name of a layer; or a stride (8, 16, 32): the last map of that stride which every path passes and
            which ends a block (an activation, a sum or a concatenation; failing that any layer; where no map is on
            every path, as in NASNet, the last of the widest sums and concatenations); or None: the last map on every
            path.

    Returns:
        The layer with the map.

    Raises:
        KerasxaiError: There is no such layer or stride, or the layer's output is not a feature map.

    Example:
        >>> find_features(model, 16).name
        'block6a_expand_activation'
    """
    outputs = layer_outputs(model)
    maps = [output for output in outputs if output.stride is not None]
    if isinstance(features, str):
        named = [output for output in outputs if output.name == features]
        if not named:
            raise unknown("layer", features, [output.name for output in maps])
        if named[-1].stride is None:
            raise KerasxaiError(
                f"expected a layer with a feature map (B, h, w, C), got {features!r} with shape "
                f"{tuple(named[-1].tensor.shape)}"
            )
        return named[-1]
    common = [output for output in maps if output.on_every_path]
    if features is None:
        if not common:
            raise KerasxaiError(
                f"expected a feature map (B, h, w, C) on every path of the model, got {model.name!r} with no such map"
            )
        return common[-1]
    common = [output for output in common if output.stride == features]
    at_stride = [output for output in maps if output.stride == features]
    merges = [output for output in at_stride if type(output.operation).__name__ in MERGES]
    widest = max((output.tensor.shape[-1] for output in merges), default=None)
    wide = [output for output in merges if output.tensor.shape[-1] == widest]
    for choice in ([output for output in common if _ends_block(output)], common, wide, at_stride):
        if choice:
            return choice[-1]
    strides = sorted({f"{output.stride:g}" for output in maps if output.stride}, key=float)
    raise KerasxaiError(
        f"features must be the stride of a map of {model.name!r}, one of {', '.join(strides)}, got {features}"
    )

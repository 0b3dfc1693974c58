"""Output stride: finer feature maps from the same weights, by removing strides and dilating the later kernels.

With stride 1 a layer keeps the resolution of its input; each later kernel is dilated to skip the new positions in
between, so that every other position of the new map equals a position of the old one (Chen et al. 2015,
arXiv:1412.7062; Yu and Koltun 2016, arXiv:1511.07122).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras

from kerasxai.engine.dilation import (
    CONVOLUTIONS,
    GLOBAL,
    IN_PLACE,
    POOLINGS,
    STRIDED,
    both,
    refusal,
    spread_padding,
    steps_of,
    unstrided,
)
from kerasxai.engine.keras_internals import layer_tree
from kerasxai.models.graph import nodes
from kerasxai.models.model_cloning import (
    assemble,
    call_with_copied_weights,
    inputs_like,
    is_graph,
    rerun,
    share_variables,
)
from kerasxai.models.pooling import DilatedPooling2D
from kerasxai.tools.errors import KerasxaiError

Change: TypeAlias = "Mapping[str, Any] | keras.Layer"
"""Entries of a layer's config to change, or a layer that replaces it."""

# Operations outside layers that combine positions.
_OPERATIONS = ("Conv", "DepthwiseConv", "SeparableConv", "MaxPool", "AveragePool", "Pad", "Resize")


@dataclass
class _Map:
    """A map of the new model: its stride, and the stride of the old map divided by it."""

    # Keeps the tensor alive, because maps are found by its id.
    tensor: keras.KerasTensor
    stride: int
    dilation: int


def with_output_stride(model: keras.Model, output_stride: int) -> keras.Model:
    """Return a model with finer feature maps that shares the weights of another.

    The last strided convolutions and poolings get stride 1, and all later kernels are dilated, also those of a head;
    every second (fourth, ...) position of the new last map equals a position of the old one. That is exact to rounding
    but for two kinds of networks: squeeze-and-excitation weights channels by their mean over the finer map
    (EfficientNetB, EfficientNetV2, MobileNetV3), and in Xception, if a strided map has an even side (not at 299
    pixels), pooling and shortcut took positions half a step apart and now take the same. NASNet, which crops to shift
    maps, is refused. Global poolings and the layers after them do not change.

    Args:
        model: A functional or sequential model, also with nested models: from `build_classifier`, or yours. It does not
            change; training either of the two models changes the weights of both.
        output_stride: The size of the image divided by the size of the last map: a divisor of the present one, such as
            8 or 16 instead of 32.

    Returns:
        A model with the same inputs, outputs, and variables; not compiled. For layers in both models, `layer.output`
        is still that of the old model.

    Raises:
        KerasxaiError: The model is not functional, has a layer that cannot be dilated, or has no such stride.

    Example:
        >>> fine = with_output_stride(build_classifier("EfficientNetLite0", None), 16)
        >>> fine.get_layer("backbone").output.shape
        (None, 14, 14, 1280)
    """
    return _Cloner(output_stride, copy=False).model(model)


def copy_with_output_stride(model: keras.Model, output_stride: int) -> keras.Model:
    """Return a model as from `with_output_stride`, with copied weights."""
    return _Cloner(output_stride, copy=True).model(model)


class _Cloner:
    """Clones a graph call by call and keeps track of the stride and the dilation of each new map."""

    def __init__(self, output_stride: int, copy: bool) -> None:
        if isinstance(output_stride, bool) or not isinstance(output_stride, int) or output_stride < 1:
            raise KerasxaiError(f"output_stride must be a whole number such as 8, 16 or 32, got {output_stride!r}")
        self.target = output_stride
        self.copy = copy
        self.maps: dict[int, _Map] = {}
        self.consumers: dict[int, list[keras.Operation]] = {}
        self.clones: dict[tuple[int, str], Any] = {}
        self.last = 0

    def model(self, model: keras.Model) -> keras.Model:
        if not is_graph(model):
            raise KerasxaiError(
                f"expected a functional or sequential model to change its strides, got {model.name!r}, a "
                f"{type(model).__name__}"
            )
        inputs = inputs_like(model.inputs, [tensor.name for tensor in model.inputs])
        for tensor in inputs:
            self.record(tensor, 1, 1)
        try:
            outputs = self.run(model, inputs)
            made = assemble(model, inputs, outputs)
        except KerasxaiError:
            raise
        except (ValueError, TypeError) as error:
            line = str(error).strip().splitlines()[0]
            raise KerasxaiError(f"cannot give {model.name!r} the output stride {self.target}: {line}") from error
        if self.last != self.target:
            raise KerasxaiError(
                f"expected an output stride that divides the stride of the last map of {model.name!r}, got "
                f"{self.target}; the last map has stride {self.last}"
            )
        return made

    def run(self, model: keras.Model, inputs: Sequence[keras.KerasTensor]) -> list[keras.KerasTensor]:
        """Run one graph; nested models are run by the same method."""
        for node in nodes(model):
            for tensor in node.arguments.keras_tensors:
                self.consumers.setdefault(id(tensor), []).append(node.operation)
        following: dict[int, list[keras.Operation]] = {}
        for node in nodes(model):
            following.setdefault(id(node.operation), self.consumers.get(id(node.outputs[0]), []))
        return rerun(model, inputs, lambda operation, *a, **k: self.call(operation, following[id(operation)], a, k))

    def record(self, tensor: keras.KerasTensor, stride: int, dilation: int) -> None:
        if len(tensor.shape) == 4:
            self.maps[id(tensor)] = _Map(tensor, stride, dilation)
            self.last = stride

    def call(
        self,
        operation: keras.Operation,
        following: Sequence[keras.Operation],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        known = [self.maps[id(x)] for x in keras.tree.flatten((args, kwargs)) if id(x) in self.maps]
        if not known:
            return self.call_clone(operation, {}, args, kwargs)
        stride, dilation = max(m.stride for m in known), max(m.dilation for m in known)
        if is_graph(operation):
            return self.nested(operation, args, kwargs)
        if isinstance(operation, GLOBAL):
            return self.call_clone(operation, {}, args, kwargs)
        steps = steps_of(operation)
        removed = steps > 1 and stride * steps > self.target
        if isinstance(operation, keras.layers.ZeroPadding2D):
            change: Change = spread_padding(operation, list(following), stride, dilation, self.target)
        else:
            self.check_crop(operation, following, stride)
            change = _change(operation, dilation, removed)
        outputs = self.call_clone(operation, change, args, kwargs)
        for tensor in keras.tree.flatten(outputs):
            self.record(tensor, stride if removed else stride * steps, dilation * steps if removed else dilation)
        return outputs

    def check_crop(self, operation: keras.Operation, following: Sequence[keras.Operation], stride: int) -> None:
        """Refuse a crop that shifts a map before its stride, as in NASNet: without the stride the shift is wrong."""
        if isinstance(operation, keras.layers.Cropping2D) and any(
            steps_of(one) > 1 and stride * steps_of(one) > self.target for one in following
        ):
            raise refusal(operation.name, type(operation).__name__)

    def nested(self, model: keras.Model, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        outer_inputs = keras.tree.flatten(args)
        inputs = inputs_like(outer_inputs, [tensor.name for tensor in model.inputs])
        for tensor, outer in zip(inputs, outer_inputs, strict=True):
            if id(outer) in self.maps:
                self.record(tensor, self.maps[id(outer)].stride, self.maps[id(outer)].dilation)
        outputs = self.run(model, inputs)
        result = assemble(model, inputs, outputs)(*args, **kwargs)
        for inside, outside in zip(outputs, keras.tree.flatten(result), strict=True):
            if id(inside) in self.maps:
                self.record(outside, self.maps[id(inside)].stride, self.maps[id(inside)].dilation)
        return result

    def call_clone(
        self, operation: keras.Operation, change: Change, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call an operation, its clone with other settings, or its replacement."""
        if not isinstance(operation, keras.Layer):
            return operation(*args, **kwargs)
        # A layer that is called several times has one clone for each change, so that its variables stay shared.
        key = (id(operation), repr(change))
        if key not in self.clones:
            if isinstance(change, keras.Layer):
                self.clones[key] = change
            elif self.copy:
                self.clones[key] = call_with_copied_weights(operation, **change)
            else:
                self.clones[key] = share_variables(operation, **change) if change else operation
        return self.clones[key](*args, **kwargs)


def _change(operation: keras.Operation, dilation: int, removed: bool) -> Change:
    """Return the change of an operation on a map that is finer by `dilation`, with or without its own stride."""
    if dilation == 1 and not removed:
        return {}
    if isinstance(operation, CONVOLUTIONS):
        rates = [dilation * rate for rate in both(operation.dilation_rate)]
        return {"dilation_rate": rates} | unstrided(operation, removed)
    for kind, name in POOLINGS.items():
        if isinstance(operation, kind):
            size = both(operation.pool_size)
            settings = unstrided(operation, removed)
            if dilation == 1 or size == (1, 1):
                return settings
            if operation.data_format == "channels_first":
                raise KerasxaiError(
                    f"expected a pooling with channels last to dilate it, got {operation.name!r} with channels first"
                )
            padding = settings.get("padding", operation.padding)
            policy = operation.dtype_policy
            return DilatedPooling2D(name, size, dilation, padding, name=operation.name, dtype=policy)
    if hasattr(operation, "dilated"):
        return operation.dilated(dilation)
    if _combines_positions(operation):
        raise refusal(operation.name, type(operation).__name__)
    return {}


def _combines_positions(operation: keras.Operation) -> bool:
    """Return whether an operation combines positions of a map, by itself or in a layer inside it."""
    if not isinstance(operation, keras.Layer):
        return type(operation).__name__ in _OPERATIONS
    inside = [layer for layer in layer_tree(operation) if layer is not operation]
    spatial = [layer for layer in inside if isinstance(layer, STRIDED)]
    return type(operation).__name__ in IN_PLACE or bool(spatial) or isinstance(operation, keras.Model)

"""Output stride: finer maps from the same weights, by taking strides away and spreading the later kernels.

Where a strided layer gets stride 1, the map has as many places as before it; each later kernel then has to look past
the new places in between (dilation), so that every other place of the new map is what the old map held (Chen et al.
2015, arXiv:1412.7062; Yu and Koltun 2016, arXiv:1511.07122).
"""

from dataclasses import dataclass
from typing import Any

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
from kerasxai.models.model_cloning import assemble, copied, inputs_like, is_graph, rerun, twin
from kerasxai.models.pooling import DilatedPooling2D
from kerasxai.tools.errors import KerasxaiError

_OPERATIONS = ("Conv", "DepthwiseConv", "SeparableConv", "MaxPool", "AveragePool", "Pad", "Resize")


@dataclass
class _Map:
    """What is known of a map of the new model: its stride, and by how much the old one's was larger."""

    tensor: Any
    stride: int
    dilation: int


def with_output_stride(model: keras.Model, output_stride: int) -> keras.Model:
    """Returns a model whose feature maps are finer, with the weights of another: shared, not copied.

    The last strided convolutions and poolings get stride 1, and all later kernels are dilated, also those of a head;
    every second (fourth, ...) place of the new last map is a place of the old one. That is exact to rounding, but for
    two kinds of networks: squeeze-and-excitation weighs channels by their mean over the finer map (EfficientNetB,
    EfficientNetV2, MobileNetV3), and in Xception, where a strided map has an even side (not at 299 pixels), pooling and
    shortcut took places half a step apart and now take the same. NASNet, which crops to shift maps, is refused.
    Poolings over all places and what follows them stay.

    Args:
        model: A functional or sequential model, also with others inside: what `build_classifier` makes, or yours. It
            stays as it is; training either of the two changes both.
        output_stride: By how much the last map shall be smaller than the image: a divisor of what it is, such as 8 or
            16 where it is 32.

    Returns:
        A model with the same inputs, outputs, and variables; not compiled. `layer.output` of layers that both models
        hold is still that of the old one.

    Raises:
        KerasxaiError: The model is no graph, holds a layer that cannot be spread, or has no such stride.

    Example:
        >>> fine = with_output_stride(build_classifier("EfficientNetLite0", None), 16)
        >>> fine.get_layer("backbone").output.shape
        (None, 14, 14, 1280)
    """
    return _Rewiring(output_stride, copy=False).model(model)


def strided_copy(model: keras.Model, output_stride: int) -> keras.Model:
    """Does as `with_output_stride`, with layers and weights of its own."""
    return _Rewiring(output_stride, copy=True).model(model)


class _Rewiring:
    """One pass through a graph, which keeps the stride and the dilation of each new map."""

    def __init__(self, output_stride: int, copy: bool) -> None:
        if isinstance(output_stride, bool) or not isinstance(output_stride, int) or output_stride < 1:
            raise KerasxaiError(f"output_stride must be a whole number such as 8, 16 or 32, not {output_stride!r}")
        self.target = output_stride
        self.copy = copy
        self.maps: dict[int, _Map] = {}
        self.consumers: dict[int, list[Any]] = {}
        self.twins: dict[Any, Any] = {}
        self.last = 0

    def model(self, model: keras.Model) -> keras.Model:
        if not is_graph(model):
            raise KerasxaiError(f"{model.name!r} is no functional or sequential model, whose strides could be changed")
        inputs = inputs_like(model.inputs, [tensor.name for tensor in model.inputs])
        for tensor in inputs:
            self.note(tensor, 1, 1)
        try:
            outputs = self.run(model, inputs)
            made = assemble(model, inputs, outputs)
        except KerasxaiError:
            raise
        except (ValueError, TypeError) as error:
            line = str(error).strip().splitlines()[0]
            raise KerasxaiError(f"{model.name!r} cannot have output stride {self.target}: {line}") from error
        if self.last != self.target:
            raise KerasxaiError(f"{model.name!r} has no output stride {self.target}: its last map has {self.last}")
        return made

    def run(self, model: keras.Model, inputs: list[Any]) -> list[Any]:
        """Runs one graph; a graph within it comes back here."""
        for node in nodes(model):
            for tensor in node.arguments.keras_tensors:
                self.consumers.setdefault(id(tensor), []).append(node.operation)
        follows: dict[int, list[Any]] = {}
        for node in nodes(model):
            follows.setdefault(id(node.operation), self.consumers.get(id(node.outputs[0]), []))
        return rerun(model, inputs, lambda operation, *a, **k: self.call(operation, follows[id(operation)], a, k))

    def note(self, tensor: Any, stride: int, dilation: int) -> None:
        if len(tensor.shape) == 4:
            self.maps[id(tensor)] = _Map(tensor, stride, dilation)
            self.last = stride

    def call(self, operation: Any, following: list[Any], args: Any, kwargs: Any) -> Any:
        taken = [t for t in keras.tree.flatten((args, kwargs)) if id(t) in self.maps]
        known = [self.maps[id(tensor)] for tensor in taken]
        if not known:
            return self.carry_out(operation, {}, args, kwargs)
        stride, dilation = max(m.stride for m in known), max(m.dilation for m in known)
        if is_graph(operation):
            return self.inner(operation, args, kwargs)
        if isinstance(operation, GLOBAL):
            return self.carry_out(operation, {}, args, kwargs)
        steps = steps_of(operation)
        removed = steps > 1 and stride * steps > self.target
        outputs = self.carry_out(*_changed(operation, following, stride, dilation, removed, self.target), args, kwargs)
        for tensor in keras.tree.flatten(outputs):
            self.note(tensor, stride if removed else stride * steps, dilation * steps if removed else dilation)
        return outputs

    def inner(self, model: keras.Model, args: Any, kwargs: Any) -> Any:
        given = keras.tree.flatten(args)
        inputs = inputs_like(given, [tensor.name for tensor in model.inputs])
        for tensor, outer in zip(inputs, given, strict=True):
            if id(outer) in self.maps:
                self.note(tensor, self.maps[id(outer)].stride, self.maps[id(outer)].dilation)
        outputs = self.run(model, inputs)
        result = assemble(model, inputs, outputs)(*args, **kwargs)
        for inside, outside in zip(outputs, keras.tree.flatten(result), strict=True):
            if id(inside) in self.maps:
                self.note(outside, self.maps[id(inside)].stride, self.maps[id(inside)].dilation)
        return result

    def carry_out(self, operation: Any, changes: Any, args: Any, kwargs: Any) -> Any:
        """Calls an operation as it is, with other settings, or its substitute."""
        if not isinstance(operation, keras.Layer):
            return operation(*args, **kwargs)
        key = (id(operation), repr(changes))
        if key not in self.twins:
            if isinstance(changes, keras.Layer):
                self.twins[key] = changes
            elif self.copy:
                self.twins[key] = copied(operation, **changes)
            else:
                self.twins[key] = twin(operation, **changes) if changes else operation
        return self.twins[key](*args, **kwargs)


def _changed(
    operation: Any, following: list[Any], stride: int, dilation: int, removed: bool, target: int
) -> tuple[Any, Any]:
    """Returns an operation and what has to change about it: entries of its config, or a layer in its place."""
    if isinstance(operation, keras.layers.ZeroPadding2D):
        return operation, spread_padding(operation, following, stride, dilation, target)
    if isinstance(operation, keras.layers.Cropping2D):
        # It shifts a map against its neighbor before both lose every other place, as NASNet does.
        _refuse(operation, any(steps_of(op) > 1 and stride * steps_of(op) > target for op in following))
    if dilation == 1 and not removed:
        return operation, {}
    if isinstance(operation, CONVOLUTIONS):
        changes: dict[str, Any] = {"dilation_rate": [dilation * rate for rate in both(operation.dilation_rate)]}
        return operation, changes | unstrided(operation, removed)
    for kind, name in POOLINGS.items():
        if isinstance(operation, kind):
            size = both(operation.pool_size)
            changes = unstrided(operation, removed)
            if dilation == 1 or size == (1, 1):
                return operation, changes
            if operation.data_format == "channels_first":
                raise KerasxaiError(f"pooling {operation.name!r} has its channels first and cannot be dilated")
            padding = changes.get("padding", operation.padding)
            policy = operation.dtype_policy
            return operation, DilatedPooling2D(name, size, dilation, padding, name=operation.name, dtype=policy)
    if hasattr(operation, "dilated"):
        return operation, operation.dilated(dilation)
    _refuse(operation, _blocks(operation))
    return operation, {}


def _blocks(operation: Any) -> bool:
    """Whether an operation looks beyond single places, at its surface or inside."""
    if not isinstance(operation, keras.Layer):
        return type(operation).__name__ in _OPERATIONS
    inside = [layer for layer in layer_tree(operation) if layer is not operation]
    spatial = [layer for layer in inside if isinstance(layer, STRIDED)]
    return type(operation).__name__ in IN_PLACE or bool(spatial) or isinstance(operation, keras.Model)


def _refuse(operation: Any, blocks: bool) -> None:
    if blocks:
        raise refusal(operation.name, type(operation).__name__)

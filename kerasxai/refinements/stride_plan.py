"""The changes of each layer for a finer output stride, planned from one traced pass of a model."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from kerasxai.engine.dilation import (
    CONVOLUTIONS,
    GLOBAL,
    IN_PLACE,
    STRIDED,
    both,
    refusal,
    spread_padding,
    steps_of,
    unstrided,
    window_of,
)
from kerasxai.engine.layers import walk
from kerasxai.engine.tracing import intercepted
from kerasxai.tools.errors import KerasxaiError

# Operations that combine several positions of a map.
_WINDOWS = {
    "Conv2D", "DepthwiseConv2dNative", "MaxPool", "AvgPool", "Conv2DBackpropInput", "SpaceToBatchND", "Pad", "PadV2",
    "MirrorPad", "ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ExtractImagePatches", "Dilation2D",
}  # fmt: skip


@dataclass(frozen=True)
class _Level:
    """The relation between a map of the unchanged model and the finer map that replaces it.

    Attributes:
        stride: The size of the image divided by the size of the finer map.
        dilation: The stride of the old map divided by that of the finer one.
        phase: The position in the finer map, (row, column), of the first position of the old one.
    """

    stride: int
    dilation: int
    phase: tuple[int, int] = (0, 0)


@dataclass(eq=False)
class _Call:
    """One call of a layer in the traced pass, and the range of the graph's operations inside it."""

    path: str
    layer: keras.Layer
    inputs: list[tf.Tensor]
    outputs: list[tf.Tensor]
    first: int
    last: int


@dataclass(frozen=True)
class Change:
    """The change of one layer.

    Attributes:
        layer: The layer.
        settings: Its new attributes.
        dilation: The dilation of its window.
        pools: Whether it becomes a dilated pooling, which Keras does not have.
    """

    layer: keras.Layer
    settings: dict[str, Any]
    dilation: int = 1
    pools: bool = False


@dataclass
class Plan:
    """The changes of layers, by path, and the layers whose inputs no longer fit exactly."""

    changes: dict[str, Change] = field(default_factory=dict)
    apart: list[str] = field(default_factory=list)


def planned(model: keras.Model, target: int, shape: tuple[int, ...]) -> Plan:
    """Return the changes after which no map is smaller than 1 / `target` of the image.

    Args:
        model: Any Keras model.
        target: The output stride, a power of 2.
        shape: The shape of one image, `(H, W, C)`.

    Raises:
        KerasxaiError: A layer or operation that combines several positions cannot be dilated.
    """
    return _Planner(*_traced_calls(model, shape), target).plan


def _traced_calls(model: keras.Model, shape: tuple[int, ...]) -> tuple[tf.Tensor, list[_Call]]:
    """Return the images and the calls of one traced pass of the unchanged model."""
    calls: list[_Call] = []
    inputs: list[tf.Tensor] = []

    @contextlib.contextmanager
    def recording() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for path, layer in walk(model):
                # The defaults bind the present path and layer, which the loop changes.
                def around(
                    call: Callable[..., Any], *args: Any, path: str = path, layer: keras.Layer = layer, **kwargs: Any
                ) -> Any:
                    graph = tf.compat.v1.get_default_graph()
                    first = len(graph.get_operations())
                    output = call(*args, **kwargs)
                    own_inputs, own_outputs = (
                        [x for x in tf.nest.flatten(some) if isinstance(x, tf.Tensor) and x.graph is graph]
                        for some in ((args, kwargs), output)
                    )
                    calls.append(_Call(path, layer, own_inputs, own_outputs, first, len(graph.get_operations())))
                    return output

                stack.enter_context(intercepted(layer, around))
            yield

    @tf.function(autograph=False)
    def trace(images: tf.Tensor) -> Any:
        inputs.append(images)
        with recording():
            return model(images, training=False)

    trace.get_concrete_function(tf.TensorSpec((1, *shape), tf.float32))
    return inputs[0], calls


class _Planner:
    """Goes through the calls in execution order and keeps the level of each map."""

    def __init__(self, images: tf.Tensor, calls: Sequence[_Call], target: int) -> None:
        self.target = target
        self.plan = Plan()
        self._levels: dict[Any, _Level | None] = {images.ref(): _Level(1, 1)}
        self._leaves = [call for call in calls if call.path and not _has_inner_calls(call, calls)]
        # Ranges of operations inside layers that are handled; all other operations have to be checked.
        self._handled: list[tuple[int, int]] = []
        for call in calls:
            if call in self._leaves:
                self._leaf(call)
            # An ACoL head erases regions that grow by a number of positions, of which there are more now.
            elif hasattr(call.layer, "erase_dilation") and (level := self._level(call)) and level.dilation > 1:
                grown = {"erase_dilation": call.layer.erase_dilation * level.dilation}
                self._add(call, Change(call.layer, grown))
                self._handled.append((call.first, call.last))
        self._check_operations(images.graph)

    def _nearest(self, tensor: tf.Tensor) -> set[_Level]:
        """Return the levels of the maps from which a tensor is computed, up to the preceding layers."""
        found, visited, waiting = set(), {tensor.ref()}, [tensor]
        while waiting:
            last = waiting.pop()
            if last.ref() in self._levels:
                level = self._levels[last.ref()]
                found |= {level} if level else set()
            elif last.shape.rank == 4 or last is tensor:
                new = [x for x in last.op.inputs if x.ref() not in visited and x.shape.rank == 4]
                visited |= {x.ref() for x in new}
                waiting += new
        return found

    def _level(self, call: _Call) -> _Level | None:
        """Return the level of the input maps of a call."""
        levels = {level for x in call.inputs if _is_map(x) for level in self._nearest(x)}
        if not levels:
            return None
        if len({(level.dilation, level.phase) for level in levels}) > 1 and call in self._leaves:
            self.plan.apart.append(call.path)
        return max(levels, key=lambda level: (level.dilation, level.stride))

    def _leaf(self, call: _Call) -> None:
        layer, level = call.layer, self._level(call)
        after: _Level | None = level
        if level is not None and not isinstance(layer, GLOBAL):
            if isinstance(layer, keras.layers.ZeroPadding2D):
                after = self._padding(call, level)
            elif isinstance(layer, STRIDED):
                after = self._windowed(call, level)
            elif type(layer).__name__ in IN_PLACE and (level.dilation > 1 or self._before_stride(call, level)):
                raise refusal(call.path, type(layer).__name__)
        for x in call.outputs:
            gone = isinstance(layer, GLOBAL) or not _is_map(x)
            self._levels[x.ref()] = None if gone else after

    def _following(self, call: _Call) -> list[_Call]:
        outputs = {x.ref() for x in call.outputs}
        return [other for other in self._leaves if any(_origin(x).ref() in outputs for x in other.inputs)]

    def _before_stride(self, call: _Call, level: _Level) -> bool:
        steps = (steps_of(other.layer) for other in self._following(call))
        return any(one > 1 and level.stride * one > self.target for one in steps)

    def _padding(self, call: _Call, level: _Level) -> _Level:
        layer = call.layer
        following = [other.layer for other in self._following(call)]
        settings = spread_padding(layer, following, level.stride, level.dilation, self.target)
        if settings:
            self._add(call, Change(layer, settings))
        self._handled.append((call.first, call.last))
        pairs = zip(level.phase, settings.get("padding", layer.padding), layer.padding, strict=True)
        down, right = (phase + new[0] - old[0] * level.dilation for phase, new, old in pairs)
        return _Level(level.stride, level.dilation, (down, right))

    def _windowed(self, call: _Call, level: _Level) -> _Level:
        layer, steps = call.layer, steps_of(call.layer)
        removed = steps > 1 and level.stride * steps > self.target
        self._handled.append((call.first, call.last))
        if not removed and level.dilation == 1:
            return _Level(level.stride * steps, 1, level.phase if steps == 1 else (0, 0))
        if getattr(layer, "data_format", None) == "channels_first":
            raise refusal(call.path, f"{type(layer).__name__} with its channels first")
        settings = unstrided(layer, removed)
        dilation = level.dilation
        if isinstance(layer, CONVOLUTIONS):
            settings["dilation_rate"] = tuple(dilation * rate for rate in both(layer.dilation_rate))
            self._add(call, Change(layer, settings, dilation))
        else:
            self._add(call, Change(layer, settings, dilation, dilation > 1 and window_of(layer) != (1, 1)))
        phase = self._phase(call, level, settings.get("padding", layer.padding))
        return _Level(level.stride if removed else level.stride * steps, dilation * (steps if removed else 1), phase)

    def _phase(self, call: _Call, level: _Level, padding: str) -> tuple[int, int]:
        """Return the position of the first position of the old map in the finer one.

        It may move, because with a stride the padding of TensorFlow depends on the size of the map.
        """
        layer, shape = call.layer, next(x.shape[1:3] for x in call.inputs if _is_map(x))
        rates = both(getattr(layer, "dilation_rate", 1))
        found = []
        for side, size, rate, phase in zip(shape, window_of(layer), rates, level.phase, strict=True):
            reach, steps = (size - 1) * rate, steps_of(layer)
            old = max((-(-side // steps) - 1) * steps + reach + 1 - side, 0) // 2 if layer.padding == "same" else 0
            new = reach * level.dilation // 2 if padding == "same" else 0
            found.append(phase + new - old * level.dilation)
        return found[0], found[1]

    def _add(self, call: _Call, change: Change) -> None:
        known = self.plan.changes.get(call.path)
        if known is not None and known != change:
            raise KerasxaiError(
                f"cannot make a finer output stride: layer {call.path!r} is called several times, on maps of different "
                "strides"
            )
        self.plan.changes[call.path] = change

    def _check_operations(self, graph: tf.Graph) -> None:
        """Refuse operations outside known layers that combine several positions of a map that becomes finer."""
        inside = {i for first, last in self._handled for i in range(first, last)}
        for i, op in enumerate(graph.get_operations()):
            if op.type not in _WINDOWS or i in inside or not op.inputs or not _is_map(op.inputs[0]):
                continue
            levels = self._nearest(op.inputs[0])
            if any(level.dilation > 1 for level in levels):
                call = next((c for c in self._leaves if c.first <= i < c.last), None)
                raise refusal(call.path if call else op.name, type(call.layer).__name__ if call else op.type)


def _is_map(tensor: tf.Tensor) -> bool:
    return tensor.shape.rank == 4 and tuple(tensor.shape[1:3]) != (1, 1)


def _origin(tensor: tf.Tensor) -> tf.Tensor:
    while tensor.op.type in ("Identity", "Cast"):
        tensor = tensor.op.inputs[0]
    return tensor


def _has_inner_calls(call: _Call, calls: Sequence[_Call]) -> bool:
    return any(
        other is not call and call.first <= other.first and other.last <= call.last and other.path.startswith(call.path)
        for other in calls
    )

"""The output of any layer of any model, batch by batch, from one traced pass."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from kerasxai.engine.feature_layer.choice import Choice
from kerasxai.engine.feature_layer.readable_maps import is_channels_first
from kerasxai.engine.layers import find_layer, input_specs, no_map, walk
from kerasxai.engine.tensor_names import TensorNames, is_operation
from kerasxai.engine.trace_cache import Trace, Traces
from kerasxai.engine.tracing import Call, build, one_pass_at_a_time, recorded
from kerasxai.features.stream import Batch, batches
from kerasxai.tools.errors import KerasxaiError


def traced_output(model: Any, layer: Any, images: Any) -> tuple[str, Any]:
    """Run a model in the graph that is being traced, and returns a layer's path and its output.

    Args:
        model: Any Keras model.
        layer: A path, a name that only one layer has, a layer; None takes the last feature map that the output
            depends on.
        images: `(B, H, W, C)`, a tensor of the graph.

    Returns:
        The path, and the output in the model's own dtype; maps with channels last, `(B, h, w, K)`.

    Raises:
        KerasxaiError: The layer is not called, or several times, or gives no tensor with a batch.
    """
    calls, outputs = run_recorded(model, images)
    return chosen_output(model, layer, calls, outputs, images)


@one_pass_at_a_time
def run_recorded(model: Any, images: Any) -> tuple[list[Call], Any]:
    """Run a model in the graph that is being traced, and returns the calls of its layers and its outputs."""
    graph = tf.compat.v1.get_default_graph()
    calls: list[Call] = []

    def seen(call: Call) -> None:
        # What is made inside a loop belongs to the loop's own graph and cannot be looked at from here.
        if all(isinstance(x, tf.Tensor) and x.graph is graph for x in tf.nest.flatten(call.output)):
            calls.append(call)

    if tf.nest.is_nested(images):
        with recorded(walk(model), seen):
            return calls, model(images, training=False)
    spec = input_specs(model)
    dtype = spec.dtype if isinstance(spec, tf.TensorSpec) else tf.float32
    if isinstance(spec, tf.TensorSpec) and not spec.shape.is_compatible_with(images.shape):
        turned = tf.transpose(images, (0, 3, 1, 2)) if images.shape.rank == 4 else images
        if not spec.shape.is_compatible_with(turned.shape):
            raise KerasxaiError(
                f"the model {model.name!r} takes images of shape {tuple(spec.shape[1:])}, not {tuple(images.shape[1:])}"
            )
        images = turned
    with recorded(walk(model), seen):
        outputs = model(tf.cast(images, dtype), training=False)
    return calls, outputs


def chosen_output(model: Any, layer: Any, calls: list[Call], outputs: Any, images: Any) -> tuple[str, Any]:
    """Return the path and the output of one layer among the calls of a traced pass; see `traced_output`."""
    score = tf.nest.flatten(outputs)[0]
    if layer is None:
        path, output = _default_map(Choice(model, calls, score, images, None), calls)
    elif isinstance(layer, str) and is_operation(layer):
        path, output = layer, TensorNames(calls, score.graph).operation(layer)
    else:
        path, found = find_layer(model, layer)
        own = [call for call in calls if call.layer is found]
        if not own:
            raise KerasxaiError(f"layer {path!r} is not called when the model runs; choose one that list_layers shows")
        if len(own) > 1:
            raise KerasxaiError(f"layer {path!r} is called {len(own)} times in one pass; it has no one output")
        path, output = own[0].path, own[0].output
    if not isinstance(output, tf.Tensor) or output.shape.rank is None or output.shape.rank < 2:
        shapes = tf.nest.map_structure(lambda x: tuple(x.shape), output)
        raise KerasxaiError(f"layer {path!r} gives {shapes}, not one tensor with a batch")
    if output.shape.rank == 4 and is_channels_first(output):
        output = tf.transpose(output, (0, 2, 3, 1))
    return path, output


def _default_map(choice: Choice, calls: list[Call]) -> tuple[str, Any]:
    chosen = choice.default()
    if len(chosen) > 1:
        names = ", ".join(place.path for place in chosen)
        raise KerasxaiError(
            f"expected one last feature map, got {len(chosen)} in parallel branches ({names}); name one of them"
        )
    if chosen[0].layout.grid is not None:
        raise no_map(chosen[0].path, calls=calls)
    return chosen[0].path, chosen[0].tensor


class Capture:
    """Asks for a layer's output, traced once for each size of image, kept for the last 8 sizes; weights are read live.

    Args:
        model: Any Keras model: functional, sequential, nested, subclassed. It is left exactly as it was.
        layer: As for `traced_output`.
        finish: What becomes of the output in the same graph, `finish(output, *more) -> tensors`; None leaves it.

    Attributes:
        path: The layer's path, known after the first batch.

    Example:
        >>> capture = Capture(model, "backbone/stem_activation")
        >>> capture(images).shape
        TensorShape([8, 112, 112, 32])
    """

    def __init__(self, model: Any, layer: Any = None, finish: Callable[..., Any] | None = None) -> None:
        self.model = model
        self.layer = layer
        self.path: str | None = None if layer is None else _path_of(model, layer)
        self._finish = finish
        self._traced = Traces()

    def __call__(self, images: Any, *more: Any) -> Any:
        """Return what `finish` makes of the output for images `(B, H, W, C)`, or for the inputs that a model takes."""
        tensors = tf.nest.map_structure(tf.convert_to_tensor, [images, *more])
        if not tf.nest.is_nested(tensors[0]):
            tensors[0] = tf.cast(tensors[0], tf.float32)
        specs = tf.nest.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype), tensors)
        key = repr(specs)
        return self._traced.get(key, None, lambda: self._tracing(tensors, specs)).concrete(*tensors)

    def _tracing(self, tensors: list[Any], specs: list[Any]) -> Trace:
        build(self.model, tf.nest.map_structure(lambda x: x[:1], tensors[0]))
        return Trace(tf.function(self._trace, autograph=False).get_concrete_function(*specs))

    def over(self, data: Any, batch_size: int) -> Iterator[tuple[Batch, Any]]:
        """Yield each batch of the data with what the layer gives for it."""
        for batch in batches(data, batch_size):
            yield batch, self(batch["image"])

    def _trace(self, images: Any, *more: Any) -> Any:
        self.path, output = traced_output(self.model, self.layer, images)
        return output if self._finish is None else self._finish(output, *more)


def map_of(output: Any, path: str | None = None) -> Any:
    """Return an output as a float32 map `(B, h, w, K)`; that of a dense layer is a map of one place.

    Raises:
        KerasxaiError: The output is neither `(B, h, w, K)` nor `(B, K)`.
    """
    if output.shape.rank == 2:
        output = output[:, None, None, :]
    if output.shape.rank != 4:
        raise KerasxaiError(f"expected a layer that gives (batch, height, width, channels), came {tuple(output.shape)}")
    return tf.cast(output, tf.float32)


def chosen_channels(maps: Any, channels: Sequence[int] | None) -> Any:
    """Return the chosen channels of maps `(B, h, w, K)`; None: all."""
    if channels is None:
        return maps
    wrong = [channel for channel in channels if not 0 <= channel < maps.shape[-1]]
    if wrong or not len(channels):
        raise KerasxaiError(f"channels must be of 0 to {maps.shape[-1] - 1}, came {wrong or 'none'}")
    return tf.gather(maps, list(channels), axis=-1)


def _path_of(model: Any, layer: Any) -> str:
    return layer if isinstance(layer, str) and is_operation(layer) else find_layer(model, layer)[0]

"""Outputs of any layer of any model, batch by batch, from one traced pass."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from kerasxai.engine.feature_layer.choice import Choice
from kerasxai.engine.feature_layer.readable_maps import is_channels_first
from kerasxai.engine.layers import find_layer, input_specs, no_map, walk
from kerasxai.engine.tensor_names import TensorNames, is_operation
from kerasxai.engine.trace_cache import Trace, Traces
from kerasxai.engine.tracing import Call, build, one_pass_at_a_time, recorded
from kerasxai.features.stream import Batch, Data, batches
from kerasxai.tools.errors import KerasxaiError

# A path, a name that only one layer has, or a layer; None: the last feature map that the output depends on.
LayerName: TypeAlias = "keras.Layer | str | None"
# Any: one tensor, or the structure of tensors that a model takes or returns.
Tensors: TypeAlias = Any


def traced_output(model: keras.Model, layer: LayerName, images: tf.Tensor) -> tuple[str, tf.Tensor]:
    """Call a model in the current graph and return the path and the output of one of its layers.

    Args:
        model: Any Keras model.
        layer: A path, a name that only one layer has, or a layer; None: the last feature map that the output depends
            on.
        images: `(B, H, W, C)`, a symbolic tensor.

    Returns:
        The path, and the output in the dtype of the model; feature maps with channels last, `(B, h, w, K)`.

    Raises:
        KerasxaiError: The layer is not called exactly once, or its output is not one tensor with a batch axis.
    """
    calls, outputs = run_recorded(model, images)
    return chosen_output(model, layer, calls, outputs, images)


@one_pass_at_a_time
def run_recorded(model: keras.Model, images: Tensors) -> tuple[list[Call], Tensors]:
    """Call a model in the current graph and return the calls of its layers and its outputs."""
    graph = tf.compat.v1.get_default_graph()
    calls: list[Call] = []

    def record(call: Call) -> None:
        # Outputs within a loop belong to the graph of the loop, and cannot be used from this one.
        if all(isinstance(x, tf.Tensor) and x.graph is graph for x in tf.nest.flatten(call.output)):
            calls.append(call)

    if not tf.nest.is_nested(images):
        images = _as_model_input(model, images)
    with recorded(walk(model), record):
        return calls, model(images, training=False)


def _as_model_input(model: keras.Model, images: tf.Tensor) -> tf.Tensor:
    """Cast images to the input dtype of a model, and transpose them if it takes channels first."""
    spec = input_specs(model)
    if not isinstance(spec, tf.TensorSpec):
        return tf.cast(images, tf.float32)
    fitting = images
    if not spec.shape.is_compatible_with(images.shape) and images.shape.rank == 4:
        fitting = tf.transpose(images, (0, 3, 1, 2))
    if not spec.shape.is_compatible_with(fitting.shape):
        raise KerasxaiError(
            f"expected images of shape {tuple(spec.shape[1:])} for the model {model.name!r}, "
            f"got {tuple(images.shape[1:])}"
        )
    return tf.cast(fitting, spec.dtype)


def chosen_output(
    model: keras.Model, layer: LayerName, calls: list[Call], outputs: Tensors, images: tf.Tensor
) -> tuple[str, tf.Tensor]:
    """Return the path and the output of one layer among recorded calls; see `traced_output`."""
    score = tf.nest.flatten(outputs)[0]
    if layer is None:
        path, output = _default_map(Choice(model, calls, score, images, None), calls)
    elif isinstance(layer, str) and is_operation(layer):
        path, output = layer, TensorNames(calls, score.graph).operation(layer)
    else:
        path, found = find_layer(model, layer)
        own = [call for call in calls if call.layer is found]
        if len(own) != 1:
            remedy = "name another layer of list_layers" if own else "name a layer that list_layers shows as called"
            raise KerasxaiError(
                f"expected a layer that is called once in a pass, got {len(own)} calls of {path!r}; {remedy}"
            )
        path, output = own[0].path, own[0].output
    if not isinstance(output, tf.Tensor) or output.shape.rank is None or output.shape.rank < 2:
        shapes = tf.nest.map_structure(lambda x: tuple(x.shape), output)
        raise KerasxaiError(f"expected a layer that returns one tensor with a batch axis, got {shapes} from {path!r}")
    if output.shape.rank == 4 and is_channels_first(output):
        output = tf.transpose(output, (0, 2, 3, 1))
    return path, output


def _default_map(choice: Choice, calls: list[Call]) -> tuple[str, tf.Tensor]:
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
    """Outputs of a layer for batches of images, traced once for each of the last 8 image sizes.

    Weights are read when it is called, so it stays valid throughout training.

    Args:
        model: Any Keras model: functional, sequential, nested, subclassed. It is not modified.
        layer: As for `traced_output`.
        finish: A function of the output in the same graph, `finish(output, *more) -> tensors`; None: the output.

    Attributes:
        path: The path of the layer; None for a default layer until the first call.

    Example:
        >>> capture = Capture(model, "backbone/stem_activation")
        >>> capture(images).shape
        TensorShape([8, 112, 112, 32])
    """

    def __init__(
        self, model: keras.Model, layer: LayerName = None, finish: Callable[..., Tensors] | None = None
    ) -> None:
        self.model = model
        self.layer = layer
        self.path: str | None = None if layer is None else _path_of(model, layer)
        self._finish = finish
        self._traced = Traces()

    def __call__(self, images: Tensors, *more: tf.Tensor) -> Tensors:
        """Return the finished output for images `(B, H, W, C)`, or for the inputs of a model with several."""
        tensors = tf.nest.map_structure(tf.convert_to_tensor, [images, *more])
        if not tf.nest.is_nested(tensors[0]):
            tensors[0] = tf.cast(tensors[0], tf.float32)
        specs = tf.nest.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype), tensors)
        key = repr(specs)
        return self._traced.get(key, None, lambda: self._tracing(tensors, specs)).concrete(*tensors)

    def _tracing(self, tensors: list[Tensors], specs: list[Tensors]) -> Trace:
        build(self.model, tf.nest.map_structure(lambda x: x[:1], tensors[0]))
        return Trace(tf.function(self._trace, autograph=False).get_concrete_function(*specs))

    def over(self, data: Data, batch_size: int) -> Iterator[tuple[Batch, Tensors]]:
        """Iterate over the batches of the data with the finished outputs."""
        for batch in batches(data, batch_size):
            yield batch, self(batch["image"])

    def _trace(self, images: Tensors, *more: tf.Tensor) -> Tensors:
        self.path, output = traced_output(self.model, self.layer, images)
        return output if self._finish is None else self._finish(output, *more)


def map_of(output: tf.Tensor) -> tf.Tensor:
    """Return an output as a float32 map `(B, h, w, K)`; the output of a dense layer is a map of one position.

    Raises:
        KerasxaiError: The output is neither `(B, h, w, K)` nor `(B, K)`.
    """
    if output.shape.rank == 2:
        output = output[:, None, None, :]
    if output.shape.rank != 4:
        raise KerasxaiError(
            f"expected a layer that returns (batch, height, width, channels), got {tuple(output.shape)}"
        )
    return tf.cast(output, tf.float32)


def chosen_channels(maps: tf.Tensor, channels: Sequence[int] | None) -> tf.Tensor:
    """Return the chosen channels of maps `(B, h, w, K)`; None: all.

    Raises:
        KerasxaiError: There is no such channel, or none is chosen.
    """
    if channels is None:
        return maps
    wrong = [channel for channel in channels if not 0 <= channel < maps.shape[-1]]
    if wrong or not len(channels):
        raise KerasxaiError(f"channels must be from 0 to {maps.shape[-1] - 1}, got {wrong or 'none'}")
    return tf.gather(maps, list(channels), axis=-1)


def _path_of(model: keras.Model, layer: keras.Layer | str) -> str:
    return layer if isinstance(layer, str) and is_operation(layer) else find_layer(model, layer)[0]

"""The part of a user's classifier below its own head, for a new head: `kerasxai train --backbone FILE.keras`."""

from typing import Any

import keras

from kerasxai.models.graph import LayerOutput, layer_outputs
from kerasxai.models.model_cloning import is_graph, rerun
from kerasxai.models.preprocessing import preprocess
from kerasxai.tools.error_reasons import reason
from kerasxai.tools.errors import KerasxaiError

_MODES = {"0,255": "built-in", "0,1": "unit", "-1,1": "tf", "caffe": "caffe", "imagenet": "torch"}
"""The preprocessing layers of each input range."""
_WITHOUT_FEATURES = (
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    keras.layers.Identity,
)


def trunk_of(classifier: keras.Model, input_range: str = "0,255") -> keras.Model:
    """Return a user's classifier up to its last feature map, from pixels in [0, 255] on, with the same layers.

    What is above the map is left out: global pooling, Flatten and Dense layers, also a pooling before Flatten, as
    Zhou et al. (2016, arXiv:1512.04150) removed it from VGG and AlexNet, and a map with one channel for each class.
    Nested models become layers of one graph, so that they can be trained in part.

    Args:
        classifier: A functional or sequential model of images `(B, H, W, 3)`.
        input_range: The range that the model takes: a name in `kerasxai.tools.input_range.RANGES`.

    Raises:
        KerasxaiError: The model has no known graph or no feature map, or the range is a function, which cannot be
            saved with the model.

    Example:
        >>> trunk_of(keras.applications.VGG16(weights=None)).output_shape
        (None, 14, 14, 512)
    """
    if input_range not in _MODES:
        raise KerasxaiError(
            f"input_range must be one of {', '.join(_MODES)} for a model file as backbone, got {input_range!r}; put "
            "other preprocessing into the model"
        )
    if not is_graph(classifier):
        raise KerasxaiError(
            f"expected a functional or sequential model with a known input shape as backbone, got {classifier.name!r}, "
            f"a {type(classifier).__name__}"
        )
    shapes = [tuple(tensor.shape) for tensor in classifier.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] != 3:
        raise KerasxaiError(
            f"expected a backbone with images (B, H, W, 3) as its only input, got {classifier.name!r} with {shapes}"
        )
    flat = _flat(classifier, input_range)
    # A model that ends in a map has no classes.
    classes = classifier.output_shape[-1] if len(classifier.output_shape) == 2 else None
    return keras.Model(flat.inputs[0], last_map(flat, classes).tensor, name=classifier.name)


def _flat(classifier: keras.Model, input_range: str) -> keras.Model:
    """Return the classifier as one graph with the same layers, behind the preprocessing of its input range."""
    image = keras.Input(tuple(classifier.inputs[0].shape[1:]), name="image", dtype="float32")
    pixels = preprocess(image, _MODES[input_range])

    def call(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        if not is_graph(operation):
            return operation(*args, **kwargs)
        tensors = [one for one in keras.tree.flatten(args) if isinstance(one, keras.KerasTensor)]
        outputs = rerun(operation, tensors, call)
        return outputs[0] if len(outputs) == 1 else outputs

    try:
        return keras.Model(image, rerun(classifier, [pixels], call)[0], name=classifier.name)
    except (ValueError, TypeError) as error:
        raise KerasxaiError(f"cannot use {classifier.name!r} as backbone: {reason(error)}") from error


def last_map(model: keras.Model, num_classes: int | None = None) -> LayerOutput:
    """Return the last feature map of a classifier that a new head can use.

    Args:
        model: A functional or sequential model.
        num_classes: The last map is left out if it has so many channels, one for each class, and no weights above it;
            None keeps it.

    Raises:
        KerasxaiError: There is no feature map on every path.
    """
    outputs = layer_outputs(model)
    # The head, from the top: what has no map, no position or no weights; and the map of the classes.
    while outputs and not (_is_map(outputs[-1]) and not isinstance(outputs[-1].operation, _WITHOUT_FEATURES)):
        num_classes = None if _has_weights(outputs.pop()) else num_classes
    if num_classes is not None:
        while outputs and _is_map(outputs[-1]) and outputs[-1].tensor.shape[-1] == num_classes:
            outputs.pop()
    found = next((output for output in reversed(outputs) if _is_map(output)), None)
    if found is None or not any(map(_has_weights, outputs)):
        raise KerasxaiError(
            f"expected a backbone with a feature map (B, h, w, C) on every path, got {model.name!r} with no such map"
        )
    return found


def _is_map(output: LayerOutput) -> bool:
    return output.stride is not None and output.on_every_path and tuple(output.tensor.shape[1:3]) != (1, 1)


def _has_weights(output: LayerOutput) -> bool:
    return bool(getattr(output.operation, "weights", ()))

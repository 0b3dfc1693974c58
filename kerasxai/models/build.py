"""Building a classifier from an image input, a backbone with its preprocessing, a head, and the predictions."""

import inspect
import numbers
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import keras

from kerasxai.engine.images.fit import checked_fit
from kerasxai.models.graph import LayerOutput, find_features, layer_outputs
from kerasxai.models.heads import Predictions
from kerasxai.models.hub import PREFIX, backbone_of, hub_backbone, is_hub_model, preset_size
from kerasxai.models.model_cloning import insert_layers
from kerasxai.models.multi_label import MultiLabelPredictions, is_multi
from kerasxai.models.names import imagenet_names
from kerasxai.models.output_stride import copy_with_output_stride
from kerasxai.models.preprocessing import preprocess
from kerasxai.models.tables import BACKBONES, HEADS, Backbone, Head
from kerasxai.tools.error_reasons import reason
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.lazy import resolve

Insert = Mapping[str, keras.Layer] | Callable[[keras.Model], Mapping[str, keras.Layer]]
InputSize = int | tuple[int, int] | Literal["any"] | None
Weights: TypeAlias = "str | os.PathLike[str] | None"
ImageShape: TypeAlias = tuple[int | None, int | None, int]


def build_classifier(
    backbone: str | keras.Model,
    num_classes: int | None,
    head: str = "gap",
    *,
    weights: Weights = "imagenet",
    input_size: InputSize = None,
    features: int | str | None = None,
    output_stride: int | None = None,
    insert: Insert | None = None,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
    input_fit: str = "stretch",
    labels: str = "single",
    **head_options: Any,
) -> keras.Model:
    """Build an image classifier: raw RGB in [0, 255] in, class probabilities out.

    Its layers are the input `image` (float32), the sub-model `backbone`, the head's own layers, and `predictions`
    (float32 under every policy).

    Args:
        backbone: A name in BACKBONES, `"hub:PRESET"` of KerasHub, or a model of yours, which is used with its weights
            and preprocessing up to its last feature map (or `features`). Of a KerasHub task, the backbone with the
            task's preprocessor.
        num_classes: Number of classes, at least 2. None keeps the ImageNet head of a named backbone, 1000 classes.
        head: A name in HEADS: `"gap"`, `"conv1x1"`, `"acol"` or `"spg"`.
        weights: `"imagenet"`, None (random), or the path of a Keras weights file for the whole named backbone without
            its top.
        input_size: Side of the square images, or (height, width), or `"any"` for a fully convolutional model; None for
            the size that the backbone was made for.
        features: The feature map of the head: None, the backbone's last one; a stride such as 8 or 16, the last block
            output with it; or the name of a layer. See `kerasxai.models.graph.find_features`.
        output_stride: The size of the image divided by the size of the head's map (8, 16, 32), None for no change: the
            last strides are removed and later kernels dilated, with the same weights. See
            `kerasxai.models.with_output_stride`; your own model is copied.
        insert: Layers to insert into the backbone: a mapping from the name of one of its layers to the new layer that
            follows it, or a function from the backbone to such a mapping, such as
            `kerasxai.models.adl.attention_dropout`; your own model is copied.
        class_names: Names of the classes, saved with the model.
        name: Name of the model.
        input_fit: How images of another aspect ratio are fitted to the input: `"stretch"`, `"crop"` or `"pad"`; saved
            with the model, and followed by the commands.
        labels: `"single"`, or `"multi"` for several classes an image: the model ends in sigmoids, its weights are not
            centered over the classes, and its bias expects one class an image. See `kerasxai.models.is_multi_label`.
        **head_options: Options of the head: `depth`, `width`, `normalize`, `dropout`, `seed`, for ACoL also
            `erase_threshold`, `erase_dilation`, `smoothing`. The seed is for the new weights of the head; random
            backbones follow `keras.utils.set_random_seed`.

    Returns:
        A functional Keras model, not compiled.

    Raises:
        KerasxaiError: A name is unknown, weights cannot be loaded, a size is too small, or an option does not fit.

    Example:
        >>> model = build_classifier("EfficientNetLite0", 8, head="acol", features=16, width=256, seed=0)
        >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    """
    if num_classes is None:
        given = {"features": features, "insert": insert, "class_names": class_names}
        given["labels"] = None if labels == "single" else labels
        _check_imagenet_arguments(head, [*(key for key, value in given.items() if value is not None), *head_options])
        return _imagenet_classifier(backbone, weights, input_size, output_stride, name)
    if isinstance(num_classes, bool) or not isinstance(num_classes, numbers.Integral) or num_classes < 2:
        raise KerasxaiError(f"num_classes must be an integer of at least 2, or None, got {num_classes!r}")
    if class_names is not None and len(class_names) != num_classes:
        raise KerasxaiError(f"class_names must have {num_classes} entries, one for each class, got {len(class_names)}")
    row, multi = _head(head, head_options), is_multi(labels)
    base, shape, default = _base(backbone, weights, input_size)
    feature_map = find_features(base, default if features is None else features)
    trunk = _up_to(base, feature_map, output_stride, insert)
    image = keras.Input(shape, name="image", dtype="float32")
    maps = _checked_maps(trunk(image), image)
    try:
        logits = resolve(row.builder)(maps, int(num_classes), labels=labels, **head_options)
    except KerasxaiError:
        raise
    except (ValueError, TypeError) as error:
        raise KerasxaiError(f"cannot build head {head!r} with {head_options}: {reason(error)}") from error
    names = None if class_names is None else list(class_names)
    return resolve(row.model)(image, _predictions(logits, names, input_fit, multi), name=name or f"{base.name}_{head}")


def _predictions(
    logits: keras.KerasTensor, class_names: list[str] | None, input_fit: str = "stretch", multi: bool = False
) -> keras.KerasTensor:
    layer = MultiLabelPredictions if multi else Predictions
    return layer(class_names, checked_fit(input_fit), name="predictions", dtype="float32")(logits)


def _head(name: str, options: Iterable[str]) -> Head:
    if name not in HEADS:
        raise unknown("head", name, HEADS)
    row = HEADS[name]
    # The first two parameters are the feature map and the number of classes.
    known = [name for name in [*inspect.signature(resolve(row.builder)).parameters][2:] if name != "labels"]
    for option in options:
        if option not in known:
            raise unknown(f"option of head {name!r}", option, known)
    return row


def _base(
    backbone: str | keras.Model, weights: Weights, input_size: InputSize
) -> tuple[keras.Model, tuple[int | None, ...], str | None]:
    """Return the whole backbone from raw pixels on, the shape of its images, and the default layer of a head."""
    if isinstance(backbone, str) and backbone.startswith(PREFIX):
        preset = backbone.removeprefix(PREFIX)
        input_size = preset_size(preset) if input_size is None else input_size
        backbone = hub_backbone(preset)
    elif is_hub_model(backbone):
        backbone = backbone_of(backbone)
    if isinstance(backbone, keras.Model):
        if weights not in ("imagenet", None):
            raise KerasxaiError(
                f"weights must be 'imagenet' or None for your own model, got {weights!r}; load them into it beforehand"
            )
        return *_own_model(backbone, input_size), None
    row = _backbone(backbone)
    shape = _input_shape(row, input_size)
    return _named_model(row, weights, shape, top=False), shape, row.feature_layer


def _backbone(name: object) -> Backbone:
    if not isinstance(name, str):
        raise KerasxaiError(f"backbone must be a name in BACKBONES or a keras.Model, got {type(name).__name__}")
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    return BACKBONES[name]


def _input_shape(row: Backbone, input_size: InputSize) -> ImageShape:
    return (*_height_and_width(row.input_size if input_size is None else input_size), 3)


def _height_and_width(input_size: InputSize) -> tuple[int | None, int | None]:
    if input_size == "any":
        return None, None
    size = (input_size, input_size) if isinstance(input_size, numbers.Integral) else input_size
    if not (
        isinstance(size, tuple | list)
        and len(size) == 2
        and all(isinstance(s, numbers.Integral) and int(s) > 0 for s in size)
    ):
        raise KerasxaiError(f"input_size must be a number of pixels, (height, width), or 'any', got {input_size!r}")
    return int(size[0]), int(size[1])


def _own_model(model: keras.Model, input_size: InputSize) -> tuple[keras.Model, tuple[int | None, ...]]:
    """Return a user's model as a graph, and the shape of its images."""
    if not getattr(model, "inputs", None):
        if input_size is None:
            raise KerasxaiError(
                f"expected a backbone with a known input shape, got {model.name!r} without one; give input_size="
            )
        shape = (*_height_and_width(input_size), 3)
        image = keras.Input(shape, name="image", dtype="float32")
        try:
            return keras.Model(image, model(image), name=model.name), shape
        except (ValueError, TypeError) as error:
            raise KerasxaiError(f"cannot call {model.name!r} on images of {shape}: {reason(error)}") from error
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] != 3:
        raise KerasxaiError(
            f"expected a backbone with images (B, H, W, 3) as its only input, got {model.name!r} with {shapes}"
        )
    declared = shapes[0][1:]
    if input_size is None:
        return model, declared
    requested = (*_height_and_width(input_size), 3)
    if any(own not in (None, new) for own, new in zip(declared, requested, strict=True)):
        raise KerasxaiError(f"input_size must be that of {model.name!r}, {declared}, got {input_size!r}")
    return model, requested


def _named_model(row: Backbone, weights: Weights, shape: ImageShape, top: bool) -> keras.Model:
    image = keras.Input(shape, name="image", dtype="float32")
    weights = None if weights is None else os.fspath(weights)
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise KerasxaiError(f"weights must be 'imagenet', None or an existing weights file, got {weights}")
    options: dict[str, Any] = {"classifier_activation": None} if top else {}
    try:
        with warnings.catch_warnings():
            # Some builders warn that weights made for 224 pixels are used at another size, which is intended here.
            warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square")
            base = resolve(row.builder)(
                include_top=top,
                weights=weights,
                input_tensor=preprocess(image, row.preprocessing),
                input_shape=shape,
                **options,
            )
        # The builders make models with a list of one input, and Keras warns if such a model is called on a tensor.
        return keras.Model(image, base.outputs[0], name=base.name)
    except KerasxaiError:
        raise
    except ValueError as error:
        raise KerasxaiError(
            f"cannot build {row.name} for images of {shape[0]} x {shape[1]}: {reason(error)}"
        ) from error
    except Exception as error:  # keras.utils.get_file raises a bare Exception when it has no network
        if weights is None:
            raise
        source = f"from {weights}" if weights != "imagenet" else f"(a {row.weights})"
        raise KerasxaiError(
            f"cannot get the weights of {row.name} {source}: {reason(error)}; without internet use weights=None, a "
            "weights file, or an EfficientNetLite"
        ) from error


def _up_to(
    base: keras.Model, features: LayerOutput, output_stride: int | None, insert: Insert | None = None
) -> keras.Model:
    """Return the part of a backbone that ends at a feature map, with the output stride and the additional layers."""
    trunk = keras.Model(base.inputs[0], features.tensor, name="backbone")
    # Before the copy, because a function that chooses the layers reads strides.
    layers = insert(trunk) if callable(insert) else insert
    if output_stride is not None:
        trunk = copy_with_output_stride(trunk, output_stride)
    return insert_layers(trunk, layers) if layers else trunk


def _checked_maps(maps: keras.KerasTensor, image: keras.KerasTensor) -> keras.KerasTensor:
    """Refuse a map with a single position, on which no explanation could show anything."""
    if maps.shape[1:3] == (1, 1):
        size = " x ".join(str(side) for side in image.shape[1:3])
        raise KerasxaiError(
            f"expected a feature map with several positions, got one of 1 x 1 for images of {size}; give a larger "
            "input_size or a smaller stride as features="
        )
    return maps


def _check_imagenet_arguments(head: str, given: Sequence[str]) -> None:
    """Refuse the arguments that describe a new head where the ImageNet head of a backbone is kept."""
    if head != "gap" or given:
        arguments = ", ".join([*(["head"] if head != "gap" else []), *given])
        raise KerasxaiError(
            f"expected no argument for a new head with num_classes=None, which keeps the ImageNet head, got {arguments}"
        )


def _imagenet_classifier(
    backbone: str | keras.Model, weights: Weights, input_size: InputSize, output_stride: int | None, name: str | None
) -> keras.Model:
    """Build the unchanged ImageNet model: the backbone up to its feature layer, then its own remaining layers."""
    if isinstance(backbone, keras.Model):
        raise KerasxaiError(
            "backbone must be a name in BACKBONES with num_classes=None, which keeps the ImageNet head, got a model"
        )
    row = _backbone(backbone)
    shape = _input_shape(row, input_size)
    if not row.builder.startswith("kerasxai.") and shape[:2] != (row.input_size, row.input_size):
        raise KerasxaiError(
            f"input_size must be {row.input_size} for the ImageNet head of {backbone}, got {input_size!r}"
        )
    base = _named_model(row, weights, shape, top=True)
    features = find_features(base, row.feature_layer)
    image = keras.Input(shape, name="image", dtype="float32")
    x = _checked_maps(_up_to(base, features, output_stride)(image), image)
    outputs = layer_outputs(base)
    first = [output.tensor is features.tensor for output in outputs].index(True) + 1
    for layer in (output.operation for output in outputs[first:]):
        config = layer.get_config()
        if layer.name == "predictions":
            if isinstance(layer, keras.layers.Activation):
                continue  # It is linear: the softmax is in the `Predictions` that follow.
            config["name"] = "logits"
        # A copy, so that `layer.output` belongs to this model and the name can change.
        copy = type(layer).from_config(config)
        try:
            x = copy(x)
        except ValueError as error:
            raise KerasxaiError(
                f"cannot put the ImageNet head of {backbone} on a finer map: {reason(error)}"
            ) from error
        copy.set_weights(layer.get_weights())
    return keras.Model(image, _predictions(x, imagenet_names()), name=name or base.name)

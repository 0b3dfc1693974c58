"""Putting a classifier together: image, backbone with its preprocessing inside, head, predictions."""

import inspect
import numbers
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import keras

from kerasxai.models.graph import Place, find_features, places
from kerasxai.models.heads import Predictions
from kerasxai.models.model_cloning import inserted
from kerasxai.models.names import imagenet_names
from kerasxai.models.output_stride import strided_copy
from kerasxai.models.preprocessing import preprocess
from kerasxai.models.tables import BACKBONES, HEADS, Backbone, Head
from kerasxai.tools.error_reasons import reason
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.lazy import resolve

Insert = Mapping[str, keras.Layer] | Callable[[keras.Model], Mapping[str, keras.Layer]]
InputSize = int | tuple[int, int] | Literal["any"] | None


def build_classifier(
    backbone: str | keras.Model,
    num_classes: int | None,
    head: str = "gap",
    *,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_size: InputSize = None,
    features: int | str | None = None,
    output_stride: int | None = None,
    insert: Insert | None = None,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
    **head_options: Any,
) -> keras.Model:
    """Builds an image classifier: raw RGB in [0, 255] in, class probabilities out.

    Its layers are the input `image` (float32), the sub-model `backbone`, the head's own layers, and `predictions`
    (float32 under every policy).

    Args:
        backbone: A name in BACKBONES, or a model of yours, which is used as it is, with its weights and preprocessing,
            up to its last feature map (or `features`).
        num_classes: Number of classes, at least 2. None keeps the ImageNet head of a named backbone, 1000 classes.
        head: A name in HEADS: `"gap"`, `"conv1x1"`, `"acol"` or `"spg"`.
        weights: `"imagenet"`, None (random), or the path of a Keras weights file for the whole named backbone without
            its top.
        input_size: Side of the square images, or (height, width), or `"any"` for a fully convolutional model; None is
            what the backbone was made for.
        features: Where the head stands: None, the backbone's own last feature map; a stride such as 8 or 16, the last
            block output with it; or the name of a layer. See `kerasxai.models.graph.find_features`.
        output_stride: By how much the head's map shall be smaller than the image (8, 16, 32), if not by as much as it
            is: the last strides are taken away and later kernels dilated, the weights stay. See
            `kerasxai.models.with_output_stride`; of your own model this makes a copy.
        insert: Layers to put into the backbone: a mapping from the name of one of its layers to the new layer that
            follows it, or a function that takes the backbone and returns such a mapping, such as
            `kerasxai.models.adl.attention_dropout`; of your own model this makes a copy.
        class_names: Names of the classes, saved with the model.
        name: Name of the model.
        **head_options: What the head's builder takes: `depth`, `width`, `dropout`, `seed`, for ACoL also
            `erase_threshold`, `erase_dilation`, `smoothing`. The seed is of the head's new weights; random backbones
            follow `keras.utils.set_random_seed`.

    Returns:
        A functional Keras model, not compiled.

    Raises:
        KerasxaiError: A name is unknown, weights cannot be had, a size is too small, or an option does not fit.

    Example:
        >>> model = build_classifier("EfficientNetLite0", 8, head="acol", features=16, width=256, seed=0)
        >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    """
    if num_classes is None:
        return _imagenet_classifier(
            backbone, head, weights, input_size, features, output_stride, insert, class_names, name, head_options
        )
    if isinstance(num_classes, bool) or not isinstance(num_classes, numbers.Integral) or num_classes < 2:
        raise KerasxaiError(f"num_classes must be an integer of at least 2, or None; got {num_classes!r}")
    if class_names is not None and len(class_names) != num_classes:
        raise KerasxaiError(f"class_names must have {num_classes} entries, one a class; got {len(class_names)}")
    row = _head(head, head_options)
    base, shape, default = _base(backbone, weights, input_size)
    trunk = _cut(base, find_features(base, default if features is None else features), output_stride, insert)
    image = keras.Input(shape, name="image", dtype="float32")
    maps = _checked(trunk(image), image)
    try:
        logits = resolve(row.builder)(maps, int(num_classes), **head_options)
    except KerasxaiError:
        raise
    except (ValueError, TypeError) as error:
        raise KerasxaiError(f"cannot build head {head!r} with {head_options}: {reason(error)}") from error
    names = None if class_names is None else list(class_names)
    return resolve(row.model)(image, _predictions(logits, names), name=name or f"{base.name}_{head}")


def _predictions(logits: Any, class_names: list[str] | None) -> Any:
    return Predictions(class_names, name="predictions", dtype="float32")(logits)


def _head(name: str, options: dict[str, Any]) -> Head:
    if name not in HEADS:
        raise unknown("head", name, HEADS)
    row = HEADS[name]
    taken = [*inspect.signature(resolve(row.builder)).parameters][2:]
    for option in options:
        if option not in taken:
            raise unknown(f"option of head {name!r}:", option, taken)
    return row


def _base(
    backbone: str | keras.Model, weights: Any, input_size: InputSize
) -> tuple[keras.Model, tuple[int | None, ...], str | None]:
    """Returns the uncut backbone from raw pixels on, the image's shape, and where heads stand by default."""
    if isinstance(backbone, keras.Model):
        if weights not in ("imagenet", None):
            raise KerasxaiError("weights= is for backbones by name; load the weights into your own model beforehand")
        return *_own_model(backbone, input_size), None
    if not isinstance(backbone, str):
        raise KerasxaiError(f"backbone must be a name in BACKBONES or a keras.Model; got {type(backbone).__name__}")
    if backbone not in BACKBONES:
        raise unknown("backbone", backbone, BACKBONES)
    row = BACKBONES[backbone]
    shape = _input_shape(row, input_size)
    return _named_model(row, weights, shape, top=False), shape, row.feature_layer


def _input_shape(row: Backbone, input_size: InputSize) -> tuple[int | None, int | None, int]:
    size = _sides(row.input_size if input_size is None else input_size)
    return (*size, 3)


def _sides(input_size: Any) -> tuple[int | None, int | None]:
    if input_size == "any":
        return None, None
    sides = (input_size, input_size) if isinstance(input_size, numbers.Integral) else input_size
    if not (
        isinstance(sides, tuple | list)
        and len(sides) == 2
        and all(isinstance(s, numbers.Integral) and int(s) > 0 for s in sides)
    ):
        raise KerasxaiError(f"input_size must be a number of pixels, (height, width), or 'any'; got {input_size!r}")
    return int(sides[0]), int(sides[1])


def _own_model(model: keras.Model, input_size: InputSize) -> tuple[keras.Model, tuple[int | None, ...]]:
    """Returns a user's model as a graph, and the shape of its images."""
    if not getattr(model, "inputs", None):
        if input_size is None:
            raise KerasxaiError(f"{model.name!r} does not say how large its images are: give input_size=")
        shape = (*_sides(input_size), 3)
        image = keras.Input(shape, name="image", dtype="float32")
        try:
            return keras.Model(image, model(image), name=model.name), shape
        except (ValueError, TypeError) as error:
            raise KerasxaiError(f"{model.name!r} does not take images of {shape}: {reason(error)}") from error
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] != 3:
        raise KerasxaiError(f"a backbone must take images (B, H, W, 3) alone; {model.name!r} takes {shapes}")
    own = shapes[0][1:]
    if input_size is None:
        return model, own
    wished = (*_sides(input_size), 3)
    if any(have not in (None, want) for have, want in zip(own, wished, strict=True)):
        raise KerasxaiError(f"{model.name!r} takes images of {own}; got input_size={input_size!r}")
    return model, wished


def _named_model(row: Backbone, weights: Any, shape: tuple[int | None, int | None, int], top: bool) -> keras.Model:
    image = keras.Input(shape, name="image", dtype="float32")
    weights = None if weights is None else os.fspath(weights)
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise KerasxaiError(f"weights must be 'imagenet', None or a weights file; there is no file {weights}")
    options: dict[str, Any] = {"classifier_activation": None} if top else {}
    try:
        with warnings.catch_warnings():
            # Some builders warn that weights made for 224 pixels are used at another size, which is what was asked for.
            warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square")
            base = resolve(row.builder)(
                include_top=top,
                weights=weights,
                input_tensor=preprocess(image, row.preprocessing),
                input_shape=shape,
                **options,
            )
        # The builders make a list of the one input, which Keras then wants at each call.
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


def _cut(base: keras.Model, place: Place, output_stride: int | None, insert: Insert | None = None) -> keras.Model:
    trunk = keras.Model(base.inputs[0], place.tensor, name="backbone")
    layers = insert(trunk) if callable(insert) else insert
    if output_stride is not None:
        trunk = strided_copy(trunk, output_stride)
    return inserted(trunk, layers) if layers else trunk


def _checked(maps: Any, image: Any) -> Any:
    """Refuses a map of one place, on which no explanation could show anything."""
    if maps.shape[1:3] == (1, 1):
        size = " x ".join(str(side) for side in image.shape[1:3])
        raise KerasxaiError(f"images of {size} leave a map of one place: give a larger input_size or smaller features=")
    return maps


def _imagenet_classifier(
    backbone: str | keras.Model,
    head: str,
    weights: Any,
    input_size: InputSize,
    features: int | str | None,
    output_stride: int | None,
    insert: Insert | None,
    class_names: Sequence[str] | None,
    name: str | None,
    head_options: dict[str, Any],
) -> keras.Model:
    """Builds the untouched ImageNet model: the backbone up to its feature layer, then its own remaining layers."""
    if not isinstance(backbone, str):
        raise KerasxaiError("num_classes=None keeps the ImageNet head of a backbone by name; yours has none known here")
    if backbone not in BACKBONES:
        raise unknown("backbone", backbone, BACKBONES)
    if head != "gap" or features is not None or insert is not None or class_names is not None or head_options:
        raise KerasxaiError(
            "num_classes=None keeps the ImageNet head as it is; leave head, features, insert and class_names alone"
        )
    row = BACKBONES[backbone]
    shape = _input_shape(row, input_size)
    if not row.builder.startswith("kerasxai.") and shape[:2] != (row.input_size, row.input_size):
        raise KerasxaiError(
            f"the ImageNet head of {backbone} takes images of {row.input_size} alone; got {input_size!r}"
        )
    base = _named_model(row, weights, shape, top=True)
    place = find_features(base, row.feature_layer)
    image = keras.Input(shape, name="image", dtype="float32")
    x = _checked(_cut(base, place, output_stride)(image), image)
    following = places(base)
    following = following[[p.tensor is place.tensor for p in following].index(True) + 1 :]
    for layer in (p.operation for p in following):
        config = layer.get_config()
        if layer.name == "predictions":
            if isinstance(layer, keras.layers.Activation):
                continue  # linear, because the softmax comes from us
            config["name"] = "logits"
        # A copy, so that `layer.output` is of this model and the name can change.
        copy = type(layer).from_config(config)
        try:
            x = copy(x)
        except ValueError as error:
            raise KerasxaiError(f"the ImageNet head of {backbone} does not fit a finer map: {reason(error)}") from error
        copy.set_weights(layer.get_weights())
    return keras.Model(image, _predictions(x, imagenet_names()), name=name or base.name)

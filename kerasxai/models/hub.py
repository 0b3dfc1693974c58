"""Models of KerasHub presets, with the preprocessing of the preset as layers: pixels in [0, 255] in."""

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import keras

from kerasxai.models.heads import Predictions
from kerasxai.models.names import imagenet_names
from kerasxai.models.trunk import trunk_of
from kerasxai.tools.error_reasons import reason
from kerasxai.tools.errors import KerasxaiError, KerasxaiWarning
from kerasxai.tools.printable import printable

PREFIX = "hub:"
KAGGLE, HUGGING_FACE = "kaggle://", "hf://"
_IMAGENET_CLASSES = 1000
T = TypeVar("T")


@keras.saving.register_keras_serializable("kerasxai")
class PresetPreprocessing(keras.layers.Rescaling):
    """The scale and offset of KerasHub's `ImageConverter`; also keeps class names and the fit of the images.

    Args:
        class_names: One name for each class, or None.
        input_fit: How images of another aspect ratio are fitted: `"stretch"`, `"crop"` or `"pad"`.
        **kwargs: As for `keras.layers.Rescaling`.
    """

    def __init__(self, class_names: Sequence[str] | None = None, input_fit: str = "stretch", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.class_names = None if class_names is None else list(class_names)
        self.input_fit = input_fit

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "class_names": self.class_names, "input_fit": self.input_fit}


class PreprocessingWarning(KerasxaiWarning):
    """A backbone without the preprocessing that its weights were trained with."""


def hub_classifier(preset: str) -> keras.Model:
    """Load the classifier of a preset, with the preprocessing of the task.

    Args:
        preset: A name of KerasHub, the path of a preset folder, `kaggle://...` or `hf://...`.

    Returns:
        A model from pixels in [0, 255], at the size of the preset, to probabilities, or to what the task gives if it
        has an activation of its own.

    Raises:
        KerasxaiError: KerasHub is not installed, or the preset cannot be loaded or has no classifier.

    Example:
        >>> hub_classifier("resnet_18_imagenet").output_shape
        (None, 1000)
    """
    if (Path(preset) / "config.json").is_file() and not (Path(preset) / "task.json").is_file():
        raise _without_classifier(preset)
    task = _loaded(preset, lambda hub: hub.models.ImageClassifier.from_preset(preset))
    names = imagenet_names() if "imagenet" in preset and task.num_classes == _IMAGENET_CLASSES else None
    converter = _converter_of(task)
    image = keras.Input(_shape(task.backbone, converter), name="image", dtype="float32")
    outputs = task(_preprocessing(converter, names)(image))
    if task.activation is None or task.activation is keras.activations.linear:
        # Such tasks are trained with cross-entropy on logits.
        fit = _fit_of(converter)
        outputs = Predictions(names, fit, name="predictions", dtype="float32")(outputs)
    return keras.Model(image, outputs, name=task.name)


def hub_backbone(preset: str) -> keras.Model:
    """Load the backbone of a preset, with the preprocessing of the preset.

    Args:
        preset: As for `hub_classifier`.

    Returns:
        A model from pixels in [0, 255] to the last feature map, of images of any size if the backbone takes any.

    Raises:
        KerasxaiError: KerasHub is not installed, the preset cannot be loaded, or it has no feature map.

    Example:
        >>> hub_backbone("resnet_18_imagenet").output_shape
        (None, None, None, 512)
    """

    def load(hub: ModuleType) -> tuple[keras.Model, keras.layers.Layer | None]:
        backbone = hub.models.Backbone.from_preset(preset)
        try:
            return backbone, hub.layers.ImageConverter.from_preset(preset)
        except (ValueError, FileNotFoundError):  # a preset without an image converter
            return backbone, None

    return _with_preprocessing(*_loaded(preset, load))


def preset_size(preset: str) -> tuple[int, int] | None:
    """Return height and width of the images of a preset; None for any."""
    try:
        converter = _loaded(preset, lambda hub: hub.layers.ImageConverter.from_preset(preset))
    except KerasxaiError:
        return None
    return None if converter.image_size is None else (int(converter.image_size[0]), int(converter.image_size[1]))


def is_hub_model(model: object) -> bool:
    """Return whether a model is a task or a backbone of KerasHub."""
    return any(kind.__module__.startswith("keras_hub.") for kind in type(model).__mro__)


def backbone_of(model: keras.Model) -> keras.Model:
    """Return the backbone of a KerasHub task, with the task's preprocessing, or a KerasHub backbone as a plain model.

    Warns about a backbone that is given without a task and has no preprocessing.
    """
    backbone, converter = getattr(model, "backbone", None), _converter_of(model)
    if backbone is None:
        warnings.warn(
            f"the KerasHub backbone {model.name!r} has no preprocessing, and is given images in [0, 255]; give the "
            f"task (an ImageClassifier with its preprocessor) or {PREFIX}PRESET if its weights were trained on others",
            PreprocessingWarning,
            stacklevel=3,
        )
        backbone = model
    return _with_preprocessing(backbone, converter)


def _with_preprocessing(backbone: keras.Model, converter: keras.layers.Layer | None) -> keras.Model:
    image = keras.Input(tuple(backbone.input.shape[1:]), name="image", dtype="float32")
    pixels = image if converter is None else _preprocessing(converter)(image)
    # One graph, so that a part of it can be trained and can feed a head.
    return trunk_of(keras.Model(image, backbone(pixels), name=backbone.name))


def _converter_of(model: object) -> keras.layers.Layer | None:
    return getattr(getattr(model, "preprocessor", None), "image_converter", None)


def _preprocessing(
    converter: keras.layers.Layer | None, class_names: Sequence[str] | None = None
) -> keras.layers.Layer:
    scale, offset = getattr(converter, "scale", None), getattr(converter, "offset", None)
    return PresetPreprocessing(
        class_names,
        _fit_of(converter),
        scale=1.0 if scale is None else scale,
        offset=0.0 if offset is None else offset,
        name="preprocessing",
        dtype="float32",
    )


def _fit_of(converter: keras.layers.Layer | None) -> str:
    if getattr(converter, "crop_to_aspect_ratio", False):
        return "crop"
    return "pad" if getattr(converter, "pad_to_aspect_ratio", False) else "stretch"


def _shape(backbone: keras.Model, converter: keras.layers.Layer | None) -> tuple[int | None, int | None, int]:
    height, width, channels = tuple(backbone.input.shape[1:])
    size = getattr(converter, "image_size", None) or (None, None)
    return height or size[0], width or size[1], channels


def _loaded(preset: str, load: Callable[[ModuleType], T]) -> T:
    """Load something of a preset.

    Raises:
        KerasxaiError: KerasHub is not installed, or the preset cannot be loaded.
    """
    if importlib.util.find_spec("keras_hub") is None:
        raise KerasxaiError(
            f"cannot load {PREFIX}{printable(preset)}: KerasHub is not installed; run pip install 'kerasxai[hub]'"
        )
    try:
        return load(importlib.import_module("keras_hub"))
    except (KerasxaiError, MemoryError):
        raise
    except TypeError as error:
        if "num_classes" not in str(error):
            raise _cannot_load(preset, error) from error
        raise _without_classifier(preset) from error
    except Exception as error:  # Downloads fail in many ways.
        raise _cannot_load(preset, error) from error


def _without_classifier(preset: str) -> KerasxaiError:
    name = f"{PREFIX}{printable(preset)}"
    return KerasxaiError(
        f"expected a preset with a classifier, got {name} with a backbone alone; train a head: kerasxai train "
        f"--backbone {name}"
    )


def _cannot_load(preset: str, error: Exception) -> KerasxaiError:
    local = Path(preset).exists()
    remedy = "" if local else "; presets are downloaded: check the name and the network, or give a preset folder"
    return KerasxaiError(f"cannot load {PREFIX}{printable(preset)}: {reason(error)}{remedy}")

"""Class names: those of ImageNet, and those saved with a model."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from kerasxai.tools.files import read_json

if TYPE_CHECKING:
    import keras


@functools.cache
def _imagenet() -> tuple[str, ...]:
    names = read_json(Path(__file__).with_name("imagenet_names.json"))
    return tuple(names[str(number)].split(",")[0] for number in range(len(names)))


def imagenet_names() -> list[str]:
    """Return the first English name of each of the 1000 ImageNet classes, in the order of the classes.

    Two names occur twice, as in ImageNet itself: "crane" and "maillot".

    Example:
        >>> imagenet_names()[281]
        'tabby'
    """
    return list(_imagenet())


def class_names(model: "keras.Model") -> list[str] | None:
    """Return the class names in the `predictions` layer of a model, or None.

    Args:
        model: Any Keras model; only those from `build_classifier` with `class_names` have names.

    Example:
        >>> class_names(build_classifier("EfficientNetLite0", None))[281]
        'tabby'
    """
    for layer in reversed(getattr(model, "layers", [])):
        names = getattr(layer, "class_names", None)
        if names is not None:
            return list(names)
    return None

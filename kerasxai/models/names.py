"""What the classes are called."""

import functools
from pathlib import Path
from typing import Any

from kerasxai.tools.files import read_json


@functools.cache
def _imagenet() -> tuple[str, ...]:
    names = read_json(Path(__file__).with_name("imagenet_names.json"))
    return tuple(names[str(number)].split(",")[0] for number in range(len(names)))


def imagenet_names() -> list[str]:
    """Returns the first English name of each of the 1000 ImageNet classes, in the order of the classes.

    Two names stand for two classes each, as in ImageNet itself: "crane" and "maillot".

    Example:
        >>> imagenet_names()[281]
        'tabby'
    """
    return list(_imagenet())


def class_names(model: Any) -> list[str] | None:
    """Returns the class names that a model carries in its `predictions` layer, or None.

    Args:
        model: Any Keras model; only those that `build_classifier` made with `class_names` carry names.

    Example:
        >>> class_names(build_classifier("EfficientNetLite0", None))[281]
        'tabby'
    """
    for layer in reversed(getattr(model, "layers", [])):
        names = getattr(layer, "class_names", None)
        if names is not None:
            return list(names)
    return None

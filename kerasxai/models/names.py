"""What the classes are called."""

import functools
import json
from pathlib import Path
from typing import Any


@functools.cache
def _imagenet() -> tuple[str, ...]:
    names = json.loads(Path(__file__).with_name("imagenet_names.json").read_text(encoding="utf-8"))
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

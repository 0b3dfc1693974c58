"""Class names: those of ImageNet, those saved with a model, and those given to it."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kerasxai.engine.outputs.kinds import class_count
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import read_json

if TYPE_CHECKING:
    import keras

_GIVEN = "_kerasxai_class_names"
"""The attribute of a model that has the names given by `set_class_names`."""


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


def set_class_names(model: "keras.Model", names: Sequence[str]) -> None:
    """Give the classes of a model names, by which explanations, pictures and targets call them; not saved with it.

    Args:
        model: Any Keras model.
        names: A name for each class, in the order of the outputs; two for a single output unit.

    Raises:
        KerasxaiError: The model has another number of classes.

    Example:
        >>> model = build_classifier("EfficientNetLite0", 2)
        >>> set_class_names(model, ["cat", "dog"])
        >>> class_names(model)
        ['cat', 'dog']
    """
    expected = class_count(model)
    if expected is not None and len(names) != expected:
        raise KerasxaiError(f"expected {expected} class names, one for each class of the model, got {len(names)}")
    setattr(model, _GIVEN, tuple(names))


def class_names(model: "keras.Model") -> list[str] | None:
    """Return the class names given by `set_class_names` or in the `predictions` layer of a model, or None.

    Args:
        model: Any Keras model; without `set_class_names`, only those from `build_classifier` with `class_names` have
            names.

    Example:
        >>> class_names(build_classifier("EfficientNetLite0", None))[281]
        'tabby'
    """
    given = getattr(model, _GIVEN, None)
    if given is not None:
        return list(given)
    for layer in reversed(getattr(model, "layers", [])):
        names = getattr(layer, "class_names", None)
        if names is not None:
            return list(names)
    return None

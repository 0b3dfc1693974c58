"""The model that a command reads, with the names of its classes."""

from collections.abc import Sequence
from pathlib import Path

import keras

from kerasxai import data, models
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import read_text


def load_named(
    model: str, custom_objects: Sequence[str], class_names: str | None, *, classes: bool = True
) -> keras.Model:
    """Load the model of a command, and give its classes the names of `--class-names`.

    Args:
        model: As for `kerasxai.models.load_classifier`.
        custom_objects: As for `kerasxai.models.load_classifier`.
        class_names: As for `read_class_names`; None for the names in the model.
        classes: As for `kerasxai.models.load_classifier`.

    Raises:
        KerasxaiError: The model cannot be loaded, or has another number of classes.
    """
    # Refuse a mistake before the model is loaded.
    names = None if class_names is None else read_class_names(class_names)
    loaded = models.load_classifier(model, tuple(custom_objects), classes=classes)
    if names is not None:
        models.set_class_names(loaded, names)
    return loaded


def read_class_names(given: str) -> list[str]:
    """Return the class names of `--class-names`, in the order of the classes.

    Args:
        given: Names with commas between them; a text file with one name a line; or a folder of images, whose classes
            are sorted as in training.

    Raises:
        KerasxaiError: It is none of these, or a name is missing or occurs twice.

    Example:
        >>> read_class_names("cat, dog")
        ['cat', 'dog']
    """
    path = Path(given)
    if path.is_dir():
        return list(data.open(given).info.class_names)
    if path.is_file():
        names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    else:
        names = [name.strip() for name in given.split(",")]
        if len(names) < 2:
            raise KerasxaiError(f"expected class names with commas between them, a text file or a folder, got {given}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or "" in names:
        problem = f"{twice[0]!r} twice" if twice and twice[0] else "an empty one"
        raise KerasxaiError(f"expected a name of its own for each class, got {problem}; see --class-names")
    return names

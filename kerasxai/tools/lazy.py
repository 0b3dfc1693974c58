"""Names that are looked up when they are first used, so that tables cost no import of TensorFlow."""

import importlib
from typing import Any


def resolve(reference: str) -> Any:
    """Return the object that `"package.module:name"` names.

    Example:
        >>> resolve("math:sqrt")(9.0)
        3.0
    """
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)

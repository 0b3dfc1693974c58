"""References that are imported when first used, so that tables do not import TensorFlow."""

import importlib
from typing import Any


# Any: a reference may name an object of any type.
def resolve(reference: str) -> Any:
    """Import the object with the reference `"package.module:name"`.

    Example:
        >>> resolve("math:sqrt")(9.0)
        3.0
    """
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)

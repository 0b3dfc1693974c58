"""References that are imported when first used, so that tables do not import TensorFlow."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kerasxai.tools.errors import KerasxaiError


# Any: a reference may name an object of any type.
def resolve(reference: str) -> Any:
    """Import the object with the reference `"package.module:name"`.

    Example:
        >>> resolve("math:sqrt")(9.0)
        3.0
    """
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def imported_function(name: str, role: str) -> Callable[..., Any]:
    """Import a user's function, also from the current directory.

    Args:
        name: `"module:function"`.
        role: What the function is used as, for errors.

    Raises:
        KerasxaiError: The module cannot be imported, or the object is not a function.
    """
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())
        raise KerasxaiError(
            f"expected an importable function as {role}, got {name!r}: {type(error).__name__}: {reason}"
        ) from error
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise KerasxaiError(f"expected a function as {role}, got {name!r}, a {type(found).__name__}")
    return found

"""Errors and warnings: what was expected, what was given, and the remedy."""

import difflib
from collections.abc import Iterable


class KerasxaiError(ValueError):
    """A mistake of the user; the command line prints its message as one line and exits with status 2."""


class KerasxaiWarning(UserWarning):
    """A limitation of a result; commands print the first warning of each class as one line on stderr."""


class NotFiniteError(KerasxaiError):
    """NaN or infinity where finite numbers are required.

    Args:
        message: What was expected, what was given, and the remedy.
        image: The index of the image concerned; None if it is not about one image, as with weights.
    """

    def __init__(self, message: str, image: int | None = None) -> None:
        super().__init__(message)
        self.image = image


def unknown(kind: str, name: object, known: Iterable[str], most: int = 12) -> KerasxaiError:
    """Return the error for a name that is not in a table, with the nearest names.

    Args:
        kind: The kind of object named, in the singular: `"method"`, `"layer"`.
        name: The name that the user gave.
        known: All valid names.
        most: Maximum number of names listed.

    Example:
        >>> str(unknown("method", "gradcm", ["cam", "gradcam"]))
        "expected a known method, got 'gradcm'; nearest: gradcam"
    """
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=most, cutoff=0.5)
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    remedy = f"nearest: {', '.join(near)}" if near else f"there are: {', '.join(names[:most])}{more}"
    return KerasxaiError(f"expected a known {kind}, got {str(name)!r}; {remedy}")

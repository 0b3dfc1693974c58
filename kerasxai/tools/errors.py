"""Errors that say what was expected, what came, and what to do."""

import difflib
from collections.abc import Iterable


class KerasxaiError(ValueError):
    """A mistake in what the user gave; the command line prints its message as one line and exits with 2."""


class KerasxaiWarning(UserWarning):
    """What a user should know about a result; a command prints the first of each class as one line on stderr."""


class NotFiniteError(KerasxaiError):
    """A NaN or an infinity where finite numbers are needed.

    Args:
        message: What was expected, what came, what to do.
        image: The number of the image it is about; None where it is about all, as with weights.
    """

    def __init__(self, message: str, image: int | None = None) -> None:
        super().__init__(message)
        self.image = image


def unknown(kind: str, name: object, known: Iterable[str], most: int = 12) -> KerasxaiError:
    """Return the error for a name that is not in a table, with the names nearest to it.

    Args:
        kind: What is named, in the singular: `"method"`, `"layer"`.
        name: What the user wrote.
        known: All names that would have been right.
        most: How many names are listed at the most.

    Example:
        >>> str(unknown("method", "gradcm", ["cam", "gradcam"]))
        "unknown method 'gradcm'; nearest: gradcam"
    """
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=most, cutoff=0.5)
    if near:
        return KerasxaiError(f"unknown {kind} {str(name)!r}; nearest: {', '.join(near)}")
    listed = ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")
    return KerasxaiError(f"unknown {kind} {str(name)!r}; there are: {listed}")

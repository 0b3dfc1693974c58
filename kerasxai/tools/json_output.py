"""`--json`: the result of a command as one JSON document on stdout, and everything else on stderr."""

import contextlib
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from kerasxai.tools.files import json_text, null_for_nan
from kerasxai.tools.model_settings import OUTPUT
from kerasxai.tools.settings import setting


@dataclass(frozen=True)
class JsonOutput:
    """The flag of commands that print tables.

    Attributes:
        json: Whether the result is printed as JSON.
    """

    json: bool = setting("print JSON in place of tables; messages go to stderr", OUTPUT, False)


_documents: ContextVar[list[object] | None] = ContextVar("documents", default=None)


@contextlib.contextmanager
def json_output(requested: bool) -> Iterator[None]:
    """Print nothing on stdout while a block runs but, at its end, what it passed to `print_json`, or else null.

    Args:
        requested: Whether `--json` was given; if not, nothing changes.
    """
    if not requested:
        yield
        return
    documents: list[object] = []
    token = _documents.set(documents)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _documents.reset(token)
        # Also if the command fails after it has its result: a full disk must not lose the figures.
        if documents or sys.exc_info()[0] is None:
            print(json_text(null_for_nan(documents[-1] if documents else None), indent=2))


def prints_json() -> bool:
    """Return whether tables are not printed, because their content is printed as JSON."""
    return _documents.get() is not None


def print_json(document: object) -> None:
    """Print the result of a command if `--json` was given; the last one, once the command ends.

    Args:
        document: Dicts, lists, texts and numbers; NaN is printed as null.

    Example:
        >>> with json_output(True):
        ...     print_json({"accuracy": float("nan")})
        {
          "accuracy": null
        }
    """
    documents = _documents.get()
    if documents is not None:
        documents.append(document)

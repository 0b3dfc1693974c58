"""Warnings of commands, printed as one line on stderr."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import TextIO

from kerasxai.tools.errors import KerasxaiWarning
from kerasxai.tools.printable import printable


@contextlib.contextmanager
def one_line_warnings(prog: str) -> Iterator[None]:
    """Print each warning as one line, and of each class of KerasxaiWarning only the first.

    Thousands of images may cause the same warning. Messages of image libraries about damaged files are suppressed,
    because commands report such files themselves.

    Args:
        prog: The prefix of each line.

    Example:
        >>> with one_line_warnings("kerasxai explain"):
        ...     warnings.warn("the image is dark", KerasxaiWarning)
    """
    shown: set[type[Warning]] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, KerasxaiWarning) and category is not KerasxaiWarning:
            if category in shown:
                return
            shown.add(category)
        with contextlib.suppress(OSError):
            print(printable(f"{prog}: warning: {' '.join(str(message).split())}"), file=sys.stderr, flush=True)

    pillow = logging.getLogger("PIL")
    level = pillow.level
    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=KerasxaiWarning)
        warnings.filterwarnings("ignore", module=r"PIL\.")
        # Not `record=True`, which would delay the lines until the command ends.
        warnings.showwarning = show
        pillow.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            pillow.setLevel(level)

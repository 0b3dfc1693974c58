"""The lines and tables that commands print; the library logs and does not print."""

import contextlib
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence

from kerasxai.tools.text_tables import print_table


class _Printer(logging.Handler):
    """Prints progress on stdout and warnings on stderr, whichever streams they are at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message as a line."""
        print(record.getMessage(), file=sys.stderr if record.levelno >= logging.WARNING else sys.stdout, flush=True)


@contextlib.contextmanager
def printed_log() -> Iterator[None]:
    """Print what the library logs while a command runs."""
    logger, handler = logging.getLogger("kerasxai"), _Printer()
    before = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    # Other libraries give the root logger a handler, which would print every message a second time.
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def print_figures(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table with the first column aligned left, the others right; turned in a terminal that is too narrow."""
    print_table([columns[0], *(f"{column}>" for column in columns[1:])], rows, turn=True)

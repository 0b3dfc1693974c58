"""A bar for calls that take long."""

import sys
import time
from types import TracebackType
from typing import Any

_PATIENCE = 1.0


class Bar:
    """Shows on stderr how much of a call is done, and only if the call takes more than about a second.

    Args:
        total: How much there is to do, in images.
        description: What is being done.
        shown: True, False, or None for "where stderr is a terminal".

    Example:
        >>> with Bar(16, "rise") as bar:
        ...     for _ in range(16):
        ...         bar.advance(1)
    """

    def __init__(self, total: float, description: str, shown: bool | None = None) -> None:
        self.total = total
        self.done = 0.0
        self._description = description
        self._shown = sys.stderr.isatty() if shown is None else shown
        self._begun = time.monotonic()
        self._progress: Any = None

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._progress is not None:
            self._progress.stop()

    def advance(self, amount: float) -> None:
        """Add to what is done; never goes above the total."""
        self.reach(self.done + amount)

    def reach(self, done: float) -> None:
        """Say how much is done altogether."""
        self.done = min(done, self.total)
        if not self._shown:
            return
        if self._progress is None and time.monotonic() - self._begun > _PATIENCE and self.done < self.total:
            self._start()
        if self._progress is not None:
            self._progress.update(self._task, completed=self.done)

    def _start(self) -> None:
        # Most calls are over before a bar would be of use, so that rich is imported only here.
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        # On a terminal the bar goes when the call is over; in a file its last state stays.
        self._progress = Progress(console=console, transient=console.is_terminal)
        self._task = self._progress.add_task(self._description, total=self.total)
        self._progress.start()

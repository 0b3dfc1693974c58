"""A progress bar for long calls."""

import sys
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress

# Seconds before the bar appears.
_DELAY = 1.0


class Bar:
    """A progress bar on stderr that appears only if the call takes longer than about a second.

    Args:
        total: The amount of work, in images.
        description: The text before the bar.
        shown: Whether to show the bar; None: if stderr is a terminal.

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
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def advance(self, amount: float) -> None:
        """Advance the bar by an amount of work."""
        self.reach(self.done + amount)

    def reach(self, done: float) -> None:
        """Set the amount of completed work, at most the total."""
        self.done = min(done, self.total)
        if not self._shown:
            return
        if self._progress is None and time.monotonic() - self._begun > _DELAY and self.done < self.total:
            self._start()
        if self._progress is not None:
            self._progress.update(self._task, completed=self.done)

    def _start(self) -> None:
        # Imported here, because most calls end before a bar appears.
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        # The bar disappears from a terminal at the end of the call; in a file its last state is kept.
        self._progress = Progress(console=console, transient=console.is_terminal)
        self._task = self._progress.add_task(self._description, total=self.total)
        self._progress.start()

"""A progress bar for long calls, and plain lines in its place where stderr is a file."""

import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from kerasxai.tools.commands import print_line
from kerasxai.tools.printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress

# Seconds before the bar appears.
_DELAY = 1.0
# Seconds between two plain lines.
_PAUSE = 30.0


class _Open(threading.local):
    """The bars that are open in this thread, the outermost first."""

    def __init__(self) -> None:
        self.bars: list[Bar] = []


_open = _Open()


class Bar:
    """Progress on stderr: a bar in a terminal for calls of more than a second, else a line every 30 seconds.

    Lines are of the form `localizing: 40 of 277 images, 4.1 s an image, about 16 min left`. A call that takes less than
    30 seconds writes none.

    Args:
        total: The amount of work, in units.
        description: The text before the bar.
        shown: True shows the bar and False nothing; None: the bar if stderr is a terminal, else lines.
        unit: What the work is counted in, in the singular.
        clock: Returns the time in seconds.

    Example:
        >>> with Bar(16, "rise") as bar:
        ...     for _ in range(16):
        ...         bar.advance(1)
    """

    def __init__(
        self,
        total: float,
        description: str,
        shown: bool | None = None,
        unit: str = "image",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self.done = 0.0
        self._skipped = 0.0
        self._description = description
        self._unit = unit
        self._clock = clock
        self._shown = sys.stderr.isatty() if shown is None else shown
        self._lines = shown is None and not self._shown
        self._begun = self._last = clock()
        self._progress: Progress | None = None
        self._outer: tuple[Bar, ...] = ()

    def __enter__(self) -> Self:
        self._outer = tuple(_open.bars)
        _open.bars.append(self)
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
        _open.bars = [bar for bar in _open.bars if bar is not self]
        passed = self._clock() - self._begun
        # The end of a part is left to the next line of the whole.
        if self._lines and kind is None and passed >= _PAUSE and not self._outer:
            self._print(f"{_counted(int(self.done - self._skipped), self._unit)} in {_duration(passed)}")

    def advance(self, amount: float) -> None:
        """Advance the bar by an amount of work."""
        self.reach(self.done + amount)

    def skip(self, amount: float) -> None:
        """Advance the bar by work of an earlier call, which is left out of the pace."""
        self._skipped += amount
        self.advance(amount)

    def reach(self, done: float) -> None:
        """Set the amount of completed work, at most the total."""
        self.done = min(done, self.total)
        if self._lines:
            self._write_line()
        if not self._shown:
            return
        # Two bars at a time would spoil each other's line of the terminal.
        free = self._progress is None and not any(bar._progress for bar in self._outer)
        if free and self._clock() - self._begun > _DELAY and self.done < self.total:
            self._start()
        if self._progress is not None:
            self._progress.update(self._task, completed=self.done)

    def _write_line(self) -> None:
        now = self._clock()
        # The line about the end is written once the call has ended.
        if now - self._last < _PAUSE or not self._skipped < self.done < self.total:
            return
        self._last = now
        pace = (now - self._begun) / (self.done - self._skipped)
        self._print(
            f"{int(self.done)} of {_counted(int(self.total), self._unit)}, {_pace(pace, self._unit)}, about "
            f"{_duration(pace * (self.total - self.done))} left"
        )

    def _print(self, text: str) -> None:
        print_line(f"{printable(self._description)}: {text}")

    def _start(self) -> None:
        # Imported here, because most calls end before a bar appears.
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import Progress

        console = Console(stderr=True)
        # The bar disappears from a terminal at the end of the call; in a file its last state is kept.
        self._progress = Progress(console=console, transient=console.is_terminal)
        self._task = self._progress.add_task(escape(self._description), total=self.total)
        self._progress.start()


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def _pace(seconds: float, unit: str) -> str:
    if seconds < 1:
        return f"{1 / seconds:.2g} {unit}s a second" if seconds > 0.01 else f"{1 / seconds:.0f} {unit}s a second"
    return f"{seconds:.1f} s {'an' if unit[0] in 'aeiou' else 'a'} {unit}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

"""The tables that benchmarks yield, and how they are printed: on the terminal and as Markdown."""

import dataclasses
import statistics
import sys
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from kerasxai.tools.text_tables import print_table


@dataclasses.dataclass(frozen=True)
class Figure:
    """A median over rounds.

    Attributes:
        median: The median.
        least: The least value; None if the figure was measured once, or its spread is not known.
        largest: The largest value; None as for `least`.
    """

    median: float
    least: float | None = None
    largest: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        """Return the median and the spread of the values of all rounds; one value has no spread."""
        if len(values) == 1:
            return cls(float(values[0]))
        return cls(float(statistics.median(values)), float(min(values)), float(max(values)))

    def __str__(self) -> str:
        spread = [] if self.least is None or self.largest is None else [self.least, self.largest]
        median, *rest = (f"{value:.{_digits(self.median)}f}" for value in (self.median, *spread))
        return f"{median} [{', '.join(rest)}]" if rest else median


@dataclasses.dataclass(frozen=True)
class Ratio:
    """A ratio of CPU time, and the same ratio of wall time.

    Attributes:
        cpu: Of the CPU time of all threads.
        wall: Of wall time.
    """

    cpu: Figure
    wall: Figure

    @classmethod
    def of(cls, rounds: Sequence[tuple[float, float]]) -> "Ratio":
        """Return the medians of pairs of a CPU and a wall ratio, one pair a round."""
        cpu, wall = zip(*rounds, strict=True)
        return cls(Figure.of(cpu), Figure.of(wall))

    def __str__(self) -> str:
        return f"{self.cpu} ({self.wall.median:.{_digits(self.cpu.median)}f})"


Cell: TypeAlias = str | int | Figure | Ratio | None
"""None is an empty cell: not measured, or not defined."""


@dataclasses.dataclass(frozen=True)
class Table:
    """The result of a benchmark, or a part of it that can be read alone.

    Attributes:
        key: Identifies the table among those of its part; a table replaces the stored one with the same key.
        title: Above the table.
        columns: The headings. The first column names the row.
        rows: The cells.
        notes: What the figures are and how often they were measured, one sentence each.
    """

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.key}: expected rows of {len(self.columns)} cells, got {len(row)}")

    def without_empty_columns(self) -> "Table":
        """Return the table without columns that have no figure in any row."""
        kept = [i for i in range(len(self.columns)) if any(row[i] is not None for row in self.rows)]
        rows = tuple(tuple(row[i] for i in kept) for row in self.rows)
        return dataclasses.replace(self, columns=tuple(self.columns[i] for i in kept), rows=rows)

    def cell(self, row: str, column: str) -> Cell:
        """Return the cell of a column in the first row with a name; None if there is no such row."""
        index = self.columns.index(column)
        return next((cells[index] for cells in self.rows if cells[0] == row), None)


def print_on_terminal(table: Table) -> None:
    """Print a table with its notes."""
    columns = [table.columns[0], *(f"{column}>" for column in table.columns[1:])]
    # Above the table, because a title of the table wraps to its width.
    print(f"\n{table.title}")
    print_table(columns, [[text_of(cell) for cell in row] for row in table.rows])
    for note in table.notes:
        print(note)
    sys.stdout.flush()


def markdown(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return the heading and the rows of a Markdown table, one line each."""
    lines = [columns, ["---"] * len(columns), *([text_of(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n".replace("|  |", "| |").replace("|  |", "| |") for line in lines)


def text_of(cell: Cell) -> str:
    """Return a cell as text."""
    return "" if cell is None else str(cell)


def in_rounds(count: int) -> str:
    """Return how often something was measured, for notes."""
    return "in one round" if count == 1 else f"over {count} rounds"


def report(message: str) -> None:
    """Print progress, which is not part of a table."""
    print(message, file=sys.stderr, flush=True)


def _digits(value: float) -> int:
    # About three digits that mean something: spreads are rarely below 1 %.
    size = abs(value)
    return 0 if size >= 20 else 2 if size >= 0.1 or size == 0 else 4

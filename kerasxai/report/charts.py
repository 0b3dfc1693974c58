"""Charts as numbers that a template draws as SVG, with text that stays text."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 360, 220
_NAME_WIDTH = 40
_NAMES_APART = 75
"""The last name ends at its position, and the one before is in the middle of its own."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 10, 34
_ROW = 30


@dataclass(frozen=True)
class Tick:
    """A line across the chart: its position in the picture, its text, and the row of texts, counted from the axis."""

    at: float
    text: str
    row: int = 0


@dataclass(frozen=True)
class Line:
    """A series: its points as SVG takes them, one text for each unbroken piece, and whether it is dashed."""

    name: str
    color: int
    dashed: bool
    pieces: list[str]


@dataclass(frozen=True)
class Mark:
    """A point on a series, such as the chosen threshold."""

    x: float
    y: float
    color: int
    text: str


@dataclass(frozen=True)
class LineChart:
    """Series over a common axis."""

    title: str
    x_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line]
    marks: list[Mark]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    bottom: int = HEIGHT - _BOTTOM


@dataclass(frozen=True)
class Interval:
    """A value with its interval."""

    name: str
    y: float
    low: float
    value: float
    high: float
    text: str
    blind: bool


@dataclass(frozen=True)
class IntervalChart:
    """Values with intervals below one another, on a common axis."""

    title: str
    rows: list[Interval]
    ticks: list[Tick]
    height: int
    bottom: int
    width: int = WIDTH


def line_chart(
    title: str,
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    x_label: str,
    marks: Mapping[str, tuple[float, float]] | None = None,
    x_names: Mapping[float, str] | None = None,
) -> LineChart | None:
    """Lay out series; names that begin with "val_" are dashed, in the color of their training series.

    Args:
        title: Above the chart.
        x: Positions.
        series: One value for each position by name; NaN for none.
        x_label: Below the chart.
        marks: Points by the name of their series.
        x_names: Ticks with a name instead of a number, by their position.

    Returns:
        None if no value is finite.

    Example:
        >>> line_chart("loss", [1, 2], {"loss": [1.0, 0.5], "val_loss": [1.1, 0.7]}, "epoch").lines[1].dashed
        True
    """
    finite = [value for values in series.values() for value in values if math.isfinite(value)]
    if not finite:
        return None
    x_values, x_low, x_high = _ticks(min(x), max(x), all(float(one).is_integer() for one in x))
    y_values, y_low, y_high = _ticks(min(finite), max(finite))
    named = x_names or {}

    def across(value: float) -> float:
        return round(_LEFT + (value - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT), 1)

    def down(value: float) -> float:
        return round(HEIGHT - _BOTTOM - (value - y_low) / (y_high - y_low) * (HEIGHT - _TOP - _BOTTOM), 1)

    colors: dict[str, int] = {}
    lines = []
    for name, values in series.items():
        color = colors.setdefault(name.removeprefix("val_"), len(colors))
        points = [(across(a), down(b)) if math.isfinite(b) else None for a, b in zip(x, values, strict=True)]
        lines.append(Line(name, color % 6, name.startswith("val_"), _pieces(points)))
    return LineChart(
        title,
        x_label,
        _named_ticks([Tick(across(one), f"{one:g}") for one in x_values], {across(at): n for at, n in named.items()}),
        [Tick(down(one), f"{one:g}") for one in y_values],
        lines,
        [
            Mark(across(at[0]), down(at[1]), colors[name.removeprefix("val_")] % 6, f"{name}: {at[0]:g}")
            for name, at in (marks or {}).items()
        ],
    )


def _named_ticks(ticks: Sequence[Tick], names: Mapping[float, str]) -> list[Tick]:
    """Return ticks with names added; numbers that would be behind a name are left out.

    Of names that would overlap, the next one is in another row, and one that is equal is left out.
    """
    kept = [tick for tick in ticks if all(abs(tick.at - at) >= _NAME_WIDTH for at in names)]
    named: list[Tick] = []
    for at, name in sorted(names.items()):
        before = named[-1] if named and at - named[-1].at < _NAMES_APART else None
        if before is None or before.text != name:
            named.append(Tick(at, name, 0 if before is None else 1 - before.row))
    return sorted([*kept, *named], key=lambda tick: tick.at)


def _pieces(points: Sequence[tuple[float, float] | None]) -> list[str]:
    pieces: list[list[str]] = [[]]
    for point in points:
        if point is None:
            pieces.append([])
        else:
            pieces[-1].append(f"{point[0]},{point[1]}")
    # A single point would be invisible as a line.
    return [" ".join(piece if len(piece) > 1 else piece * 2) for piece in pieces if piece]


def _ticks(low: float, high: float, whole: bool = False) -> tuple[list[float], float, float]:
    """Return round numbers over a range, and the range of the axis."""
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    room = 0.0 if whole else 0.04 * (high - low)
    low, high = low - room, high + room
    values = MaxNLocator(nbins=5, integer=whole).tick_values(low, high)
    return [float(one) for one in np.round(values, 9) if low <= one <= high], low, high


def interval_chart(
    title: str, rows: Sequence[tuple[str, Mapping[str, float] | None]], blind: Sequence[str] = ()
) -> IntervalChart | None:
    """Lay out shares with their intervals on an axis from 0 to 1.

    Args:
        title: Above the chart.
        rows: Names, and `value`, `low` and `high`; None for no figure.
        blind: The names of baselines.
    """
    known = [(name, figure) for name, figure in rows if figure is not None]
    if not known:
        return None

    def across(value: float) -> float:
        return round(12 + value * (WIDTH - 24), 1)

    made = [
        Interval(
            name,
            _ROW * (number + 1) - 6,
            across(figure["low"]),
            across(figure["value"]),
            across(figure["high"]),
            f"{name}: {figure['value']:.3f} [{figure['low']:.2f}, {figure['high']:.2f}]",
            name in blind,
        )
        for number, (name, figure) in enumerate(known)
    ]
    bottom = _ROW * len(made) + 6
    return IntervalChart(title, made, [Tick(across(n / 5), f"{n / 5:g}") for n in range(6)], bottom + 20, bottom)

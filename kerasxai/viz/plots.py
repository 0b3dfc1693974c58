"""Plots of curves: accuracy against threshold, training history.

Figures are made without pyplot, so that no window opens and the plots of the user do not change.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation
from numpy.typing import ArrayLike

from kerasxai.tools.errors import KerasxaiError
from kerasxai.viz.pixels import Picture
from kerasxai.viz.text import drawable

# Okabe and Ito's palette without yellow, which is too pale for a line on white.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", ":", "-.")
_DPI = 160
# Inches of a panel, of a line of its legend, and of what is at the left of its axes.
_PANEL, _LINE, _Y_LABELS = 4.0, 0.17, 0.6
# Points of a line, and how much wider it is for each curve that covers it: within this share of the height of the axes.
_LINE_WIDTH, _WIDER, _COINCIDE = 1.8, 2.2, 0.005
# Points of the letters of a legend, and from the axis to it.
_LEGEND_SIZE, _BELOW = 8.5, 34
# Points of the letters at a mark, and of the distance of marks whose names have room next to each other.
_MARK_SIZE, _MARK_DISTANCE = 8, 14
_LONGEST_NAME, _LONGEST_TITLE = 40, 90
# Any: Matplotlib's stubs require the literal type of every key.
_RC: Any = {
    "font.family": "DejaVu Sans",
    # Names are not formulas: "$" is a dollar sign, whatever the user's own settings are.
    "text.parse_math": False,
    "text.usetex": False,
    "axes.formatter.use_mathtext": False,
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#868e96",
    "axes.labelcolor": "#212529",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e9ecef",
    "xtick.color": "#495057",
    "ytick.color": "#495057",
    "legend.frameon": False,
    "lines.linewidth": _LINE_WIDTH,
}


def plot_curves(
    x: ArrayLike,
    curves: Mapping[str, ArrayLike],
    x_label: str = "threshold",
    y_label: str = "accuracy",
    title: str = "",
    y_limits: tuple[float, float] | None = (0.0, 1.0),
    marks: Mapping[str, float] | None = None,
    size: tuple[float, float] = (6.4, 4.0),
) -> Picture:
    """Plot several curves over one axis, such as localization accuracy against threshold, or deletion curves.

    Args:
        x: `(T,)`.
        curves: Values `(T,)` by name; NaN leaves a gap. Curves differ in color and in line style.
        x_label: Label of the x axis.
        y_label: Label of the y axis.
        title: Above the plot.
        y_limits: None: fits the values.
        marks: Positions on the x axis by name, drawn as thin vertical lines: the chosen threshold, for example.
        size: Inches (width, height), at 160 pixels per inch; a legend of more than two lines makes it higher.

    Returns:
        `(H, W, 3)` uint8.

    Raises:
        KerasxaiError: There is no curve, or a curve differs in length from `x`.

    Example:
        >>> plot_curves([0.0, 0.5, 1.0], {"cam": [0.1, 0.8, 0.2]}).shape
        (640, 1024, 3)
    """
    positions = np.asarray(x, np.float64)
    lines = {name: np.asarray(values, np.float64) for name, values in curves.items()}
    if not lines or positions.ndim != 1:
        raise KerasxaiError(f"expected curves over an axis (T,), got {len(lines)} curves over shape {positions.shape}")
    for name, values in lines.items():
        if values.shape != positions.shape:
            raise KerasxaiError(f"expected {positions.size} values for {name!r}, got shape {values.shape}")
    with matplotlib.rc_context(_RC):
        more_lines = max(0, _legend_rows(list(lines), size[0]) - 2)
        figure = _figure((size[0], size[1] + _LINE * more_lines))
        axes = figure.subplots()
        _draw(axes, positions, lines, title)
        axes.set_xlabel(drawable(x_label, _LONGEST_TITLE))
        axes.set_ylabel(drawable(y_label, _LONGEST_TITLE))
        _legend_below(axes, list(lines), size[0])
        # Matplotlib warns about an axis of no width.
        axes.set_xlim(positions.min(), positions.max() if np.ptp(positions) > 0 else positions.min() + 1)
        if y_limits is not None:
            axes.set_ylim(*y_limits)
        _mark(axes, marks or {})
        return _pixels(figure)


def plot_history(
    history: Mapping[str, ArrayLike],
    epochs: Sequence[int] | None = None,
    title: str = "",
    panels: Mapping[str, Sequence[str]] | None = None,
    marks: Mapping[str, float] | None = None,
) -> Picture:
    """Plot loss, accuracy and localization over the epochs of a training, in panels side by side.

    Args:
        history: One value per epoch by name, as in `keras.callbacks.History.history`; missing values are NaN. Names
            that begin with "val_" are dashed, in the color of their training curve. A curve that later ones cover is
            wider than these, so that both can be seen.
        epochs: Numbers of the epochs; None: counted from 1.
        title: Above all panels.
        panels: The names in each panel, by its title; None: loss, accuracy (names with "acc" or "top") and
            localization (other values within [0, 1]). All others, such as the learning rate, are left out.
        marks: Epochs by name, such as "fine-tuning starts".

    Returns:
        `(H, W, 3)` uint8.

    Raises:
        KerasxaiError: There is nothing to plot, `panels` has an unknown name, or lengths differ.

    Example:
        >>> plot_history({"loss": [1.0, 0.5], "val_loss": [1.1, 0.7]}).shape[2]
        3
    """
    values = {name: np.asarray(series, np.float64) for name, series in history.items()}
    shown = _panels(values) if panels is None else {key: list(names) for key, names in panels.items()}
    missing = [name for names in shown.values() for name in names if name not in values]
    if not shown or missing:
        raise KerasxaiError(
            f"expected series to plot, got {sorted(values)}" + (f" without {missing}" if missing else "")
        )
    count = max(series.size for series in values.values())
    numbers = np.arange(1, count + 1) if epochs is None else np.asarray(epochs)
    for name in (name for names in shown.values() for name in names):
        if values[name].shape != numbers.shape:
            raise KerasxaiError(f"expected {numbers.size} epochs of {name!r}, got shape {values[name].shape}")
    with matplotlib.rc_context(_RC):
        rows = max(_legend_rows(names, _PANEL) for names in shown.values())
        figure = _figure((_PANEL * len(shown) + 0.4, 3.6 + _LINE * rows))
        for axes, (panel, names) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
            _draw(axes, numbers, {name: values[name] for name in names}, panel, paired=True)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            _legend_below(axes, names, _PANEL)
            low, high = _range([values[name] for name in names])
            axes.set_ylim(min(low, 0.0), 1.0 if 0 <= low <= high <= 1 and "loss" not in panel else high * 1.05 or 1.0)
            _mark(axes, marks or {})
        if title:
            figure.suptitle(drawable(title, _LONGEST_TITLE), fontweight="bold", x=0.01, ha="left")
        return _pixels(figure)


def _panels(values: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
    panels: dict[str, list[str]] = {"loss": [], "accuracy": [], "localization": []}
    for name, series in values.items():
        low, high = _range([series])
        if name.endswith("loss"):
            panels["loss"].append(name)
        elif "learning" in name or low < 0 or high > 1:
            continue
        elif ("acc" in name or "top" in name) and not any(word in name for word in ("loc", "box", "iou")):
            panels["accuracy"].append(name)
        else:
            panels["localization"].append(name)
    return {panel: names for panel, names in panels.items() if names}


def _range(series: Sequence[np.ndarray]) -> tuple[float, float]:
    joined = np.concatenate([np.ravel(one) for one in series])
    joined = joined[np.isfinite(joined)]
    return (float(joined.min()), float(joined.max())) if joined.size else (0.0, 1.0)


def _draw(axes: Axes, x: np.ndarray, lines: Mapping[str, np.ndarray], title: str, paired: bool = False) -> None:
    keys = list(dict.fromkeys(name.removeprefix("val_") if paired else name for name in lines))
    covering = _covering(lines) if paired else dict.fromkeys(lines, 0)
    for name, values in lines.items():
        number = keys.index(name.removeprefix("val_") if paired else name)
        dashed = paired and name.startswith("val_") and name.removeprefix("val_") in lines
        style = "--" if dashed else "-" if paired else _STYLES[number % len(_STYLES)]
        # A metric that is measured every few epochs is drawn as one line; other curves keep their gaps.
        drawn = np.isfinite(values) if paired else np.ones(x.shape, bool)
        # A single value between gaps has no line: markers show it.
        marker = "o" if len(x) <= 20 or drawn.sum() == 1 else None
        color = _COLORS[number % len(_COLORS)]
        # Wider where later curves cover it, so that its color shows at both sides of theirs.
        wider = _WIDER * covering[name]
        axes.plot(
            x[drawn],
            values[drawn],
            style,
            color=color,
            label="line",
            linewidth=_LINE_WIDTH + wider,
            marker=marker,
            markersize=3.5 + wider,
            clip_on=not paired,
        )
    axes.set_title(drawable(title, _LONGEST_TITLE))


def _covering(lines: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Return for each curve how many of the later ones coincide with it over half of its length or more."""
    names = list(lines)
    low, high = _range(list(lines.values()))
    near = _COINCIDE * max(high - min(low, 0.0), 1e-12)

    def coincide(one: np.ndarray, other: np.ndarray) -> bool:
        both = np.isfinite(one) & np.isfinite(other)
        return bool(both.any() and (np.abs(one[both] - other[both]) <= near).mean() >= 0.5)

    return {
        name: sum(coincide(lines[name], lines[later]) for later in names[number + 1 :])
        for number, name in enumerate(names)
    }


def _legend_below(axes: Axes, names: Sequence[str], width: float) -> None:
    """Add the legend below the label of the x axis, where it covers no curve."""
    add_legend(
        axes,
        names,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        # A distance in points from the axis, whatever the height of the axes: its labels are between.
        bbox_transform=axes.transAxes + ScaledTranslation(0, -_BELOW / 72, axes.figure.dpi_scale_trans),
        borderaxespad=0,
        ncols=_legend_columns(names, width),
        fontsize=_LEGEND_SIZE,
        handlelength=2.8,
        columnspacing=1.5,
    )


def _legend_columns(names: Sequence[str], width: float) -> int:
    """Return how many columns of a legend of these names fit into so many inches."""
    longest = max(len(drawable(name, _LONGEST_NAME)) for name in names)
    # In heights of a letter, whose width is up to 0.6 on average: the name, a piece of the line, and the spaces.
    each = (0.6 * longest + 6) * _LEGEND_SIZE / 72
    most = max(1, min(len(names), int((width - _Y_LABELS) / each)))
    # As even as possible in as many rows.
    return -(-len(names) // -(-len(names) // most))


def _legend_rows(names: Sequence[str], width: float) -> int:
    return -(-len(names) // _legend_columns(names, width))


def add_legend(axes: Axes, names: Sequence[str], title: str | None = None, **settings: Any) -> None:
    """Add a legend for the labeled artists of `axes`, which are called `names` in their order.

    Matplotlib skips artists whose label begins with "_", so the names are set afterwards.
    """
    handles, labels = axes.get_legend_handles_labels()
    legend = axes.legend(handles, labels, title=title, **settings)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(drawable(name, _LONGEST_NAME))


def _mark(axes: Axes, marks: Mapping[str, float]) -> None:
    low, high = axes.get_xlim()
    points = axes.bbox.width * 72 / _DPI / (high - low)
    before, below = -math.inf, 0.0
    for name, position in sorted(marks.items(), key=lambda mark: mark[1]):
        text = drawable(name, _LONGEST_NAME)
        # Below the name of a mark that is so close that both would be at one place.
        below = below if (position - before) * points < _MARK_DISTANCE else 0.0
        axes.axvline(position, color="#868e96", linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        axes.annotate(
            text,
            (position, 0.99),
            xycoords=("data", "axes fraction"),
            xytext=(3, -below),
            textcoords="offset points",
            rotation=90,
            va="top",
            fontsize=_MARK_SIZE,
            color="#495057",
            bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5},
        )
        before, below = position, below + (0.65 * len(text) + 1) * _MARK_SIZE


def _figure(size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _pixels(figure: Figure) -> Picture:
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    figure.clear()
    return pixels

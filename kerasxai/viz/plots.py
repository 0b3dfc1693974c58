"""Curves as pictures: accuracy against threshold, the course of training.

Figures are made without pyplot, so that nothing of a user's own plots changes and no window opens.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from kerasxai.tools.errors import KerasxaiError
from kerasxai.viz.pixels import Picture
from kerasxai.viz.text import drawable

# Okabe and Ito's palette without its yellow, which is too pale for a line on white.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", ":", "-.")
_DPI = 160
_LONGEST_NAME, _LONGEST_TITLE = 40, 90
# Any: Matplotlib's stubs want the literal type of every key.
_RC: Any = {
    "font.family": "DejaVu Sans",
    # Names are not formulas: "$" is a dollar sign, also where a user's own settings say otherwise.
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
    "lines.linewidth": 1.8,
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
    """Plots several curves over one axis: localization accuracy against threshold, deletion curves, and the like.

    Args:
        x: `(T,)`.
        curves: Name to `(T,)` values; NaN leaves a gap. Colors and dashes both tell them apart.
        x_label: Below the axis.
        y_label: Beside the axis.
        title: Above.
        y_limits: None: fits the values.
        marks: Name to a place on x, each a thin upright line: the threshold that was chosen, say.
        size: Inches (width, height), at 160 pixels an inch.

    Returns:
        `(H, W, 3)` uint8.

    Raises:
        KerasxaiError: There is no curve, or one has another length than `x`.

    Example:
        >>> plot_curves([0.0, 0.5, 1.0], {"cam": [0.1, 0.8, 0.2]}).shape
        (640, 1024, 3)
    """
    places = np.asarray(x, np.float64)
    lines = {name: np.asarray(values, np.float64) for name, values in curves.items()}
    if not lines or places.ndim != 1:
        raise KerasxaiError(f"expected curves over an axis (T,), got {len(lines)} curves over shape {places.shape}")
    for name, values in lines.items():
        if values.shape != places.shape:
            raise KerasxaiError(f"expected {places.size} values for {name!r}, got shape {values.shape}")
    with matplotlib.rc_context(_RC):
        figure = _figure(size)
        axes = figure.subplots()
        _draw(axes, places, lines, title)
        axes.set_xlabel(drawable(x_label, _LONGEST_TITLE))
        axes.set_ylabel(drawable(y_label, _LONGEST_TITLE))
        axes.set_xlim(places.min(), places.max() if places.max() > places.min() else places.min() + 1)
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
    """Plots training: loss, accuracy and localization beside one another, over the epochs.

    Args:
        history: Name to one value an epoch, as `keras.callbacks.History.history`; missing values are NaN. A name that
            begins with "val_" is dashed, in the color of its training curve.
        epochs: The epochs' numbers; None: counted from 1.
        title: Above all panels.
        panels: Panel title to the names it shows; None: loss, accuracy (names with "acc" or "top"), localization (what
            else lies within [0, 1]). What none of them holds, such as the learning rate, is left out.
        marks: Name to an epoch: "fine-tuning starts", say.

    Returns:
        `(H, W, 3)` uint8.

    Raises:
        KerasxaiError: Nothing to plot, an unknown name in `panels`, or lengths that differ.

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
        figure = _figure((4.0 * len(shown) + 0.4, 3.6))
        for axes, (panel, names) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
            _draw(axes, numbers, {name: values[name] for name in names}, panel, paired=True)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
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


def _draw(axes: Any, x: np.ndarray, lines: Mapping[str, np.ndarray], title: str, paired: bool = False) -> None:
    keys = list(dict.fromkeys(name.removeprefix("val_") if paired else name for name in lines))
    for name, values in lines.items():
        number = keys.index(name.removeprefix("val_") if paired else name)
        dashed = paired and name.startswith("val_") and name.removeprefix("val_") in lines
        style = "--" if dashed else "-" if paired else _STYLES[number % len(_STYLES)]
        # What is measured every few epochs only is one line all the same; a curve keeps its gaps.
        drawn = np.isfinite(values) if paired else np.ones(x.shape, bool)
        # One value, or one between two gaps, is no line: dots show it.
        marker = "o" if len(x) <= 20 or drawn.sum() == 1 else None
        color = _COLORS[number % len(_COLORS)]
        axes.plot(
            x[drawn], values[drawn], style, color=color, label="line", marker=marker, markersize=3.5, clip_on=not paired
        )
    axes.set_title(drawable(title, _LONGEST_TITLE))
    add_legend(axes, list(lines), loc="best", fontsize=8.5, handlelength=2.8)


def add_legend(axes: Any, names: Sequence[str], title: str | None = None, **settings: Any) -> None:
    """Adds a legend for the artists of `axes`, whose labels stand for `names` in their order.

    Matplotlib leaves out artists whose label begins with "_", so names are put in afterwards.
    """
    handles, labels = axes.get_legend_handles_labels()
    legend = axes.legend(handles, labels, title=title, **settings)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(drawable(name, _LONGEST_NAME))


def _mark(axes: Any, marks: Mapping[str, float]) -> None:
    for name, place in marks.items():
        axes.axvline(place, color="#868e96", linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        axes.annotate(
            drawable(name, _LONGEST_NAME),
            (place, 0.99),
            xycoords=("data", "axes fraction"),
            xytext=(3, 0),
            textcoords="offset points",
            rotation=90,
            va="top",
            fontsize=8,
            color="#495057",
            bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5},
        )


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

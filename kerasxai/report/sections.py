"""The sections of a report: figures of evaluations, trainings and data, as tables and charts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from kerasxai.evaluation.compare_config import CompareConfig
from kerasxai.evaluation.comparison import FIGURES, compare, difference_rows, figure_rows
from kerasxai.evaluation.evaluated_runs import Run
from kerasxai.evaluation.multi_label_tables import (
    is_multi_label,
    label_class_table,
    label_method_table,
    label_size_table,
)
from kerasxai.evaluation.tables import FIGURES as SHARES
from kerasxai.evaluation.tables import evaluation_rows, group_table
from kerasxai.report.charts import IntervalChart, LineChart, interval_chart, line_chart
from kerasxai.report.runs import ReportedRun, Training
from kerasxai.tools.epoch_names import NO_FIGURES, epoch_names, kept_model, reason
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.printable import percent

_RESAMPLES = 10_000
_CHARTED = ("gt_known_loc", "top1_accuracy")
_MOST_SERIES = 6
_ALIKE = ("data", "split", "protocol", "iou_threshold", "labels")


@dataclass(frozen=True)
class Table:
    """A table; all columns but the first hold figures.

    Attributes:
        header: The headings.
        rows: The cells.
        caption: Above the table.
        note: Below the table.
        texts: Whether all columns hold text.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    note: str = ""
    texts: bool = False


@dataclass
class Section:
    """A part of the page.

    Attributes:
        title: The heading.
        notes: Paragraphs.
        tables: Tables that are shown.
        lines: Charts of series.
        intervals: Charts of intervals.
        details: Tables that are collapsed.
        commands: Commands by what they did.
    """

    title: str
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    lines: list[LineChart] = field(default_factory=list)
    intervals: list[IntervalChart] = field(default_factory=list)
    details: list[Table] = field(default_factory=list)
    commands: dict[str, str] = field(default_factory=dict)


def localization_sections(runs: Sequence[ReportedRun]) -> list[Section]:
    """Return a section for each set of evaluations that can be compared: of the same data, split and protocol."""
    evaluations = [one for run in runs for one in run.evaluations]
    evaluations = list({one.folder.resolve(): one for one in evaluations}.values())

    def alike(run: Run) -> str:
        return ", ".join(str(run.evaluation.get(key)) for key in _ALIKE)

    ordered = sorted(evaluations, key=alike)
    return [_localization(list(its)) for _, its in groupby(ordered, alike)]


def _localization(runs: list[Run]) -> Section:
    first = runs[0].evaluation
    section = Section(f"Where it looks: {first.get('data')}, {first.get('split')} images")
    try:
        section = _compared(section, runs)
    except KerasxaiError as error:
        section.notes.append(f"These evaluations are not compared: {error}.")
    for run in runs:
        section.details += _own_tables(run)
        section.commands[f"Evaluation of {run.name}"] = str(run.evaluation.get("command", ""))
    curves = {run.name: run.evaluation["curve"] for run in runs if "curve" in run.evaluation}
    if curves:
        shown = dict(list(curves.items())[:_MOST_SERIES])
        marks = {
            run.name: (run.chosen["threshold"], run.chosen["gt_known_loc"])
            for run in runs
            if run.name in shown and "gt_known_loc" in run.chosen
        }
        thresholds = next(iter(shown.values()))["thresholds"]
        series = {name: its["gt_known_loc"] for name, its in shown.items() if its["thresholds"] == thresholds}
        marks = {name: at for name, at in marks.items() if name in series}
        chart = line_chart("GT-known Loc by threshold", thresholds, series, "threshold, share of the maximum", marks)
        section.lines += [] if chart is None else [chart]
    return section


def _compared(section: Section, runs: list[Run]) -> Section:
    config = CompareConfig(runs=[str(run.folder) for run in runs], resamples=_RESAMPLES)
    found = compare(runs, config)
    headings = [heading for heading, _ in FIGURES.values()]
    chosen = "; ".join(f"{run.name}: {run.chosen['source']}" for run in runs)
    pairs = f"{found['pairs']} pairs of image and class, " if "pairs" in found else ""
    section.notes.append(
        f"{found['images']} images, {pairs}{found['images_with_boxes']} with boxes. Intervals of "
        f"{percent(config.confidence, None)} over the choice of images, not over the seed of a training. The centered "
        "Gaussian is a heatmap that never looks at the image; a method that does not beat it has localized nothing."
    )
    section.tables.append(
        Table(
            ["", "threshold", *headings], figure_rows(found), "Runs", f"Each at its own threshold, chosen by: {chosen}."
        )
    )
    if len(runs) > 1:
        note = "*: the interval of the difference does not contain 0."
        section.tables.append(
            Table([f"minus {runs[0].name}", *headings], difference_rows(found), "Differences, image by image", note)
        )
    blind = found["baseline"]
    for figure in _CHARTED:
        rows = [(run["name"], run["figures"].get(figure)) for run in found["runs"]]
        rows.append((blind["name"], blind["figures"].get(figure)))
        chart = interval_chart(FIGURES[figure][0], rows, [blind["name"]])
        section.intervals += [] if chart is None else [chart]
    return section


def _own_tables(run: Run) -> list[Table]:
    evaluation = dict(run.evaluation)
    if is_multi_label(evaluation):
        named = {"mean over the classes": label_method_table([evaluation])}
        named |= {"by object size": label_size_table(evaluation), "by class": label_class_table(evaluation)}
        return [Table(header, rows, f"{run.name}: {name}") for name, (header, rows) in named.items()]
    tables = [
        Table(["", "threshold", *SHARES.values()], evaluation_rows(evaluation), f"{run.name}: all baselines"),
    ]
    for key, title in (("by_size", "object size"), ("by_class", "class")):
        if key in evaluation["chosen"] and key in evaluation:
            header, rows = group_table(evaluation, key, title)
            tables.append(Table(header, rows, f"{run.name}: by {title}"))
    return tables


def training_section(run: ReportedRun, model: str = "", saved: str = "") -> Section:
    """Return the section of a training: settings, choices, command, curves."""
    training = run.training
    assert training is not None
    section = Section(f"Training of {run.name}")
    best = training.metrics.get("best", {})
    if isinstance(best.get("epoch"), int):
        kept = kept_model(best, training.history, training.has_probe)
        section.notes.append(
            f"Trained in {training.metrics.get('seconds')} s; {kept} is kept{_why(training, best)}: {_figures(best)}."
        )
    else:
        section.notes.append("This training has not finished.")
    reasons = training.choices.get("reasons", {})
    chosen = [
        [name, str(value), str(reasons.get(name, ""))]
        for name, value in training.choices.items()
        if name != "reasons" and value is not None
    ]
    if chosen:
        section.tables.append(Table(["chosen", "value", "because"], chosen, "Automatic choices", texts=True))
    settings = {**training.config, **training.metrics.get("plan", {})}
    rows = [[name, _text(value)] for name, value in settings.items() if value not in (None, {}, "")]
    if model:
        rows.append(["model file", model])
    if saved:
        rows.append(["saved by", saved])
    section.details.append(Table(["setting", "value"], rows, "All settings", texts=True))
    section.commands[f"Training of {run.name}"] = training.command
    section.lines = _history_charts(training)
    section.details.append(_history_table(training))
    return section


def shared_curves(runs: Sequence[ReportedRun]) -> Section | None:
    """Return the validation curves of several trainings in common charts; None for one training."""
    trained = {run.name: run.training.history for run in runs if run.training is not None and run.training.history}
    if len(trained) < 2:
        return None
    section = Section("Trainings side by side")
    longest = max(map(len, trained.values()))
    names = [name for name in next(iter(trained.values()))[0] if name.startswith("val_")]
    for name in names:
        series = {
            run: [_number(row.get(name, "")) for row in rows] + [math.nan] * (longest - len(rows))
            for run, rows in list(trained.items())[:_MOST_SERIES]
        }
        chart = line_chart(_title(name), range(1, longest + 1), series, "epoch")
        section.lines += [] if chart is None else [chart]
    return section


def _why(training: Training, best: Mapping[str, Any]) -> str:
    """Return why an epoch is kept, in brackets; "" for trainings that do not say what they monitor."""
    monitor = training.metrics.get("plan", {}).get("monitor")
    return f" ({reason(monitor, best, training.history)})" if isinstance(best.get(monitor), float) else ""


def _figures(row: Mapping[str, Any]) -> str:
    """Return the figures of an epoch with the images that they are of."""
    known = {name: f"{name} {value:.3g}" for name, value in row.items() if _is_figure(name, value)}
    parts = {
        "training": [text for name, text in known.items() if f"val_{name}" in row],
        "validation": [text.removeprefix("val_") for name, text in known.items() if name.startswith("val_")],
        "": [text for name, text in known.items() if f"val_{name}" not in row and not name.startswith("val_")],
    }
    named = [f"on {split} images " * bool(split) + ", ".join(texts) for split, texts in parts.items() if texts]
    return "; ".join(named)


def _is_figure(name: str, value: object) -> bool:
    return isinstance(value, float) and name not in NO_FIGURES


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _title(name: str) -> str:
    """Return the heading of a figure of the log, such as "GT-known Loc, validation" of "val_gt_known_loc"."""
    plain = name.removeprefix("val_")
    known = SHARES.get(plain.removeprefix("best_"))
    words = [known or plain.replace("_", " ")]
    words += ["best threshold"] if known and plain.startswith("best_") else []
    return ", ".join(words + (["validation"] if plain != name else []))


def _number(text: str) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def _history_charts(training: Training) -> list[LineChart]:
    rows = training.history
    names = [name for name in (rows[0] if rows else {}) if name not in NO_FIGURES]
    panels: dict[str, list[str]] = {}
    for name in names:
        panels.setdefault(name.removeprefix("val_"), []).append(name)
    epochs = [_number(row["epoch"]) + 1 for row in rows]
    named = zip(epochs, epoch_names(rows, training.has_probe), strict=True)
    unnumbered = {epoch: name for epoch, name in named if not name.isdecimal()}
    charts = []
    for panel, its in panels.items():
        series = {name: [_number(row.get(name, "")) for row in rows] for name in its}
        title = _title(its[0] if len(its) == 1 else panel)
        chart = line_chart(title, epochs, series, "epoch", x_names=unnumbered) if epochs else None
        charts += [] if chart is None else [_with_splits(chart)]
    return charts


def _with_splits(chart: LineChart) -> LineChart:
    """Return a chart whose series have the names of their splits instead of those of the log."""
    if not any(line.name.startswith("val_") for line in chart.lines):
        return chart
    lines = [replace(line, name="validation" if line.name.startswith("val_") else "training") for line in chart.lines]
    return replace(chart, lines=lines)


def _history_table(training: Training) -> Table:
    rows = training.history
    header = list(rows[0]) if rows else ["epoch"]
    # Counted from 1, as everywhere on the page; `history.csv` counts from 0.
    names = epoch_names(rows, training.has_probe)
    numbered = {row["epoch"]: name for row, name in zip(rows, names, strict=True)}
    cells = [
        [numbered.get(cell, cell) if name in ("epoch", "source") else _rounded(cell) for name, cell in row]
        for row in ([(name, row.get(name) or "") for name in header] for row in rows)
    ]
    return Table(header, cells, "All epochs")


def _rounded(text: str) -> str:
    value = _number(text)
    return text if math.isnan(value) else f"{value:.4g}"


def overview(runs: Sequence[ReportedRun]) -> Table:
    """Return the table of runs side by side, one row for each evaluation or training."""
    rows = []
    for run in runs:
        training = run.training
        made = "" if training is None else _recipe(training.config)
        for one in run.evaluations:
            found = one.evaluation
            right = _share(found.get("top1_accuracy"))
            if is_multi_label(found):
                right = f"mAP {_share(found.get('mean_average_precision'))}"
            figures = [right, _share(one.chosen.get("gt_known_loc"))]
            where = f"{found.get('data')}, {found.get('split')}"
            rows.append([one.name, made, where, *figures])
        if not run.evaluations and training is not None:
            best = training.metrics.get("best", {})
            figures = [_share(best.get("val_accuracy")), ""]
            rows.append([run.name, made, f"{training.config['data']}, validation", *figures])
    return Table(
        ["run", "training", "measured on (data, split)", "accuracy", "GT-known Loc"],
        rows,
        "Runs side by side",
        texts=True,
    )


def _recipe(config: Mapping[str, Any]) -> str:
    parts = [config.get("backbone"), config.get("recipe") or config.get("head")]
    return ", ".join(str(part) for part in parts if part)


def _share(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else ""

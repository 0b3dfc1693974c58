"""The figures of a benchmark: mean and standard deviation over seeds, paired differences, and their tables."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasxai.evaluation.tables import coverage


@dataclass(frozen=True)
class Measure:
    """One column of the table.

    Attributes:
        label: Its heading.
        read: Reads the figure from the result of `evaluate`.
        scale: 100 if the evaluation has a fraction, since the table has percentages.
        digits: Digits after the decimal point.
    """

    label: str
    read: Callable[[dict[str, Any]], float]
    scale: float = 100.0
    digits: int = 1


def _part(name: str, measure: str) -> Callable[[dict[str, Any]], float]:
    return lambda evaluation: coverage(evaluation, name, measure)


MEASURES: dict[str, Measure] = {
    "accuracy": Measure("accuracy", lambda it: it["top1_accuracy"]),
    "gt_known_loc": Measure("GT-known Loc, fixed threshold", lambda it: it["gt_known_loc"]),
    "tuned_gt_known_loc": Measure("GT-known Loc, tuned threshold", lambda it: it["tuned"]["gt_known_loc"]),
    "tuned_threshold": Measure("tuned threshold", lambda it: it["tuned"]["threshold"]),
    "max_box_acc_v2": Measure("MaxBoxAccV2 (oracle)", lambda it: it["max_box_acc_v2"], 1.0),
    "pxap": Measure("PxAP", lambda it: it["masks"]["pxap"], 1.0),
    "mean_iou": Measure("mean IoU", lambda it: it["mean_iou"]),
    "body_recall": Measure("body recall", _part("body", "recall")),
    "head_recall": Measure("head recall", _part("head", "recall")),
    "tail_recall": Measure("tail recall", _part("tail", "recall")),
    "object_recall": Measure("object recall", _part("object", "recall")),
    "object_precision": Measure("object precision", _part("object", "precision")),
}
"""All in percent."""


def figures_of(evaluation: dict[str, Any]) -> dict[str, float]:
    """Return the MEASURES of an evaluation, in percent; without masks there are fewer."""
    found = {}
    for name, measure in MEASURES.items():
        try:
            found[name] = measure.scale * float(measure.read(evaluation))
        except KeyError:
            continue
    return found


def summarize(figures: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return `n`, and `mean` and `std` of each measure that all runs have.

    Args:
        figures: The figures of each run of one row.

    Returns:
        `std` is the sample standard deviation (divided by n - 1), and None for a single run.
    """
    names = [name for name in MEASURES if figures and all(name in one for one in figures)]
    values = {name: np.array([one[name] for one in figures]) for name in names}
    return {
        "n": len(figures),
        **{
            name: {"mean": float(it.mean()), "std": float(it.std(ddof=1)) if len(it) > 1 else None}
            for name, it in values.items()
        },
    }


def differences(row: Mapping[int, Mapping[str, float]], reference: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    """Return mean and standard deviation of paired differences to another row, and the number of higher seeds.

    Args:
        row: The figures of each seed.
        reference: The figures to subtract; seeds that only one of the two has are left out.
    """
    seeds = [seed for seed in row if seed in reference]
    pairs = [(row[seed], reference[seed]) for seed in seeds]
    paired = [{name: one[name] - two[name] for name in MEASURES if name in one and name in two} for one, two in pairs]
    result = summarize(paired)
    for name in MEASURES:
        if name in result:
            result[name]["higher"] = sum(one[name] > 0 for one in paired)
    return result


def cell(entry: Mapping[str, Any] | None, digits: int = 1, sign: bool = False) -> str:
    """Format an entry as "mean ± std", as the mean if there is no std, or as an empty text if there is no entry."""
    if entry is None:
        return ""
    form = f"{'+' if sign else ''}.{digits}f"
    return f"{entry['mean']:{form}}" + ("" if entry.get("std") is None else f" ± {entry['std']:.{digits}f}")


def table_of(rows: Mapping[str, Mapping[str, Any]], sign: bool = False) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the rows of a table; measures that no row has are left out."""
    shown = [name for name in MEASURES if any(name in row for row in rows.values())]
    head = ["", "n", *(MEASURES[name].label for name in shown)]
    lines = [
        [name, str(row["n"]) if row.get("n") else "", *(cell(row.get(it), MEASURES[it].digits, sign) for it in shown)]
        for name, row in rows.items()
    ]
    return head, lines


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table in Markdown, with figures aligned right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def csv_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Format the rows as CSV: for each measure a column of means and one of standard deviations."""
    shown = [name for name in MEASURES if any(name in row for row in rows.values())]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "n", *(f"{name}_{kind}" for name in shown for kind in ("mean", "std"))])
    for name, row in rows.items():
        values = [row.get(it, {}).get(kind) for it in shown for kind in ("mean", "std")]
        writer.writerow([name, row.get("n", ""), *("" if value is None else value for value in values)])
    return text.getvalue()

"""Printing figures of an evaluation."""

from typing import Any

from kerasxai.tools.printable import printable
from kerasxai.tools.text_tables import print_table

FIGURES = {
    "gt_known_loc": "GT-known Loc",
    "top1_loc": "Top-1 Loc",
    "top5_loc": "Top-5 Loc",
    "mean_iou": "mean IoU",
    "pointing_game": "pointing game",
    "energy_pointing_game": "energy in box",
}


def evaluation_rows(evaluation: dict[str, Any]) -> list[list[str]]:
    """Return the rows of the main table: the method at both thresholds, then the baselines."""

    def row(name: str, threshold: float | None, figures: dict[str, Any]) -> list[str]:
        return [name, "" if threshold is None else f"{threshold:.3f}", *_shares(figures)]

    method = evaluation["method"]
    rows = [row(method, evaluation["threshold"], evaluation)]
    if "tuned" in evaluation:
        tuned = evaluation["tuned"]
        rows.append(row(f"{method}, threshold from {tuned['split']}", tuned["threshold"], tuned))
    rows += [row(f"baseline: {name.replace('_', ' ')}", None, it) for name, it in evaluation["baselines"].items()]
    return rows


def coverage(evaluation: dict[str, Any], part: str, measure: str) -> float:
    """Return the recall or precision of a part of the objects, at half of the stretched maps."""
    return evaluation["masks"]["coverage"][part][measure]["0.5"]


def print_evaluation(evaluation: dict[str, Any]) -> None:
    """Print accuracy, localization with the baselines, and both by size and by class."""
    print(
        f"{printable(evaluation['data'])}/{printable(evaluation['split'])}: {evaluation['images']} images, "
        f"top-1 accuracy {evaluation['top1_accuracy']:.3f}, top-5 {evaluation['top5_accuracy']:.3f}"
    )
    print_rows(["", "threshold", *FIGURES.values()], evaluation_rows(evaluation))
    for key, title in (("max_box_acc", "MaxBoxAcc"), ("max_box_acc_v2", "MaxBoxAccV2")):
        if key in evaluation:
            print(f"{title} {evaluation[key]:.2f} (threshold chosen on these images)")
    for key, title in (("by_size", "object size"), ("by_class", "class")):
        rows = [
            [str(it.get("name", name)), str(it["images"]), f"{it['top1_accuracy']:.3f}", *_shares(it)]
            for name, it in evaluation[key].items()
        ]
        print_rows([title, "images", "top-1", *FIGURES.values()], rows)


def print_rows(columns: list[str], rows: list[list[str]]) -> None:
    """Print a table with the first column aligned left, the others right."""
    print_table([columns[0], *(f"{column}>" for column in columns[1:])], rows)


def _shares(figures: dict[str, Any]) -> list[str]:
    return [f"{figures[key]:.3f}" if key in figures else "" for key in FIGURES]

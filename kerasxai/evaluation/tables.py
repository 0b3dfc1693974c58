"""The figures of an evaluation as rows of tables."""

from typing import Any

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
        return [name, "" if threshold is None else f"{threshold:.3f}", *shares(figures)]

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


def shares(figures: dict[str, Any]) -> list[str]:
    """Return the cells of `FIGURES`; empty where there is no figure."""
    return [f"{figures[key]:.3f}" if key in figures else "" for key in FIGURES]

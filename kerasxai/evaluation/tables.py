"""The figures of an evaluation as rows of tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kerasxai.tools.printable import percent

FIGURES = {
    "gt_known_loc": "GT-known Loc",
    "top1_loc": "Top-1 Loc",
    "top5_loc": "Top-5 Loc",
    "mean_iou": "mean IoU",
    "pointing_game": "pointing game",
    "energy_pointing_game": "energy in box",
}


THRESHOLD_LABEL = "threshold, share of the maximum"
"""Label of an axis."""


def fixed_mark(threshold: float, given: bool = False) -> dict[str, float]:
    """Return the mark of a threshold that was not chosen on images, for `kerasxai.viz.plot_curves`.

    Args:
        threshold: The threshold.
        given: Whether the user gave it; else it is that of the literature.

    Example:
        >>> fixed_mark(0.2)
        {'fixed at 20 %': 0.2}
    """
    return {f"{'given' if given else 'fixed at'} {percent(threshold, None)}": threshold}


def is_of_classes(evaluation: object) -> bool:
    """Return whether an evaluation has figures of classes alone, because the data have no boxes and masks."""
    return isinstance(evaluation, Mapping) and evaluation.get("measured") == "classes"


def name_of(evaluation: Mapping[str, Any]) -> str:
    """Return the name of a row, the method with its refinements.

    Example:
        >>> name_of({"method": "cam", "refine": "best"}), name_of({"method": "cam", "refine": None})
        ('cam + best', 'cam')
    """
    refine = evaluation.get("refine")
    if not refine:
        return str(evaluation["method"])
    names = refine if isinstance(refine, str) else ",".join(map(str, refine))
    return f"{evaluation['method']} + {names}"


def evaluation_rows(evaluation: dict[str, Any], names: Iterable[str] = FIGURES) -> list[list[str]]:
    """Return the rows of the main table: the method at its own and at the fixed threshold, then the baselines.

    The first two rows are the method's. With a given threshold, the first is at this one and the second at the one that
    was best on the tuning split, if there is one.

    Args:
        evaluation: The result of `evaluate`.
        names: The figures.
    """

    def row(name: str, threshold: float | None, figures: Mapping[str, Any]) -> list[str]:
        return [name, "" if threshold is None else f"{threshold:.3f}", *shares(figures, names)]

    name, chosen = name_of(evaluation), evaluation["chosen"]
    rows = [row(name, chosen["threshold"], chosen)]
    if chosen["source"] != "given":
        rows.append(row(f"{name}, at {percent(evaluation['threshold'], None)}", evaluation["threshold"], evaluation))
    elif "tuned" in evaluation:
        tuned = evaluation["tuned"]
        rows.append(row(f"{name}, threshold from {tuned['split']}", tuned["threshold"], tuned))
    blind = chosen["baselines"].items()
    return [*rows, *(row(f"baseline: {it.replace('_', ' ')}", ones.get("threshold"), ones) for it, ones in blind)]


def method_table(evaluations: Sequence[Mapping[str, Any]], names: Iterable[str] = FIGURES) -> list[list[str]]:
    """Return the rows of `evaluation_rows` of several methods, with the baselines of the first once at the end."""
    rows = [evaluation_rows(dict(evaluation), names) for evaluation in evaluations]
    ends = [
        len(its) - len(evaluation["chosen"]["baselines"]) for its, evaluation in zip(rows, evaluations, strict=True)
    ]
    return [*(row for its, end in zip(rows, ends, strict=True) for row in its[:end]), *rows[0][ends[0] :]]


def group_table(evaluation: dict[str, Any], key: str, title: str) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of a table of groups of images, at the chosen threshold.

    The last columns are GT-known Loc at the fixed threshold and of the centered Gaussian.

    Args:
        evaluation: The result of `evaluate`.
        key: `"by_size"` or `"by_class"`.
        title: The heading of the first column.
    """
    chosen = evaluation["chosen"]
    is_given = chosen["source"] == "given"
    fixed = [] if is_given else [f"{FIGURES['gt_known_loc']} at {percent(evaluation['threshold'], None)}"]
    rows = [
        [
            str(it.get("name", group)),
            str(it["images"]),
            f"{it['top1_accuracy']:.3f}",
            *shares(it),
            *([] if is_given else [_share(evaluation[key][group])]),
            _share(it.get("baselines", {}).get("centered_gaussian", {})),
        ]
        for group, it in chosen[key].items()
    ]
    return [title, "images", "top-1", *FIGURES.values(), *fixed, "centered Gaussian"], rows


def class_table(evaluation: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of the table by class of an evaluation of classes alone."""
    if "average_precision" in evaluation:
        f1 = evaluation["f1_scores"]["thresholds_by_class"]
        rows = [
            [name, f"{precision:.3f}", f"{f1['by_class'][name]:.3f}", f"{f1['thresholds'][name]:.3f}"]
            for name, precision in evaluation["average_precision"].items()
        ]
        return ["class", "AP", "F1", "threshold"], rows
    rows = [
        [it["name"], str(it["images"]), f"{it['top1_accuracy']:.3f}", f"{it['top5_accuracy']:.3f}"]
        for it in evaluation["by_class"].values()
    ]
    return ["class", "images", "top-1", "top-5"], rows


def coverage(evaluation: dict[str, Any], part: str, measure: str) -> float:
    """Return the recall or precision of a part of the objects, at half of the stretched maps."""
    return evaluation["masks"]["coverage"][part][measure]["0.5"]


def shares(figures: Mapping[str, Any], names: Iterable[str] = FIGURES) -> list[str]:
    """Return the cells of figures; empty where there is no figure."""
    return [_share(figures, key) for key in names]


def _share(figures: Mapping[str, Any], key: str = "gt_known_loc") -> str:
    return f"{figures[key]:.3f}" if key in figures else ""

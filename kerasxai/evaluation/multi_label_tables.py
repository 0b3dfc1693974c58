"""Tables of an evaluation of several labels an image. Nothing here imports TensorFlow."""

from collections.abc import Mapping, Sequence
from typing import Any

from kerasxai.evaluation.tables import FIGURES, name_of, shares

LABEL_FIGURES = {name: heading for name, heading in FIGURES.items() if name != "top5_loc"}
"""Figures of heatmaps of pairs of image and class."""
_WHOLE = {
    "corloc": "CorLoc",
    "pointing_game_all": "pointing, all",
    "pointing_game_difficult": "pointing, difficult",
    "box_ap50": "box AP50",
    "seed_mean_iou": "seed mIoU",
    "seed_threshold": "seed threshold",
}


def is_multi_label(evaluation: Mapping[str, Any]) -> bool:
    """Return whether an evaluation is of several labels an image."""
    return evaluation.get("labels") == "multi"


def label_method_table(evaluations: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of the figures that are means over classes, one row for each method."""
    names = [name for name in _WHOLE if any(evaluation.get(name) is not None for evaluation in evaluations)]
    rows = [[name_of(evaluation), *_cells(evaluation, names)] for evaluation in evaluations]
    blind = evaluations[0].get("seed_baselines", {}).get("centered_gaussian")
    if blind:
        rows.append(["baseline: centered gaussian", *_cells(blind, names)])
    return ["mean over classes", *(_WHOLE[name] for name in names)], rows


def label_size_table(evaluation: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of the table of sizes of objects, at the chosen threshold."""
    rows = [
        [name, str(it["images"]), *shares(it, LABEL_FIGURES), *_blind(it)]
        for name, it in evaluation["chosen"]["by_size"].items()
    ]
    return ["object size", "pairs", *LABEL_FIGURES.values(), "centered Gaussian"], rows


def label_class_table(evaluation: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of the table of classes, at the chosen threshold, the background last."""
    precision = evaluation["average_precision"]
    found, seeds = evaluation.get("box_average_precision", {}), evaluation.get("seed_iou", {})
    parts = [("box AP50", found), ("seed IoU", seeds)]
    further = [(heading, its) for heading, its in parts if its]
    f1 = evaluation["f1_scores"]["thresholds_by_class"]["by_class"]
    rows = [
        [
            it["name"],
            str(it["images"]),
            *(_cell(its.get(it["name"])) for its in (precision, f1)),
            *shares(it, LABEL_FIGURES),
            *(_cell(its.get(it["name"])) for _, its in further),
            *_blind(it),
        ]
        for it in evaluation["chosen"]["by_class"].values()
    ]
    if seeds:
        empty = [""] * (3 + len(LABEL_FIGURES))
        rows.append(["background", *empty, *(_cell(its.get("background")) for _, its in further), ""])
    headings = ["AP", "F1", *LABEL_FIGURES.values(), *(heading for heading, _ in further)]
    return ["class", "images", *headings, "centered Gaussian"], rows


def _cells(figures: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [_cell(figures.get(name)) for name in names]


def _cell(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.3f}"


def _blind(group: Mapping[str, Any]) -> list[str]:
    return [_cell(group.get("baselines", {}).get("centered_gaussian", {}).get("gt_known_loc"))]

"""Pictures of an evaluation: single cases, and accuracy against threshold."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasxai import viz
from kerasxai.engine.images.image_input import ImageInput
from kerasxai.evaluation.tables import THRESHOLD_LABEL, fixed_mark, name_of
from kerasxai.explainer import Explainer
from kerasxai.metrics.records import RecordsAt
from kerasxai.tools.printable import percent
from kerasxai.viz.words import are_signed


def draw_cases(
    report: RecordsAt,
    explainer: Explainer,
    samples: Iterable[Mapping[str, Any]],
    taken: ImageInput,
    name: str,
    count: int = 6,
    image_numbers: Sequence[int] | None = None,
) -> NDArray[np.uint8]:
    """Draw the cases of highest and lowest IoU, with true boxes and those from the heatmaps.

    Args:
        report: The records of these images, in their order, at the threshold of the boxes; or of their classes, with
            `image_numbers`.
        explainer: The explainer that the report was made with.
        samples: Of `kerasxai.data.load`, one by one.
        taken: Converts images to the input of the model.
        name: The method with its refinements.
        count: How many of each kind.
        image_numbers: For each record the position of its image among the samples; None: its own position.

    Returns:
        A sheet `(H, W, 3)` uint8.
    """
    numbers = range(len(report.records)) if image_numbers is None else image_numbers
    order = {id(record): number for number, record in zip(numbers, report.records, strict=True)}
    chosen = [report.best(count), report.worst(count)]
    needed = {order[id(record)] for row in chosen for record in row}
    # Read only up to the last image that is drawn, and keep only drawn images in memory.
    numbered = itertools.islice(enumerate(samples), max(needed) + 1)
    images = {number: sample["image"] for number, sample in numbered if number in needed}
    names = report.class_names or []

    heatmaps = {
        id(record): explainer(taken.taken(images[order[id(record)]][None]), record["label"]).heatmaps[0]
        for row in chosen
        for record in row
    }
    # One choice for the sheet, so that a color means the same in each picture.
    signed = are_signed(heatmaps.values())

    def cell(record: dict[str, Any]) -> NDArray[np.uint8]:
        boxes = None if record["box"] is None else [record["box"]]
        image, heatmap = images[order[id(record)]], heatmaps[id(record)]
        return viz.overlay(image, heatmap, signed=signed, boxes=boxes, true_boxes=record["boxes"])

    return viz.grid(
        [[cell(record) for record in row] for row in chosen],
        row_labels=["best", "worst"],
        captions=[[f"{names[r['label']]}, IoU {r['iou']:.2f}" for r in row] for row in chosen],
        title=f"{name}: boxes at {percent(report.threshold, None)} of the maximum",
        legend=viz.map_legend(signed, predicted=True, true=True),
    )


def draw_curve(evaluation: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Draw GT-known Loc against the threshold, with the fixed and the chosen threshold marked."""
    curve, chosen = evaluation["curve"], evaluation["chosen"]
    marks = fixed_mark(evaluation["threshold"], chosen["source"] == "given")
    if "tuned" in evaluation:
        marks["chosen on " + evaluation["tuned"]["split"]] = evaluation["tuned"]["threshold"]
    elif chosen["source"] != "given":
        marks[chosen["source"]] = chosen["threshold"]
    return viz.plot_curves(
        curve["thresholds"],
        {name_of(evaluation): curve["gt_known_loc"]},
        x_label=THRESHOLD_LABEL,
        y_label="GT-known Loc",
        marks=marks,
    )

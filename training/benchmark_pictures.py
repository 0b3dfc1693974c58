"""The pictures of a benchmark: accuracy against threshold, and the same images for every recipe."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasxai import localization, models, viz
from kerasxai.evaluation.tables import THRESHOLD_LABEL, fixed_mark
from kerasxai.explainer import Explainer
from kerasxai.metrics import box_iou
from kerasxai.tools.printable import percent
from kerasxai.viz.words import are_signed


def threshold_plot(curves: Mapping[str, Sequence[Mapping[str, Any]]], fixed: float) -> np.ndarray:
    """Plot GT-known Loc against the threshold, one line for each row of the table: the mean over its seeds.

    Args:
        curves: For each row the `curve` of each seed's evaluation.
        fixed: The fixed threshold, to mark.
    """
    thresholds = next(iter(curves.values()))[0]["thresholds"]
    lines = {name: np.mean([one["gt_known_loc"] for one in runs], axis=0) for name, runs in curves.items()}
    marks = fixed_mark(fixed)
    return viz.plot_curves(thresholds, lines, THRESHOLD_LABEL, "GT-known Loc", marks=marks, size=(7.2, 4.4))


def contact_sheet(
    rows: Mapping[str, tuple[Path, float]],
    samples: Sequence[Mapping[str, Any]],
    method: str,
    class_names: Sequence[str],
) -> np.ndarray:
    """Draw the same images for every row of the table.

    Args:
        rows: For each row the file of the model and the threshold of its boxes.
        samples: Samples of `kerasxai.data.load`, of the image size of the models.
        method: The explainer of the true class.
        class_names: The names of the classes.

    Returns:
        A sheet `(H, W, 3)` uint8: one row for each image, one column for each row of the table.
    """
    images = np.stack([sample["image"] for sample in samples]).astype(np.float32)
    labels = np.array([sample["label"] for sample in samples])
    height, width = images.shape[1:3]
    true = [np.reshape(sample["boxes"], (-1, 4)) * (width, height, width, height) for sample in samples]
    columns = [[viz.draw_boxes(image, boxes, viz.TRUE_COLOR) for image, boxes in zip(images, true, strict=True)]]
    captions = [[class_names[label] for label in labels]]
    maps = []
    for path, _ in rows.values():
        maps.append(Explainer(models.load(path), method)(images, labels).heatmaps)
        # The graphs of one model after another would fill the memory.
        keras.backend.clear_session()
    signed = are_signed(heatmap for heatmaps in maps for heatmap in heatmaps)
    for (_, threshold), heatmaps in zip(rows.values(), maps, strict=True):
        found = [localization.heatmap_to_boxes(heatmap, threshold) for heatmap in heatmaps]
        columns.append(
            [
                viz.overlay(image, heatmap, signed=signed, boxes=boxes, true_boxes=truth)
                for image, heatmap, boxes, truth in zip(images, heatmaps, found, true, strict=True)
            ]
        )
        captions.append([_iou(boxes, truth) for boxes, truth in zip(found, true, strict=True)])
    return viz.grid(
        [list(row) for row in zip(*columns, strict=True)],
        column_labels=["true box", *(f"{name}, at {percent(threshold)}" for name, (_, threshold) in rows.items())],
        captions=[list(row) for row in zip(*captions, strict=True)],
        legend=viz.map_legend(signed, predicted=True, true=True),
        cell_size=(height, width) if min(height, width) > 128 else 128,
    )


def _iou(found: np.ndarray, true: np.ndarray) -> str:
    if not len(true):
        return ""
    return f"IoU {box_iou(found, true).max():.2f}" if len(found) else "no box"

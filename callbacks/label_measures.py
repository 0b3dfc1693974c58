"""Measures of images with several labels for `LocalizationCallback`."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from kerasxai.explainer import Explainer
from kerasxai.metrics import MeanAveragePrecision, Metric
from kerasxai.metrics.batch import BatchMeasure
from kerasxai.metrics.label_pairs import explain_pairs, pair_scores, pairs_of
from kerasxai.segmentation import SeedIoU


class LabelMeasures:
    """Counts batches of images with several labels: each present class of each image has a heatmap.

    Args:
        figures: Names of figures, some of which need class masks.
    """

    def __init__(self, figures: Iterable[str]) -> None:
        self._reads_masks = bool({"pxap", "seed_mean_iou"} & set(figures))
        self._has_seeds = "seed_mean_iou" in figures
        self._ranking = MeanAveragePrecision()
        self._seeds: SeedIoU | None = None

    def add(self, explainer: Explainer, images: Any, fields: Mapping[str, list[Any]], metrics: list[Metric]) -> None:
        """Explain the present classes of a batch, and count them.

        Args:
            explainer: Of the model.
            images: What the model takes.
            fields: Of `kerasxai.data.samples.batches`.
            metrics: Metrics of pairs of image and class.
        """
        batch = {
            name: values if name in ("boxes", "box_labels", "box_difficult") else np.stack(values)
            for name, values in fields.items()
            if name != "image" and (name != "class_mask" or self._reads_masks)
        }
        pairs, labels = pairs_of(batch), np.stack(fields["labels"])
        explanation, outputs = explain_pairs(explainer, images, pairs)
        self._ranking.update(outputs.scores, labels)
        if explanation is not None:
            heatmaps, scores = explanation.heatmaps, pair_scores(outputs.scores, labels, pairs)
            BatchMeasure.of(heatmaps, scores, pairs.truth, heatmaps.shape[1:3]).update(metrics)
        if self._has_seeds:
            self._seeds = self._seeds or SeedIoU(labels.shape[1])
            for number, mask in enumerate(batch["class_mask"]):
                its = np.flatnonzero(pairs.images == number)
                maps = [] if explanation is None else list(explanation.heatmaps[its])
                self._seeds.update(maps, pairs.classes[its], mask)

    def result(self) -> dict[str, float]:
        """Return `mean_average_precision`, and `seed_mean_iou` if it was measured."""
        found = {"mean_average_precision": float(self._ranking.result())}
        return found if self._seeds is None else found | {"seed_mean_iou": float(self._seeds.result())}

"""Figures of an evaluation of several labels an image that are not about boxes: classification and seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasxai.engine.outputs.kinds import Predictions
from kerasxai.metrics import MeanAveragePrecision, MultiLabelF1
from kerasxai.metrics.baselines import centered_gaussian
from kerasxai.metrics.label_pairs import LabelPairs
from kerasxai.segmentation import SeedIoU

DEFAULT = 0.5
"""The threshold of probabilities if there is no split to choose one on."""


class LabelFigures:
    """Mean average precision, and F1 at thresholds of another split: one for all classes, and one for each.

    Args:
        names: One for each class.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._ranking = MeanAveragePrecision(self.names)
        self._tuning = MeanAveragePrecision(self.names)
        self._f1: dict[str, MultiLabelF1] = {}
        self._source = ""

    def add(self, outputs: Predictions, labels: NDArray) -> None:
        """Count the outputs and the `labels` `(B, C)` of a batch."""
        if not self._f1:
            # Thresholds are of probabilities, which users can apply.
            self._tuning.update(outputs.probabilities, labels)
            return
        # Scores rank classes rather than probabilities, many of which may be rounded to 1.0.
        self._ranking.update(outputs.scores, labels)
        for metric in self._f1.values():
            metric.update(outputs.probabilities, labels)

    def choose(self, split: str | None) -> None:
        """Choose the thresholds by what was counted so far, the images of a split; None: they are 0.5."""
        common, by_class = DEFAULT, [DEFAULT] * len(self.names)
        if split is not None:
            found = self._tuning.f1_thresholds()
            common, by_class = found.common, list(found.by_class)
        self._source = "given" if split is None else f"labels of {split}"
        self._f1 = {"common": MultiLabelF1(common, self.names), "by_class": MultiLabelF1(by_class, self.names)}

    def result(self) -> dict[str, Any]:
        """Return `mean_average_precision`, `average_precision`, `classes_without_positives`, `f1`, `f1_scores`."""
        ranking = self._ranking.result()
        common, own = (metric.result() for metric in self._f1.values())
        thresholds = self._f1["by_class"].options["thresholds"]
        return {
            **{key: value for key, value in ranking.items() if key != "images"},
            "f1": float(own),
            "f1_scores": {
                "source": self._source,
                "one_threshold": {
                    "threshold": self._f1["common"].options["thresholds"],
                    **{key: common[key] for key in ("f1", "micro_f1")},
                },
                "thresholds_by_class": {
                    "thresholds": dict(zip(self.names, thresholds, strict=True)),
                    **{key: own[key] for key in ("f1", "micro_f1", "by_class")},
                },
            },
        }


class SeedFigures:
    """Mean IoU of the label maps of heatmaps, at the background threshold that was best on another split.

    Args:
        names: One for each class.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._threshold: dict[str, float | None] = {"seeds": None, "gaussian": None}
        self._source: str | None = None
        self._begin()

    def _begin(self) -> None:
        self._metrics = {name: SeedIoU(len(self.names)) for name in self._threshold}

    def add(self, heatmaps: NDArray | None, pairs: LabelPairs, class_masks: NDArray[np.uint8]) -> None:
        """Count a batch.

        Args:
            heatmaps: `(R, h, w)` of the pairs; None if there are none.
            pairs: Of the batch.
            class_masks: `(B, H, W)`.
        """
        for number, mask in enumerate(class_masks):
            rows = pairs.images == number
            classes = pairs.classes[rows]
            own = [] if heatmaps is None else list(heatmaps[rows])
            self._metrics["seeds"].update(own, classes, mask)
            self._metrics["gaussian"].update([centered_gaussian(mask.shape)] * len(classes), classes, mask)

    def choose(self, split: str | None) -> None:
        """Choose the thresholds by what was counted so far, the images of a split, and begin to measure.

        Args:
            split: None to choose on the measured images, as an upper bound.
        """
        if split is not None and self._is_known():
            self._threshold = {name: metric.result()["threshold"] for name, metric in self._metrics.items()}
            self._source = f"class masks of {split}"
        self._begin()

    def _is_known(self) -> bool:
        return bool(self._metrics["seeds"].totals["truths"].any())

    def result(self) -> dict[str, Any]:
        """Return `seed_mean_iou`, `seed_iou` by class, `seed_threshold`, its source, and the blind baseline.

        Nothing if there are no class masks.
        """
        if not self._is_known():
            return {}
        found, blind = (metric.result(self._threshold[name]) for name, metric in self._metrics.items())
        by_class = {"background": found["background"], **dict(zip(self.names, found["by_class"], strict=True))}
        return {
            "seed_mean_iou": found["mean_iou"],
            "seed_iou": {name: iou for name, iou in by_class.items() if iou is not None},
            "seed_threshold": found["threshold"],
            "seed_threshold_source": self._source or "best on the measured images",
            "seed_curve": found["curve"],
            "seed_baselines": {
                "centered_gaussian": {"seed_mean_iou": blind["mean_iou"], "seed_threshold": blind["threshold"]}
            },
        }

"""One method of an evaluation: its explainer, its threshold and its report."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasxai import data
from kerasxai.engine.images.image_input import ImageInput
from kerasxai.engine.outputs.kinds import Predictions
from kerasxai.evaluation.config import EvaluateConfig
from kerasxai.evaluation.thresholds import Choice, Thresholds
from kerasxai.explainer import Explainer
from kerasxai.explanation import Explanation
from kerasxai.metrics import LocalizationReport, MaxBoxAccV2
from kerasxai.metrics.batch import BatchMeasure, Truth
from kerasxai.metrics.localization import IOU_LEVELS
from kerasxai.metrics.protocols import WSOL, protocol_of
from kerasxai.tools.commands import command_line
from kerasxai.tools.input_range import name_of_range

PARTS = {"head": 1, "body": 2, "tail": 3}
"""The values in the part masks of the embedded data."""


class MeasuredMethod:
    """Measures one method: first to choose its threshold, then, after `choose`, for the figures.

    Args:
        model: A Keras classifier.
        config: The settings.
        taken: Converts images to what the model takes.
        class_names: The classes of the data.

    Attributes:
        explainer: The explainer.
        thresholds: Chooses the threshold.
        report: The report of the images since the beginning, or since `choose`.
        chosen: The chosen threshold; raises an AttributeError before `choose`.
        image_numbers: For each record the position of its image in the split; None: one record an image, in order.

    Raises:
        KerasxaiError: The method cannot explain the model, or a setting is wrong.
    """

    chosen: Choice
    image_numbers: list[int] | None = None

    def __init__(
        self, model: keras.Model, config: EvaluateConfig, taken: ImageInput, class_names: Sequence[str]
    ) -> None:
        self.config, self._taken, self._class_names = config, taken, class_names
        self._protocol = protocol_of(config.protocol)
        self.thresholds = Thresholds(config, self._protocol)
        # A refinement works on maps of the image's size; without one, the protocol does the resizing.
        resizes = self._protocol.resizes_method_maps and config.refine is None
        raw: dict[str, Any] = {"resize": False} if resizes else {}
        names = ("layer", "refine", "batch_size", "score", "outputs")
        given: dict[str, Any] = {name: getattr(config, name) for name in names}
        self.explainer = Explainer(model, config.method, **given, **raw, **config.method_options)
        self._layer: str | None = None
        self._oracle: MaxBoxAccV2 | None = None
        self._is_chosen = False
        self.report = self._new_report()

    def _new_report(self) -> LocalizationReport:
        return LocalizationReport(self.thresholds.fixed, 0.5, self.config.protocol, class_names=self._class_names)

    def add(self, batch: Mapping[str, Any], outputs: Predictions | None = None) -> Predictions:
        """Explain a batch and count it.

        Args:
            batch: As for `add_batch`.
            outputs: The model's outputs for these images, if they are known.

        Returns:
            The model's outputs.
        """
        explanation, measure, outputs = add_batch(self.report, self.explainer, batch, self._taken, outputs)
        self._layer = explanation.layer
        self._count(measure)
        return outputs

    def _count(self, measure: BatchMeasure) -> None:
        """Count a batch that the report has counted: at the chosen threshold, or to choose it."""
        if self._is_chosen:
            self.chosen.records.count(measure, self.report.records[-len(measure.maps) :])
            if self._oracle is not None:
                self._oracle.count_batch(measure)
        else:
            self.thresholds.look_at(measure)

    def choose(self) -> None:
        """Choose the threshold by the images so far, and begin a new report."""
        tuning = None if self.config.tune_split is None else self.report
        self.begin(self.thresholds.choose(tuning, self._class_names))

    def begin(self, chosen: Choice | None = None) -> None:
        """Begin a new report.

        Args:
            chosen: The chosen threshold; None keeps the one that was chosen before.
        """
        self.chosen = self.chosen if chosen is None else chosen
        self.chosen.records.records = []
        self._is_chosen = True
        if self.config.oracle or self._protocol.reports_max_box_acc:
            self._oracle = MaxBoxAccV2(protocol=WSOL.name)
        self.report = self._new_report()

    def totals(self) -> dict[str, Any]:
        """Return the counts of the report without its records, ready for JSON; see `merge`."""
        state = self.report.state()
        del state["records"]
        oracle = None if self._oracle is None else self._oracle.state()
        return {"layer": self._layer, "report": state, "oracle": oracle}

    def merge(self, totals: Mapping[str, Any], records: list[dict[str, Any]], chosen: list[dict[str, Any]]) -> None:
        """Add what another process measured with the same settings and the same threshold.

        Args:
            totals: As `totals` returned it.
            records: The records of its report.
            chosen: Those at the chosen threshold.
        """
        self._layer = totals["layer"]
        self.report.merge(LocalizationReport.from_state({**totals["report"], "records": []}))
        self.report.records += records
        self.chosen.records.records += chosen
        if self._oracle is not None:
            self._oracle.merge(MaxBoxAccV2.from_state(totals["oracle"]))

    def evaluation(self, data_name: str) -> dict[str, Any]:
        """Return the figures of `kerasxai.evaluation.evaluate.evaluate`."""
        config, report, chosen = self.config, self.report, self.chosen
        evaluation = report.result() | {
            "command": command_line(),
            "data": data_name,
            "split": config.split,
            "method": config.method,
            "layer": self._layer,
            "refine": config.refine,
            "input_range": name_of_range(config.preprocess),
            "fit": self._taken.fit,
        }
        if self.explainer.refinement_choice is not None:
            evaluation["refinement"] = self.explainer.refinement_choice
        if self._oracle is not None:
            best = self._oracle.result()
            evaluation["max_box_acc_v2"] = float(best)
            evaluation["max_box_acc_v2_at"] = {iou: best[f"max_box_acc_{iou}"] for iou in IOU_LEVELS}
        if self._protocol.reports_max_box_acc:
            # MaxBoxAcc is the maximum of the same curve, in percent.
            evaluation["max_box_acc"] = 100 * evaluation["best_gt_known_loc"]
        if chosen.tuned:
            tuned, blind = chosen.best, chosen.blind
            evaluation["tuned"] = {"split": config.tune_split, "threshold": tuned, **report.at(tuned)}
            gaussian = {"split": config.tune_split, "threshold": blind, "gt_known_loc": report.gaussian.at(blind)}
            evaluation["baselines"]["centered_gaussian"]["tuned"] = gaussian
        evaluation["chosen"] = {"source": chosen.source, **chosen.records.result()}
        return evaluation


def add_batch(
    report: LocalizationReport,
    explainer: Explainer,
    batch: Mapping[str, Any],
    taken: ImageInput,
    outputs: Predictions | None = None,
) -> tuple[Explanation, BatchMeasure, Predictions]:
    """Explain the true classes of one batch of `kerasxai.data.load`, and count it in a report.

    Args:
        report: The report.
        explainer: The explainer of the model.
        batch: `image`, `label`, `boxes`, and if known `mask`, `part_mask` and `name`.
        taken: Converts images to what the model takes.
        outputs: The model's outputs for these images, if they are known; otherwise they are those of the explanation,
            or are predicted.

    Returns:
        The explanation of the batch, the checked batch for further metrics, and the model's outputs.
    """
    images = taken.taken(batch["image"])
    labels = np.asarray(batch["label"])
    explanation = explainer(images, labels)
    # Part masks hold a number for each part; metrics take one binary mask a part.
    parts = {}
    if "part_mask" in batch:
        parts = {name: (batch["part_mask"] == value).astype(np.uint8) for name, value in PARTS.items()}
    truth = Truth(labels, data.unpad_boxes(batch["boxes"]), batch.get("mask"), parts)
    outputs = outputs or explanation.outputs or explainer.predict(images)
    measure = report.batch(explanation.heatmaps, outputs.scores, truth, batch["image"].shape[1:3])
    report.count(measure, names_of(batch, len(report.records)))
    return explanation, measure, outputs


def names_of(batch: Mapping[str, Any], first: int) -> list[str]:
    """Return the names of the images of a batch; without names their numbers, from `first` on."""
    if "name" not in batch:
        return [str(first + number) for number in range(len(batch["image"]))]
    # File names may have bytes that are not UTF-8.
    return [os.fsdecode(name) if isinstance(name, bytes) else str(name) for name in batch["name"]]

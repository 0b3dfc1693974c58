"""One method of an evaluation of several labels an image: a heatmap for each class in each image."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai.engine.images.image_input import ImageInput
from kerasxai.engine.outputs.kinds import Predictions
from kerasxai.evaluation.config import EvaluateConfig
from kerasxai.evaluation.measured_method import MeasuredMethod, names_of
from kerasxai.evaluation.multi_label_figures import LabelFigures, SeedFigures
from kerasxai.explanation import Explanation
from kerasxai.metrics import BoxAveragePrecision, ImageBoxes, PointingGameByClass
from kerasxai.metrics.batch import to_pixels
from kerasxai.metrics.classification import unique_names
from kerasxai.metrics.label_pairs import Batch, LabelPairs, explain_pairs, pair_scores, pairs_of, true_boxes

PREDICTED = 0.5
"""The probability from which a class counts as predicted, so that its box is one of a detector."""


class MultiLabelMethod(MeasuredMethod):
    """Measures one method on images with several labels; a record is a pair of image and class.

    The report ranks the class of a pair among the absent classes of its image. Boxes of predicted classes are measured
    as those of a detector: one box for each predicted class of an image, the largest component's, with the probability
    as its score.
    """

    def __init__(
        self, model: keras.Model, config: EvaluateConfig, taken: ImageInput, class_names: Sequence[str]
    ) -> None:
        self._names = unique_names(class_names, len(class_names))
        super().__init__(model, config, taken, self._names)
        self._labels = LabelFigures(self._names)
        self._seeds = SeedFigures(self._names)
        self._boxes = BoxAveragePrecision(class_names=self._names)
        self._images = 0
        self.image_numbers: list[int] = []

    def add(self, batch: Batch, outputs: Predictions | None = None) -> Predictions:
        """Explain the classes of the images of a batch, and count them; see `MeasuredMethod.add`."""
        pairs, images = pairs_of(batch), self._taken.taken(batch["image"])
        explanation, outputs = explain_pairs(self.explainer, images, pairs, outputs)
        self._labels.add(outputs, batch["labels"])
        if explanation is not None:
            self._layer = explanation.layer
            self._count_pairs(batch, pairs, explanation.heatmaps, outputs)
        if "class_mask" in batch:
            heatmaps = None if explanation is None else explanation.heatmaps
            self._seeds.add(heatmaps, pairs, batch["class_mask"])
        if self._is_chosen and self._measures_detection(batch):
            self._count_detections(batch, images, pairs, explanation, outputs)
        self._images += len(images)
        return outputs

    def _count_pairs(self, batch: Batch, pairs: LabelPairs, heatmaps: NDArray, outputs: Predictions) -> None:
        size = batch["image"].shape[1:3]
        names = names_of(batch, self._images)
        scores = pair_scores(outputs.scores, batch["labels"], pairs)
        measure = self.report.batch(heatmaps, scores, pairs.truth, size)
        self.report.count(measure, [names[image] for image in pairs.images])
        self.image_numbers += (self._images + pairs.images).tolist()
        for record, number, image, hard in zip(
            self.report.records[-len(pairs) :], pairs.classes, pairs.images, pairs.difficult, strict=True
        ):
            record["class"] = self._names[number]
            record["probability"] = float(outputs.probabilities[image, number])
            record["difficult"] = bool(hard)
        self._count(measure)

    def _measures_detection(self, batch: Batch) -> bool:
        # Regions of a class mask may be parts of an object or several; the other protocol has inclusive boxes.
        return "boxes" in batch and self.config.protocol == "kerasxai"

    def _count_detections(
        self,
        batch: Batch,
        images: NDArray,
        pairs: LabelPairs,
        explanation: Explanation | None,
        outputs: Predictions,
    ) -> None:
        """Count the boxes of predicted classes; absent ones are explained for this alone."""
        size = batch["image"].shape[1:3]
        predicted = outputs.probabilities >= PREDICTED
        absent = predicted & (np.asarray(batch["labels"]) != 1)
        found: list[list[tuple[NDArray[np.int64], int, float]]] = [[] for _ in images]
        rows: list[tuple[NDArray, NDArray, NDArray | None]] = [
            (pairs.images, pairs.classes, None if explanation is None else explanation.heatmaps)
        ]
        if absent.any():
            further, classes = np.nonzero(absent)
            rows.append((further, classes, self.explainer(images[further], classes).heatmaps))
        for numbers, classes, heatmaps in rows:
            for number, its, heatmap in zip(numbers, classes, () if heatmaps is None else heatmaps, strict=True):
                box = self._protocol.largest_boxes(heatmap, np.array([self.chosen.records.threshold]), size)[0]
                if predicted[number, its] and box.any():
                    found[number].append((box, int(its), float(outputs.probabilities[number, its])))
        for boxes, true in zip(found, true_boxes(batch), strict=True):
            self._boxes.update(
                ImageBoxes([box for box, _, _ in boxes], [one for _, one, _ in boxes], [score for *_, score in boxes]),
                ImageBoxes(to_pixels(true.boxes, size), true.classes, difficult=true.difficult),
            )

    def choose(self) -> None:
        """Choose the thresholds by the images so far, and begin new figures."""
        super().choose()
        tuned = self.config.tune_split is not None
        self._labels.choose(self.config.tune_split)
        self._seeds.choose(self.config.tune_split if tuned else None)
        self._images, self.image_numbers = 0, []

    def evaluation(self, data_name: str) -> dict[str, Any]:
        """Return the figures of `kerasxai.evaluation.evaluate.evaluate`."""
        evaluation = super().evaluation(data_name)
        evaluation |= {"labels": "multi", "pairs": evaluation["images"], "images": self._images}
        evaluation |= self._labels.result() | self._pointing()
        located = [it["gt_known_loc"] for it in evaluation["chosen"]["by_class"].values() if "gt_known_loc" in it]
        evaluation["corloc"] = float(np.mean(located))
        if self._boxes.totals["positives"].any():
            found = self._boxes.result()
            evaluation["box_ap50"] = float(found)
            evaluation["box_average_precision"] = found["by_class"]
        return evaluation | self._seeds.result()

    def _pointing(self) -> dict[str, Any]:
        """Return the pointing game of the literature, from the hits of the records."""
        located = [record for record in self.report.records if "pointing" in record]
        game = PointingGameByClass()
        columns = [np.array([record[name] for record in located]) for name in ("label", "pointing", "difficult")]
        game.count_hits(columns[0], columns[1].astype(bool), columns[2].astype(bool))
        found = game.result()
        return {
            "pointing_game_all": found["pointing_game"],
            "pointing_game_difficult": found["pointing_game_difficult"],
            "pairs_difficult": found["pairs_difficult"],
        }

"""The evaluation of data without boxes and masks: predicted classes alone, nothing is explained."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerasxai import data
from kerasxai.engine.images.image_input import ImageInput
from kerasxai.engine.outputs.kinds import Predictions
from kerasxai.evaluation.config import EvaluateConfig
from kerasxai.evaluation.measured_method import names_of
from kerasxai.evaluation.multi_label_figures import LabelFigures
from kerasxai.explainer import Explainer
from kerasxai.metrics.classification import unique_names
from kerasxai.metrics.records import ImageRecords
from kerasxai.tools.commands import command_line
from kerasxai.tools.input_range import name_of_range


class MeasuredClasses:
    """Measures the predicted classes of images, with the interface of `MeasuredMethod`.

    Args:
        model: A Keras classifier.
        config: The settings.
        taken: Converts images to what the model takes.
        info: Of the data; with several labels an image, average precision and F1 are measured instead of accuracy.

    Attributes:
        records: For each image a dict, ready for JSON: `name`, and `label`, `predicted` and `place` as in
            `LocalizationReport`, or with several labels `labels` and `probabilities`, lists over the classes.
    """

    def __init__(self, model: keras.Model, config: EvaluateConfig, taken: ImageInput, info: data.DatasetInfo) -> None:
        self.config, self._taken = config, taken
        # Occlusion explains any classifier; of the explainer only its predictions are used.
        self._explainer = Explainer(model, "occlusion", outputs=config.outputs, batch_size=config.batch_size)
        names = unique_names(info.class_names, len(info.class_names))
        self._labels = LabelFigures(names) if info.multi_label else None
        self._images = ImageRecords(class_names=info.class_names)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records of the images since the beginning, or since `choose`."""
        return self._images.records

    def add(self, batch: Mapping[str, Any], outputs: Predictions | None = None) -> Predictions:
        """Predict a batch and count it; arguments as for `MeasuredMethod.add`."""
        outputs = outputs or self._explainer.predict(self._taken.taken(batch["image"]))
        if self._labels is not None:
            self._labels.add(outputs, batch["labels"])
            known = np.asarray(batch["labels"]).astype(int).tolist()
            entries = [
                {"labels": its, "probabilities": shares}
                for its, shares in zip(known, outputs.probabilities.tolist(), strict=True)
            ]
        else:
            labels = np.asarray(batch["label"], np.int64)
            ranked = outputs.ranked(outputs.scores.shape[1])
            ranks = (ranked == labels[:, None]).argmax(axis=1)
            entries = [
                {"label": int(label), "predicted": int(row[0]), "place": int(rank)}
                for label, row, rank in zip(labels, ranked, ranks, strict=True)
            ]
        names = names_of(batch, len(self.records))
        self.records.extend({"name": name, **entry} for name, entry in zip(names, entries, strict=True))
        return outputs

    def choose(self) -> None:
        """Choose the thresholds of F1 by the images so far, and begin new figures."""
        if self._labels is not None:
            self._labels.choose(self.config.tune_split)
        self._images.records = []

    def evaluation(self, data_name: str) -> dict[str, Any]:
        """Return the figures of classes of `kerasxai.evaluation.evaluate.evaluate`."""
        about = {
            "command": command_line(),
            "data": data_name,
            "split": self.config.split,
            "measured": "classes",
            "input_range": name_of_range(self.config.preprocess),
            "fit": self._taken.fit,
        }
        if self._labels is not None:
            return about | {"labels": "multi", "images": len(self.records)} | self._labels.result()
        by_class = self._images.by_class()
        balanced = float(np.mean([it["top1_accuracy"] for it in by_class.values()]))
        return about | self._images.summary(self.records) | {"balanced_accuracy": balanced, "by_class": by_class}

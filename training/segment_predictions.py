"""Predictions of a segmenter: label maps of images, before and after refinement, written and measured."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from kerasxai.metrics import SegmentationIoU
from kerasxai.segmentation import LabelCut, cut_labels, save_label_map
from kerasxai.tools.progress import Bar
from kerasxai.training.segment_config import prediction_steps
from kerasxai.training.segment_seeds import mask_file

JSON = dict[str, Any]
PREDICTIONS, REFINED = "predictions", "refined_predictions"
"""Folders of a run."""


@dataclass(frozen=True)
class Predictor:
    """Predicts label maps; no label of an image is used.

    Attributes:
        model: The segmenter.
        flip: Whether refined predictions are those of the mean with the mirrored image.
        cut: The cut of refined predictions; None: none.
    """

    model: keras.Model
    flip: bool = False
    cut: LabelCut | None = None

    @classmethod
    def of(cls, model: keras.Model, refine: str) -> "Predictor":
        """Return a predictor with the refinements of a text, as in `Measuring`."""
        return cls(model, *prediction_steps(refine))

    @property
    def refines(self) -> bool:
        """Whether refined predictions are others."""
        return self.flip or self.cut is not None

    def __call__(self, images: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """Return the label maps `(B, H, W)` of images `(B, H, W, 3)`, and the refined ones if there are refinements."""
        probabilities = self._probabilities(images)
        plain = probabilities.argmax(-1).astype(np.uint8)
        if not self.refines:
            return [plain]
        if self.flip:
            probabilities = 0.5 * (probabilities + self._probabilities(images[:, :, ::-1])[:, :, ::-1])
        if self.cut is None:
            return [plain, probabilities.argmax(-1).astype(np.uint8)]
        pairs = zip(probabilities, images, strict=True)
        return [plain, np.stack([cut_labels(np.moveaxis(one, -1, 0), image, self.cut) for one, image in pairs])]

    def _probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(softmax(self.model.predict_on_batch(images.astype(np.float32)), axis=-1), np.float32)


def write_predictions(
    predictor: Predictor, batches: Iterable[JSON], count: int, folder: Path, name: str
) -> dict[str, JSON]:
    """Write the predictions of the test images, and measure them if there are true masks.

    Args:
        predictor: Predicts label maps.
        batches: Images with or without true masks.
        count: The number of images.
        folder: The folder of the segmenter.
        name: The name of the step; that of refined predictions ends in "_refined".

    Returns:
        The figures by the name of the step.
    """
    kinds = {PREDICTIONS: name} | ({REFINED: f"{name}_refined"} if predictor.refines else {})
    metrics = [SegmentationIoU(predictor.model.output_shape[-1] - 1) for _ in kinds]
    done = 0
    with Bar(count, "predictions") as bar:
        for batch in batches:
            for subfolder, found, metric in zip(kinds, predictor(batch["image"]), metrics, strict=True):
                for offset, labels in enumerate(found):
                    sample = {"name": batch["name"][offset]} if "name" in batch else {}
                    save_label_map(mask_file(folder / subfolder, sample, done + offset), labels)
                if "class_mask" in batch:
                    metric.update(found, batch["class_mask"])
            done += len(batch["image"])
            bar.reach(done)
    return {
        step: metric.result() for step, metric in zip(kinds.values(), metrics, strict=True) if metric.confusion.sum()
    }

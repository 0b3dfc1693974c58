"""Pairs of image and class, for images with several labels: one heatmap and one set of boxes for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.engine.outputs.kinds import Predictions
from kerasxai.explainer import Explainer
from kerasxai.explanation import Explanation
from kerasxai.localization import mask_to_boxes
from kerasxai.metrics.batch import Truth
from kerasxai.metrics.detection import ImageBoxes
from kerasxai.metrics.inputs import BACKGROUND, IGNORE, OBJECT
from kerasxai.metrics.pointing import is_difficult_pair

Batch = Mapping[str, Any]


@dataclass(frozen=True)
class LabelPairs:
    """The present classes of the images of a batch, one pair for each, in the order of the images.

    Attributes:
        images: `(R,)` index of the image in the batch.
        classes: `(R,)` the class.
        truth: The boxes and the mask of the class in the image.
        difficult: `(R,)` bool, the difficult subset of the pointing game.
    """

    images: NDArray[np.int64]
    classes: NDArray[np.int64]
    truth: Truth
    difficult: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.classes)


def pairs_of(batch: Batch) -> LabelPairs:
    """Return the pairs of a batch of `kerasxai.data.load` that has `labels`.

    The boxes of a pair are those of its class, unless all of them are difficult; without boxes in the data, those
    around the connected regions of the class in `class_mask`.

    Args:
        batch: `labels` `(B, C)`, and if known `boxes` with `box_labels` and `box_difficult`, and `class_mask`.
    """
    labels = np.asarray(batch["labels"])
    images, classes = np.nonzero(labels == 1)
    objects = true_boxes(batch)
    boxes = [_boxes_of(objects[image], int(number)) for image, number in zip(images, classes, strict=True)]
    difficult = [
        bool(len(box)) and is_difficult_pair(box, (1, 1), len(np.unique(np.asarray(objects[image].classes))) > 1)
        for image, box in zip(images, boxes, strict=True)
    ]
    return LabelPairs(images, classes, Truth(classes, boxes, _masks(batch, images, classes)), np.array(difficult, bool))


def true_boxes(batch: Batch) -> list[ImageBoxes]:
    """Return the boxes of each image of a batch, relative to width and height, with their classes."""
    if "boxes" in batch:
        fields = zip(batch["boxes"], batch["box_labels"], batch["box_difficult"], strict=True)
        return [_image_boxes(*map(np.asarray, field)) for field in fields]
    if "class_mask" in batch:
        return [_regions(np.asarray(mask)) for mask in batch["class_mask"]]
    return [ImageBoxes(np.zeros((0, 4)), np.zeros(0, np.int64)) for _ in batch["labels"]]


def _image_boxes(boxes: NDArray[np.float32], numbers: NDArray[np.int64], flags: NDArray[np.bool_]) -> ImageBoxes:
    kept = boxes[:, 2] >= 0
    return ImageBoxes(boxes[kept], numbers[kept], difficult=flags[kept])


def _regions(mask: NDArray[np.uint8]) -> ImageBoxes:
    """Return boxes around the connected regions of each class of a class mask."""
    found = [
        (mask_to_boxes(mask == value, largest=False), value - 1)
        for value in np.unique(mask[(mask != BACKGROUND) & (mask != IGNORE)]).astype(int)
    ]
    boxes = np.concatenate([np.zeros((0, 4)), *(boxes for boxes, _ in found)])
    numbers = [np.full(len(boxes), number) for boxes, number in found]
    return ImageBoxes(
        boxes / np.tile(mask.shape[::-1], 2), np.concatenate([np.zeros(0, np.int64), *numbers]).astype(np.int64)
    )


def _boxes_of(objects: ImageBoxes, number: int) -> NDArray[np.float64]:
    its = np.asarray(objects.classes) == number
    hard = np.zeros(len(its), bool) if objects.difficult is None else np.asarray(objects.difficult)
    # As in TorchRay: pairs without any box that is not difficult are left out; otherwise every box counts.
    return np.asarray(objects.boxes, np.float64)[its if (its & ~hard).any() else its & False]


def _masks(batch: Batch, images: NDArray[np.int64], classes: NDArray[np.int64]) -> NDArray[np.uint8] | None:
    """Return for each pair `(R, H, W)` 1 for its class, 0 for everything else, 255 ignored."""
    if "class_mask" not in batch:
        return None
    masks = np.asarray(batch["class_mask"])[images]
    its = np.where(masks == classes[:, None, None] + 1, OBJECT, BACKGROUND)
    return np.where(masks == IGNORE, IGNORE, its).astype(np.uint8)


def explain_pairs(
    explainer: Explainer, images: Any, pairs: LabelPairs, outputs: Predictions | None = None
) -> tuple[Explanation | None, Predictions]:
    """Explain the class of each pair in one call, and return the outputs of all images.

    Args:
        explainer: Of the model.
        images: What the model takes, B rows of each input.
        pairs: Of these images.
        outputs: The outputs of the images, if they are known; otherwise they are those of the explanation, or are
            predicted, for images without a pair alone where that is enough.

    Returns:
        The explanation of the R pairs, None if there are none, and the outputs of the B images.
    """
    explanation = explainer(_rows(images, pairs.images), pairs.classes) if len(pairs) else None
    if outputs is not None:
        return explanation, outputs
    if explanation is None or explanation.outputs is None:
        return explanation, explainer.predict(images)
    first, rows = np.unique(pairs.images, return_index=True)
    known = [explanation.outputs.scores[rows], explanation.outputs.probabilities[rows]]
    rest = np.setdiff1d(np.arange(max(len(leaf) for leaf in tf.nest.flatten(images))), first)
    if len(rest):
        predicted = explainer.predict(_rows(images, rest))
        order = np.argsort(np.concatenate([first, rest]))
        known = [
            np.concatenate(both)[order] for both in zip(known, (predicted.scores, predicted.probabilities), strict=True)
        ]
    return explanation, Predictions(*known)


def _rows(images: Any, numbers: NDArray[np.int64]) -> Any:
    """Return rows of each input; one that is shared by all images stays."""
    return tf.nest.map_structure(lambda leaf: np.asarray(leaf)[numbers] if len(leaf) > 1 else leaf, images)


def pair_scores(scores: NDArray[np.float32], labels: NDArray, pairs: LabelPairs) -> NDArray[np.float64]:
    """Return the scores `(R, C)` that rank the class of each pair among the absent classes of its image.

    Other classes that are in the image, or may be, are no mistakes: their scores become `-inf`.
    """
    rows = np.asarray(scores, np.float64)[pairs.images]
    ranked = np.asarray(labels)[pairs.images] == 0
    ranked[np.arange(len(rows)), pairs.classes] = True
    return np.where(ranked, rows, -np.inf)

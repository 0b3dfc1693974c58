"""The audited images: chosen evenly over the classes, with the predictions of the model and the objects in them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai import data
from kerasxai.engine.images.image_input import ImageInput
from kerasxai.engine.outputs.kinds import Predictions
from kerasxai.metrics.inputs import OBJECT, painted


@dataclass(frozen=True)
class AuditImages:
    """The images of an audit. Any first part of them is as even over the classes as possible.

    Attributes:
        model: The audited model.
        dataset: The data set, for further images.
        split: The audited split.
        taken: Converts pixels to what the model takes.
        pixels: `(N, H, W, 3)` uint8 in [0, 255], fitted to the size of the model.
        labels: `(N,)` int64 true classes; the predicted ones if labels are ignored.
        scores: `(N, C)` float32, see `Predictions`.
        probabilities: `(N, C)` float32.
        class_names: One for each class of the model.
        names: Of the images.
        boxes: For each image `(k, 4)` x0, y0, x1, y1 relative to width and height, k may be 0; None without boxes.
        masks: `(N, H, W)` uint8: 1 object, 0 background, 255 ignored; None without masks.
    """

    model: keras.Model
    dataset: data.ImageDataset
    split: str
    taken: ImageInput
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    class_names: tuple[str, ...]
    names: list[str]
    boxes: list[NDArray[np.float32]] | None = None
    masks: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The predicted classes, `(N,)`."""
        return Predictions(self.scores, self.probabilities).classes

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[1], self.pixels.shape[2]

    def inputs(self, rows: slice | Sequence[int] | NDArray[np.int64] = slice(None)) -> NDArray[np.float32]:
        """Return images as the model takes them."""
        return self.taken.taken(self.pixels[rows])

    @property
    def objects(self) -> NDArray[np.bool_] | None:
        """Where the objects are, `(N, H, W)`: the masks, or else the boxes; None without either."""
        if self.masks is not None:
            return self.masks == OBJECT
        if self.boxes is None:
            return None
        scale = np.array([self.size[1], self.size[0]] * 2)
        return np.stack([painted(one * scale, self.size) for one in self.boxes]) == OBJECT

    def with_predictions(self, labels: NDArray[np.int64], outputs: Predictions, ignore_labels: bool) -> AuditImages:
        """Return the images with their classes; with `ignore_labels` these are the predicted ones."""
        names = self.class_names or tuple(f"class {number}" for number in range(outputs.scores.shape[1]))
        return replace(
            self,
            labels=outputs.classes if ignore_labels else labels,
            scores=outputs.scores,
            probabilities=outputs.probabilities,
            class_names=names,
        )

    def part(self, rows: slice | Sequence[int] | NDArray[np.int64]) -> AuditImages:
        """Return some of the images."""
        numbers = np.arange(len(self))[rows]
        return replace(
            self,
            pixels=self.pixels[numbers],
            labels=self.labels[numbers],
            scores=self.scores[numbers],
            probabilities=self.probabilities[numbers],
            names=[self.names[i] for i in numbers],
            boxes=None if self.boxes is None else [self.boxes[i] for i in numbers],
            masks=None if self.masks is None else self.masks[numbers],
        )


def in_rounds(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return an order of images in rounds: one of every class at random, then the second of every class, and so on.

    Args:
        labels: `(N,)` classes.
        seed: The same seed gives the same order.

    Example:
        >>> order = in_rounds(np.array([0, 0, 0, 1]), 0)
        >>> int((order[:2] == 3).sum())
        1
    """
    generator = np.random.default_rng([seed, 3])
    chance, turn = generator.random(len(labels)), np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        turn[own[np.argsort(chance[own])]] = np.arange(len(own))
    return np.lexsort((chance, turn))


def name_of_sample(sample: dict[str, Any], number: int) -> str:
    """Return the name of a sample; its number where it has none."""
    name = sample.get("name", b"")
    text = os.fsdecode(name) if isinstance(name, bytes) else str(name)
    return text or f"image {number}"

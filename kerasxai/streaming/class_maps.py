"""Heatmaps of the size of the image, of one class or of all predicted ones: what boxes and masks are made of."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kerasxai.engine.images.image_input import ImageInput
from kerasxai.engine.outputs.kinds import Predictions
from kerasxai.explainer import Explainer
from kerasxai.tools.errors import NotFiniteError


class ClassMap(NamedTuple):
    """A heatmap of the image's size, the explained class and its probability."""

    heatmap: NDArray[np.float32]
    target: int
    probability: float


@dataclass(frozen=True)
class ClassMapper:
    """Explains the class of each image, or of a model with several labels all predicted classes, perhaps none.

    Attributes:
        explainer: Makes the heatmaps.
        model_input: The images that the model takes.
        target: The explained class; None for the predicted one.
        by_class: Whether all predicted classes are explained.
        class_threshold: With `by_class`, a class is predicted from this probability.
        top: With `by_class`, the most classes of an image.
    """

    explainer: Explainer
    model_input: ImageInput
    target: int | None = None
    by_class: bool = False
    class_threshold: float = 0.5
    top: int = 5

    def maps(
        self, batch: NDArray[np.float32], sizes: Sequence[tuple[int, int]] | NDArray[np.int64]
    ) -> Iterator[list[ClassMap]]:
        """Return the maps of each image; those of one image at a time are resized to it.

        Args:
            batch: Images as the model takes them.
            sizes: Height and width of each image before it was resized.

        Raises:
            NotFiniteError: An image gives numbers that are not finite.
        """
        rows, targets, heatmaps, probabilities = self._of_classes(batch) if self.by_class else self._of_one(batch)
        return (
            [
                self._restored(heatmaps[row], int(targets[row]), probabilities[i], size)
                for row in np.flatnonzero(rows == i)
            ]
            for i, size in enumerate(sizes)
        )

    def _restored(
        self, heatmap: NDArray[np.float32], target: int, probabilities: NDArray, size: Sequence[int]
    ) -> ClassMap:
        height, width = map(int, size)
        return ClassMap(self.model_input.restored(heatmap, (height, width)), target, float(probabilities[target]))

    def _of_one(self, batch: NDArray[np.float32]) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        explanation = self.explainer(batch, self.target)
        outputs = explanation.outputs or self.explainer.predict(batch)
        return np.arange(len(batch)), explanation.targets, explanation.heatmaps, outputs.probabilities

    def _of_classes(self, batch: NDArray[np.float32]) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        predictions = self.explainer.predict(batch)
        rows, targets = predicted_pairs(predictions, self.class_threshold, self.top)
        heatmaps = np.zeros((0, *self.model_input.size), np.float32)
        if len(rows):
            with errors_of_images(rows):
                heatmaps = self.explainer(batch[rows], targets).heatmaps
        return rows, targets, heatmaps, predictions.probabilities


def predicted_pairs(
    predictions: Predictions, threshold: float, top: int, least: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the predicted classes of images with several labels as pairs of image and class.

    Args:
        predictions: Of N images.
        threshold: A class is predicted from this probability.
        top: The most classes of an image, those of highest probability.
        least: The fewest; the most probable ones are returned whatever their probability.

    Returns:
        `(R,)` the index of the image and `(R,)` the class, the most probable class of each image first.
    """
    pairs = [
        (number, int(k))
        for number, (row, ranked) in enumerate(
            zip(predictions.probabilities, predictions.ranked(max(top, least)), strict=True)
        )
        for place, k in enumerate(ranked)
        if place < least or row[k] >= threshold
    ]
    found = np.array(pairs, np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


@contextlib.contextmanager
def errors_of_images(images: NDArray[np.int64]) -> Iterator[None]:
    """Let an error about a row of a call name the image of the row.

    Args:
        images: `(R,)` the image of each row.
    """
    try:
        yield
    except NotFiniteError as error:
        raise NotFiniteError(str(error), None if error.image is None else int(images[error.image])) from error

"""Predictions as the commands print them."""

import contextlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kerasxai.engine.outputs.kinds import Predictions, class_label
from kerasxai.tools.errors import NotFiniteError


def top_predictions(predictions: Predictions, classes: list[str] | None, top: int) -> list[list[tuple[str, float]]]:
    """Return the `top` most probable classes of each image with their probabilities."""
    rows = zip(predictions.probabilities, predictions.ranked(top), strict=True)
    return [[(class_label(k, classes), float(row[k])) for k in ranked] for row, ranked in rows]


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

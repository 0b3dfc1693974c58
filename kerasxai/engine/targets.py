"""Targets that a user gives: classes, or anything that a custom score is given."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from kerasxai.engine.inputs import Inputs
from kerasxai.engine.scores import PREDICTED
from kerasxai.tools.errors import KerasxaiError

_Inputs = TypeVar("_Inputs", bound=Inputs)


def are_custom(targets: ArrayLike | None) -> bool:
    """Whether targets for a custom score are more than one whole number for each image."""
    if targets is None:
        return False
    targets = np.asarray(targets)
    return targets.ndim > 1 or not np.issubdtype(targets.dtype, np.integer)


def checked_custom(targets: ArrayLike | None, count: int) -> NDArray[Any]:
    """Returns targets for a custom score, one entry for each of so many images.

    Raises:
        KerasxaiError: Their number is another.
    """
    targets = np.asarray(targets)
    if targets.ndim == 0 or len(targets) != count:
        raise KerasxaiError(
            f"targets must be an array with one entry for each of {count} images, got shape {targets.shape}"
        )
    return targets.astype(np.float32) if targets.dtype == np.float64 else targets


def checked_classes(targets: ArrayLike | None, count: int) -> NDArray[np.int64]:
    """Returns classes `(count,)`, `PREDICTED` for None.

    Raises:
        KerasxaiError: They are not class indices, or not one for each image.
    """
    if targets is None:
        return np.full(count, PREDICTED, np.int64)
    targets = np.asarray(targets)
    if not np.issubdtype(targets.dtype, np.integer):
        raise KerasxaiError(f"targets must be class indices (integers), got {targets.dtype}")
    if targets.ndim == 0:
        targets = np.full(count, targets)
    if targets.shape != (count,):
        raise KerasxaiError(
            f"targets must be None, one class, or one class for each of {count} images, got shape {targets.shape}"
        )
    if targets.min() < 0:
        raise KerasxaiError(f"targets must be 0 or more, got {targets.min()}; classes are counted from 0")
    return targets.astype(np.int64)


def repeated(images: _Inputs, targets: Sequence[ArrayLike]) -> tuple[_Inputs, NDArray[Any], NDArray[np.int64]]:
    """Repeats each image for each of its targets, for several maps of one image: labels, words, boxes.

    Args:
        images: `(N, H, W, C)`, or the list, tuple or dict of inputs of the model.
        targets: For each image a list of targets, of any lengths: `[[0, 3], [1]]`.

    Returns:
        The repeated images, M in all, their targets `(M, ...)`, and the index of each image, `(M,)`.

    Raises:
        KerasxaiError: The number of lists is not that of images, or there are no targets.

    Example:
        >>> copies, labels, rows = kerasxai.scores.repeated(images, [[0, 3], [1]])
        >>> heatmaps = kerasxai.Explainer(model, "gradcam")(copies, labels).heatmaps
        >>> heatmaps[rows == 0]  # the two maps of the first image
    """
    rows = np.repeat(np.arange(len(targets)), [len(np.asarray(own)) for own in targets])
    if len(rows) == 0:
        raise KerasxaiError("expected targets to explain, got none")

    def repeat(given: ArrayLike) -> NDArray[Any]:
        array = np.asarray(given)
        if len(array) not in (1, len(targets)):
            raise KerasxaiError(f"expected a list of targets for each of {len(array)} images, got {len(targets)} lists")
        return array[rows] if len(array) == len(targets) else array

    copies = tf.nest.map_structure(repeat, images)
    return copies, np.concatenate([values for values in map(np.asarray, targets) if len(values)]), rows

"""Targets that a user gives: classes, or anything that a custom score is given."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.engine.scores import PREDICTED
from kerasxai.tools.errors import KerasxaiError


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

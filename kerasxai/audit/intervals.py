"""Means and paired differences with bootstrap intervals over images. Nothing here imports TensorFlow."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from kerasxai.evaluation.comparison import bootstrap_means

RESAMPLES = 2000
CONFIDENCE = 0.95


class Interval(TypedDict):
    """A mean with its interval; all None if no image has a value."""

    value: float | None
    low: float | None
    high: float | None
    images: int


def known(values: Sequence[float | None] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values as an array, NaN where there is none."""
    return np.array([np.nan if value is None else value for value in values], np.float64)


def mean_interval(values: Sequence[float | None] | NDArray[np.float64], seed: int = 0) -> Interval:
    """Return the mean of the values of images with the percentiles of its bootstrap; missing values are left out.

    Example:
        >>> mean_interval([0.5, 0.5, None])
        {'value': 0.5, 'low': 0.5, 'high': 0.5, 'images': 2}
    """
    found = known(values)
    found = found[np.isfinite(found)]
    if not len(found):
        return {"value": None, "low": None, "high": None, "images": 0}
    drawn = bootstrap_means(found[:, None], RESAMPLES, seed)[:, 0]
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {"value": float(found.mean()), "low": float(low), "high": float(high), "images": len(found)}


def difference(one: Sequence[float | None], two: Sequence[float | None], sign: int = 1, seed: int = 0) -> Interval:
    """Return the mean of paired differences, over the images that both have; positive where `one` is better.

    Args:
        one: Values by image.
        two: Of the same images.
        sign: 1 if higher is better, -1 if lower is.
        seed: Of the bootstrap.
    """
    count = min(len(one), len(two))
    return mean_interval(sign * (known(one[:count]) - known(two[:count])), seed)

"""Accuracy, and whether the probabilities of a classifier are as high as its accuracy. No TensorFlow."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.audit.intervals import Interval, mean_interval
from kerasxai.tools.errors import KerasxaiError

BINS = 15


def calibration(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> dict[str, Any]:
    """Return the expected calibration error and the reliability diagram of a classifier.

    `sum over bins of n_b / N |accuracy_b - confidence_b|`, over bins of equal width of the highest probability; a
    confidence at an edge belongs to the lower bin. Few images make it too high: a perfectly calibrated classifier has
    about the square root of bins / N.

    Args:
        probabilities: `(N, C)`.
        labels: `(N,)` true classes.
        bins: How many.

    Returns:
        `ece`, `images`, `mean_confidence`, and `reliability`, for each bin with images: `low`, `high`, `images`,
        `confidence`, `accuracy`.

    Raises:
        KerasxaiError: There are no images, or not one label for each.

    Example:
        >>> calibration([[0.8, 0.2], [0.4, 0.6]], [0, 0], bins=1)["ece"].__round__(3)
        0.2

    Paper: Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599.
    """
    shares = np.asarray(probabilities, np.float64)
    true = np.asarray(labels)
    if shares.ndim != 2 or true.shape != (len(shares),) or not len(shares):
        raise KerasxaiError(f"expected probabilities (N, C) with N labels, got shapes {shares.shape} and {true.shape}")
    confidence, right = shares.max(1), shares.argmax(1) == true
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    rows: list[dict[str, Any]] = []
    for index in np.unique(number):
        own = number == index
        rows.append(
            {
                "low": index / bins,
                "high": (index + 1) / bins,
                "images": int(own.sum()),
                "confidence": float(confidence[own].mean()),
                "accuracy": float(right[own].mean()),
            }
        )
    ece = sum(row["images"] * abs(row["accuracy"] - row["confidence"]) for row in rows) / len(shares)
    return {
        "ece": float(ece),
        "images": len(shares),
        "mean_confidence": float(confidence.mean()),
        "reliability": rows,
    }


def accuracy(scores: NDArray[np.floating], labels: NDArray[np.int64], seed: int = 0) -> dict[str, Any]:
    """Return top-1 accuracy with its interval, top-5 accuracy, and the mean over classes.

    Args:
        scores: `(N, C)`.
        labels: `(N,)` true classes.
        seed: Of the bootstrap.
    """
    ranked = np.argsort(-scores, axis=1, kind="stable")
    right = ranked[:, 0] == labels
    by_class = [float(right[labels == label].mean()) for label in np.unique(labels)]
    return {
        "top1": dict(mean_interval(right.astype(np.float64), seed)),
        "top5": float((ranked[:, :5] == labels[:, None]).any(1).mean()),
        "balanced": float(np.mean(by_class)),
        "images": len(labels),
    }


def overconfidence(probabilities: NDArray[np.floating], labels: NDArray[np.int64], seed: int = 0) -> Interval:
    """Return the mean confidence minus the accuracy with its interval; positive for a model that is too sure."""
    gaps = probabilities.max(1).astype(np.float64) - (probabilities.argmax(1) == labels)
    return mean_interval(gaps, seed)

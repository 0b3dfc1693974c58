"""The linear probe: a multinomial logistic regression on pooled features, its strength chosen by validation."""

import logging
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from kerasxai.training.pooled_features import PooledFeatures

_LOG = logging.getLogger(__name__)

GRID = tuple(float(strength) for strength in 10.0 ** np.arange(-4, 2.5, 0.5))
"""Inverse strengths of the L2 penalty, from the strongest on, for features of unit variance."""
WORSE = 3
"""After so many worse values the rest of the grid is left out."""
_NEGLIGIBLE = 1e-9


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        weights: `(K, C)` float64, with a mean of 0 over the classes unless there are biases.
        strength: The chosen inverse strength of the penalty.
        validation_losses: The log-loss on validation images, for each value of the grid that was tried.
        biases: `(C,)` float64, of several labels an image; None for no bias.
    """

    weights: NDArray[np.float64]
    strength: float
    validation_losses: dict[float, float]
    biases: NDArray[np.float64] | None = None


def fit_probe(
    training: PooledFeatures, validation: PooledFeatures, num_classes: int, class_weights: NDArray | None = None
) -> Probe:
    """Fit scikit-learn's `LogisticRegression` for each strength of a grid; the lowest log-loss on validation wins.

    There is no intercept: it would be evidence without a place in the image. Weights are centered over the classes,
    which changes no probability and removes the part of class activation maps that the softmax does not see.

    Args:
        training: Features and labels of training images.
        validation: The same of validation images.
        num_classes: The number of classes; those without a training image get low probabilities.
        class_weights: `(C,)` weight of the images of each class, in both losses; None: 1.

    Example:
        >>> probe = fit_probe(training, validation, num_classes=13)
        >>> probabilities = scipy.special.softmax(validation.means @ probe.weights, axis=1)
    """
    # One factor for all channels, so that the grid fits every backbone; factors of their own would change the penalty.
    scale = float(np.sqrt(training.means.var(0, dtype=np.float64).mean())) or 1.0
    features, labels, weights = _with_all_classes(training, num_classes, class_weights)
    features, unseen = features / scale, validation.means / scale
    model = LogisticRegression(fit_intercept=False, max_iter=1000, warm_start=True)
    found: dict[float, float] = {}
    best: tuple[float, float, NDArray] | None = None
    for strength in GRID:
        model.C = strength
        with warnings.catch_warnings():
            # Weak penalties may not converge within the limit; validation decides.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(features, labels, sample_weight=weights)
        loss = log_loss(
            validation.labels,
            model.predict_proba(unseen),
            labels=np.arange(num_classes),
            sample_weight=None if class_weights is None else class_weights[validation.labels],
        )
        found[strength] = float(loss)
        if best is None or loss < best[0]:
            best = float(loss), strength, model.coef_.copy()
        if [*found.values()].index(best[0]) < len(found) - WORSE:
            break
    assert best is not None
    _LOG.info("probe: validation log-loss %.3f at C = %g", best[0], best[1])
    return Probe(_centered(best[2] / scale), best[1], found)


def _with_all_classes(
    training: PooledFeatures, num_classes: int, class_weights: NDArray | None
) -> tuple[NDArray, NDArray[np.int64], NDArray[np.float64]]:
    """Return features, labels and sample weights; a class without images gets one of negligible weight.

    scikit-learn leaves out classes without a sample, whose weights would then not learn that they are rare.
    """
    missing = np.setdiff1d(np.arange(num_classes), training.labels)
    weights = np.ones(len(training.labels)) if class_weights is None else class_weights[training.labels]
    # The mean image, because zeros without an intercept would teach nothing.
    means = np.repeat(training.means.mean(0, keepdims=True), len(missing), 0)
    return (
        np.concatenate([training.means, means]),
        np.concatenate([training.labels, missing]),
        np.concatenate([weights, np.full(len(missing), _NEGLIGIBLE)]),
    )


def _centered(rows: NDArray) -> NDArray[np.float64]:
    """Return weights `(K, C)` with a mean of 0 over the classes."""
    # Of two classes, scikit-learn fits the difference.
    rows = np.concatenate([-rows / 2, rows / 2]) if len(rows) == 1 else rows
    return np.asarray(rows - rows.mean(0), np.float64).T

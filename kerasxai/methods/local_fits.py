"""LIME's fit of a linear model to scores, how exact it is, and a control variate for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import pairwise_distances, r2_score

from kerasxai.methods.orthogonal import orthogonal_coalitions
from kerasxai.methods.rounds import FittedSamples
from kerasxai.methods.superpixels import HiddenSuperpixels
from kerasxai.tools.errors import KerasxaiError

CONTROL_VARIATES = ("none", "logistic")
_PREDICTED = 10_000
_STRENGTH = 30.0
# Scores of 0 and 1 have no log-odds.
_EDGE = 1e-5
Weights = tuple[NDArray[np.float64], float, float]
"""Weights `(d,)`, the intercept and R2."""


def local_fit(coalitions: NDArray[np.int8], scores: NDArray[np.float64], kernel_width: float, alpha: float) -> Weights:
    """Returns weights `(d,)`, intercept and R2 of LIME's weighted ridge of scores `(n,)` on coalitions `(n, d)`."""
    importance = locality(coalitions, kernel_width)
    ridge = Ridge(alpha=alpha).fit(coalitions, scores, importance)
    return ridge.coef_, float(ridge.intercept_), float(ridge.score(coalitions, scores, importance))


def locality(coalitions: NDArray[np.int8], kernel_width: float) -> NDArray[np.float64]:
    """Returns the weight of each of the coalitions `(n, d)` in LIME's fit, `(n,)`."""
    distances = pairwise_distances(coalitions, np.ones((1, coalitions.shape[1])), metric="cosine")[:, 0]
    return np.sqrt(np.exp(-(distances**2) / kernel_width**2))


def controlled_fit(
    coalitions: NDArray[np.int8], scores: NDArray[np.float64], kernel_width: float, alpha: float
) -> Weights:
    """Returns what `local_fit` does, with a logistic model of the scores as a control variate.

    A probability is far from linear in the superpixels, but its log-odds are nearly so. A fit is linear in the scores:
    it is the sum of the fit to what a model predicts and of the fit to what it leaves. The former is computed from
    10,000 predictions, or ten for each sample, so that mainly the latter depends on which coalitions were drawn.

    The model is fitted to all scores. Its errors would be unbiased if each were that of a model fitted to other scores,
    but such models are worse where there are few.

    Raises:
        KerasxaiError: A score is not in [0, 1].
    """
    if scores.min() < -_EDGE or scores.max() > 1 + _EDGE:
        raise KerasxaiError(
            f"control_variate must be none for scores that are no probabilities, got scores from {scores.min():.4g} to "
            f"{scores.max():.4g}"
        )
    if scores.min() == scores.max():
        # The two fits of a constant would add up to rounding errors, which look like evidence.
        return local_fit(coalitions, scores, kernel_width, alpha)
    model = LogOdds.fitted(coalitions, scores)
    many = orthogonal_coalitions(max(_PREDICTED, 10 * len(coalitions)), coalitions.shape[1], 0)
    # The ridge is as strong for each coalition as in the fit to the scores.
    strength = alpha * len(many) / len(coalitions)
    predicted, intercept, _ = local_fit(many, model.scores(many), kernel_width, strength)
    left, left_intercept, _ = local_fit(coalitions, scores - model.scores(coalitions), kernel_width, alpha)
    weights, intercept = predicted + left, intercept + left_intercept
    importance = locality(coalitions, kernel_width)
    return weights, intercept, float(r2_score(scores, coalitions @ weights + intercept, sample_weight=importance))


@dataclass(frozen=True)
class LogOdds:
    """Scores in [0, 1] whose log-odds are linear in the visible superpixels.

    Attributes:
        weights: `(d,)`.
        intercept: The log-odds with nothing visible.
    """

    weights: NDArray[np.float64]
    intercept: float

    @classmethod
    def fitted(cls, coalitions: NDArray[np.int8], scores: NDArray[np.float64]) -> LogOdds:
        """Returns the model of scores `(n,)` of coalitions `(n, d)` by a logistic regression."""
        shares = np.clip(scores, _EDGE, 1 - _EDGE)
        # Each coalition counts as both classes, by its score.
        classes = np.repeat([1, 0], len(scores))
        regression = LogisticRegression(C=_STRENGTH, tol=1e-6, max_iter=1000)
        regression.fit(np.concatenate([coalitions] * 2), classes, np.concatenate([shares, 1 - shares]))
        return cls(regression.coef_[0], float(regression.intercept_[0]))

    def scores(self, coalitions: NDArray[np.int8]) -> NDArray[np.float64]:
        """Returns the predicted scores `(n,)`."""
        return expit(coalitions @ self.weights + self.intercept)


@dataclass(frozen=True)
class LocalFit:
    """The settings of LIME's fit, and how exact it is.

    Attributes:
        kernel_width: See `kerasxai.methods.lime.lime`.
        alpha: See `kerasxai.methods.lime.lime`.
        group: How many samples were drawn together.
    """

    kernel_width: float
    alpha: float
    group: int = 1

    def error(self, image: HiddenSuperpixels, coalitions: NDArray[np.int8], scores: NDArray[np.float64]) -> float:
        """Returns the standard error of the map of the first samples, as a share of its range."""
        visible = coalitions[: len(scores)]
        weights, intercept, _ = local_fit(visible, scores, self.kernel_width, self.alpha)
        design = np.column_stack([visible, np.ones(len(visible))]).astype(np.float64)
        residuals = scores - visible @ weights - intercept
        importance = locality(visible, self.kernel_width)
        # The ridge leaves the intercept alone.
        penalty = self.alpha * (np.arange(design.shape[1]) < len(weights))
        # The first sample is always the whole image.
        covariance = FittedSamples(design, importance, residuals, 1, self.group, penalty).covariance()
        return image.error_of(weights, None if covariance is None else covariance[:-1, :-1])

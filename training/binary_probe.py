"""The linear probe for several labels an image: a logistic regression for each class, one strength for all of them."""

import logging
import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from kerasxai.training.pooled_features import PooledFeatures
from kerasxai.training.probe import GRID, WORSE, Probe

_LOG = logging.getLogger(__name__)

_LEAST = 1e-7


def fit_binary_probe(
    training: PooledFeatures, validation: PooledFeatures, positive_weights: NDArray[np.float32] | None = None
) -> Probe:
    """Fit scikit-learn's `LogisticRegression` to each class; the strength of lowest binary cross-entropy wins.

    Unknown labels (-1) do not count. A class without an image, or that all images have, has weights of 0 and the bias
    of its share.

    Args:
        training: Features of training images, and their labels `(N, C)`.
        validation: The same of validation images.
        positive_weights: `(C,)` weight of the label 1 of each class, in both losses; None: 1.

    Example:
        >>> probe = fit_binary_probe(training, validation)
        >>> probabilities = scipy.special.expit(validation.means @ probe.weights + probe.biases)
    """
    scale = float(np.sqrt(training.means.var(0, dtype=np.float64).mean())) or 1.0
    features, unseen = training.means / scale, validation.means / scale
    labels = training.labels
    weights = np.ones(labels.shape[1]) if positive_weights is None else positive_weights
    learned = [c for c in range(labels.shape[1]) if (labels[:, c] == 0).any() and (labels[:, c] == 1).any()]
    models = {c: LogisticRegression(max_iter=1000, warm_start=True) for c in learned}
    kernel, biases = np.zeros((features.shape[1], labels.shape[1])), _prior(labels)
    found: dict[float, float] = {}
    best: tuple[float, float, NDArray[np.float64], NDArray[np.float64]] | None = None
    for strength in GRID:
        for c, model in models.items():
            known = labels[:, c] >= 0
            model.C = strength
            with warnings.catch_warnings():
                # Weak penalties may not converge within the limit; validation decides.
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(
                    features[known], labels[known, c], sample_weight=np.where(labels[known, c] == 1, weights[c], 1)
                )
            kernel[:, c], biases[c] = model.coef_[0], model.intercept_[0]
        loss = binary_loss(validation.labels, expit(unseen @ kernel + biases), weights)
        found[strength] = loss
        if best is None or loss < best[0]:
            best = loss, strength, kernel.copy(), biases.copy()
        if [*found.values()].index(best[0]) < len(found) - WORSE:
            break
    assert best is not None
    _LOG.info("probe: validation binary cross-entropy %.3f at C = %g", best[0], best[1])
    return Probe(best[2] / scale, best[1], found, best[3])


def _prior(labels: NDArray) -> NDArray[np.float64]:
    """Return the logit of the share of images of each class; of a class without known labels that of one of all."""
    known, present = (labels >= 0).sum(0), (labels == 1).sum(0)
    shares = np.where(known > 0, present / np.maximum(known, 1), 1 / labels.shape[1])
    # Not surer than one image more would allow.
    least = 1 / (known + 2)
    return logit(np.clip(shares, least, 1 - least))


def binary_loss(labels: NDArray, probabilities: NDArray, weights: NDArray | None = None) -> float:
    """Return the mean binary cross-entropy of known labels, `(N, C)`, as the loss of training does: of each image."""
    known = labels >= 0
    each = -np.log(np.clip(np.where(labels == 1, probabilities, 1 - probabilities), _LEAST, 1))
    if weights is not None:
        each = each * np.where(labels == 1, weights, 1)
    return float(((each * known).sum(1) / np.maximum(known.sum(1), 1)).mean())


def mean_average_precision(labels: NDArray, scores: NDArray) -> float:
    """Return the mean average precision of the classes with an image; unknown labels (-1) do not count."""
    precisions = [
        average_precision_score(labels[known, c] == 1, scores[known, c])
        for c in range(labels.shape[1])
        if (labels[known := labels[:, c] >= 0, c] == 1).any()
    ]
    return float(np.mean(precisions)) if precisions else 0.0

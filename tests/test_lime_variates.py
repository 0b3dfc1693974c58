"""The control variate of LIME."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference
import zoo
from scipy.special import expit

import kerasxai
from kerasxai.methods.lime import random_coalitions
from kerasxai.methods.local_fits import LogOdds, controlled_fit, local_fit, locality
from kerasxai.methods.orthogonal import orthogonal_coalitions

GENERATOR = np.random.default_rng(12)
COUNT = 20
GAINS = GENERATOR.normal(size=COUNT)
PAIRS = GENERATOR.normal(size=(COUNT, COUNT))
Scores = Callable[[np.ndarray], np.ndarray]


def of_log_odds(rows: np.ndarray) -> np.ndarray:
    return expit(rows @ GAINS - 3)


def bent(rows: np.ndarray) -> np.ndarray:
    """Scores whose log-odds are not linear."""
    sides = rows - 0.5
    return expit(rows @ GAINS - 3 + np.einsum("ni,nj,ij->n", sides, sides, PAIRS) / 6)


def weights(fit: Any, rows: np.ndarray, scores: Scores) -> np.ndarray:
    # A ridge that is equally strong for each sample, so that different numbers of samples estimate the same weights.
    return fit(rows, scores(rows), 0.25, 0.002 * len(rows))[0]


def errors(fit: Any, scores: Scores, samples: int, draw: Any = random_coalitions) -> float:
    exact = weights(local_fit, orthogonal_coalitions(20_000, COUNT, 99), scores)
    found = [weights(fit, draw(samples, COUNT, seed), scores) for seed in range(8)]
    return float(np.sqrt(np.mean([(one - exact) ** 2 for one in found])))


@pytest.mark.parametrize(("scores", "share"), [(of_log_odds, 0.25), (bent, 0.9)])
def test_the_error_is_smaller(scores: Scores, share: float) -> None:
    assert errors(controlled_fit, scores, 100) < share * errors(local_fit, scores, 100)


def test_many_samples_estimate_the_same_weights() -> None:
    # An estimator of other weights would keep an error.
    few, many = (errors(controlled_fit, bent, samples) for samples in (200, 3200))
    assert many < few / 3


@pytest.mark.parametrize("score", [0.0, 0.57, 1.0])
def test_equal_scores_are_no_evidence(score: float) -> None:
    rows = orthogonal_coalitions(50, COUNT, 0)
    found, intercept, _ = controlled_fit(rows, np.full(50, score), 0.25, 1.0)
    assert not found.any() and intercept == pytest.approx(score)


def test_half_the_samples_suffice_with_orthogonal_ones() -> None:
    both = errors(controlled_fit, bent, 65, orthogonal_coalitions)
    assert both < errors(local_fit, bent, 130)


def test_log_odds_that_are_linear_are_found() -> None:
    rows = random_coalitions(4000, COUNT, 0)
    model = LogOdds.fitted(rows, of_log_odds(rows))
    np.testing.assert_allclose(model.weights, GAINS, atol=0.02)
    np.testing.assert_allclose(model.scores(rows), of_log_odds(rows), atol=0.01)


def test_intercept_and_r2_are_those_of_the_weights() -> None:
    rows = random_coalitions(100, COUNT, 0)
    found, intercept, r2 = controlled_fit(rows, bent(rows), 0.25, 1.0)
    residuals, importance = bent(rows) - rows @ found - intercept, locality(rows, 0.25)
    mean = np.average(bent(rows), weights=importance)
    spread = (importance * (bent(rows) - mean) ** 2).sum()
    assert r2 == pytest.approx(1 - (importance * residuals**2).sum() / spread)
    assert 0.5 < r2 < 1


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_scores_that_are_all_equal_have_no_weights(value: float) -> None:
    rows = random_coalitions(50, COUNT, 0)
    found, intercept, _ = controlled_fit(rows, np.full(50, value), 0.25, 1.0)
    np.testing.assert_allclose(found, 0, atol=1e-4)
    np.testing.assert_allclose(intercept, value, atol=1e-4)


def test_a_model_is_explained_with_the_control_variate() -> None:
    model, images = zoo.build("functional"), zoo.images(2)
    options: dict[str, Any] = {"samples": 80, "segments": 9, "control_variate": "logistic"}
    found = kerasxai.Explainer(model, "lime", **options)(images, 0)
    again = kerasxai.Explainer(model, "lime", batch_size=7, **options)(images[1:], 0)
    np.testing.assert_allclose(found.heatmaps[1], again.heatmaps[0], atol=1e-5 * np.ptp(found.heatmaps[1]) + 1e-7)
    plain = kerasxai.Explainer(model, "lime", **(options | {"control_variate": "none"}))(images, 0)
    assert not np.array_equal(found.heatmaps, plain.heatmaps)
    for one, other in zip(found.heatmaps, plain.heatmaps, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.9


def test_without_it_the_weights_are_those_of_the_ridge() -> None:
    rows = random_coalitions(60, COUNT, 1)
    expected = reference.lime_weights(rows.astype(float), bent(rows), 0.25, 1.0)
    np.testing.assert_allclose(local_fit(rows, bent(rows), 0.25, 1.0)[0], expected[0], atol=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"control_variate must be none for scores that are no probabilities, got scores from -?\d.* to \d"),
        ({"samples": "auto"}, "control_variate must be none with samples='auto', got logistic"),
        ({"control_variate": "logit"}, "expected a known control_variate, got 'logit'; nearest: logistic"),
    ],
)
def test_what_it_cannot_do_is_refused(options: dict[str, Any], message: str) -> None:
    def far(images: np.ndarray) -> np.ndarray:
        return np.stack([images.sum((1, 2, 3)), images.mean((1, 2, 3))], 1)

    explain = kerasxai.Explainer(far, "lime", **{"samples": 50, "control_variate": "logistic", **options})
    with pytest.raises(kerasxai.KerasxaiError, match=message):
        explain(np.random.default_rng(0).random((1, 12, 12, 3), "float32"), 0)

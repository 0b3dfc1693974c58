"""Stability and complexity of heatmaps against plain NumPy."""

from typing import Any

import numpy as np
import pytest

import kerasxai
from kerasxai.metrics.complexity import ComplexityMetric, EffectiveComplexity, Entropy, Gini
from kerasxai.metrics.stability import MaxSensitivity

IMAGES = np.random.default_rng(0).uniform(0, 1, (3, 6, 7, 1)).astype("float32")
MAPS = np.random.default_rng(1).normal(size=(3, 6, 7))


def classify(images: np.ndarray) -> np.ndarray:
    left, right = images[:, :, :3].mean((1, 2, 3)), images[:, :, 3:].mean((1, 2, 3))
    return np.stack([left, right, left * right], 1).astype("float32")


def explainer() -> kerasxai.Explainer:
    return kerasxai.Explainer(classify, "occlusion", patch=3, stride=2, outputs="logits")


def test_entropy_gini_and_effective_complexity_equal_their_oracle() -> None:
    entropy, gini, effective = Entropy()(MAPS), Gini()(list(MAPS)), EffectiveComplexity(0.25)(MAPS)
    for b, heatmap in enumerate(np.abs(MAPS)):
        shares = heatmap.ravel() / heatmap.sum()
        differences = np.abs(shares[:, None] - shares).sum()  # The mean absolute difference, half of it over the mean.
        assert entropy[b] == pytest.approx(-sum(p * np.log(p) for p in shares))
        assert gini[b] == pytest.approx(differences / (2 * len(shares)))
        assert effective[b] == sum(p > 0.25 * shares.max() for p in shares)


@pytest.mark.parametrize("metric", [Entropy, Gini, EffectiveComplexity])
def test_complexity_is_free_of_units_and_merges(metric: type[ComplexityMetric]) -> None:
    whole, half = metric(), metric()
    np.testing.assert_allclose(whole(-1e200 * MAPS), whole(MAPS))
    one_pixel = np.zeros((1, 6, 7))
    one_pixel[0, 2, 3] = 4
    simple, constant = float(whole(one_pixel)[0]), float(whole(np.ones((1, 6, 7)))[0])
    assert (simple > constant) == metric.higher_is_better and np.isfinite(whole(np.zeros((1, 6, 7)))).all()
    whole.update(MAPS)
    half.update(MAPS[:1])
    other = metric.from_state(half.state())
    half.totals = {name: np.zeros_like(total) for name, total in half.totals.items()}
    half.update(MAPS[1:])
    assert float(half.merge(other).result()) == pytest.approx(float(whole.result()))
    with pytest.raises(kerasxai.KerasxaiError, match="heatmaps must be finite numbers, got NaN in heatmap 1"):
        whole([MAPS[0], np.full((2, 2), np.nan)])


def test_max_sensitivity_equals_its_oracle() -> None:
    made = MaxSensitivity(explainer(), samples=3, radius=0.1, seed=5)
    clean = explainer()(IMAGES)
    ranges = np.ptp(IMAGES, axis=(1, 2, 3), keepdims=True)
    changes = []
    for index in range(3):
        noise = np.random.default_rng((5, index)).uniform(-1, 1, (6, 7, 1))
        noisy = explainer()((IMAGES + 0.1 * ranges * noise).astype("float32"), clean.targets).heatmaps
        changes.append(
            [np.sqrt(((a - b) ** 2).sum() / (a**2).sum()) for a, b in zip(clean.heatmaps, noisy, strict=True)]
        )
    np.testing.assert_allclose(made(IMAGES), np.max(changes, 0), rtol=1e-4)
    np.testing.assert_allclose(made(IMAGES, None, clean.heatmaps), np.max(changes, 0), rtol=1e-4)
    made.update(IMAGES[:2])
    other = MaxSensitivity.from_state(made.state())
    assert other.result()["images"] == 2 and made.passes(2) == 6
    assert made.merge(other).result()["max_sensitivity"] == pytest.approx(float(other.result()))


def test_zero_heatmaps_are_skipped_unless_they_stay_zero() -> None:
    made = MaxSensitivity(explainer(), samples=2)
    made.update(IMAGES, 0, np.zeros((3, 6, 7)))
    assert made.totals["skipped"][0] == 3
    constant = kerasxai.Explainer(lambda images: np.ones((len(images), 2)), "occlusion", patch=3, stride=3)
    np.testing.assert_array_equal(MaxSensitivity(constant, samples=2)(IMAGES, 1), 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MaxSensitivity(None, samples=0), "samples must be 1 or more, got 0"),
        (lambda: MaxSensitivity(None, radius=0), "radius must be above 0, got 0"),
        (lambda: MaxSensitivity()(IMAGES), "expected an explainer to measure, got none"),
        (lambda: MaxSensitivity(explainer())(IMAGES[0]), "expected images"),
        (lambda: MaxSensitivity(explainer())(IMAGES, 0, MAPS[:2]), "images must have one entry for each of 2 heatmaps"),
        (lambda: MaxSensitivity(explainer())(IMAGES, 0, MAPS[:, :2]), "expected heatmaps of the explainer, of shape"),
        (lambda: EffectiveComplexity(2), "threshold must be"),
    ],
)
def test_mistakes_are_explained(call: Any, message: str) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=message):
        call()

"""Measures against values of Quantus 0.6.0 and xplique 2.0.2, which were computed once and are kept as data.

The classifier is `softmax(tanh(x A) B)` on 16 x 16 x 1 images; heatmaps have no equal values, from 0 to 1.
"""

from pathlib import Path

import numpy as np
import pytest

from kerasxai.metrics.complexity import EffectiveComplexity, Entropy, Gini
from kerasxai.metrics.faithfulness import AverageDrop, AverageGain, Deletion, IncreaseInConfidence, Insertion
from kerasxai.metrics.faithfulness.imputation import imputed
from kerasxai.metrics.faithfulness.subsets import spearman
from kerasxai.metrics.stability import MaxSensitivity

GOLDEN = np.load(Path(__file__).parent / "data" / "faithfulness.npz")
IMAGES, MAPS, TARGETS = GOLDEN["images"], GOLDEN["maps"], GOLDEN["targets"]


def classify(images: np.ndarray) -> np.ndarray:
    logits = np.tanh(np.asarray(images, np.float64).reshape(len(images), -1) @ GOLDEN["first"]) @ GOLDEN["second"]
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        (Deletion(classify, 8, outputs="probabilities"), "xplique_deletion"),
        (Insertion(classify, 8, "black", outputs="probabilities"), "xplique_insertion"),
        (AverageDrop(classify, outputs="probabilities"), "xplique_average_drop"),
        (IncreaseInConfidence(classify, outputs="probabilities"), "xplique_increase"),
        (AverageGain(classify, outputs="probabilities"), "xplique_average_gain"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_are_those_of_xplique(metric: Deletion | AverageDrop, name: str) -> None:
    np.testing.assert_allclose(metric(IMAGES, TARGETS, MAPS), GOLDEN[name], atol=2e-6)


def test_mu_fidelity_of_the_same_subsets_is_that_of_xplique() -> None:
    for b, visible in enumerate(GOLDEN["mu_masks"]):
        copies = np.where(visible[..., None], IMAGES[b], 0)
        drops = (classify(IMAGES[b : b + 1]) - classify(copies))[:, TARGETS[b]]
        value = spearman((MAPS[b] * ~visible).sum((1, 2)), drops)
        assert value == pytest.approx(GOLDEN["xplique_mu_fidelity"][b], abs=1e-5)


def test_deletion_curves_are_those_of_quantus() -> None:
    metric = Deletion(classify, 8, outputs="probabilities")
    metric(IMAGES, TARGETS, MAPS)
    assert metric.curves is not None
    # Quantus omits the score of the unchanged image.
    np.testing.assert_allclose(metric.curves[:, 1:], GOLDEN["quantus_flipping"], atol=2e-6)


def test_imputed_pixels_are_those_of_quantus() -> None:
    for image, heatmap, expected in zip(IMAGES, MAPS, GOLDEN["quantus_imputed"], strict=True):
        missing = np.zeros(heatmap.size, bool)
        missing[np.argsort(-heatmap.ravel())[: GOLDEN["imputed_count"]]] = True
        np.testing.assert_allclose(imputed(image, missing.reshape(heatmap.shape)), expected, atol=1e-5)


def test_complexity_is_that_of_quantus() -> None:
    np.testing.assert_allclose(Entropy()(MAPS), GOLDEN["quantus_complexity"], atol=1e-6)
    np.testing.assert_allclose(Gini()(MAPS), GOLDEN["quantus_sparseness"], atol=1e-6)
    np.testing.assert_array_equal(EffectiveComplexity(0.25)(MAPS), GOLDEN["quantus_effective"])


def test_max_sensitivity_of_the_same_noise_is_that_of_quantus(monkeypatch: pytest.MonkeyPatch) -> None:
    class Squares:
        """An explainer whose heatmap is known."""

        def __call__(self, images: np.ndarray, targets: object) -> object:
            return type("Explanation", (), {"heatmaps": images[..., 0] ** 2 * 3, "targets": targets})

    noise = GOLDEN["noise"].reshape(-1, 1, 16, 16, 1)
    monkeypatch.setattr(MaxSensitivity, "_noisy", lambda self, pixels, index: pixels + noise[index])
    metric = MaxSensitivity(Squares(), samples=4)  # type: ignore[arg-type]
    np.testing.assert_allclose(metric(IMAGES, TARGETS), GOLDEN["quantus_max_sensitivity"], rtol=1e-4)


def test_the_golden_data_name_their_versions() -> None:
    assert GOLDEN["versions"].tolist() == ["quantus 0.6.0", "xplique 2.0.2"]

"""Occlusion from coarse to fine: against loops over all patches, and the passes that it saves."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference
import zoo

import kerasxai

GENERATOR = np.random.default_rng(22)
IMAGES = GENERATOR.uniform(0.5, 1, (2, 15, 18, 3)).astype("float32")
WEIGHTS = np.zeros((15, 18, 3))
WEIGHTS[2:6, 9:14] = GENERATOR.uniform(0.5, 1.5, (4, 5, 3))
TOPS, LEFTS = [0, 2, 4, 6, 8, 10, 11], [0, 2, 4, 6, 8, 10, 12, 14]
"""Of patches of 4 by steps of 2."""


def bent(images: np.ndarray) -> np.ndarray:
    line = np.einsum("nhwc,hwc->n", images, WEIGHTS)
    return np.stack([0 * line, line + np.tanh(line / 9)], 1)


def explain(
    images: np.ndarray = IMAGES, function: Callable[[np.ndarray], np.ndarray] = bent, **options: float
) -> kerasxai.Explanation:
    settings: dict[str, Any] = {"patch": 4, "stride": 2}
    return kerasxai.Explainer(function, "occlusion", **(settings | options))(images, 1)


@pytest.mark.parametrize("coarse", [2, 3, 50])
@pytest.mark.parametrize("share", [0.2, 0.6, 1.0, 1.5])
def test_the_map_equals_its_oracle(coarse: int, share: float) -> None:
    explanation = explain(coarse=coarse, refine_from=share, batch_size=5)
    lines = [[i for i in range(len(line)) if i % coarse == 0 or i == len(line) - 1] for line in (TOPS, LEFTS)]
    for image, heatmap, passes in zip(IMAGES, explanation.heatmaps, explanation.notes["passes"], strict=True):
        expected, counted = reference.coarse_occlusion(
            lambda x: float(bent(x[None])[0, 1]), image.astype(float), (TOPS, LEFTS), 4, lines, share
        )
        np.testing.assert_allclose(heatmap, expected, atol=1e-5)
        assert passes == counted


def test_nothing_is_refined_by_default() -> None:
    plain, none = explain(coarse=3), explain(coarse=3, refine_from=1.5)
    np.testing.assert_array_equal(plain.heatmaps, none.heatmaps)
    np.testing.assert_array_equal(plain.notes["passes"], [3 * 4] * 2)
    black = explain(np.zeros_like(IMAGES), coarse=3, refine_from=0.5)
    assert not black.heatmaps.any()


def test_every_patch_is_hidden_if_all_are_refined() -> None:
    plain, refined = explain(), explain(coarse=3, refine_from=0)
    np.testing.assert_allclose(refined.heatmaps, plain.heatmaps, atol=1e-6)
    np.testing.assert_array_equal(refined.notes["passes"], 7 * 8)
    assert "passes" not in plain.notes


def test_the_notes_count_the_passes_and_few_are_spent_where_the_score_does_not_move() -> None:
    seen = 0

    def counting(images: np.ndarray) -> np.ndarray:
        nonlocal seen
        seen += len(images)
        return bent(images)

    explanation = explain(IMAGES[:1], counting, coarse=3, refine_from=0.7)
    assert explanation.notes["passes"] == [seen - 1]
    plain = explain(IMAGES[:1]).heatmaps
    assert seen - 1 < 0.6 * 7 * 8
    assert np.corrcoef(explanation.heatmaps.ravel(), plain.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("shape", [(11,), (6, 7, 5)])
def test_series_and_volumes(shape: tuple[int, ...]) -> None:
    images = GENERATOR.uniform(0.5, 1, (1, *shape, 2)).astype("float32")
    weights = GENERATOR.normal(size=(*shape, 2))

    def score(x: np.ndarray) -> np.ndarray:
        line = np.tensordot(x, weights, weights.ndim)
        return np.stack([line, 3 + line], 1)

    maps = [explain(images, score, **options).heatmaps for options in ({}, {"coarse": 2, "refine_from": 0})]
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-5)
    assert explain(images, score, coarse=2).heatmaps.shape == images.shape[:-1]


def test_early_layers_are_recomputed_around_the_patch_as_for_all_patches() -> None:
    model = zoo.build("functional")
    options: dict[str, Any] = {"patch": 6, "stride": 3}
    plain = kerasxai.Explainer(model, "occlusion", **options)(zoo.images(2))
    refined = kerasxai.Explainer(model, "occlusion", coarse=2, refine_from=0, **options)(zoo.images(2))
    np.testing.assert_allclose(refined.heatmaps, plain.heatmaps, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coarse": 0}, "coarse must be 1 or more, got 0"),
        ({"coarse": 1.5}, "coarse must be a whole number"),
        ({"coarse": 2, "refine_from": float("nan")}, "refine_from must be a number"),
        ({"coarse": 2, "refine_from": -0.1}, "refine_from must be 0 or more, got -0.1"),
    ],
)
def test_bad_options_say_what_is_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=message):
        explain(**options)

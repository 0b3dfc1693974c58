"""A control variate for RISE: against sums over all masks there are, and fewer passes for the same error."""

import itertools
from typing import Any

import numpy as np
import pytest
import reference

import kerasxai
from kerasxai.methods.control_variates import MaskBlocks
from kerasxai.methods.random_masks import MaskSource, random_grids

SHAPE, GRID, PROBABILITY = (4, 6), (1, 2), 0.3
GENERATOR = np.random.default_rng(12)
IMAGES = GENERATOR.uniform(0.5, 1, (2, *SHAPE, 3)).astype("float32")
WEIGHTS = GENERATOR.normal(size=(*SHAPE, 3))
SOURCE = MaskSource(3, GRID, PROBABILITY, paired=False)
LINEAR: dict[str, Any] = {"control_variate": "linear"}


def bent(images: np.ndarray) -> np.ndarray:
    line = np.einsum("nhwc,hwc->n", images, WEIGHTS)
    return np.stack([0 * line, 3 + line + np.tanh(line)], 1)


def explain(images: np.ndarray = IMAGES, **options: object) -> np.ndarray:
    settings: dict[str, Any] = {"masks": 60, "grid": GRID, "probability": PROBABILITY, "seed": 3}
    return kerasxai.Explainer(bent, "rise", **(settings | options))(images, 1).heatmaps


def all_masks() -> tuple[np.ndarray, np.ndarray]:
    """Return every mask that can be drawn, and its probability."""
    cells = [np.reshape(c, (2, 3)) for c in itertools.product((0, 1), repeat=6)]
    shifts = [((i + 0.5) / 4, (j + 0.5) / 3) for i in range(4) for j in range(3)]
    masks = [reference.rise_mask(c, s, SHAPE) for c in cells for s in shifts]
    chances = [PROBABILITY ** c.sum() * (1 - PROBABILITY) ** (6 - c.sum()) / 12 for c in cells for _ in shifts]
    return np.array(masks), np.array(chances)


def shares(masks: np.ndarray) -> np.ndarray:
    """Return the means of masks over the left and the right half, the blocks of a grid of 1 x 2."""
    return np.stack([masks[:, :, :3].mean((1, 2)), masks[:, :, 3:].mean((1, 2))], 1)


def ridge(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Return weights and intercept of the ridge with the smallest error of leaving one out."""
    found = []
    for alpha in np.logspace(-2, 3, 11):
        centered = x - x.mean(0)
        inverse = np.linalg.inv(centered.T @ centered + alpha * np.eye(x.shape[1]))
        weights = inverse @ centered.T @ y
        leverage = np.einsum("ij,jk,ik->i", centered, inverse, centered) + 1 / len(x)
        intercept = y.mean() - x.mean(0) @ weights
        found.append((np.mean(((y - x @ weights - intercept) / (1 - leverage)) ** 2), weights, intercept))
    return min(found, key=lambda one: one[0])[1:]


def test_the_expectation_is_that_over_all_masks() -> None:
    masks, chances = all_masks()
    assert chances.sum() == pytest.approx(1)
    blocks = MaskBlocks(SHAPE, SOURCE)
    np.testing.assert_allclose(blocks.shares(masks.astype("float32")), shares(masks), atol=1e-6)
    weights, intercept = np.array([0.7, -1.9]), 0.4
    expected = np.einsum("n,n,nhw->hw", chances, intercept + shares(masks) @ weights, masks)
    np.testing.assert_allclose(blocks.expectation(weights, intercept), expected, atol=1e-6)


def test_the_map_equals_its_oracle() -> None:
    count = 60
    cells, shifts = random_grids(range(count), 3, GRID, PROBABILITY)
    masks = np.array([reference.rise_mask(c, tuple(s), SHAPE) for c, s in zip(cells, shifts, strict=True)])
    every, chances = all_masks()
    heatmaps = explain(**LINEAR, batch_size=7)
    for image, heatmap in zip(IMAGES, heatmaps, strict=True):
        scores = bent(image * masks[..., None])[:, 1]
        expected = np.zeros(SHAPE)
        for fold in range(5):
            own = np.arange(count) % 5 == fold
            weights, intercept = ridge(shares(masks[~own]), scores[~own])
            errors = scores[own] - shares(masks[own]) @ weights - intercept
            known = np.einsum("n,n,nhw->hw", chances, intercept + shares(every) @ weights, every)
            expected += own.mean() * (known + np.tensordot(errors, masks[own], 1) / own.sum())
        np.testing.assert_allclose(heatmap, expected / PROBABILITY, rtol=1e-4)


def test_the_estimate_has_no_bias() -> None:
    masks, chances = all_masks()
    exact = np.einsum("n,n,nhw->hw", chances, bent(IMAGES[0] * masks[..., None])[:, 1], masks) / PROBABILITY
    maps = np.array([explain(IMAGES[:1], masks=10, seed=seed, **LINEAR)[0] for seed in range(200)])
    standard_error = maps.std(0, ddof=1) / np.sqrt(len(maps))
    assert (np.abs(maps.mean(0) - exact) < 4.5 * standard_error).all()


@pytest.mark.parametrize("sampling", ["random", "paired"])
def test_half_of_the_passes_are_enough_for_the_same_error(sampling: str) -> None:
    options: dict[str, Any] = {"grid": (2, 3), "probability": 0.5, "sampling": sampling}
    exact = explain(masks=8000, seed=99, **options)

    def error(control_variate: str = "none") -> float:
        maps = [explain(seed=s, **options, control_variate=control_variate) for s in range(8)]
        return float(np.sqrt(np.mean([(one - exact) ** 2 for one in maps])))

    assert error(**LINEAR) < 0.71 * error()


def test_the_same_seed_is_the_same_map_whatever_the_batch() -> None:
    once = explain(**LINEAR, batch_size=4)
    np.testing.assert_array_equal(once, explain(**LINEAR, batch_size=4))
    np.testing.assert_allclose(once, explain(**LINEAR, batch_size=60), atol=1e-5)
    np.testing.assert_allclose(once[1:], explain(IMAGES[1:], **LINEAR), atol=1e-5)
    assert not np.allclose(once, explain(**LINEAR, seed=4), atol=1e-4)


def test_volumes_and_series_have_control_variates() -> None:
    for shape in ((8,), (5, 6, 4)):
        images = GENERATOR.uniform(0.5, 1, (1, *shape, 2)).astype("float32")
        weights = GENERATOR.normal(size=(*shape, 2))

        def score(x: np.ndarray, weights: np.ndarray = weights) -> np.ndarray:
            line = np.tensordot(x, weights, weights.ndim)
            return np.stack([line, 3 + line], 1)

        explain = [kerasxai.Explainer(score, "rise", masks=n, grid=2, **o) for n, o in ((100, LINEAR), (8000, {}))]
        one, many = (explainer(images, 1).heatmaps for explainer in explain)
        assert one.shape == images.shape[:-1]
        assert np.corrcoef(one.ravel(), many.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"control_variate": "lineal"}, "expected a known control_variate, got 'lineal'; nearest: linear"),
        ({"masks": "auto"} | LINEAR, "masks must be a number of 10 or more with a control variate, got 'auto'"),
        ({"masks": 9} | LINEAR, "masks must be a number of 10 or more with a control variate, got 9"),
    ],
)
def test_bad_options_say_what_is_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=message):
        explain(**options)

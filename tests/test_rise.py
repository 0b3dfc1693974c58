"""RISE: masks and sums against a loop over pixels and masks."""

from typing import Any

import numpy as np
import pytest
import reference

import kerasxai
from kerasxai.methods.random_masks import random_grids, upsampled_masks

GENERATOR = np.random.default_rng(4)
WEIGHTS = GENERATOR.normal(size=(11, 14, 3, 2))
IMAGES = GENERATOR.uniform(0.5, 1, (2, 11, 14, 3)).astype("float32")


def bent(images: np.ndarray) -> np.ndarray:
    return np.tanh(np.einsum("nhwc,hwck->nk", images, WEIGHTS) / 5)


def explain(**options: Any) -> np.ndarray:
    plain: dict[str, Any] = {"masks": 30, "grid": 3}
    return kerasxai.Explainer(bent, "rise", **(plain | options))(IMAGES, 1).heatmaps


def test_masks_equal_their_oracle_and_lie_between_0_and_1() -> None:
    cells, shifts = random_grids(range(6), 7, (3, 4), 0.4)
    masks = upsampled_masks(cells, shifts, np.array((11, 14), np.int32)).numpy()
    expected = [reference.rise_mask(c, tuple(s), (11, 14)) for c, s in zip(cells, shifts, strict=True)]
    np.testing.assert_allclose(masks, expected, atol=1e-5)
    assert masks.min() >= 0 and masks.max() <= 1


def test_rise_equals_its_oracle() -> None:
    cells, shifts = random_grids(range(30), 5, (3, 4), 0.3)
    masks = [reference.rise_mask(c, tuple(s), (11, 14)) for c, s in zip(cells, shifts, strict=True)]
    heatmaps = explain(grid=(3, 4), probability=0.3, seed=5, batch_size=7)
    for image, heatmap in zip(IMAGES, heatmaps, strict=True):
        expected = reference.rise(lambda x: float(bent(x[None])[0, 1]), image.astype(float), masks, 0.3)
        np.testing.assert_allclose(heatmap, expected, atol=1e-5)


def test_masks_show_each_place_with_the_same_probability() -> None:
    cells, shifts = random_grids(range(4000), 0, (4, 4), 0.3)
    mean = upsampled_masks(cells, shifts, np.array((16, 20), np.int32)).numpy().mean(0)
    # The mean of 4000 masks of variance at most p (1 - p) errs by at most 0.0073; four times that is far.
    np.testing.assert_allclose(mean, 0.3, atol=0.03)


def test_the_same_seed_is_the_same_map_whatever_the_batch() -> None:
    once = explain(batch_size=4)
    np.testing.assert_array_equal(once, explain(batch_size=4))
    np.testing.assert_allclose(once, explain(batch_size=30), atol=1e-6)
    first = random_grids(range(3, 9), 1, (4, 4), 0.5)[0]
    np.testing.assert_array_equal(first[2:], random_grids(range(5, 9), 1, (4, 4), 0.5)[0])


@pytest.mark.parametrize(
    "options", [{"masks": 31}, {"grid": 4}, {"probability": 0.4}, {"seed": 1}, {"explain": "probability"}]
)
def test_every_option_changes_the_map(options: dict[str, Any]) -> None:
    assert not np.allclose(explain(), explain(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masks": 0}, "masks must be 1 or more, got 0"),
        ({"masks": "many"}, "masks must be a whole number, 1 or more, got 'many'"),
        ({"grid": 0}, "grid must be 1 or more"),
        ({"probability": 0}, "probability must be above 0 and below 1, got 0"),
        ({"probability": 1.0}, "probability must be above 0 and below 1"),
        ({"probability": float("nan")}, "probability must be a number"),
        ({"seed": -1}, "seed must be 0 or more"),
    ],
)
def test_bad_options_say_what_is_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=message):
        explain(**options)

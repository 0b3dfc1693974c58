"""Coalitions from orthogonal designs, and LIME with them."""

import itertools
from typing import Any

import numpy as np
import pytest

import kerasxai
from kerasxai.methods.lime import local_fit, random_coalitions
from kerasxai.methods.orthogonal import hadamard_matrix, orthogonal_coalitions

GENERATOR = np.random.default_rng(11)
WEIGHTS = GENERATOR.normal(size=(12, 15, 3))
IMAGES = GENERATOR.uniform(0.5, 1, (2, 12, 15, 3)).astype("float32")
LABELS = np.arange(12)[:, None] // 3 + 4 * (np.arange(15) // 3)
ORTHOGONAL = {"sampling": "orthogonal", "segmentation": LABELS}


def bent(images: np.ndarray) -> np.ndarray:
    line = np.einsum("nhwc,hwc->n", images, WEIGHTS)
    score = np.tanh(line / 10) + np.sin(np.einsum("nhwc,hwc->n", images, WEIGHTS[::-1, ::-1]) / 3)
    return np.stack([0 * score, score + 3], 1)


def explain(images: np.ndarray = IMAGES, **options: Any) -> Any:
    return kerasxai.Explainer(bent, "lime", **{"batch_size": 512, **ORTHOGONAL, **options})(images, 1)


# The orders of Sylvester (1, 2, 16, 64), of Paley (12, 20, 44, 48), and doubled ones (24 of 12, 40 of 20, 88 of 44).
@pytest.mark.parametrize(
    ("least", "order"),
    [(1, 1), (2, 2), (3, 4), (9, 12), (13, 16), (17, 20), (21, 24), (37, 40), (41, 44), (45, 48), (64, 64), (85, 88)],
)
def test_hadamard_matrices_have_orthogonal_columns(least: int, order: int) -> None:
    matrix = hadamard_matrix(least).astype(int)
    assert matrix.shape == (order, order) and (np.abs(matrix) == 1).all()
    np.testing.assert_array_equal(matrix.T @ matrix, order * np.eye(order, dtype=int))


def test_a_hadamard_matrix_of_no_rows_is_refused() -> None:
    with pytest.raises(kerasxai.KerasxaiError, match="least must be 1 or more, got 0"):
        hadamard_matrix(0)


@pytest.mark.parametrize("count", [1, 2, 7, 43, 64])
def test_blocks_are_balanced_uncorrelated_and_of_pairs(count: int) -> None:
    size = 2 * len(hadamard_matrix(count))
    rows = orthogonal_coalitions(1 + 3 * size, count, 5)
    assert rows.shape == (1 + 3 * size, count) and rows.dtype == np.int8 and rows[0].all()
    blocks = rows[1:].astype(int).reshape(3, size, count) * 2 - 1
    for block in blocks:
        np.testing.assert_array_equal(block[::2], -block[1::2])
        np.testing.assert_array_equal(block.T @ block, size * np.eye(count, dtype=int))
        np.testing.assert_array_equal(block.sum(0), 0)
    if count > 1:
        assert not np.array_equal(blocks[0], blocks[1])


def test_any_three_superpixels_of_a_block_have_all_combinations_equally_often() -> None:
    block = orthogonal_coalitions(25, 12, 0)[1:]
    for chosen in itertools.combinations(range(12), 3):
        found = np.bincount(block[:, chosen] @ [1, 2, 4], minlength=8)
        np.testing.assert_array_equal(found, 3)


def test_each_sample_alone_is_uniform() -> None:
    rows = np.stack([orthogonal_coalitions(4, 4, seed)[1:] for seed in range(1600)])
    for position in range(3):
        found = np.bincount(rows[:, position] @ [1, 2, 4, 8], minlength=16)
        # 100 on average; the standard deviation is 10.
        assert found.min() > 55 and found.max() < 145


@pytest.mark.parametrize("samples", [2, 3, 24, 25, 26, 60])
def test_fewer_samples_are_the_first_of_more(samples: int) -> None:
    rows = orthogonal_coalitions(samples, 12, 3)
    assert rows.shape == (samples, 12)
    np.testing.assert_array_equal(rows, orthogonal_coalitions(100, 12, 3)[:samples])
    assert not np.array_equal(orthogonal_coalitions(60, 12, 3), orthogonal_coalitions(60, 12, 4))


def test_the_same_seed_gives_the_same_map_in_every_batch() -> None:
    both = explain(samples=77)
    np.testing.assert_array_equal(both.heatmaps, explain(samples=77).heatmaps)
    alone = np.concatenate([explain(IMAGES[b : b + 1], samples=77, batch_size=9).heatmaps for b in range(2)])
    np.testing.assert_allclose(alone, both.heatmaps, atol=1e-5)
    assert not np.allclose(explain(samples=77, seed=1).heatmaps, both.heatmaps, atol=1e-4)
    assert not np.allclose(explain(samples=77, sampling="paired").heatmaps, both.heatmaps, atol=1e-4)


@pytest.mark.parametrize("count", [1, 64])
def test_one_superpixel_and_as_many_as_the_matrix_has_rows(count: int) -> None:
    gains = GENERATOR.normal(size=count)
    rows = orthogonal_coalitions(1 + 2 * count, count, 0)
    weights, intercept, _ = local_fit(rows, rows @ gains + 2, 0.25, 1e-9)
    np.testing.assert_allclose(weights, gains, atol=1e-5)
    np.testing.assert_allclose(intercept, 2, atol=1e-5)


def test_many_samples_estimate_the_same_weights_as_random_ones() -> None:
    def mean_map(sampling: str) -> np.ndarray:
        return np.mean([explain(samples=4000, sampling=sampling, seed=seed).heatmaps for seed in range(3)], axis=0)

    random, orthogonal = mean_map("random"), mean_map("orthogonal")
    few = explain(samples=100, sampling="random").heatmaps
    for b in range(2):
        span = np.ptp(random[b])
        assert np.abs(orthogonal[b] - random[b]).max() < 0.03 * span < np.abs(few[b] - random[b]).max()


def test_half_the_samples_have_a_smaller_error_where_there_are_few() -> None:
    # 30 effects, and products of two and of three superpixels.
    gains, pairs, triples = GENERATOR.normal(size=30), GENERATOR.normal(size=(30, 30)), GENERATOR.normal(size=(30,) * 3)

    def scores(rows: np.ndarray) -> np.ndarray:
        sides = rows - 0.5
        two = np.einsum("ni,nj,ij->n", sides, sides, pairs)
        return sides @ gains + two / 5 + np.einsum("ni,nj,nk,ijk->n", sides, sides, sides, triples, optimize=True) / 30

    def weights(rows: np.ndarray) -> np.ndarray:
        return local_fit(rows, scores(rows), 0.25, 1e-3)[0]

    exact = weights(random_coalitions(60_000, 30, 99))

    def error(draw: Any, samples: int) -> float:
        return float(np.sqrt(np.mean([(weights(draw(samples, 30, seed)) - exact) ** 2 for seed in range(10)])))

    assert error(orthogonal_coalitions, 65) < error(random_coalitions, 130)


@pytest.mark.parametrize("samples", [200, 500])
def test_the_estimated_error_is_the_spread_over_seeds(samples: int) -> None:
    found = [explain(IMAGES[:1], samples="auto", until=1e-9, max_samples=samples, seed=seed) for seed in range(24)]
    maps = np.stack([one.heatmaps[0] for one in found])
    spread = np.sqrt(maps.var(0, ddof=1).mean())
    estimated = np.mean([one.notes["standard_error"][0] * np.ptp(one.heatmaps) for one in found])
    # The spread of 24 errs by about a seventh.
    assert 0.7 < estimated / spread < 1.45


def test_the_map_is_that_of_the_number_of_samples_in_the_notes() -> None:
    automatic = explain(IMAGES[:1], samples="auto", until=0.1)
    count = int(automatic.notes["samples_used"][0])
    np.testing.assert_allclose(automatic.heatmaps, explain(IMAGES[:1], samples=count).heatmaps, atol=1e-5)


def test_other_methods_have_no_orthogonal_sampling() -> None:
    for method in ("rise", "kernelshap"):
        with pytest.raises(kerasxai.KerasxaiError, match="expected a known sampling, got 'orthogonal'"):
            kerasxai.Explainer(bent, method, sampling="orthogonal")(IMAGES, 1)

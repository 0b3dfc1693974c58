"""Samples in pairs, and samples in rounds until the map is exact enough."""

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo

import kerasxai
from kerasxai.methods.kernelshap import Game
from kerasxai.methods.lime import random_coalitions
from kerasxai.methods.random_masks import random_grids
from kerasxai.methods.rounds import BatchMeans, share_of_range

GENERATOR = np.random.default_rng(8)
WEIGHTS = GENERATOR.normal(size=(12, 15, 3))
IMAGES = GENERATOR.uniform(0.5, 1, (2, 12, 15, 3)).astype("float32")
LABELS = np.arange(12)[:, None] // 3 + 4 * (np.arange(15) // 3)
LIMITS: dict[str, dict[str, Any]] = {
    "rise": {"masks": "auto", "grid": 3, "max_masks": 4000, "sampling": "paired"},
    "lime": {"samples": "auto", "segmentation": LABELS, "max_samples": 4000},
    "kernelshap": {"samples": "auto", "segmentation": LABELS, "max_samples": 4000},
}

# Standard errors that are reached after fewer and after more samples.
LEVELS = {"rise": (0.13, 0.076), "lime": (0.1, 0.037), "kernelshap": (0.03, 0.007)}
SMOOTH_LEVELS = {"smoothgrad": 0.008, "squaregrad": 0.011, "vargrad": 0.03}


def bent(images: np.ndarray) -> np.ndarray:
    line = np.einsum("nhwc,hwc->n", images, WEIGHTS)
    score = np.tanh(line / 10) + np.sin(np.einsum("nhwc,hwc->n", images, WEIGHTS[::-1, ::-1]) / 3)
    return np.stack([0 * score, score + 3], 1)


def explain(method: str, images: np.ndarray = IMAGES, function: Any = bent, **options: Any) -> Any:
    settings = {"batch_size": 512, **LIMITS[method], **options}
    return kerasxai.Explainer(function, method, **settings)(images, 1)


def test_paired_masks_are_complements() -> None:
    cells, shifts = random_grids(range(6), 3, (4, 4), 0.5, paired=True)
    np.testing.assert_array_equal(cells[::2] + cells[1::2], 1)
    np.testing.assert_array_equal(shifts[::2], shifts[1::2])
    np.testing.assert_array_equal(cells[::2], random_grids(range(3), 3, (4, 4), 0.5)[0])
    np.testing.assert_array_equal(cells[3:], random_grids(range(3, 6), 3, (4, 4), 0.5, paired=True)[0])


@pytest.mark.parametrize("samples", [2, 3, 8, 9])
def test_paired_samples_are_complements_after_the_whole_image(samples: int) -> None:
    rows = random_coalitions(samples, 7, 3, paired=True)
    assert rows.shape == (samples, 7) and rows[0].all()
    drawn = rows[1 : 1 + (samples - 1) // 2 * 2]
    np.testing.assert_array_equal(drawn[::2] + drawn[1::2], 1)
    np.testing.assert_array_equal(rows[1::2], random_coalitions(samples, 7, 3)[1::2])


def test_pairs_need_fewer_passes_for_the_same_error() -> None:
    def even(images: np.ndarray) -> np.ndarray:
        line = np.einsum("nhwc,hwc->n", images - IMAGES[:1] / 2, WEIGHTS) / 5
        return np.stack([0 * line, line / 5 + line**2 + 3], 1)

    def heatmap(count: int, seed: int, sampling: str) -> np.ndarray:
        return explain("rise", IMAGES[:1], function=even, masks=count, seed=seed, sampling=sampling).heatmaps

    exact = heatmap(2000, 99, "paired")

    def error(sampling: str) -> float:
        return float(np.sqrt(np.mean([(heatmap(100, seed, sampling) - exact) ** 2 for seed in range(5)])))

    # Half the passes at the same error: the error after the same number of passes is 0.71 of that of random samples.
    assert error("paired") < 0.71 * error("random")


@pytest.mark.parametrize("method", LIMITS)
def test_fewer_samples_are_drawn_for_a_larger_error(method: str) -> None:
    found = [explain(method, until=until) for until in LEVELS[method]]
    assert (found[0].notes["samples_used"] < found[1].notes["samples_used"]).all()
    for until, one in zip(LEVELS[method], found, strict=True):
        assert (one.notes["standard_error"] <= until).all() and (one.notes["samples_used"] < 4000).all()


@pytest.mark.parametrize("method", LIMITS)
def test_each_image_stops_by_itself_and_the_same_seed_gives_the_same_map(method: str) -> None:
    until = LEVELS[method][0]
    both = explain(method, until=until)
    np.testing.assert_array_equal(both.heatmaps, explain(method, until=until).heatmaps)
    for b in range(2):
        alone = explain(method, IMAGES[b : b + 1], batch_size=70, until=until)
        np.testing.assert_allclose(alone.heatmaps[0], both.heatmaps[b], atol=1e-5)
        assert alone.notes["samples_used"][0] == both.notes["samples_used"][b]
    assert not np.allclose(explain(method, until=until, seed=1).heatmaps, both.heatmaps, atol=1e-4)


RANDOM, PAIRED = {"sampling": "random"}, {"sampling": "paired"}


@pytest.mark.parametrize(
    ("method", "option", "sampling"),
    [("rise", "masks", RANDOM), ("rise", "masks", PAIRED), ("lime", "samples", {}), ("lime", "samples", PAIRED)],
)
def test_the_map_is_that_of_the_number_of_samples_in_the_notes(method: str, option: str, sampling: Any) -> None:
    automatic = explain(method, IMAGES[:1], **sampling, until=0.2)
    count = int(automatic.notes["samples_used"][0])
    fixed = explain(method, IMAGES[:1], **{option: count}, **sampling)
    np.testing.assert_allclose(automatic.heatmaps, fixed.heatmaps, atol=1e-5)
    assert "samples_used" not in fixed.notes


@pytest.mark.parametrize(
    ("method", "options"), [("rise", RANDOM), ("rise", PAIRED), ("lime", {}), ("lime", PAIRED), ("kernelshap", {})]
)
def test_the_estimated_error_is_the_spread_over_seeds(method: str, options: dict[str, Any]) -> None:
    options = options | {"until": 1e-9, "max_masks" if method == "rise" else "max_samples": 500}
    found = [explain(method, IMAGES[:1], seed=seed, **options) for seed in range(12)]
    maps = np.stack([one.heatmaps[0] for one in found])
    spread = np.sqrt(maps.var(0, ddof=1).mean())
    estimated = np.mean([one.notes["standard_error"][0] * np.ptp(one.heatmaps) for one in found])
    # The spread of twelve errs by about a fifth.
    assert 0.6 < estimated / spread < 1.6


def test_kernelshap_enumerates_few_coalitions_and_is_exact_for_an_additive_game() -> None:
    few = explain("kernelshap", segmentation=LABELS // 4)
    assert few.notes["exact"].all() and (few.notes["samples_used"] == 2**5).all()
    assert (few.notes["standard_error"] == 0).all()
    expected = explain("kernelshap", segmentation=LABELS // 4, samples=500)
    np.testing.assert_array_equal(few.heatmaps, expected.heatmaps)
    game, gains = Game.in_rounds(20, 200, 0), GENERATOR.normal(size=20)
    np.testing.assert_allclose(game.shapley_values((game.visible @ gains)[:100]), gains, atol=1e-8)
    kernel = sum(19 / (k * (20 - k)) for k in range(1, 20))
    np.testing.assert_allclose([game.weights_of(count).sum() for count in (100, 150)], kernel)


@pytest.fixture(scope="module")
def model() -> Any:
    return zoo.build("functional")


@pytest.mark.parametrize("average", ["smoothgrad", "squaregrad", "vargrad"])
def test_averages_over_noise_stop_at_an_error(average: str, model: Any) -> None:
    def smooth(images: np.ndarray, **options: Any) -> Any:
        return kerasxai.Explainer(model, "saliency", smooth=average, **options)(images, 0)

    images = zoo.images(2)
    automatic = smooth(images, samples="auto", until=SMOOTH_LEVELS[average])
    used = automatic.notes["samples_used"]
    assert (
        used[0] != used[1]
        and (used > 32).all()
        and (used < 800).all()
        and (automatic.notes["standard_error"] < 0.031).all()
    )
    for b in range(2):
        fixed = smooth(images[b : b + 1], samples=int(used[b]))
        np.testing.assert_allclose(automatic.heatmaps[b], fixed.heatmaps[0], rtol=1e-3, atol=1e-6)


def test_rounds_need_no_trace_of_their_own(model: Any) -> None:
    cases: dict[str, dict[str, Any]] = {
        "rise": {"masks": "auto", "grid": 3, "max_masks": 500},
        "lime": {"samples": "auto", "segments": 9, "max_samples": 100},
        "saliency": {"samples": "auto", "smooth": "smoothgrad", "max_samples": 64},
    }
    for method, options in cases.items():
        explain = kerasxai.Explainer(model, method, **options)
        fixed: dict[str, Any] = {name: 9 if value == "auto" else value for name, value in options.items()}
        plain = kerasxai.Explainer(model, method, **fixed)
        explain(zoo.images(2)), plain(zoo.images(2))
        assert len(zoo.traced_model(explain)._traces) == len(zoo.traced_model(plain)._traces)


def test_an_error_that_is_not_reached_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "kerasxai"):
        found = explain("rise", until=0.001, max_masks=550)
    assert (found.notes["samples_used"] == 500).all() and (found.notes["standard_error"] > 0.001).all()
    assert [record.message.partition(":")[0] for record in caplog.records] == ["image 0", "image 1"]
    assert "after 500 samples" in caplog.text and "raise max_masks" in caplog.text


def test_batch_means() -> None:
    rounds, means = GENERATOR.normal(size=(9, 4, 5)), BatchMeans()
    means.add(rounds[0])
    assert means.error() == np.inf
    for one in rounds[1:]:
        means.add(one)
    np.testing.assert_allclose(means.mean, rounds.mean(0))
    expected = np.sqrt((rounds.var(0, ddof=1) / 9).mean()) / np.ptp(rounds.mean(0))
    np.testing.assert_allclose(means.error(), expected)
    assert share_of_range(np.zeros(3), np.ones(3)) == 0
    assert share_of_range(np.ones(3), np.ones(3)) == np.inf


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("rise", {"until": 0}, "until must be above 0 and below 1, got 0"),
        ("rise", {"max_masks": 499}, "max_masks must be 500 or more, got 499"),
        ("rise", {"sampling": "pair"}, "expected a known sampling, got 'pair'; nearest: paired"),
        ("rise", {"sampling": "paired", "probability": 0.4}, "probability must be 0.5 for paired masks, got 0.4"),
        ("rise", {"masks": "automatic"}, "masks must be a whole number, 1 or more, got 'automatic'"),
        ("lime", {"sampling": "pair"}, "expected a known sampling, got 'pair'; nearest: paired"),
        ("lime", {"max_samples": 50}, "max_samples must be 100 or more, got 50"),
        ("kernelshap", {"max_samples": 90}, "max_samples must be 100 or more"),
    ],
)
def test_bad_options_say_what_is_wrong(method: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=message):
        explain(method, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": "auto", "until": 2}, "until must be above 0 and below 1"),
        ({"samples": "auto", "max_samples": 31}, "max_samples must be 32 or more, got 31"),
    ],
)
def test_bad_options_of_averages_say_what_is_wrong(options: dict[str, Any], message: str, model: Any) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=message):
        kerasxai.Explainer(model, "saliency", smooth="smoothgrad", **options)


def test_too_few_samples_for_the_superpixels_are_refused() -> None:
    labels = np.arange(180).reshape(12, 15) // 3
    for method in ("lime", "kernelshap"):
        with pytest.raises(kerasxai.KerasxaiError, match="max_samples must be 300 or more for 60 superpixels, got 200"):
            explain(method, segmentation=labels, max_samples=200)


def test_the_examples_of_the_page_run() -> None:
    text = (Path(__file__).parents[1] / "docs" / "passes.md").read_text("utf-8")
    scope: dict[str, Any] = {"model": bent, "images": IMAGES[:1]}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, "passes.md", "exec"), scope)
    assert scope["explanation"].notes["standard_error"][0] <= 0.05

"""Superpixels, LIME and KernelSHAP."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference
import zoo

import kerasxai
from kerasxai.engine.function_model import FunctionModel
from kerasxai.engine.samples import Samples
from kerasxai.methods.kernelshap import coalitions, constrained_fit, drawn_one_by_one
from kerasxai.methods.lime import local_fit, random_coalitions
from kerasxai.methods.superpixels import superpixels_of, top_superpixels

GENERATOR = np.random.default_rng(6)
WEIGHTS = GENERATOR.normal(size=(12, 15, 3, 2))
IMAGES = GENERATOR.uniform(0.5, 1, (2, 12, 15, 3)).astype("float32")
# Six regions of different sizes, with a gap in their numbers.
LABELS = np.array([0, 1, 2, 5, 6, 9])[np.arange(12)[:, None] // 5 % 3 + 3 * (np.arange(15) // 8)]


def linear(images: np.ndarray) -> np.ndarray:
    return np.einsum("nhwc,hwck->nk", images, WEIGHTS)


def bent(images: np.ndarray) -> np.ndarray:
    return np.tanh(linear(images) / 5) + linear(images) ** 2 / 50


def explain(method: str, function: Any = bent, targets: Any = 1, **options: Any) -> Any:
    plain: dict[str, Any] = {"samples": 100, "segmentation": LABELS}
    return kerasxai.Explainer(function, method, **(plain | options))(IMAGES, targets)


def hidden_score(image: np.ndarray, seen: np.ndarray, function: Any = bent) -> float:
    """The score of an image of which the regions that are not seen have their mean color."""
    shown = image.astype(float).copy()
    for region, label in enumerate(np.unique(LABELS)):
        if not seen[region]:
            shown[label == LABELS] = image[label == LABELS].mean(0)
    return float(function(shown[None])[0, 1])


def contributions(image: np.ndarray) -> np.ndarray:
    """What each region adds to a linear score over its mean color."""
    alone = np.eye(6)
    nothing = hidden_score(image, np.zeros(6), linear)
    return np.array([hidden_score(image, alone[region], linear) - nothing for region in range(6)])


@pytest.mark.parametrize("method", ["lime", "kernelshap"])
def test_the_weights_of_a_linear_function_are_recovered(method: str) -> None:
    options: dict[str, Any] = {"alpha": 1e-6} if method == "lime" else {}
    explanation = explain(method, linear, **options)
    for b, image in enumerate(IMAGES):
        np.testing.assert_allclose(explanation.notes["superpixel_weights"][b], contributions(image), atol=1e-4)
        for region, label in enumerate(np.unique(LABELS)):
            weight = explanation.notes["superpixel_weights"][b][region]
            np.testing.assert_allclose(explanation.heatmaps[b][label == LABELS], weight, rtol=1e-5)
    if method == "lime":
        np.testing.assert_allclose(explanation.notes["r2"], 1, atol=1e-6)


def test_lime_equals_a_weighted_ridge_done_by_hand() -> None:
    explanation = explain("lime", samples=40, kernel_width=0.3, alpha=2.0, seed=3, batch_size=7)
    seen = random_coalitions(40, 6, 3)
    assert seen[0].all() and 0.35 < seen[1:].mean() < 0.65
    for b, image in enumerate(IMAGES):
        scores = np.array([hidden_score(image, row) for row in seen])
        weights, intercept, r2 = reference.lime_weights(seen.astype(float), scores, 0.3, 2.0)
        np.testing.assert_allclose(explanation.notes["superpixel_weights"][b], weights, atol=1e-5)
        np.testing.assert_allclose(explanation.notes["intercept"][b], intercept, atol=1e-4)
        np.testing.assert_allclose(explanation.notes["r2"][b], r2, atol=1e-5)


def test_a_sample_with_nothing_seen_is_as_far_away_as_can_be() -> None:
    seen = np.array([[1, 1], [0, 0], [1, 0], [0, 1]], np.int8)
    scores = np.array([1.0, 100.0, 0.5, 0.5])
    # Its weight is exp(-8): that 100 hardly moves the fit.
    with_it, without = (local_fit(seen[rows], scores[rows], 0.25, 1.0)[0] for rows in ([0, 1, 2, 3], [0, 2, 3]))
    np.testing.assert_allclose(with_it, without, atol=0.1)


def test_kernelshap_of_few_superpixels_are_the_shapley_values() -> None:
    explanation = explain("kernelshap")
    assert explanation.notes["exact"].all()
    for b, image in enumerate(IMAGES):
        expected = reference.shapley(lambda seen, image=image: hidden_score(image, seen), 6)
        np.testing.assert_allclose(explanation.notes["superpixel_weights"][b], expected, atol=1e-4)


@pytest.mark.parametrize("samples", [12, 20, 40, 61, 62])
@pytest.mark.parametrize("sampling", ["paired", "random"])
def test_kernelshap_sums_to_the_difference_of_scores_however_few_the_samples(samples: int, sampling: str) -> None:
    explanation = explain("kernelshap", samples=samples, sampling=sampling)
    assert explanation.notes["exact"].all() == (samples >= 2**6 - 2)
    for b, image in enumerate(IMAGES):
        np.testing.assert_allclose(explanation.notes["baseline_scores"][b], hidden_score(image, np.zeros(6)), rtol=1e-4)
    totals = [weights.sum() for weights in explanation.notes["superpixel_weights"]]
    np.testing.assert_allclose(totals, explanation.scores - explanation.notes["baseline_scores"], atol=1e-5)


@pytest.mark.parametrize(("count", "samples"), [(2, 2), (3, 6), (7, 40), (12, 300), (30, 500), (50, 1000)])
def test_coalitions_carry_the_shapley_kernel(count: int, samples: int) -> None:
    seen, importance = coalitions(count, samples, 0)
    assert len(seen) == len(importance) <= samples
    assert set(seen.sum(1)) <= set(range(1, count))
    sizes = np.arange(1, count)
    kernel = (count - 1) / (sizes * (count - sizes))
    np.testing.assert_allclose(importance.sum(), kernel.sum())
    np.testing.assert_allclose(importance[seen.sum(1) == 1].sum(), kernel[0])
    gains = GENERATOR.normal(size=count)
    # The weights of an additive game come out exactly, whatever was drawn.
    np.testing.assert_allclose(constrained_fit(seen, seen @ gains, importance, gains.sum()), gains, atol=1e-8)


def test_drawn_coalitions_come_near_the_shapley_values_of_a_game_with_pairs() -> None:
    pairs = np.triu(GENERATOR.normal(size=(14, 14)), 1)
    expected = (pairs.sum(0) + pairs.sum(1)) / 2
    seen, importance = coalitions(14, 1500, 0)
    assert len(seen) < 2**14 - 2
    found = constrained_fit(seen, np.einsum("ni,ij,nj->n", seen, pairs, seen), importance, pairs.sum())
    # Coalitions drawn with their complements leave no error on games of pairs.
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_coalitions_drawn_one_by_one_estimate_the_same_values_with_more_error() -> None:
    triples = GENERATOR.normal(size=(14, 14, 14))
    game = functools.partial(np.einsum, "ni,nj,nk,ijk->n")

    def errors(draw: Callable[..., Any], samples: int) -> float:
        exact, importance = coalitions(14, 2**14, 0)
        expected = constrained_fit(exact, game(exact, exact, exact, triples), importance, triples.sum())
        found = []
        for seed in range(8):
            seen, importance = draw(14, samples, seed)
            found.append(constrained_fit(seen, game(seen, seen, seen, triples), importance, triples.sum()) - expected)
        return float(np.square(found).mean())

    seen, importance = drawn_one_by_one(14, 400, 0)
    assert len(seen) == 400 and len(set(importance)) == 1 and set(seen.sum(1)) <= set(range(1, 14))
    one_by_one = [errors(drawn_one_by_one, samples) for samples in (400, 6400)]
    assert one_by_one[1] < one_by_one[0] / 8  # 16 times the samples
    assert errors(coalitions, 400) < one_by_one[0] / 1.5
    np.testing.assert_array_equal(drawn_one_by_one(5, 100, 0)[0], coalitions(5, 100, 0)[0])


def test_one_superpixel_gets_all() -> None:
    explanation = explain("kernelshap", segmentation=np.zeros((12, 15), int), fill="black")
    np.testing.assert_allclose(
        explanation.heatmaps[:, 0, 0], explanation.scores - explanation.notes["baseline_scores"], rtol=1e-5
    )


@pytest.mark.parametrize("method", ["lime", "kernelshap"])
def test_the_notes_keep_superpixels_and_the_mask_of_the_best(method: str) -> None:
    notes = explain(method, top=2).notes
    assert notes["superpixels"].shape == notes["top_mask"].shape == (2, 12, 15)
    for regions, mask, weights in zip(
        notes["superpixels"], notes["top_mask"], notes["superpixel_weights"], strict=True
    ):
        assert set(np.unique(regions)) == set(range(6))
        best = [region for region in np.argsort(weights)[-2:] if weights[region] > 0]
        np.testing.assert_array_equal(mask, np.isin(regions, best))
    assert not top_superpixels(np.array([-1.0, -2.0]), np.array([[0, 1]]), 2).any()


@pytest.mark.parametrize("segmentation", ["slic", "quickshift"])
@pytest.mark.parametrize("colors", [1, 3])
def test_images_are_cut_alike_whatever_their_range(segmentation: str, colors: int) -> None:
    tiles = np.random.default_rng(1).uniform(size=(1, 4, 5, colors)).repeat(12, 1).repeat(12, 2).astype("float32")
    view = FunctionModel(linear)
    (regions,) = superpixels_of(view, Samples.of(tiles, np.zeros(1)), segmentation, 20)
    (scaled,) = superpixels_of(view, Samples.of(tiles * 255 - 20, np.zeros(1)), segmentation, 20)
    np.testing.assert_array_equal(regions, scaled)
    assert regions.max() > 0


@pytest.mark.parametrize("method", ["lime", "kernelshap"])
def test_each_image_may_have_labels_of_its_own(method: str) -> None:
    own = np.stack([LABELS, LABELS[::-1]])
    together = explain(method, segmentation=own, batch_size=1)
    np.testing.assert_allclose(together.heatmaps, explain(method, segmentation=own).heatmaps, atol=1e-5)
    np.testing.assert_allclose(together.heatmaps[0], explain(method).heatmaps[0], atol=1e-5)
    np.testing.assert_array_equal(np.unique(together.notes["superpixels"][1], axis=1).shape[0], 12)
    np.testing.assert_array_equal(together.notes["superpixels"][1], together.notes["superpixels"][0][::-1])


def test_lime_explains_the_probability_of_a_model_and_the_outputs_of_a_function() -> None:
    model = zoo.build("functional")
    probabilities = model(zoo.images(2), training=False).numpy()
    explain = kerasxai.Explainer(model, "lime", **zoo.CHEAPER["lime"])
    np.testing.assert_allclose(explain(zoo.images(2), 0).scores, probabilities[:, 0], rtol=1e-5)
    plain = kerasxai.Explainer(model, "lime", explain="logit", **zoo.CHEAPER["lime"])
    assert not np.allclose(plain(zoo.images(2), 0).heatmaps, explain(zoo.images(2), 0).heatmaps)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lime", {"samples": 99}),
        ("lime", {"segmentation": "slic"}),
        ("lime", {"segmentation": "quickshift"}),
        ("lime", {"fill": "black"}),
        ("lime", {"kernel_width": 1.0}),
        ("lime", {"alpha": 9.0}),
        ("lime", {"seed": 1}),
        ("lime", {"explain": "probability"}),
        ("kernelshap", {"samples": 30}),
        ("kernelshap", {"segmentation": "slic", "segments": 5}),
        ("kernelshap", {"segmentation": "quickshift"}),
        ("kernelshap", {"fill": 0.5}),
        ("kernelshap", {"explain": "probability"}),
    ],
)
def test_every_option_changes_the_map(method: str, options: dict[str, Any]) -> None:
    assert not np.allclose(explain(method).heatmaps, explain(method, **options).heatmaps, rtol=1e-6)


@pytest.mark.parametrize("method", ["lime", "kernelshap"])
def test_segments_seed_and_top_change_the_result(method: str) -> None:
    plain: dict[str, Any] = {"segmentation": "slic", "segments": 9, "samples": 60, "top": 1}
    first = explain(method, **plain)
    assert not np.allclose(first.heatmaps, explain(method, **(plain | {"segments": 16})).heatmaps)
    assert not np.allclose(first.heatmaps, explain(method, **(plain | {"seed": 1})).heatmaps)
    np.testing.assert_array_equal(first.heatmaps, explain(method, **plain).heatmaps)
    assert explain(method, **(plain | {"top": 3})).notes["top_mask"].sum() > first.notes["top_mask"].sum()


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("lime", {"samples": 1}, "samples must be 2 or more, got 1"),
        ("lime", {"kernel_width": 0}, "kernel_width must be above 0, got 0"),
        ("lime", {"alpha": -1.0}, "alpha must be above 0"),
        ("lime", {"top": 0}, "top must be 1 or more"),
        ("lime", {"segmentation": "slik"}, "expected a known segmentation, got 'slik'; nearest: slic"),
        ("lime", {"segmentation": "slic", "segments": 1}, "segments must be 2 or more"),
        ("lime", {"segmentation": LABELS.T}, r"of shape \(12, 15\) or \(2, 12, 15\), got int64 of shape \(15, 12\)"),
        ("lime", {"segmentation": LABELS * 1.0}, "whole-numbered labels"),
        ("lime", {"segmentation": np.stack([LABELS] * 3)}, r"got int64 of shape \(3, 12, 15\)"),
        ("kernelshap", {"samples": 11}, "samples must be 12 or more for 6 superpixels, got 11"),
        ("kernelshap", {"samples": "auto", "sampling": "random"}, "sampling must be paired with samples='auto'"),
        ("kernelshap", {"samples": 12, "sampling": "twin"}, "expected a known sampling, got 'twin'"),
        ("kernelshap", {"fill": "blur"}, "expected a known fill, got 'blur'"),
    ],
)
def test_bad_options_say_what_is_wrong(method: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=message):
        explain(method, **options)

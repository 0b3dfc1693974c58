"""Measures of faithfulness against plain NumPy, on a function of images and on Keras models."""

from typing import Any

import faithfulness_oracles as oracles
import numpy as np
import pytest
import zoo
from scipy.stats import pearsonr

import kerasxai
from kerasxai.methods.segmentation import slic_superpixels
from kerasxai.metrics import faithfulness
from kerasxai.metrics.faithfulness import (
    ROAD,
    AverageDrop,
    AverageGain,
    Comprehensiveness,
    Deletion,
    FaithfulnessMetric,
    IncreaseInConfidence,
    Infidelity,
    Insertion,
    MuFidelity,
    Scorer,
    SensitivityN,
    Sufficiency,
)
from kerasxai.metrics.faithfulness.subsets import chosen, grid_cells, square
from kerasxai.metrics.resizing import resize

GENERATOR = np.random.default_rng(2)
WEIGHTS = GENERATOR.normal(size=(11, 14, 3, 3))
IMAGES = GENERATOR.uniform(0.2, 1, (2, 11, 14, 3)).astype("float32")
MAPS = np.round(GENERATOR.normal(size=(2, 11, 14)), 1)  # Rounded, so that many values are equal.
TARGETS = np.array([1, 2])
SMALL: dict[type[FaithfulnessMetric], dict[str, Any]] = {
    Deletion: {"steps": 7},
    Insertion: {"steps": 7},
    AverageDrop: {},
    IncreaseInConfidence: {},
    AverageGain: {},
    MuFidelity: {"grid": 4, "subsets": 12},
    SensitivityN: {"shares": [0.1, 0.5], "subsets": 8},
    Infidelity: {"squares": 9},
    Comprehensiveness: {"segments": 9},
    Sufficiency: {"segments": 9},
    ROAD: {"shares": [0.2, 0.7], "noise": 0},
}
METRICS = pytest.mark.parametrize("metric", SMALL, ids=lambda metric: metric.__name__)


def classify(images: np.ndarray) -> np.ndarray:
    """Probabilities of three classes, bent so that no measure is linear."""
    logits = np.tanh(np.einsum("nhwc,hwck->nk", np.asarray(images, np.float64), WEIGHTS) / 8) * 2
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


class Counting:
    """The classifier, with a count of the images that it is given."""

    def __init__(self) -> None:
        self.images = 0
        self.largest = 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.images += len(images)
        self.largest = max(self.largest, len(images))
        return classify(images)


def measured(metric: type[FaithfulnessMetric], **options: Any) -> np.ndarray:
    made = metric(classify, outputs="probabilities", **(SMALL[metric] | options))
    return made(IMAGES, TARGETS, MAPS)


def cases() -> list[tuple[Any, np.ndarray, np.ndarray]]:
    """For each image the score of its class, itself and its heatmap, in double precision."""

    def score(target: int) -> Any:
        return lambda image: float(classify(image[None])[0, target])

    return [
        (score(target), image.astype(float), heatmap)
        for target, image, heatmap in zip(TARGETS, IMAGES, MAPS, strict=True)
    ]


@pytest.mark.parametrize("baseline", ["black", "mean", "blur"])
@pytest.mark.parametrize("steps", [1, 7])
def test_deletion_and_insertion_equal_their_oracle(steps: int, baseline: str) -> None:
    deletion = Deletion(classify, steps, baseline, outputs="probabilities", batch_size=3)
    insertion = Insertion(classify, steps, baseline, outputs="probabilities")
    areas = deletion(IMAGES, TARGETS, MAPS), insertion(IMAGES, TARGETS, MAPS)
    assert deletion.curves is not None and insertion.curves is not None
    assert deletion.curves.shape == insertion.curves.shape == (2, steps + 1)
    for b, (f, image, heatmap) in enumerate(cases()):
        end = oracles.fill(image, baseline)
        removed = oracles.deletion_curve(f, image, heatmap, steps, end)
        inserted = oracles.deletion_curve(f, end, heatmap, steps, image)
        np.testing.assert_allclose(deletion.curves[b], removed, atol=1e-6)
        np.testing.assert_allclose(insertion.curves[b], inserted, atol=1e-6)
        np.testing.assert_allclose(
            [one[b] for one in areas], [oracles.area(removed), oracles.area(inserted)], atol=1e-6
        )


def test_inpainted_pixels_come_from_visible_ones() -> None:
    deletion = Deletion(classify, 5, "inpainted", outputs="probabilities")
    deletion(IMAGES, TARGETS, MAPS)
    assert deletion.curves is not None
    for curve, (f, image, heatmap) in zip(deletion.curves, cases(), strict=True):
        for k in range(6):
            visible = np.ones(heatmap.shape, bool)
            for pixel in oracles.order(heatmap)[: k * heatmap.size // 5]:
                visible[pixel] = False
            assert curve[k] == pytest.approx(f(oracles.inpainted(image, visible)), abs=1e-5)


@pytest.mark.parametrize("baseline", ["black", "mean", "blur"])
def test_drop_increase_and_gain_equal_their_oracle(baseline: str) -> None:
    drop, up, gain = (measured(one, baseline=baseline) for one in (AverageDrop, IncreaseInConfidence, AverageGain))
    for b, (f, image, heatmap) in enumerate(cases()):
        y, o = f(image), f(oracles.masked(image, heatmap, oracles.fill(image, baseline)))
        expected = [max(0, y - o) / y, float(o > y), max(0, o - y) / (1 - y)]
        np.testing.assert_allclose([drop[b], up[b], gain[b]], expected, atol=1e-5)


def test_mu_fidelity_equals_its_oracle() -> None:
    values = measured(MuFidelity, seed=3, share=0.3)
    cells = grid_cells((11, 14), 4)
    assert len(np.unique(cells)) == 16
    subsets = [chosen(16, 5, 3, index)[cells] for index in range(12)]
    for value, (f, image, heatmap) in zip(values, cases(), strict=True):
        sums, drops = oracles.subset_sums(f, image, heatmap, np.zeros_like(image), subsets)
        assert value == pytest.approx(oracles.spearman([round(x, 9) for x in sums], drops), abs=1e-6)


def test_sensitivity_n_equals_its_oracle() -> None:
    values = measured(SensitivityN, baseline="mean", seed=1)
    for value, (f, image, heatmap) in zip(values, cases(), strict=True):
        correlations = []
        for first, size in ((0, 15), (8, 77)):  # A tenth and a half of 154 pixels.
            subsets = [chosen(154, size, 1, first + index).reshape(11, 14) for index in range(8)]
            assert {int(subset.sum()) for subset in subsets} == {size}
            sums, drops = oracles.subset_sums(f, image, heatmap, oracles.fill(image, "mean"), subsets)
            correlations.append(pearsonr(sums, drops)[0])
        assert value == pytest.approx(np.mean(correlations), abs=1e-4)


@pytest.mark.parametrize("normalize", [True, False])
def test_infidelity_equals_its_oracle(normalize: bool) -> None:
    values = measured(Infidelity, normalize=normalize, baseline="mean", side=3)
    subsets = [square((11, 14), 3, 0, index).reshape(11, 14) for index in range(9)]
    assert {int(subset.sum()) for subset in subsets} == {9}
    for value, (f, image, heatmap) in zip(values, cases(), strict=True):
        end = oracles.fill(image, "mean")
        weights = heatmap * (image - end).sum(-1)
        predicted, drops = oracles.subset_sums(f, image, weights, end, subsets)
        assert value == pytest.approx(oracles.infidelity(predicted, drops, normalize), rel=1e-4)


def test_superpixels_are_ranked_by_their_mean() -> None:
    removed, kept = measured(Comprehensiveness, shares=[0.3, 0.6]), measured(Sufficiency, shares=[0.3, 0.6])
    for b, (f, image, heatmap) in enumerate(cases()):
        regions = slic_superpixels(IMAGES[b], 9)
        count = int(regions.max()) + 1
        best = sorted(range(count), key=lambda region: -heatmap[regions == region].mean())
        end = oracles.fill(image, "mean")
        masks = [np.isin(regions, best[: round(share * count)])[..., None] for share in (0.3, 0.6)]
        assert removed[b] == pytest.approx(np.mean([f(image) - f(np.where(m, end, image)) for m in masks]), abs=1e-5)
        assert kept[b] == pytest.approx(np.mean([f(image) - f(np.where(m, image, end)) for m in masks]), abs=1e-5)


def test_road_equals_its_oracle_and_its_noise_is_small() -> None:
    values = measured(ROAD)
    for value, (f, image, heatmap) in zip(values, cases(), strict=True):
        assert value == pytest.approx(oracles.road(f, image, heatmap, [0.2, 0.7]), abs=1e-5)
    noisy = measured(ROAD, noise=0.01)
    assert not np.array_equal(noisy, values)
    np.testing.assert_allclose(noisy, values, atol=0.02)
    np.testing.assert_array_equal(noisy, measured(ROAD, noise=0.01))


@METRICS
def test_real_passes_are_those_that_are_stated(metric: type[FaithfulnessMetric]) -> None:
    counting = Counting()
    made = metric(counting, outputs="probabilities", batch_size=5, **SMALL[metric])
    made(IMAGES, TARGETS, MAPS)
    assert 0.8 * counting.images <= made.passes(2) <= 1.2 * counting.images
    assert counting.largest <= 5, "memory must not grow with the number of copies"


@METRICS
def test_halves_merge_to_the_whole(metric: type[FaithfulnessMetric]) -> None:
    whole, first, second = (metric(classify, outputs="probabilities", **SMALL[metric]) for _ in range(3))
    whole.update(IMAGES, TARGETS, MAPS)
    first.update(IMAGES[:1], TARGETS[:1], MAPS[:1])
    second.update(IMAGES[1:], TARGETS[1:], list(MAPS[1:]))
    merged = metric.from_state(first.state()).merge(metric.from_state(second.state(), Scorer(classify)))
    assert float(merged.result()) == pytest.approx(float(whole.result()), abs=1e-6)
    assert merged.result()["images"] == 2 and next(iter(merged.result())) == whole.name()
    with pytest.raises(kerasxai.KerasxaiError, match="expected a model to measure with, got none"):
        metric.from_state(first.state())(IMAGES, TARGETS, MAPS)


@METRICS
def test_constant_and_negative_heatmaps_have_values(metric: type[FaithfulnessMetric]) -> None:
    for heatmaps in (np.ones((2, 11, 14)), np.zeros((2, 11, 14)), -1 - np.abs(MAPS)):
        made = metric(classify, outputs="probabilities", **SMALL[metric])
        assert np.isfinite(made(IMAGES, TARGETS, heatmaps)).all()


def test_a_constant_heatmap_has_the_order_of_rows_and_no_correlation() -> None:
    flat = np.full((2, 11, 14), 0.3)
    rows = np.broadcast_to(-np.arange(154.0).reshape(11, 14), (2, 11, 14))
    deletion = Deletion(classify, 11, outputs="probabilities")
    np.testing.assert_array_equal(deletion(IMAGES, 0, flat), deletion(IMAGES, 0, rows))
    # Cells of different sizes would make a correlation with the size; these have one pixel each.
    even = MuFidelity(
        lambda images: classify(np.tile(images, (1, 3, 4, 1))[:, :11, :14]), 4, 9, outputs="probabilities"
    )
    np.testing.assert_array_equal(even(IMAGES[:, :4, :4], 0, np.full((2, 4, 4), 0.3)), 0)


def test_road_of_a_batch_is_that_of_each_image() -> None:
    images = np.concatenate([IMAGES, IMAGES[:1] + 3])
    maps = np.stack([MAPS[0], MAPS[1], MAPS[0]])
    whole = ROAD(classify, outputs="probabilities", shares=[0.2, 0.7])
    single = ROAD(classify, outputs="probabilities", shares=[0.2, 0.7], batch_size=1)
    np.testing.assert_allclose(whole(images, 0, maps), single(images, 0, maps), atol=1e-6)


@METRICS
def test_heatmaps_are_resized_bilinearly(metric: type[FaithfulnessMetric]) -> None:
    made = metric(classify, outputs="probabilities", **SMALL[metric])
    small = np.abs(MAPS[:, :4, :5])
    sized = np.stack([resize(one, (11, 14)) for one in small])
    np.testing.assert_allclose(made(IMAGES, TARGETS, small), made(IMAGES, TARGETS, sized), atol=1e-9)


@METRICS
def test_the_predicted_class_is_fixed_before_perturbing(metric: type[FaithfulnessMetric]) -> None:
    made = metric(classify, outputs="probabilities", **SMALL[metric])
    predicted = classify(IMAGES).argmax(1)
    np.testing.assert_array_equal(made(IMAGES, None, MAPS), made(IMAGES, predicted, MAPS))


@pytest.mark.parametrize("kind", ["functional", "single_sigmoid", "mixed_float16", "logits"])
def test_traced_models_equal_their_predictions(kind: str) -> None:
    model, images = zoo.build(kind), zoo.images(2)
    maps = np.random.default_rng(1).normal(size=(2, 5, 5))
    predictions = kerasxai.Explainer(model, outputs="logits" if kind == "logits" else None).predict

    def probabilities(copies: np.ndarray) -> np.ndarray:
        return predictions(copies).probabilities

    declared: dict[str, Any] = {"outputs": "logits"} if kind == "logits" else {}
    for metric in (Deletion, AverageDrop, MuFidelity, ROAD):
        live = metric(model, **SMALL[metric], **declared)(images, None, maps)
        # The probabilities of the model, computed by a plain function.
        plain = metric(probabilities, **SMALL[metric], outputs="probabilities")(images, None, maps)
        np.testing.assert_allclose(live, plain, atol=0.1 if metric is MuFidelity else 2e-3)


def test_logits_preprocessing_and_several_batches_on_a_traced_model() -> None:
    model, pixels = zoo.build("functional"), (zoo.images(5) + 1) * 127.5
    maps = np.random.default_rng(1).normal(size=(5, 16, 16))
    prepared = pixels / 127.5 - 1
    scorer = Scorer(model, {"preprocess": "-1,1", "batch_size": 2})
    once = Deletion(model, 4)(prepared, None, maps)
    np.testing.assert_allclose(Deletion(scorer, 4)(pixels, None, maps), once, atol=1e-5)
    deletion = Deletion(model, 4, explain="logit")
    deletion(prepared, 2, maps)
    score = kerasxai.Explainer(model, "occlusion", score="logit", patch=16, stride=16)(prepared, 2)
    assert deletion.curves is not None
    np.testing.assert_allclose(deletion.curves[:, 0], score.scores, rtol=1e-4)
    with pytest.raises(kerasxai.KerasxaiError, match="expected no explain with a Scorer, got both"):
        Deletion(scorer, explain="logit")
    for model_or_none in (model, None):
        with pytest.raises(kerasxai.KerasxaiError, match="known setting, got 'batchsize'; nearest: batch_size"):
            Deletion(model_or_none, batchsize=2)  # type: ignore[call-arg]


def test_an_informative_heatmap_beats_its_opposite() -> None:
    """For a linear logit, weights times values are what each pixel adds."""
    images, weights = IMAGES, WEIGHTS[..., 0]

    def linear(copies: np.ndarray) -> np.ndarray:
        logit = np.einsum("nhwc,hwc->n", np.asarray(copies, np.float64), weights) / 4
        return np.stack([logit, -logit], 1)

    added = (images * weights).sum(-1)
    for metric, options in SMALL.items():
        if metric in (AverageDrop, AverageGain, IncreaseInConfidence):
            continue
        plain = {} if metric in (ROAD,) else {"baseline": "black"}
        extra = {"normalize": False} if metric is Infidelity else {}
        made = metric(linear, **(options | plain | extra), explain="logit", outputs="logits")
        right, wrong = made(images, 0, added), made(images, 0, -added)
        assert (np.sign(right - wrong) == (1 if made.higher_is_better else -1)).all(), metric
    exact = SensitivityN(linear, [0.3], 10, explain="logit", outputs="logits")(images, 0, added)
    np.testing.assert_allclose(exact, 1, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Deletion(classify, steps=0), "steps must be 1 or more, got 0"),
        (lambda: Deletion(classify, baseline="white"), "white"),
        (lambda: AverageDrop(classify, baseline="inpainted"), "inpainted"),
        (lambda: AverageDrop(classify, explain="logit"), 'explain must be "probability" for AverageDrop, got'),
        (lambda: ROAD(classify, shares=[1.0]), "shares must be above 0 and below 1"),
        (lambda: ROAD(classify, shares=[]), "shares must be a list of numbers"),
        (lambda: ROAD(classify, noise=-1), "noise must be 0 or more"),
        (lambda: Deletion(3), "expected a Keras model or a function of images, got int"),
        (lambda: Deletion(classify)(IMAGES, 0, np.full((2, 11, 14), np.nan)), "got NaN in heatmap 0"),
        (lambda: Deletion(classify)(IMAGES, 0, MAPS[:1]), "images must have one entry for each of 1 heatmaps, got 2"),
        (lambda: Deletion(classify)(IMAGES[0], 0, MAPS), "expected images .N, H, W, C., got shape"),
        (lambda: Deletion(classify)(IMAGES, 7, MAPS), "target must be from 0 to 2, got 7"),
        (lambda: MuFidelity(classify, grid=12, outputs="probabilities")(IMAGES, 0, MAPS), "grid must be at most"),
        (lambda: Infidelity(classify, side=12, outputs="probabilities")(IMAGES, 0, MAPS), "side must be at most"),
        (lambda: Deletion().result(), "Deletion: expected at least one image, got none"),
        (lambda: Deletion(classify).merge(Deletion(classify, steps=3)), "other must be a Deletion with"),
    ],
)
def test_mistakes_are_explained(call: Any, message: str) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=message):
        call()


def test_every_measure_is_exported_and_described() -> None:
    for metric in SMALL:
        assert getattr(faithfulness, metric.__name__) is metric
        assert "Costs" in (metric.__doc__ or "") or "cost" in (metric.__doc__ or "")

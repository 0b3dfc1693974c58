"""Refinements: each against what it says it is, and chains of them behind a method."""

from typing import Any

import keras
import numpy as np
import pytest
import zoo
from skimage.filters import threshold_multiotsu, threshold_otsu
from sklearn.linear_model import Ridge

import kerasxai
from kerasxai.engine.observer import Observer
from kerasxai.engine.samples import Samples
from kerasxai.engine.traced_model import TracedModel
from kerasxai.localization import heatmap_to_boxes, heatmap_to_mask
from kerasxai.methods.segmentation import slic_superpixels
from kerasxai.refinements import REFINEMENTS
from kerasxai.refinements.averages import flip, resized, scales, shifts
from kerasxai.refinements.components import first_component
from kerasxai.refinements.cuts import cheapest_cut, graphcut
from kerasxai.refinements.discriminants import discriminant, discriminant_map, earlier_map
from kerasxai.refinements.erasing import erase
from kerasxai.refinements.levels import level
from kerasxai.refinements.regions import superpixels, walker
from kerasxai.tools.errors import KerasxaiError

SIDE = 48


def brightness(images: Any, targets: Any) -> np.ndarray:
    """A method that can be looked through: the mean color, times the class plus one."""
    return np.asarray(images, np.float32).mean(-1) * (np.asarray(targets)[:, None, None] + 1)


def disc(count: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns images of a red disc on green, its mask, and a heatmap that is warm in the middle of it."""
    y, x = np.mgrid[:SIDE, :SIDE]
    far = np.hypot(y - 22, x - 26)
    mask = far < 14
    colors = np.where(mask[..., None], [200.0, 60.0, 50.0], [60.0, 160.0, 70.0])
    noise = np.random.default_rng(0).normal(0, 6, (count, SIDE, SIDE, 3))
    heatmaps = np.repeat(np.exp(-((far / 9.5) ** 2))[None], count, 0)
    return np.clip(colors + noise, 0, 255), np.repeat(mask[None], count, 0), heatmaps


def overlap(heatmaps: np.ndarray, threshold: float, masks: np.ndarray) -> list[float]:
    """Returns the IoU of each heatmap's mask with the true one."""
    found = [heatmap_to_mask(heatmap, threshold) for heatmap in heatmaps]
    return [(f & m).sum() / (f | m).sum() for f, m in zip(found, masks, strict=True)]


def test_flip_is_the_mean_of_both_directions() -> None:
    explainer = kerasxai.Explainer(zoo.build("functional"), "gradcam")
    images = zoo.images(3)
    plain = explainer(images)
    mirrored = explainer(images[:, :, ::-1], plain.targets).heatmaps[:, :, ::-1]
    refined = kerasxai.Explainer(explainer._model.model, "gradcam", refine="flip")(images)
    np.testing.assert_allclose(refined.heatmaps, (plain.heatmaps + mirrored) / 2, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(refined.targets, plain.targets)
    np.testing.assert_allclose(refined.scores, plain.scores, rtol=1e-5)
    assert refined.heatmaps.dtype == np.float32
    np.testing.assert_allclose(
        refined.heatmaps[:, :, ::-1], flip(brightness_of(explainer), images[:, :, ::-1], plain.targets), atol=1e-6
    )


def brightness_of(explainer: Any) -> Any:
    return lambda images, targets: explainer(images, targets).heatmaps


def test_shifts_and_scales_leave_a_method_that_looks_at_single_pixels_as_it_is() -> None:
    images, targets = zoo.images(2, 24), np.array([0, 1])
    plain = brightness(images, targets)
    np.testing.assert_allclose(shifts(brightness, images, targets, pixels=5), plain, rtol=1e-4, atol=1e-6)
    smooth = resized(zoo.images(2, 3), (24, 24))
    for crops in (True, False):
        found = scales(brightness, smooth, targets, factors=(1, 2), crops=crops)
        assert np.abs(found - brightness(smooth, targets)).max() < 0.1


def test_scales_ask_for_each_window_and_each_size() -> None:
    shapes: list[tuple[int, ...]] = []

    def seen(images: Any, targets: Any) -> np.ndarray:
        shapes.append(np.shape(images))
        return brightness(images, targets)

    scales(seen, zoo.images(2), np.zeros(2, int), factors=(1, 1.5, 2))
    assert shapes == [(2, 16, 16, 3)] * (1 + 4 + 9)
    shapes.clear()
    scales(seen, zoo.images(2), np.zeros(2, int), factors=(0.5, 1, 2), crops=False)
    assert sorted(shape[1] for shape in shapes) == [8, 16, 32]


def test_superpixel_pooling_is_the_mean_of_each_label() -> None:
    images, _, heatmaps = disc()
    pooled = superpixels(heatmaps, images, segments=30)
    for image, heatmap, own in zip(images, heatmaps, pooled, strict=True):
        labels = slic_superpixels(image, 30)
        assert labels.max() > 5
        for number in range(labels.max() + 1):
            np.testing.assert_allclose(own[labels == number], heatmap[labels == number].mean(), rtol=1e-5)


@pytest.mark.parametrize("refine", [walker, graphcut])
def test_edges_are_found_from_a_heatmap_that_is_warm_in_the_middle(refine: Any) -> None:
    images, masks, heatmaps = disc()
    cut_at = 0.5 if refine is walker else 0.2
    refined = refine(heatmaps, images)
    before, after = overlap(heatmaps, 0.2, masks), overlap(refined, cut_at, masks)
    assert max(before) < 0.76 and min(after) > 0.82
    np.testing.assert_allclose(refine(heatmaps[1:], images[1:]), refined[1:], rtol=1e-6)
    # The range of the pixels means nothing to edges.
    np.testing.assert_allclose(refine(heatmaps, images / 255 - 1), refined, rtol=1e-3, atol=1e-4)


def test_colors_correct_a_heatmap_that_is_beside_the_object() -> None:
    images, masks, _ = disc()
    y, x = np.mgrid[:SIDE, :SIDE]
    heatmaps = np.repeat(np.exp(-((np.hypot(y - 30, x - 18) / 12) ** 2))[None], 2, 0)
    assert (
        max(overlap(heatmaps, 0.2, masks)) < 0.4 and max(overlap(graphcut(heatmaps, images, trust=2), 0.2, masks)) < 0.4
    )
    assert min(overlap(graphcut(heatmaps, images), 0.2, masks)) > 0.9


def test_the_classes_of_an_image_are_cut_as_if_alone() -> None:
    images, _, heatmaps = disc()
    rows = np.array([0, 0, 1, 0])
    together = graphcut(heatmaps[rows] * np.array([1, 0, 1, 2])[:, None, None], images[rows])
    alone = graphcut(heatmaps[:1], images[:1])[0]
    for row, scale in ((0, 1), (3, 2)):
        np.testing.assert_allclose(together[row], alone * scale, rtol=1e-6)
    np.testing.assert_array_equal(together[1], 0)


def test_a_random_walk_keeps_its_seeds() -> None:
    images, _, heatmaps = disc(1)
    walked = walker(heatmaps, images, high=0.7, low=0.1, side=SIDE)[0] / heatmaps[0].max()
    share = heatmaps[0] / heatmaps[0].max()
    np.testing.assert_allclose(walked[share > 0.701], 1, atol=1e-3)
    np.testing.assert_allclose(walked[share < 0.099], 0, atol=1e-3)


def test_the_cheapest_cut_is_the_cheapest_of_all() -> None:
    generator = np.random.default_rng(3)
    pairs = np.array([[0, 1], [1, 2], [3, 4], [4, 5], [0, 3], [1, 4], [2, 5]])
    for _ in range(5):
        inside, outside, weights = generator.uniform(0, 2, 6), generator.uniform(0, 2, 6), generator.uniform(0, 1, 7)

        def price(sides: np.ndarray, inside=inside, outside=outside, weights=weights) -> float:
            return np.where(sides, inside, outside).sum() + weights[sides[pairs[:, 0]] != sides[pairs[:, 1]]].sum()

        every = [np.array([number >> bit & 1 for bit in range(6)], bool) for number in range(64)]
        assert price(cheapest_cut(inside, outside, pairs, weights)) <= min(map(price, every)) + 0.01


def test_the_first_component_is_that_of_a_singular_value_decomposition() -> None:
    generator = np.random.default_rng(1)
    features, evidence = generator.normal(size=(4, 5, 7)), generator.uniform(-0.2, 1, (4, 5))
    rows = features.reshape(20, 7) - features.reshape(20, 7).mean(0)
    weighted = np.sqrt(np.maximum(evidence, 0)).reshape(20, 1) * rows
    expected = (rows @ np.linalg.svd(weighted, full_matrices=False)[2][0]).reshape(4, 5)
    found = first_component(features, evidence)
    np.testing.assert_allclose(found * np.sign((found * expected).sum()), expected, atol=1e-9)
    assert np.corrcoef(found.ravel(), np.maximum(evidence, 0).ravel())[0, 1] > 0
    assert not first_component(features, -np.ones((4, 5))).any()


def test_erasing_finds_the_second_part_and_stops_where_the_class_has_gone() -> None:
    images = np.zeros((2, 8, 8, 3), np.float32)
    images[0, 1, 1], images[0, 6, 6], images[1, 2, 2] = 10, 9, 10
    targets = np.zeros(2, int)

    def peak(images: Any, targets: Any) -> np.ndarray:
        values = np.asarray(images).mean(-1)
        return values * (values == values.max((1, 2), keepdims=True))

    found = erase(peak, images, targets, rounds=2)
    assert found[0, 1, 1] == 10 and found[0, 6, 6] == 9
    np.testing.assert_allclose(found[1], peak(images, targets)[1])


def test_thresholds_are_those_of_scikit_image() -> None:
    _, _, heatmaps = disc(1)
    share = heatmaps[0] / heatmaps[0].max()
    for name, expected in (
        ("otsu", threshold_otsu(share)),
        ("multiotsu", threshold_multiotsu(share, 3)[0]),
        ("area", np.quantile(share, 2 / 3)),
        ("deviation", share.mean() + 0.6 * share.std()),
    ):
        np.testing.assert_array_equal(heatmap_to_mask(heatmaps[0], name), share > expected)
        bent = level(heatmaps, rule=name)[0]
        np.testing.assert_array_equal(heatmap_to_boxes(bent), heatmap_to_boxes(heatmaps[0], name))
        assert np.array_equal(
            np.argsort(bent.ravel(), kind="stable")[-50:], np.argsort(share.ravel(), kind="stable")[-50:]
        )
    for flat in (np.zeros((4, 4)), np.ones((4, 4)), -np.eye(4), np.full((4, 4), np.nan)):
        assert not heatmap_to_mask(flat, "otsu").any()
    with pytest.raises(KerasxaiError, match="multiotsu"):
        heatmap_to_mask(share, "multi")


@pytest.mark.parametrize("name", [name for name, row in REFINEMENTS.items() if row.needs in ("heatmap", "image")])
def test_a_heatmap_without_evidence_stays_without_a_box(name: str) -> None:
    images, _, heatmaps = disc()
    row = REFINEMENTS[name]
    for nothing in (np.zeros_like(heatmaps), -heatmaps):
        refined = row.function(nothing, images) if row.needs == "image" else row.function(nothing)
        assert all(len(heatmap_to_boxes(heatmap)) == 0 for heatmap in refined)


@pytest.fixture(scope="module")
def twins() -> tuple[keras.Model, keras.Model]:
    """Returns one network twice: built for 32 pixels, and for any size; a map of 16, then one of 8."""
    keras.utils.set_random_seed(4)
    layers = [
        keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="fine"),
        keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="coarse"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(4, activation="softmax"),
    ]

    def of(side: int | None) -> keras.Model:
        x = inputs = keras.Input((side, side, 3))
        for layer in layers:
            x = layer(x)
        return keras.Model(inputs, x)

    return of(32), of(None)


def test_a_model_built_for_one_size_is_asked_for_others_as_one_built_for_any(twins: Any) -> None:
    fixed, free = twins
    images = zoo.images(3, 32)
    enlarged = kerasxai.Explainer(fixed, "cam", refine="enlarge:factors=2")(images)
    own = kerasxai.Explainer(free, "cam")(resized(images, (64, 64)), enlarged.targets).heatmaps
    np.testing.assert_allclose(enlarged.heatmaps, resized(own, (32, 32)), rtol=1e-4, atol=1e-6)
    plain = kerasxai.Explainer(fixed, "cam")
    same = kerasxai.Explainer(fixed, "cam", refine="enlarge:factors=1")(images)
    np.testing.assert_allclose(same.heatmaps, plain(images).heatmaps, rtol=1e-5)
    np.testing.assert_array_equal(enlarged.targets, plain(images).targets)
    with pytest.raises(KerasxaiError, match="images of shape"):
        plain(resized(images, (64, 64)))
    both = kerasxai.Explainer(fixed, "cam", refine="enlarge:factors=[2,1]")(images).heatmaps
    highest = (own.max((1, 2)) > 0) & (same.heatmaps.max((1, 2)) > 0)
    for i in np.flatnonzero(highest):
        one = resized(own, (32, 32))[i]
        expected = (one + same.heatmaps[i] * one.max() / same.heatmaps[i].max()) / 2
        np.testing.assert_allclose(both[i], expected, rtol=1e-3, atol=1e-5)


def test_a_model_that_cannot_be_enlarged_tells_so_and_a_preset_goes_without() -> None:
    x = inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, name="map")(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    images = zoo.images(2)
    with pytest.raises(KerasxaiError, match="built for 16 x 16"):
        kerasxai.Explainer(model, "gradcam", refine="enlarge:factors=2")(images)
    preset = kerasxai.Explainer(model, "gradcam", refine="best")(images)
    assert "16 x 16" in preset.notes["without_enlarge"]
    rest = kerasxai.Explainer(model, "gradcam", refine="graphcut")(images)
    np.testing.assert_allclose(preset.heatmaps, rest.heatmaps, rtol=1e-5)


def test_the_discriminant_is_scikit_learns_ridge_regression() -> None:
    generator = np.random.default_rng(2)
    features, evidence = generator.normal(size=(5, 6, 40)) + 3, generator.uniform(-0.1, 1, (5, 6)) ** 3
    share = np.maximum(evidence, 0).ravel() / evidence.max()
    inside, outside = np.clip((share - 0.2) / 0.3, 0, 1), np.clip((0.12 - share) / 0.09, 0, 1)
    rows = features.reshape(30, 40)
    rows = rows / np.sqrt(np.square(rows - rows.mean(0)).sum(1).mean())
    model = Ridge(alpha=0.05)
    model.fit(rows, np.where(inside > 0, 1, -1), inside / inside.sum() / 2 + outside / outside.sum() / 2)
    expected = (np.clip(model.predict(rows), -1, 1) + 1) / 2
    found = discriminant_map(features, evidence, ridge=0.05)
    assert found is not None
    np.testing.assert_allclose(found, expected.reshape(5, 6), atol=1e-8)
    for nothing in (np.zeros((5, 6)), np.ones((5, 6)), -evidence):
        assert discriminant_map(features, nothing) is None or (nothing < 0).any()


def test_the_discriminant_reads_its_features_from_a_pass_of_the_method(twins: Any, monkeypatch: Any) -> None:
    images = zoo.images(3, 32)
    sizes: list[tuple[bool, int]] = []
    evaluate = TracedModel.evaluate

    def counted(model: TracedModel, query: Any, batch: Samples, *tensors: Any, **options: Any) -> Any:
        sizes.append((query is earlier_map, batch.images.shape[1]))
        return evaluate(model, query, batch, *tensors, **options)

    chain = "enlarge:factors=[1.5,2],discriminant"
    with monkeypatch.context() as patch:
        patch.setattr(TracedModel, "evaluate", counted)
        shared = kerasxai.Explainer(twins[0], "cam", refine=chain)(images)
    assert sizes == [(False, 32), (False, 48), (False, 64)]
    monkeypatch.setattr(Observer, "awaits", lambda *_: False)
    alone = kerasxai.Explainer(twins[0], "cam", refine=chain)(images)
    np.testing.assert_allclose(shared.heatmaps, alone.heatmaps, rtol=1e-4, atol=1e-6)


def test_the_discriminant_fills_an_object_from_a_heatmap_of_its_middle(twins: Any) -> None:
    images, masks, heatmaps = disc()
    big = [resized(np.asarray(x, np.float32), (32, 32)) for x in (images, heatmaps)]
    mask = resized(masks.astype(np.float32), (32, 32)) > 0.5
    view = zoo.traced_model(kerasxai.Explainer(twins[0], "cam"))

    batch = Samples.of(big[0], np.zeros(2))

    def middle(model: Any, batch: Samples) -> np.ndarray:
        return np.where(big[1] > 0.5, big[1], 0)

    found = discriminant(view, middle, batch, factor=1)
    before, after = overlap(middle(view, batch), 0.2, mask), overlap(found, 0.2, mask)
    assert max(before) < 0.6 and min(after) > 0.75, (before, after)
    np.testing.assert_allclose(found.max((1, 2)), middle(view, batch).max((1, 2)), rtol=1e-5)
    features = view.evaluate(earlier_map, batch).features
    assert features.shape == (2, 16, 16, 6), "the finer of the two maps"
    empty = discriminant(view, lambda model, batch: np.zeros((2, 32, 32)), batch)
    assert not empty.any()


def test_options_change_the_result() -> None:
    images, _, heatmaps = disc(1)
    for function, options in (
        (superpixels, ({"segments": 20}, {"compactness": 0.1})),
        (walker, ({"high": 0.9}, {"low": 0.3}, {"beta": 5}, {"side": 24})),
        (graphcut, ({"segments": 60},)),
    ):
        plain = function(heatmaps, images)
        for option in options:
            assert np.abs(function(heatmaps, images, **option) - plain).max() > 1e-4, (function, option)

"""Averages over noise: what they average, what the noise is, and that they leave the method's rules alone."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

import kerasxai
from kerasxai.engine.layers import walk
from kerasxai.engine.samples import Samples

layers = keras.layers


@pytest.fixture(scope="module")
def model() -> Any:
    return zoo.build("functional")


def noisy(image: np.ndarray, samples: int, sigma: float, seed: int) -> np.ndarray:
    """The copies that an image must have, one by one."""
    spread = sigma * (image.max() - image.min())
    return np.stack(
        [image + spread * tf.random.stateless_normal(image.shape, (seed, i)).numpy() for i in range(samples)]
    )


AVERAGES = {
    "smoothgrad": lambda maps: maps.mean(0),
    "squaregrad": lambda maps: (maps**2).mean(0),
    "vargrad": lambda maps: maps.var(0),
}


AVERAGED = ("gradcam", "gradient*input", "occlusion")


@pytest.mark.parametrize(
    ("method", "average"),
    [
        *((method, "smoothgrad") for method in AVERAGED),
        *(("gradcam", average) for average in AVERAGES if average != "smoothgrad"),
        *(
            pytest.param(method, average, marks=pytest.mark.exhaustive)
            for method in AVERAGED[1:]
            for average in AVERAGES
            if average != "smoothgrad"
        ),
    ],
)
def test_maps_of_noisy_copies_are_averaged(method: str, average: str, model: Any) -> None:
    images = zoo.images(2) * np.array([1, 7]).reshape(-1, 1, 1, 1)
    settings = zoo.CHEAPER.get(method, {})
    explain = kerasxai.Explainer(model, method, smooth=average, samples=5, sigma=0.3, seed=4, batch_size=4, **settings)
    explanation = explain(images.astype("float32"), targets=2)
    plain = kerasxai.Explainer(model, method, **settings)
    expected = []
    for image in images:
        copies = Samples.of(noisy(image, 5, 0.3, 4), np.full(5, 2))
        maps = plain.method.function(plain._model, copies, **settings)
        average_map = AVERAGES[average](np.asarray(maps, float))
        expected.append(tf.image.resize(average_map[..., None], (zoo.SIZE, zoo.SIZE))[..., 0])
    np.testing.assert_allclose(explanation.heatmaps, expected, rtol=2e-3, atol=1e-4 * np.max(expected))


@pytest.mark.parametrize("average", AVERAGES)
def test_saliency_is_averaged_with_its_signs_and_the_absolute_value_comes_last(average: str, model: Any) -> None:
    image = zoo.images(1)[0]
    copies = tf.constant(noisy(image, 6, 0.15, 0).astype("float32"))
    with tf.GradientTape() as tape:
        tape.watch(copies)
        logits = keras.Model(model.input, model.get_layer("top").input)(copies) @ model.get_layer("top").kernel
        score = tf.reduce_sum(logits[:, 1])
    signed = tape.gradient(score, copies).numpy().astype(float)
    explanation = kerasxai.Explainer(model, "saliency", smooth=average, samples=6, score="logit")(
        image[None], targets=1
    )
    expected = np.abs(AVERAGES[average](signed)).max(-1)
    np.testing.assert_allclose(explanation.heatmaps[0], expected, rtol=1e-3, atol=1e-5 * expected.max())
    if average == "smoothgrad":
        rectified_first = np.abs(signed).max(-1).mean(0)
        assert np.abs(rectified_first - expected).max() > 0.01 * expected.max()


@pytest.mark.filterwarnings("ignore::kerasxai.engine.images.builtin_preprocessing.InputRangeWarning")
def test_the_variance_is_exact_where_it_is_small_beside_the_mean() -> None:
    """gradient*input of a linear model is x w: with x near 1000 the mean of squares minus the square would be noise."""
    inputs = keras.Input((2, 2, 1))
    model = keras.Model(inputs, layers.Dense(2, kernel_initializer="ones")(layers.Flatten()(inputs)))
    image = 1000 + np.array([[0, 1], [1, 0]]).reshape(1, 2, 2, 1)
    options: dict[str, Any] = {"samples": 40, "sigma": 0.1, "batch_size": 7}
    heatmap = kerasxai.Explainer(model, "gradient*input", smooth="vargrad", **options)(image).heatmaps[0]
    expected = noisy(image[0].astype("float32"), 40, 0.1, 0)[..., 0].astype(float).var(0)
    np.testing.assert_allclose(heatmap, expected, rtol=1e-3)
    assert expected.max() < 0.02


# One that has a loop of its own over copies of an image; the others are averaged alike.
@pytest.mark.parametrize(
    "method", zoo.mostly(["gradcam", "integrated_gradients"], ["saliency", "gradcam", "integrated_gradients"])
)
def test_a_map_does_not_depend_on_the_batch_or_the_place_in_it(method: str, model: Any) -> None:
    images = zoo.images(5)
    options: dict[str, Any] = {"steps": 5} if method == "integrated_gradients" else {}
    expected = None
    for size in (1, 3, 32):
        explain = kerasxai.Explainer(model, method, smooth="smoothgrad", samples=7, batch_size=size, **options)
        first = explain(images, targets=1).heatmaps
        traces = len(zoo.traced_model(explain)._traces)
        backwards = explain(images[::-1], targets=np.full(5, 1)).heatmaps[::-1]
        assert len(zoo.traced_model(explain)._traces) == traces
        expected = first if expected is None else expected
        np.testing.assert_allclose(first, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
        np.testing.assert_allclose(backwards, first, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_each_option_changes_the_map_and_the_same_seed_gives_the_same(model: Any) -> None:
    def heatmap(**options: Any) -> np.ndarray:
        return kerasxai.Explainer(model, "saliency", **options)(zoo.images(1), targets=0).heatmaps

    few: dict[str, Any] = {"smooth": "smoothgrad", "samples": 4}
    choices: list[dict[str, Any]] = [
        {},
        few,
        {**few, "samples": 5},
        {**few, "sigma": 0.4},
        {**few, "seed": 1},
        {**few, "smooth": "squaregrad"},
        {**few, "smooth": "vargrad"},
    ]
    maps = [heatmap(**options) for options in choices]
    for i in range(len(maps)):
        for j in range(i):
            assert np.abs(maps[i] - maps[j]).max() > 1e-3 * maps[0].max(), (choices[i], choices[j])
    np.testing.assert_array_equal(heatmap(**few), maps[1])
    as_dict = {"average": "smoothgrad", "samples": 5, "sigma": 0.15}
    np.testing.assert_array_equal(heatmap(smooth=as_dict), maps[2])


def test_the_class_is_that_of_the_image_without_noise(model: Any) -> None:
    images = zoo.images(4)
    plain = kerasxai.Explainer(model, "gradcam")(images)
    explanation = kerasxai.Explainer(model, "gradcam", smooth="smoothgrad", samples=3, sigma=3.0)(images)
    np.testing.assert_array_equal(explanation.targets, plain.targets)
    np.testing.assert_allclose(explanation.scores, plain.scores, rtol=1e-6)
    assert explanation.layer == plain.layer


def test_notes_of_the_copies_are_not_taken_for_those_of_the_images(model: Any) -> None:
    options: dict[str, Any] = {"smooth": "smoothgrad", "samples": 3}
    assert "completeness_error" not in kerasxai.Explainer(
        model, "integrated_gradients", steps=3, **options)(zoo.images(2)).notes  # fmt: skip
    assert kerasxai.Explainer(model, "guided_backprop", **options)(zoo.images(2)).notes == {"rectifiers": 2}


def test_options_that_the_method_has_as_well_are_the_methods(model: Any) -> None:
    options: dict[str, Any] = {"segments": 9, "samples": 24, "smooth": {"average": "smoothgrad", "samples": 2}}
    explain = kerasxai.Explainer(model, "lime", **options)
    assert explain.options["samples"] == 24
    assert explain.noise is not None and explain.noise.samples == 2
    assert np.ptp(explain(zoo.images(1)).heatmaps) > 0


def test_a_picture_for_each_image_goes_along_with_its_copies() -> None:
    inputs = keras.Input((3, 3, 1))
    model = keras.Model(inputs, layers.Dense(2, kernel_initializer="ones")(layers.Flatten()(inputs)))
    images = np.random.default_rng(0).uniform(size=(5, 3, 3, 1)).astype("float32")
    options: dict[str, Any] = {"smooth": "smoothgrad", "samples": 4, "steps": 2, "batch_size": 2}
    heatmaps = kerasxai.Explainer(model, "integrated_gradients", baseline=images, **options)(images).heatmaps
    expected = [(noisy(image, 4, 0.15, 0).mean(0) - image)[..., 0] for image in images]
    np.testing.assert_allclose(heatmaps, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smooth": "smooth"}, "expected a known average of smooth, got 'smooth'; nearest: smoothgrad"),
        ({"smooth": {"samples": 3}}, "expected smooth with an average"),
        (
            {"smooth": {"average": "vargrad", "sample": 3}},
            "expected a known option of smooth, got 'sample'; nearest: samples",
        ),
        ({"smooth": "smoothgrad", "samples": 0}, "samples must be 1 or more, got 0"),
        ({"smooth": "vargrad", "samples": 1}, "samples must be 2 or more, got 1"),
        ({"smooth": "smoothgrad", "sigma": 0}, "sigma must be above 0, got 0"),
        ({"smooth": "smoothgrad", "seed": 0.5}, "seed must be a whole number"),
        ({"samples": 3}, "expected a known option of saliency, got 'samples'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str, model: Any) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=message):
        kerasxai.Explainer(model, "saliency", **options)


def test_a_failed_call_leaves_nothing_behind(model: Any) -> None:
    explain = kerasxai.Explainer(model, "guided_backprop", smooth="smoothgrad", samples=3)
    before = {path: set(vars(layer)) for path, layer in walk(model)}
    with pytest.raises(kerasxai.KerasxaiError, match="must be from 0 to 3, got 9"):
        explain(zoo.images(2), targets=9)
    expected = kerasxai.Explainer(model, "guided_backprop", smooth="smoothgrad", samples=3)(zoo.images(2)).heatmaps
    np.testing.assert_array_equal(explain(zoo.images(2)).heatmaps, expected)
    assert {path: set(vars(layer)) for path, layer in walk(model)} == before

"""Gradients at the input against a backward pass written by hand, and integrated gradients."""

from typing import Any

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
import zoo
from scipy.ndimage import gaussian_filter

import kerasxai

layers = keras.layers
TARGET = 1


@pytest.fixture(scope="module")
def model() -> Any:
    keras.utils.set_random_seed(4)
    inputs = keras.Input((6, 7, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(inputs)
    x = layers.ReLU(6, name="capped")(layers.Conv2D(5, 3, padding="same", name="second")(x))
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="top")(layers.Flatten()(x)))


@pytest.fixture(scope="module")
def plain(model: Any) -> reference.Plain:
    weights = [w.astype(float) for w in model.get_weights()]
    return reference.Plain(
        [(weights[0], weights[1], np.inf), (weights[2], weights[3], 6)],
        weights[4][:, TARGET].reshape(6, 7, 5),
        weights[5][TARGET],
    )


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Bright enough that some units are above 6."""
    return np.random.default_rng(0).uniform(-8, 10, (2, 6, 7, 3)).astype("float32")


def explained(model: Any, method: str, images: np.ndarray, **options: Any) -> Any:
    return kerasxai.Explainer(model, method, score="logit", **options)(images, targets=TARGET)


def test_the_oracle_is_the_network_and_its_gradient(model: Any, plain: reference.Plain, images: np.ndarray) -> None:
    image = images[0].astype(float)
    inputs = plain.before(image)
    assert (inputs[1] > 6).any() and (inputs[1] < 0).any() and (plain.top < 0).any()
    np.testing.assert_allclose(explained(model, "saliency", images).scores[0], plain.score(image), rtol=1e-5)
    np.testing.assert_allclose(plain.backward(image), reference.slope(plain.score, image), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("method", "rule"), [("saliency", None), ("guided_backprop", "guided"), ("deconvnet",) * 2])
def test_maps_at_the_input_equal_their_oracle(
    method: str, rule: str | None, model: Any, plain: reference.Plain, images: np.ndarray
) -> None:
    explanation = explained(model, method, images)
    expected = [np.abs(plain.backward(image.astype(float), rule)).max(-1) for image in images]
    np.testing.assert_allclose(explanation.heatmaps, expected, rtol=1e-4, atol=1e-5)
    assert explanation.layer is None


def test_the_three_rules_are_three_maps(model: Any, images: np.ndarray) -> None:
    maps = [explained(model, method, images).heatmaps for method in ("saliency", "guided_backprop", "deconvnet")]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(maps[first] - maps[second]).max() > 0.01 * maps[0].max()


def test_gradient_times_input_equals_its_oracle(model: Any, plain: reference.Plain, images: np.ndarray) -> None:
    expected = [(image * plain.backward(image.astype(float))).sum(-1) for image in images]
    np.testing.assert_allclose(explained(model, "gradient*input", images).heatmaps, expected, rtol=1e-4, atol=1e-4)


def test_guided_gradcam_is_guided_backpropagation_times_plain_gradcam(
    model: Any, plain: reference.Plain, images: np.ndarray
) -> None:
    """At the first layer a rectifier lies above: Grad-CAM's gradients must not obey the rule."""
    expected = []
    for image in images.astype(float):
        lower = np.maximum(plain.before(image)[0], 0)
        heatmap = reference.gradcam(lower, plain.backward(image, down_to=1))
        expected.append(np.abs(plain.backward(image, "guided") * heatmap[..., None]).max(-1))
    explanation = explained(model, "guided_gradcam", images, layer="first")
    np.testing.assert_allclose(explanation.heatmaps, expected, rtol=2e-4, atol=1e-4)
    assert explanation.layer == "first"
    assert explanation.notes["rectifiers"] == 2


def test_integrated_gradients_equal_their_oracle(model: Any, plain: reference.Plain, images: np.ndarray) -> None:
    baseline = np.full(3, 2.0)
    expected = [
        reference.integrated_gradients(plain.backward, image, np.broadcast_to(baseline, image.shape), 7)
        for image in images.astype(float)
    ]
    explanation = explained(model, "integrated_gradients", images, steps=7, baseline=baseline, batch_size=6)
    np.testing.assert_allclose(explanation.heatmaps, expected, rtol=1e-4, atol=1e-3)
    start = plain.score(np.broadcast_to(baseline, images[0].shape))
    errors = [m.sum() - (plain.score(image) - start) for m, image in zip(expected, images.astype(float), strict=True)]
    np.testing.assert_allclose(explanation.notes["completeness_error"], errors, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(explanation.notes["baseline_scores"], start, rtol=1e-5)


def test_more_steps_leave_a_smaller_completeness_error(model: Any, images: np.ndarray) -> None:
    errors = [
        np.abs(explained(model, "integrated_gradients", images, steps=steps).notes["completeness_error"]).max()
        for steps in (3, 300)
    ]
    assert errors[1] < 0.02 * errors[0]


def test_gauss_legendre_is_exact_for_polynomials() -> None:
    """The gradient of a cube is a square, for which two points are enough; the trapezoid rule misses it."""
    inputs = keras.Input((2, 2, 1))
    outputs = layers.Dense(2, use_bias=False)(layers.Flatten()(inputs**3))
    model = keras.Model(inputs, outputs)
    images = np.random.default_rng(0).uniform(1, 2, (3, 2, 2, 1)).astype("float32")
    error = {
        quadrature: np.abs(
            explained(model, "integrated_gradients", images, steps=2, quadrature=quadrature).notes["completeness_error"]
        ).max()
        for quadrature in ("gauss_legendre", "trapezoid")
    }
    assert error["gauss_legendre"] < 1e-5 < 0.1 < error["trapezoid"]


def test_integrated_gradients_of_a_linear_model_are_its_weights_times_the_way() -> None:
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(inputs)))
    images = zoo.images(2, size=4)
    weights = model.get_weights()[0][:, TARGET].reshape(4, 4, 3)
    explanation = explained(model, "integrated_gradients", images, steps=2, baseline="mean")
    expected = ((images - images.mean((1, 2), keepdims=True)) * weights).sum(-1)
    np.testing.assert_allclose(explanation.heatmaps, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(explanation.notes["completeness_error"], 0, atol=1e-5)
    np.testing.assert_allclose(
        explained(model, "gradient*input", images).heatmaps.sum((1, 2)),
        explanation.scores - model.get_weights()[1][TARGET],
        rtol=1e-4,
        atol=1e-5,
    )


def test_each_option_of_integrated_gradients_changes_the_map(model: Any, images: np.ndarray) -> None:
    picture = np.random.default_rng(1).uniform(-8, 10, images.shape)
    choices: list[dict[str, Any]] = [
        {},
        {"steps": 5},
        {"quadrature": "gauss_legendre", "steps": 5},
        {"baseline": "mean"},
        {"baseline": "blurred"},
        {"baseline": "random"},
        {"baseline": "random", "seed": 1},
        {"baseline": 1.5},
        {"baseline": [0.0, 1.0, 2.0]},
        {"baseline": picture[0]},
        {"baseline": picture},
    ]
    maps = [explained(model, "integrated_gradients", images, **options).heatmaps for options in choices]
    for i in range(len(maps)):
        for j in range(i):
            assert np.abs(maps[i] - maps[j]).max() > 1e-3 * np.abs(maps[0]).max(), (choices[i], choices[j])


def test_baselines_are_what_their_names_say(model: Any, images: np.ndarray) -> None:
    def same(name: str, baseline: Any) -> None:
        maps = [
            explained(model, "integrated_gradients", images, baseline=b, steps=9).heatmaps for b in (name, baseline)
        ]
        np.testing.assert_allclose(maps[0], maps[1], rtol=1e-4, atol=1e-3)

    same("black", 0)
    same("mean", images.mean((1, 2), keepdims=True) + np.zeros_like(images))
    same("blurred", np.stack([gaussian_filter(image, (0.6, 0.6, 0)) for image in images]))


def test_a_baseline_for_each_image_and_a_random_one_do_not_depend_on_the_batch(model: Any, images: np.ndarray) -> None:
    many = np.concatenate([images, images[::-1], images[:1]])
    pictures = np.random.default_rng(1).uniform(-8, 10, many.shape)
    for baseline in (pictures, "random"):
        small, large = (
            explained(model, "integrated_gradients", many, baseline=baseline, steps=7, batch_size=size)
            for size in (2, 32)
        )
        np.testing.assert_allclose(small.heatmaps, large.heatmaps, rtol=1e-4, atol=1e-3)
        assert small.notes["completeness_error"].shape == (5,)


class AtMostFour(keras.layers.Layer):
    """Fails on a larger batch when the model runs."""

    def call(self, inputs: Any) -> Any:
        with tf.control_dependencies([tf.debugging.assert_less_equal(tf.shape(inputs)[0], 4)]):
            return tf.identity(inputs)


def test_no_more_images_than_a_batch_are_sent_at_once() -> None:
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(AtMostFour()(inputs))))
    images = zoo.images(5, size=4)
    for options in ({"method": "integrated_gradients", "steps": 11}, {"method": "saliency", "smooth": "smoothgrad"}):
        assert explained(model, images=images, batch_size=4, **options).heatmaps.shape == (5, 4, 4)
        with pytest.raises(tf.errors.InvalidArgumentError):
            explained(model, images=images, batch_size=5, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 1}, "steps must be 2 or more, got 1"),
        ({"steps": 2.5}, "whole number"),
        ({"quadrature": "simpson"}, "expected a known quadrature, got 'simpson'"),
        ({"baseline": "white"}, "expected a known baseline, got 'white'"),
        ({"baseline": np.zeros((5, 5, 3))}, "baseline must be one of"),
        ({"seed": -1}, "seed must be 0 or more"),
    ],
)
def test_options_out_of_range_are_refused(
    options: dict[str, Any], message: str, model: Any, images: np.ndarray
) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=message):
        explained(model, "integrated_gradients", images, **options)


def test_a_model_of_whole_numbers_is_explained_behind_its_cast() -> None:
    inputs = keras.Input((4, 4, 3), dtype="uint8")
    x = layers.Conv2D(3, 3)(layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    images = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3), np.uint8)
    floating = tf.cast(images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(floating)
        logits = keras.Sequential(model.layers[1:])(floating)[:, 1]
    expected = tf.reduce_max(tf.abs(tape.gradient(logits, floating)), -1)
    np.testing.assert_allclose(kerasxai.Explainer(model, "saliency")(images, 1).heatmaps, expected, rtol=1e-5)

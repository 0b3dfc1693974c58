"""Models that take whole numbers: gradients behind their cast, and no wrong pixels out of made up ones."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

import kerasxai

layers = keras.layers
SIDE = 12
GRADIENTS = ["saliency", "gradient*input", "integrated_gradients", "guided_backprop", "deconvnet", "guided_gradcam"]


def pair(dtype: str, nested: bool = False) -> tuple[Any, Any]:
    """The same network for whole numbers and for floating ones."""
    keras.utils.set_random_seed(2)
    body = [
        layers.Rescaling(1 / 255),
        layers.Conv2D(6, 3, padding="same", activation="relu", name="map"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, name="top"),
    ]

    def build(kind: str) -> Any:
        inputs = keras.Input((SIDE, SIDE, 3), dtype=kind)
        x = inputs
        if nested:
            inner = keras.Input((SIDE, SIDE, 3), dtype=kind)
            x = keras.Sequential([keras.Input((SIDE, SIDE, 3), dtype=kind), layers.CenterCrop(SIDE, SIDE)])(x)
            return keras.Model(inputs, keras.Model(inner, chained(inner))(x))
        return keras.Model(inputs, chained(x))

    def chained(x: Any) -> Any:
        for layer in body:
            x = layer(x)
        return x

    return build(dtype), build("float32")


def pictures(dtype: str = "uint8", count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3)).astype(dtype)


@pytest.mark.parametrize(
    ("method", "dtype"),
    [
        *((method, "uint8") for method in GRADIENTS),
        # The type of the numbers matters to the cast alone, with the model's own gradients and with others.
        *((method, "int32") for method in ("saliency", "guided_backprop")),
        *(
            pytest.param(method, "int32", marks=pytest.mark.exhaustive)
            for method in GRADIENTS
            if method not in ("saliency", "guided_backprop")
        ),
    ],
)
def test_gradients_are_those_behind_the_cast(method: str, dtype: str) -> None:
    whole, floating = pair(dtype)
    options = zoo.CHEAPER.get(method, {})
    expected = kerasxai.Explainer(floating, method, **options)(pictures(dtype).astype(np.float32), 1)
    explain = kerasxai.Explainer(whole, method, **options)
    for images in (pictures(dtype), pictures(dtype).astype(np.float32)):
        found = explain(images, 1)
        assert np.ptp(expected.heatmaps) > 0
        np.testing.assert_allclose(found.heatmaps, expected.heatmaps, rtol=1e-4, atol=1e-8)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)


def test_nested_models_that_all_declare_whole_numbers_are_explained() -> None:
    whole, floating = pair("uint8", nested=True)
    found = kerasxai.Explainer(whole, "saliency")(pictures(), 1).heatmaps
    expected = kerasxai.Explainer(floating, "saliency")(pictures().astype(np.float32), 1).heatmaps
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("baseline", ["black", "random", "blurred", 0.5])
def test_integrated_gradients_of_whole_numbers_are_complete(baseline: Any) -> None:
    whole, floating = (
        kerasxai.Explainer(model, "integrated_gradients", baseline=baseline, steps=50)(images, 1)
        for model, images in zip(pair("uint8"), (pictures(), pictures("float32")), strict=True)
    )
    rise = np.abs(whole.scores - whole.notes["baseline_scores"])
    assert np.abs(whole.notes["completeness_error"]).max() < max(0.02 * rise.max(), 1e-4)
    np.testing.assert_allclose(whole.notes["baseline_scores"], floating.notes["baseline_scores"], rtol=1e-5)
    np.testing.assert_allclose(whole.heatmaps, floating.heatmaps, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("average", ["smoothgrad", "squaregrad", "vargrad"])
def test_noise_stays_within_the_range_of_the_type(average: str) -> None:
    """Where noise left it, a cast would turn -3 into 253. The mirror image at 0 shows what the model was given."""
    inputs = keras.Input((SIDE, SIDE, 1), dtype="uint8")
    x = layers.Rescaling(1.0)(inputs)
    model = keras.Model(inputs, layers.Dense(2, name="top")(layers.Flatten()(x)))
    model.get_layer("top").set_weights([np.full((SIDE * SIDE, 2), 1 / SIDE**2, np.float32), np.zeros(2, np.float32)])
    images = np.zeros((1, SIDE, SIDE, 1), np.uint8)
    images[0, 0, 0] = 200
    explain = kerasxai.Explainer(model, "gradient*input", smooth={"average": average, "samples": 300, "sigma": 0.1})
    heatmap = explain(images, 1).heatmaps[0] * np.power(SIDE**2, 1 if average == "smoothgrad" else 2)
    # Of 20 N(0, 1), cut off below 0: mean 20 / sqrt(2 pi), mean square 200, variance 200 - 400 / (2 pi).
    expected = {"smoothgrad": 7.98, "squaregrad": 200.0, "vargrad": 136.3}[average]
    assert heatmap[1:].mean() == pytest.approx(expected, rel=0.05)
    high = {"smoothgrad": 200.0, "squaregrad": 200.0**2 + 400, "vargrad": 400.0}[average]
    assert heatmap[0, 0] == pytest.approx(high, rel=0.25)


@pytest.mark.parametrize("method", ["occlusion", "rise", "gradcam", "scorecam", "lime"])
def test_made_up_pixels_are_rounded_for_scores_and_maps(method: str) -> None:
    whole, floating = pair("uint8")
    options: dict[str, dict[str, Any]] = {
        "occlusion": {"patch": 4, "fill": 100.5},
        "rise": {"masks": 30, "grid": 3},
        "lime": {"samples": 30, "segments": 9},
    }
    found, expected = (
        kerasxai.Explainer(model, method, **options.get(method, {}))(pictures(), 1).heatmaps
        for model in (whole, floating)
    )
    np.testing.assert_allclose(found, expected, rtol=0.05, atol=0.01 * np.abs(expected).max())
    noisy = kerasxai.Explainer(whole, "gradcam", smooth="smoothgrad", samples=3)(pictures(), 1).heatmaps
    assert np.isfinite(noisy).all()


@pytest.mark.filterwarnings("ignore::kerasxai.engine.images.builtin_preprocessing.InputRangeWarning")
def test_images_that_are_no_whole_numbers_of_the_type_are_refused() -> None:
    whole, floating = pair("uint8")
    for images in (pictures() / 255, pictures().astype(np.float32) + 1, pictures("int32") - 1):
        with pytest.raises(kerasxai.KerasxaiError, match="images must be whole numbers from 0 to 255"):
            kerasxai.Explainer(whole, "gradcam")(images, 1)
        assert kerasxai.Explainer(floating, "gradcam")(images, 1).heatmaps.shape == (3, SIDE, SIDE)


class Tripled(keras.layers.Layer):
    """Three times 200 is 88 in whole numbers of eight bits."""

    def call(self, images: Any) -> Any:
        return tf.cast(images * 3, tf.float32)


class Bits(keras.layers.Layer):
    def call(self, images: Any) -> Any:
        return tf.cast(tf.bitwise.bitwise_and(images, 15), tf.float32)

    def compute_output_shape(self, shape: Any) -> Any:
        return shape


class Recast(keras.layers.Layer):
    def call(self, images: Any) -> Any:
        return tf.cast(tf.cast(images, tf.uint8), tf.float32)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [(Tripled, r"score .* for whole numbers and"), (Bits, "operations that take no others"), (Recast, "no gradient")],
)
def test_arithmetic_of_whole_numbers_has_no_gradient_and_the_error_says_so(layer: Any, reason: str) -> None:
    inputs = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    x = layers.Conv2D(4, 3, activation="relu", kernel_initializer="ones")(layer()(inputs))
    model = keras.Model(inputs, layers.Dense(2, kernel_initializer="ones")(layers.GlobalAveragePooling2D()(x)))
    with pytest.raises(kerasxai.KerasxaiError, match=rf"expected a model that casts its uint8 input.*{reason}"):
        kerasxai.Explainer(model, "saliency")(pictures(), 1)
    assert kerasxai.Explainer(model, "gradcam")(pictures(), 1).heatmaps.max() > 0


FRONTS: dict[str, Any] = {
    "Resizing": lambda: layers.Resizing(16, 16),
    "CenterCrop": lambda: layers.CenterCrop(8, 8),
    "Cropping2D": lambda: layers.Cropping2D(2),
    "ZeroPadding2D": lambda: layers.ZeroPadding2D(2),
    "pad_to_aspect_ratio": lambda: layers.Resizing(16, 32, pad_to_aspect_ratio=True),
}


@pytest.mark.parametrize("front", FRONTS)
def test_whole_numbers_may_be_cropped_and_resized_before_the_cast(front: str) -> None:
    def build(dtype: str) -> Any:
        keras.utils.set_random_seed(2)
        inputs = keras.Input((SIDE, SIDE, 3), dtype=dtype)
        x = layers.Rescaling(1 / 255)(FRONTS[front]()(inputs))
        x = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
        return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))

    for method in ("gradcam", "saliency"):
        found = kerasxai.Explainer(build("uint8"), method)(pictures(), 1)
        expected = kerasxai.Explainer(build("float32"), method)(pictures("float32"), 1)
        # Keras resizes whole numbers to whole numbers.
        tolerance = 0.05 * expected.heatmaps.max() if front == "Resizing" and method == "gradcam" else 1e-6
        np.testing.assert_allclose(found.heatmaps, expected.heatmaps, rtol=1e-3, atol=tolerance)
        if "map_extent" in expected.notes:
            np.testing.assert_allclose(found.notes["map_extent"], expected.notes["map_extent"])


def test_tokens_are_still_looked_up() -> None:
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Conv1D(4, 3, activation="relu")(layers.Embedding(9, 4)(tokens))
    model = keras.Model(tokens, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))
    heatmaps = kerasxai.Explainer(model, "saliency")(np.arange(12).reshape(2, 6) % 9, 1).heatmaps
    assert heatmaps.shape == (2, 6) and heatmaps.max() > 0

"""Layers that are called several times, or that no graph of the model lists."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasxai

layers = keras.layers


def convolution(filters: int, kernel: int, **options: Any) -> Any:
    return layers.Conv2D(filters, kernel, padding="same", activation="relu", **options)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")


def twins() -> Any:
    """One encoder, two levels down, looks at both images."""
    keras.utils.set_random_seed(7)
    inner = keras.Sequential([keras.Input((10, 10, 3)), convolution(4, 3, name="deep")], name="inner")
    inputs = keras.Input((10, 10, 3))
    encoder = keras.Model(inputs, layers.GlobalAveragePooling2D()(inner(layers.Rescaling(2.0)(inputs))), name="encoder")
    left, right = keras.Input((10, 10, 3), name="left"), keras.Input((10, 10, 3), name="right")
    return keras.Model(
        [left, right], layers.Dense(2, name="top")(layers.Concatenate()([encoder(left), encoder(right)]))
    )


def calls_of(model: Any) -> list[int]:
    """In which order Keras calls the encoder for left and right."""
    seen: list[str] = []
    for number in (0, 1):
        try:
            kerasxai.Explainer(model, "gradcam", layer=("deep", number), image_input="left")([noise(1, 10, 10, 3)] * 2)
            seen.append("left")
        except kerasxai.KerasxaiError as error:
            assert "depends on the explained input" in str(error)
            seen.append("right")
    return [seen.index("left"), seen.index("right")]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("method", ["gradcam", "ablationcam", "scorecam"])
def test_one_call_of_a_shared_layer_two_levels_down(method: str, which: int) -> None:
    model, pair = twins(), [noise(2, 10, 10, 3), noise(4, 10, 10, 3)[2:]]
    order = calls_of(model)
    names = [f"encoder/inner/deep:{order[which]}", ("deep", order[which]), "deep", "encoder/inner/deep"]
    # How a layer is named does not depend on the method.
    for layer in names if method == "gradcam" else names[-1:]:
        found = kerasxai.Explainer(model, method, layer=layer, image_input=which, resize=False)(pair, targets=1)
        assert found.layer == f"encoder/inner/deep:{order[which]}"
    inner = model.get_layer("encoder").get_layer("inner")
    maps = inner(2 * pair[which]).numpy()
    kernel = model.get_layer("top").kernel.numpy()[4 * which : 4 * which + 4, 1]
    if method == "gradcam":
        np.testing.assert_allclose(found.heatmaps, np.maximum(maps @ kernel / 100, 0), atol=1e-6)
    if method == "ablationcam":
        falls = maps.mean((1, 2)) * kernel / found.scores[:, None]
        np.testing.assert_allclose(found.heatmaps, np.maximum(np.einsum("bhwk,bk->bhw", maps, falls), 0), atol=1e-5)


def test_the_call_of_a_shared_layer_has_to_be_chosen() -> None:
    inputs = keras.Input((9, 9, 3))
    shared = convolution(3, 3, name="shared")
    twice = keras.Model(inputs, layers.Dense(2, name="top")(layers.GlobalAveragePooling2D()(shared(shared(inputs)))))
    for layer, message in (
        ("shared", "called 2 times in one pass; choose 'shared:0' to 'shared:1'"),
        ("shared:2", "expected the number of a call, got 'shared:2'; the layer is called 2 times"),
        ("shred:1", "expected a known layer"),
    ):
        with pytest.raises(kerasxai.KerasxaiError, match=message):
            kerasxai.Explainer(twice, "gradcam", layer=layer)(noise(1, 9, 9, 3))
    maps = shared(noise(1, 9, 9, 3))
    for number, expected in ((0, maps), (1, shared(maps))):
        found = kerasxai.Explainer(twice, "eigencam", layer=("shared", number))(noise(1, 9, 9, 3))
        assert found.layer == f"shared:{number}"
        other = kerasxai.Explainer(keras.Sequential([shared, layers.Flatten()]), "eigencam", layer="shared")
        np.testing.assert_allclose(
            found.heatmaps, other(noise(1, 9, 9, 3) if number == 0 else maps).heatmaps, atol=1e-5
        )
        assert expected.shape[-1] == 3
    model, pair = twins(), [noise(1, 10, 10, 3)] * 2
    paths = [row.path for row in kerasxai.list_layers(model) if row.is_feature_map]
    assert "encoder/inner/deep:0" in paths and "encoder/inner/deep:1" in paths
    # Of twins each has its own map.
    defaults = [kerasxai.Explainer(model, "gradcam", image_input=side)(pair).layer for side in ("left", "right")]
    assert defaults == [f"encoder/inner/deep:{number}" for number in calls_of(model)]


class Block(keras.layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.steps = [convolution(4, 3), convolution(5, 3)]

    def call(self, x: Any) -> Any:
        for step in self.steps:
            x = step(x)
        return x


class Hidden(keras.Model):
    """A subclassed model whose call is a tf.function, and whose layers are found by attributes alone."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = {"low": Block(), "high": Block()}
        self.pool, self.top = layers.GlobalAveragePooling2D(), layers.Dense(3)

    @tf.function
    def call(self, x: Any) -> Any:
        return self.top(self.pool(self.encoder["high"](self.encoder["low"](x))))


def test_layers_of_a_subclassed_model_are_found_by_attributes_under_a_tf_function() -> None:
    keras.utils.set_random_seed(8)
    model, values = Hidden(), noise(2, 9, 9, 3)
    before = model(values).numpy()
    maps = model.encoder["low"](values)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        score = model.top(model.pool(model.encoder["high"](maps)))[:, 1]
    weights = tf.reduce_mean(tape.gradient(score, maps), (1, 2), keepdims=True)
    expected = tf.nn.relu(tf.reduce_sum(weights * maps, -1))
    for layer in ("encoder/low/steps/1", "encoder.low.steps[1]", model.encoder["low"].steps[1]):
        found = kerasxai.Explainer(model, "gradcam", layer=layer)(values, 1)
        np.testing.assert_allclose(found.heatmaps, expected, atol=1e-6)
    with pytest.raises(kerasxai.KerasxaiError, match=r"expected a known layer, got 'encoder\.low"):
        kerasxai.Explainer(model, "gradcam", layer="encoder.low.steps[2]")
    np.testing.assert_array_equal(model(values).numpy(), before)

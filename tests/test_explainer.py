"""The front door, the choice of layer, and the exactness of cam and gradcam."""

from typing import Any

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
import zoo

import kerasxai
from kerasxai.engine.samples import Samples

layers = keras.layers


@pytest.fixture(scope="module")
def deep() -> Any:
    """A model whose gradient at the first convolution differs from place to place."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((7, 9, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(inputs)
    x = layers.Conv2D(5, 3, padding="same", activation="tanh", name="second")(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="top")(layers.Flatten()(x)))


def test_gradcam_equals_its_oracle(deep: Any) -> None:
    image = np.random.default_rng(0).uniform(-1, 1, (7, 9, 3))
    first, second, top = (
        [w.astype(float) for w in deep.get_layer(name).get_weights()] for name in ("first", "second", "top")
    )
    activations = np.maximum(reference.convolve(image, *first), 0)

    def logit(a: np.ndarray) -> float:
        return float(np.tanh(reference.convolve(a, *second)).ravel() @ top[0][:, 1] + top[1][1])

    expected = reference.gradcam(activations, reference.slope(logit, activations))
    explanation = kerasxai.Explainer(deep, "gradcam", layer="first", score="logit")(
        image[None].astype("float32"), targets=1
    )
    np.testing.assert_allclose(explanation.heatmaps[0], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(explanation.scores[0], logit(activations), rtol=1e-5)
    assert explanation.layer == "first"


def test_cam_equals_its_oracle() -> None:
    model = zoo.build("functional")
    images = zoo.images(2)
    activations = keras.Model(model.input, model.get_layer("convolutions_last").output)(images).numpy().astype(float)
    kernel = model.get_layer("top").get_weights()[0]
    expected = np.stack([reference.cam(a, kernel, 2) for a in activations])
    raw = kerasxai.Explainer(model, "cam", resize=False, score="logit")(images, targets=2).heatmaps
    np.testing.assert_allclose(raw, expected, rtol=1e-5, atol=1e-6)
    expected = tf.image.resize(expected[..., None], (zoo.SIZE, zoo.SIZE))[..., 0]
    explanation = kerasxai.Explainer(model, "cam", score="logit")(images, targets=2)
    np.testing.assert_allclose(explanation.heatmaps, expected, rtol=1e-5, atol=1e-6)
    assert explanation.layer == "convolutions_last"


@pytest.mark.parametrize("kind", ["functional", "nested", "subclassed", "single_sigmoid"])
def test_gradcam_is_the_positive_part_of_cam_behind_average_pooling(kind: str) -> None:
    model = zoo.build(kind)
    places = 8 * 8
    cam = kerasxai.Explainer(model, "cam")
    gradcam = kerasxai.Explainer(model, "gradcam")
    for target in (0, 1):
        signed = cam(zoo.images(3), targets=target)
        # The rectifier comes before the resize, so that the identity is checked where the map is positive all over.
        positive = gradcam(zoo.images(3), targets=target)
        assert positive.layer == signed.layer
        at_layer = tf.nn.relu(cam.method.function(cam._model, Samples.of(zoo.images(3), np.full(3, target))))
        expected = tf.image.resize(at_layer[..., None], (zoo.SIZE, zoo.SIZE))[..., 0]
        np.testing.assert_allclose(positive.heatmaps * places, expected, rtol=1e-4, atol=1e-5)


def test_the_two_classes_of_a_single_unit_are_opposites() -> None:
    explain = kerasxai.Explainer(zoo.build("single_sigmoid"), "cam")
    zero, one = (explain(zoo.images(2), targets=target) for target in (0, 1))
    np.testing.assert_allclose(zero.heatmaps, -one.heatmaps)
    np.testing.assert_allclose(zero.scores, -one.scores)
    with pytest.raises(kerasxai.KerasxaiError, match="from 0 to 1, got"):
        explain(zoo.images(2), targets=2)


def test_a_class_map_of_a_1x1_convolution_has_the_logit_as_its_mean() -> None:
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(inputs)
    maps = layers.Conv2D(4, 1, bias_initializer="ones", name="class_maps")(x)
    model = keras.Model(inputs, layers.Softmax()(layers.GlobalAveragePooling2D()(maps)))
    explain = kerasxai.Explainer(model, "cam")
    for size in (12, 17):
        explanation = explain(zoo.images(2, size=size), targets=[1, 3])
        assert explanation.layer == "class_maps"
        np.testing.assert_allclose(explanation.heatmaps.mean((1, 2)), explanation.scores, rtol=1e-5)
    assert len(zoo.traced_model(explain)._traces) <= 2


def test_cam_refuses_a_model_without_such_a_head_and_names_gradcam(deep: Any) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match="use gradcam"):
        kerasxai.Explainer(deep, "cam")(zoo.images(1)[:, :7, :9])


def test_the_default_layer_is_the_map_that_feeds_the_head() -> None:
    """A squeeze-and-excite gate, a side branch and a 1x1 tail, as in MobileNetV3, mislead "the last convolution"."""
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(6, 3, name="body")(inputs)
    gate = layers.Conv2D(6, 1, activation="sigmoid", name="gate")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply(name="gated")([x, gate])
    tail = layers.Conv2D(10, 1, name="tail")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    outputs = layers.Dense(3)(layers.Flatten()(tail))
    side = layers.Conv2D(2, 3, name="side")(x)
    model = keras.Model(inputs, [outputs, side])
    explain = kerasxai.Explainer(model, "gradcam", score=lambda outputs, targets: outputs[0][:, 0])
    assert explain(zoo.images(2)).layer == "gated"


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("pooled", "a single position"),
        ("flat", "expected a feature map"),
        ("aside", "feeds the explained score"),
        ("twice", "called 2 times"),
    ],
)
def test_layers_that_cannot_be_explained_say_why(layer: str, message: str) -> None:
    inputs = keras.Input((16, 16, 3))
    shared = layers.Conv2D(3, 3, padding="same", name="twice")
    x = shared(shared(inputs))
    aside = layers.Conv2D(2, 3, name="aside")(x)
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name="pooled")(x)
    outputs = layers.Dense(3, name="top")(layers.Flatten(name="flat")(pooled))
    model = keras.Model(inputs, [outputs, aside])
    explain = kerasxai.Explainer(model, "gradcam", layer=layer, score=lambda outputs, targets: outputs[0][:, 0])
    with pytest.raises(kerasxai.KerasxaiError, match=message):
        explain(zoo.images(1))


def test_models_without_a_map_or_with_tokens_after_it_are_refused() -> None:
    flat = keras.Sequential([keras.Input((16, 16, 3)), layers.Flatten(), layers.Dense(2)])
    with pytest.raises(kerasxai.KerasxaiError, match="no feature map"):
        kerasxai.Explainer(flat, "gradcam")(zoo.images(1))
    inputs = keras.Input((16, 16, 3))
    tokens = layers.Reshape((16, 8))(layers.Conv2D(8, 4, strides=4, name="patches")(inputs))
    halves = layers.MaxPooling1D()(tokens)
    x = layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 4)(halves, halves))
    with pytest.raises(kerasxai.KerasxaiError, match="token layers on a clear grid after the map 'patches'"):
        kerasxai.Explainer(keras.Model(inputs, layers.Dense(2)(x)), "gradcam")(zoo.images(1))


def test_a_score_of_ones_own_is_explained_and_checked() -> None:
    model = zoo.build("logits")
    margin = kerasxai.Explainer(model, "gradcam", score=lambda outputs, targets: outputs[:, 0] - outputs[:, 1])
    plain = kerasxai.Explainer(model, "gradcam")
    outputs = model(zoo.images(2), training=False).numpy()
    explanation = margin(zoo.images(2))
    np.testing.assert_allclose(explanation.scores, outputs[:, 0] - outputs[:, 1], rtol=1e-5)
    assert not np.allclose(explanation.heatmaps, plain(zoo.images(2), targets=0).heatmaps)
    for wrong in (lambda outputs, targets: outputs, lambda outputs, targets: tf.reduce_sum(outputs)):
        with pytest.raises(kerasxai.KerasxaiError, match=r"one floating number for each image"):
            kerasxai.Explainer(model, "gradcam", score=wrong)(zoo.images(1))
    with pytest.raises(kerasxai.KerasxaiError, match=r"score must be \"relative\" or \"logit\" for cam"):
        kerasxai.Explainer(model, "cam", score=wrong)
    with pytest.raises(kerasxai.KerasxaiError, match="expected no layer= for cam"):
        kerasxai.Explainer(model, "cam", layer="top")


def test_several_outputs_need_a_score() -> None:
    inputs = keras.Input((16, 16, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3)(inputs))
    model = keras.Model(inputs, [layers.Dense(2)(x), layers.Dense(3)(x)])
    with pytest.raises(kerasxai.KerasxaiError, match="pass what to explain as score="):
        kerasxai.Explainer(model, "gradcam")(zoo.images(1))


def test_explaining_is_inference_even_inside_training() -> None:
    model = zoo.build("functional")
    explain = kerasxai.Explainer(model, "gradcam")
    expected = explain(zoo.images(4), targets=1).heatmaps
    seen = []

    class During(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            seen.append(explain(zoo.images(4), targets=1).heatmaps)

    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(zoo.images(4), np.zeros(4), epochs=1, batch_size=4, verbose=0, callbacks=[During()])
    np.testing.assert_array_equal(seen[0], expected)


@pytest.mark.filterwarnings("ignore::kerasxai.engine.images.builtin_preprocessing.InputRangeWarning")
def test_images_may_be_bytes_tensors_or_lists_of_arrays() -> None:
    explain = kerasxai.Explainer(zoo.build("functional"), "gradcam")
    pixels = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3), dtype=np.uint8)
    expected = explain(pixels.astype("float32")).heatmaps
    for same in (pixels, tf.constant(pixels), list(pixels)):
        np.testing.assert_array_equal(explain(same).heatmaps, expected)
    with pytest.raises(kerasxai.KerasxaiError, match="must be numbers"):
        explain(np.full((1, 16, 16, 3), "a"))


def test_an_unknown_method_lists_near_names() -> None:
    with pytest.raises(kerasxai.KerasxaiError, match="expected a known method, got 'gradcm'; nearest: gradcam"):
        kerasxai.Explainer(zoo.build("functional"), "gradcm")

"""Which rectifiers the guided rules reach, and what is said where they reach none."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

import kerasxai

layers = keras.layers
SIZE = 8


def functional(activation: Callable[[Any], Any]) -> Any:
    """Two convolutions with something behind each."""
    inputs = keras.Input((SIZE, SIZE, 3))
    x = activation(layers.Conv2D(4, 3, padding="same")(inputs))
    x = activation(layers.Conv2D(5, 3, padding="same")(x))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def nested() -> Any:
    inner = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Conv2D(4, 3, padding="same", activation="relu")])
    middle = keras.Sequential([keras.Input((SIZE, SIZE, 3)), inner])
    outer = [middle, layers.Conv2D(5, 3, padding="same"), layers.ReLU(), layers.Flatten(), layers.Dense(3)]
    return keras.Sequential([keras.Input((SIZE, SIZE, 3)), *outer])


class Bare(keras.Model):
    """Rectifies in its own `call`, without a layer."""

    def __init__(self, rectify: Callable[[Any], Any] = tf.nn.relu) -> None:
        super().__init__()
        self.first = layers.Conv2D(4, 3, padding="same")
        self.second = layers.Conv2D(5, 3, padding="same")
        self.top = layers.Dense(3)
        self.flat = layers.Flatten()
        self.rectify = rectify

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.top(self.flat(self.rectify(self.second(self.rectify(self.first(inputs))))))


REACHED = {
    "activation": lambda: functional(layers.Activation("relu")),
    "layer": lambda: functional(lambda x: layers.ReLU()(x)),
    "operation": lambda: functional(keras.ops.relu),
    "nested": nested,
    "bare": Bare,
}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return zoo.images(2, size=SIZE) * 8


def guided(model: Any, images: np.ndarray) -> np.ndarray:
    explanation = kerasxai.Explainer(model, "guided_backprop")(images, targets=1)
    assert explanation.notes["rectifiers"] == 2
    return explanation.heatmaps


# Both rules are laid on the same rectifiers; what they compute is compared with oracles.
@pytest.mark.parametrize("method", zoo.mostly(["guided_backprop"], ["guided_backprop", "deconvnet"]))
def test_the_same_network_gives_the_same_map_however_its_rectifiers_were_written(
    method: str, images: np.ndarray
) -> None:
    weights, expected = None, None
    for name, build in REACHED.items():
        keras.utils.set_random_seed(0)
        model = build()
        model(images)
        weights = model.get_weights() if weights is None else weights
        model.set_weights(weights)
        explanation = kerasxai.Explainer(model, method)(images, targets=1)
        assert explanation.notes["rectifiers"] == 2, name
        expected = explanation.heatmaps if expected is None else expected
        np.testing.assert_allclose(explanation.heatmaps, expected, rtol=1e-4, atol=1e-6, err_msg=name)
        plain = kerasxai.Explainer(model, "saliency")(images, targets=1).heatmaps
        assert np.abs(plain - expected).max() > 0.05 * plain.max(), name


@pytest.mark.parametrize("six", [layers.ReLU(6), layers.Activation("relu6"), tf.nn.relu6])
def test_relu6_passes_nothing_above_six(six: Callable[[Any], Any], images: np.ndarray) -> None:
    keras.utils.set_random_seed(0)
    model, unlimited = Bare(six), Bare()
    for each in (model, unlimited):
        each(images)
    unlimited.set_weights(model.get_weights())
    high = model.first(images).numpy() > 6
    assert high.any()
    assert np.abs(guided(model, images) - guided(unlimited, images)).max() > 0
    model.set_weights([w * 0.01 for w in model.get_weights()])
    unlimited.set_weights(model.get_weights())
    np.testing.assert_allclose(guided(model, images), guided(unlimited, images), rtol=1e-4)


WITHOUT_RECTIFIERS: list[Any] = [
    layers.Activation("silu"),
    layers.Activation("gelu"),
    layers.Activation("tanh"),
    layers.Activation("hard_sigmoid"),
    layers.Activation("hard_silu"),
    lambda x: x * layers.ReLU(6)(x + 3.0) * (1.0 / 6.0),
    layers.LeakyReLU(0.1),
    lambda x: layers.PReLU(alpha_initializer="ones")(x),
    layers.ReLU(6, negative_slope=0.1),
]


@pytest.mark.parametrize(
    ("method", "activation"),
    [
        *(("guided_backprop", activation) for activation in WITHOUT_RECTIFIERS),
        # All three methods look for rectifiers in one place.
        *((method, WITHOUT_RECTIFIERS[0]) for method in ("deconvnet", "guided_gradcam")),
        *(
            pytest.param(method, activation, marks=pytest.mark.exhaustive)
            for method in ("deconvnet", "guided_gradcam")
            for activation in WITHOUT_RECTIFIERS[1:]
        ),
    ],
)
def test_a_model_without_rectifiers_is_refused(
    method: str, activation: Callable[[Any], Any], images: np.ndarray
) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=r"with rectifiers .* use saliency"):
        kerasxai.Explainer(functional(activation), method)(images)


def test_rectifiers_beside_leaky_units_and_gates_are_reached_alone(images: np.ndarray) -> None:
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.PReLU()(layers.Conv2D(4, 3)(inputs))
    x = layers.Activation("hard_silu")(layers.ReLU()(layers.Conv2D(4, 3)(x)))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    assert kerasxai.Explainer(model, "guided_backprop")(images).notes["rectifiers"] == 1


def looped(x: Any) -> Any:
    return tf.while_loop(lambda i, x: i < 2, lambda i, x: (i + 1, tf.nn.relu(x)), (0, x))[1]


@pytest.mark.parametrize("hide", [tf.function(tf.nn.relu), looped, tf.recompute_grad(lambda x: tf.nn.relu(x))])
def test_rectifiers_out_of_reach_are_an_error_not_a_plain_gradient(
    hide: Callable[[Any], Any], images: np.ndarray
) -> None:
    model = Bare(hide)
    with pytest.raises(kerasxai.KerasxaiError, match="the guided rule can reach, got"):
        kerasxai.Explainer(model, "guided_backprop")(images)
    assert np.ptp(kerasxai.Explainer(model, "saliency")(images).heatmaps) > 0


def test_a_rectifier_aside_is_no_matter(images: np.ndarray) -> None:
    """What the score does not depend on, or depends on only through a comparison, needs no rule."""
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.ReLU()(layers.Conv2D(4, 3)(inputs))
    gate = keras.ops.cast(layers.ReLU()(layers.Conv2D(4, 3)(inputs)) > 0.1, "float32")
    aside = layers.ReLU()(layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, [layers.Dense(3)(layers.Flatten()(x * gate)), layers.Flatten()(aside)])
    explain = kerasxai.Explainer(model, "guided_backprop", score=lambda outputs, targets: outputs[0][:, 1])
    assert explain(images).notes["rectifiers"] == 1


def test_a_rule_leaves_nothing_behind(images: np.ndarray) -> None:
    """Plain gradients of the same model stay plain, also after a refusal."""
    keras.utils.set_random_seed(0)
    model = functional(layers.Activation("relu"))
    before = kerasxai.Explainer(model, "saliency")(images, targets=1).heatmaps
    guided(model, images)
    with pytest.raises(kerasxai.KerasxaiError, match="expected a model with rectifiers"):
        kerasxai.Explainer(functional(layers.Activation("gelu")), "guided_backprop")(images)
    np.testing.assert_array_equal(kerasxai.Explainer(model, "saliency")(images, targets=1).heatmaps, before)
    with tf.GradientTape() as tape:
        x = tf.constant(images)
        tape.watch(x)
        score = tf.reduce_sum(model(x)[:, 1])
    np.testing.assert_allclose(np.abs(tape.gradient(score, x)).max(-1), before, rtol=1e-4, atol=1e-6)

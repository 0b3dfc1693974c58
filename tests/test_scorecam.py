"""Score-CAM and Ablation-CAM."""

from typing import Any

import keras
import numpy as np
import pytest
import reference
import zoo
from scipy.ndimage import map_coordinates

import kerasxai
from kerasxai.engine.graph import ancestors
from kerasxai.engine.samples import Samples
from kerasxai.engine.traced_model import TracedModel
from kerasxai.methods import METHODS
from kerasxai.methods.scorecam import varying_channels

layers = keras.layers


@pytest.fixture(scope="module")
def deep() -> Any:
    """A model with a layer that more stands above, of another shape than the image."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((10, 14, 3))
    x = layers.Conv2D(5, 3, strides=2, padding="same", activation="relu", name="first")(inputs)
    x = layers.Conv2D(4, 3, padding="same", activation="tanh", name="second")(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="top")(layers.Flatten()(x)))


IMAGES = np.random.default_rng(0).uniform(0, 2, (3, 10, 14, 3)).astype("float32")


def parts(model: Any) -> tuple[np.ndarray, Any]:
    """The activations of the first layer, and the logit of class 1 from them, in float64."""
    activations = keras.Model(model.input, model.get_layer("first").output)(IMAGES).numpy().astype(float)
    second, top = ([w.astype(float) for w in model.get_layer(name).get_weights()] for name in ("second", "top"))

    def logit(a: np.ndarray) -> float:
        return float(np.tanh(reference.convolve(a, *second)).ravel() @ top[0][:, 1] + top[1][1])

    return activations, logit


def enlarge(mask: np.ndarray, shape: tuple[int, int] = (10, 14)) -> np.ndarray:
    """Bilinear with half-pixel centers."""
    grid = [(np.arange(n) + 0.5) * m / n - 0.5 for n, m in zip(shape, mask.shape, strict=True)]
    return map_coordinates(mask, np.meshgrid(*grid, indexing="ij"), order=1, mode="nearest")


def at_layer(model: Any, method: str, batch_size: int = 32, **options: Any) -> tuple[np.ndarray, TracedModel]:
    """The maps before they are resized."""
    view = TracedModel(model, layer="first", batch_size=batch_size, score="logit")
    function = METHODS[method].function
    return np.asarray(function(view, Samples.of(IMAGES, np.full(3, 1)), **options)), view


@pytest.mark.parametrize("most", [None, 2])
def test_scorecam_equals_its_oracle(deep: Any, most: int | None) -> None:
    activations, _ = parts(deep)
    logits = keras.Model(deep.input, deep.get_layer("top").input)
    kernel, bias = deep.get_layer("top").get_weights()

    def score(image: np.ndarray) -> float:
        return float((logits(image[None].astype("float32")).numpy() @ kernel + bias)[0, 1])

    maps, view = at_layer(deep, "scorecam", batch_size=2, channels=most)
    for b, image in enumerate(IMAGES):
        spread = activations[b].std((0, 1))
        chosen = [k for k in range(5) if spread[k] > 0 and k in np.argsort(-spread)[:most]]
        expected = reference.scorecam(score, image.astype(float), activations[b], enlarge, chosen)
        np.testing.assert_allclose(maps[b], expected, rtol=1e-4, atol=1e-6)
        assert np.asarray(view.report.diagnostics["channels"])[b] == len(chosen)


def test_constant_channels_get_no_pass_and_the_others_are_taken_by_their_spread() -> None:
    layer = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32") * np.array([1, 0, 3, 2, 0], "float32")
    layer[..., 4] = 7
    assert varying_channels(layer, 5).tolist() == [0, 2, 3]
    spread = layer.std((0, 1))
    assert varying_channels(layer, 2).tolist() == sorted(np.argsort(-spread)[:2])


def test_a_layer_where_nothing_varies_gives_a_map_of_zeros() -> None:
    inputs = keras.Input((10, 14, 3))
    x = layers.Conv2D(3, 3, kernel_initializer="zeros", bias_initializer="ones", name="first")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    explanation = kerasxai.Explainer(model, "scorecam")(IMAGES)
    assert not explanation.heatmaps.any()
    assert explanation.notes["channels"].tolist() == [0, 0, 0]


def test_ablationcam_equals_its_oracle(deep: Any) -> None:
    activations, logit = parts(deep)
    maps, view = at_layer(deep, "ablationcam", batch_size=2)
    for heatmap, a in zip(maps, activations, strict=True):
        np.testing.assert_allclose(heatmap, reference.ablationcam(logit, a), rtol=2e-3, atol=1e-5)
    assert not np.any(view.report.diagnostics["near_zero_score"])


def test_ablationcam_on_a_linear_head_weighs_by_contributions() -> None:
    """Behind average pooling and a dense layer without bias, `w_k S` is what channel k adds to the logit."""
    inputs = keras.Input((10, 14, 3))
    x = layers.Conv2D(5, 3, activation="relu", name="first")(inputs)
    top = layers.Dense(3, use_bias=False, kernel_initializer="random_normal")
    model = keras.Model(inputs, top(layers.GlobalAveragePooling2D()(x)))
    maps, view = at_layer(model, "ablationcam")
    activations = keras.Model(inputs, x)(IMAGES).numpy()
    contributions = activations.mean((1, 2)) * top.get_weights()[0][:, 1]
    scores = contributions.sum(1)
    np.testing.assert_allclose(np.asarray(view.report.diagnostics["scores"]), scores, rtol=1e-4)
    expected = np.einsum("bhwk,bk->bhw", activations, contributions / scores[:, None])
    np.testing.assert_allclose(maps, np.maximum(expected, 0), rtol=2e-3, atol=1e-4)


def test_a_score_of_zero_divides_nothing_and_is_noted() -> None:
    inputs = keras.Input((10, 14, 3))
    x = layers.Conv2D(2, 1, kernel_initializer="ones", name="first")(inputs)
    top = layers.Dense(2, use_bias=False)
    model = keras.Model(inputs, top(layers.GlobalAveragePooling2D()(x)))
    top.set_weights([np.array([[1.0, 1.0], [1.0, -1.0]], "float32")])
    # Both channels are the same map m, so that the logit of class 1 is mean(m) - mean(m).
    explanation = kerasxai.Explainer(model, "ablationcam")(IMAGES, 1)
    assert explanation.notes["near_zero_score"].all()
    assert np.isfinite(explanation.heatmaps).all()
    np.testing.assert_allclose(explanation.heatmaps, 0, atol=1e-4)
    assert not kerasxai.Explainer(model, "ablationcam")(IMAGES, 0).notes["near_zero_score"].any()


def ablated_graph(view: TracedModel) -> Any:
    (found,) = [trace.concrete for key, trace in view._traces.items() if key[0].__name__ == "ablated_scores"]
    return found


@pytest.mark.parametrize("kind", ["functional", "sequential", "nested", "subclassed", "mixed_float16"])
def test_what_lies_below_the_layer_is_pruned(kind: str) -> None:
    explain = kerasxai.Explainer(zoo.build(kind), "ablationcam")
    explain(zoo.images(2))
    graph = ablated_graph(zoo.traced_model(explain))
    reached = ancestors(*graph.outputs)
    assert graph.inputs[0].ref() not in {x for x in reached if x.deref().op.type != "Shape"}
    assert not [x for x in reached if x.deref().op.type == "Conv2D"]


def test_what_goes_round_the_layer_is_still_computed() -> None:
    """A residual sum: the score is linear, so that each channel's fall is its own contribution."""
    inputs = keras.Input((10, 14, 3))
    below = layers.Conv2D(4, 1, name="below")(inputs)
    branch = layers.Conv2D(4, 1, name="branch")(below)
    top = layers.Dense(2, name="top")
    model = keras.Model(inputs, top(layers.GlobalAveragePooling2D()(layers.Concatenate()([below, branch]))))
    explanation = kerasxai.Explainer(model, "ablationcam", layer="branch", batch_size=3)(IMAGES, 0)
    activations = keras.Model(inputs, branch)(IMAGES).numpy()
    falls = activations.mean((1, 2)) * top.get_weights()[0][4:, 0]
    scores = model(IMAGES).numpy()[:, 0]
    expected = np.maximum(np.einsum("bhwk,bk->bhw", activations, falls / scores[:, None]), 0)
    np.testing.assert_allclose(explanation.heatmaps, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("scorecam", {"channels": 2}),
        ("scorecam", {"explain": "probability"}),
        ("scorecam", {"layer": "first"}),
        ("ablationcam", {"explain": "probability"}),
        ("ablationcam", {"layer": "first"}),
    ],
)
def test_every_option_changes_the_map(deep: Any, method: str, options: dict[str, Any]) -> None:
    plain = kerasxai.Explainer(deep, method)(IMAGES, 1)
    changed = kerasxai.Explainer(deep, method, **options)(IMAGES, 1)
    assert not np.allclose(plain.heatmaps, changed.heatmaps)


@pytest.mark.parametrize("channels", [0, 6, 1.5, "all"])
def test_a_bad_number_of_channels_is_refused(deep: Any, channels: Any) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=r"channels must be .*from 1 to 5"):
        kerasxai.Explainer(deep, "scorecam", layer="first", channels=channels)(IMAGES)

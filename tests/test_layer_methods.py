"""Methods at a layer against their oracles, their identities, and several layers at once."""

from typing import Any

import keras
import numpy as np
import pytest
import reference
import zoo

import kerasxai
from kerasxai.engine.forward_pass import ForwardPass
from kerasxai.engine.samples import Samples

layers = keras.layers
ORACLES = {
    "gradcam": reference.gradcam,
    "gradcam++": reference.gradcam_plus_plus,
    "xgradcam": reference.xgradcam,
    "layercam": reference.layercam,
    "hirescam": reference.hirescam,
    "eigencam": reference.eigencam,
}


@pytest.fixture(scope="module")
def deep() -> Any:
    """A model with a layer of positive activations and one of both signs, and gradients that differ in each place."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((7, 9, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(inputs)
    x = layers.Conv2D(5, 3, padding="same", activation="tanh", name="second")(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="top")(layers.Flatten()(x)))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (7, 9, 3))


@pytest.fixture(scope="module")
def seen(deep: Any, image: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Activations and gradients of class 1 at both layers, in float64 without TensorFlow."""
    first, second, top = (
        [w.astype(float) for w in deep.get_layer(name).get_weights()] for name in ("first", "second", "top")
    )
    lower = np.maximum(reference.convolve(image, *first), 0)
    upper = np.tanh(reference.convolve(lower, *second))

    def logit(a: np.ndarray) -> float:
        return float(np.tanh(reference.convolve(a, *second)).ravel() @ top[0][:, 1])

    return {"first": (lower, reference.slope(logit, lower)), "second": (upper, top[0][:, 1].reshape(upper.shape))}


@pytest.mark.parametrize("layer", ["first", "second"])
@pytest.mark.parametrize("method", ORACLES)
def test_maps_equal_their_oracle(method: str, layer: str, deep: Any, image: np.ndarray, seen: Any) -> None:
    explain = kerasxai.Explainer(deep, method, layer=layer, score="logit")
    explanation = explain(image[None].astype("float32"), targets=1)
    expected = ORACLES[method](*seen[layer])
    np.testing.assert_allclose(explanation.heatmaps[0], expected, rtol=2e-4, atol=1e-5 * np.abs(expected).max())
    assert explanation.layer == layer


def test_the_methods_differ_where_gradients_do(deep: Any, image: np.ndarray) -> None:
    maps = [
        kerasxai.Explainer(deep, method, layer="first")(image[None], targets=1).heatmaps.ravel() for method in ORACLES
    ]
    correlations = np.corrcoef(maps)[np.triu_indices(len(maps), 1)]
    assert correlations.max() < 0.9999


def at_layer(model: Any, method: str, images: np.ndarray, target: int) -> np.ndarray:
    explain = kerasxai.Explainer(model, method)
    return explain.method.function(explain._model, Samples.of(images, np.full(len(images), target))).numpy()


@pytest.mark.parametrize("kind", ["functional", "channels_first"])
def test_behind_average_pooling_and_a_dense_layer_they_are_class_activation_maps(kind: str) -> None:
    model, images = zoo.build(kind), zoo.images(3)
    cam = at_layer(model, "cam", images, 2)
    places = cam[0].size
    for method in ("gradcam", "hirescam"):
        np.testing.assert_allclose(
            at_layer(model, method, images, 2) * places, np.maximum(cam, 0), rtol=1e-4, atol=1e-5
        )


def test_weights_of_xgradcam_share_out_the_sum_of_gradient_times_activation(deep: Any, image: np.ndarray) -> None:
    explain = kerasxai.Explainer(deep, "xgradcam", layer="first")
    from kerasxai.methods.cam import layer_gradients

    seen = explain._model.evaluate(layer_gradients, Samples.of(image[None], np.array([1])))
    a, g = seen.activations[0].numpy(), seen.gradients[0].numpy()
    weights = (g * a).sum((1, 2)) / np.where(a.sum((1, 2)) == 0, 1, a.sum((1, 2)))
    np.testing.assert_allclose((weights[:, None, None] * a).sum(), (g * a).sum(), rtol=1e-4)
    np.testing.assert_allclose(explain(image[None], 1).heatmaps, np.maximum((weights[:, None, None] * a).sum(-1), 0),
                               rtol=1e-4, atol=1e-6)  # fmt: skip


@pytest.mark.parametrize("method", ORACLES)
def test_a_dead_layer_gives_zeros_and_no_nan(method: str) -> None:
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(3, 3, activation="relu", bias_initializer=keras.initializers.Constant(-1e3))(inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    np.testing.assert_array_equal(kerasxai.Explainer(model, method)(zoo.images(1, size=6)).heatmaps, 0)


def test_small_gradients_do_not_vanish_in_the_powers_of_gradcam_plus_plus() -> None:
    """g^3 of a gradient of 1e-20 is no float32."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(3, 3, activation="relu")(inputs)
    x = layers.Dense(2, kernel_initializer=keras.initializers.Constant(1e-20))(layers.Flatten()(x))
    heatmap = kerasxai.Explainer(keras.Model(inputs, x), "gradcam++")(zoo.images(1, size=6)).heatmaps
    assert heatmap.max() > 1e-21


def test_eigencam_has_a_positive_mean_and_knows_no_class(deep: Any) -> None:
    images = zoo.images(4)[:, :7, :9]
    explain = kerasxai.Explainer(deep, "eigencam", layer="second")
    heatmaps = explain(images, targets=0).heatmaps
    assert (heatmaps.mean((1, 2)) > 0).all() and heatmaps.min() < 0
    np.testing.assert_array_equal(explain(images, targets=2).heatmaps, heatmaps)


FUSED = ("gradcam++", "eigencam", "guided_gradcam", "scorecam", "ablationcam")


@pytest.mark.parametrize(
    ("method", "fuse"),
    [
        *((method, "mean") for method in FUSED),
        *((method, "max") for method in ("gradcam++", "guided_gradcam")),
        *(
            pytest.param(method, "max", marks=pytest.mark.exhaustive)
            for method in FUSED
            if method not in ("gradcam++", "guided_gradcam")
        ),
    ],
)
def test_several_layers_are_fused(method: str, fuse: str) -> None:
    model, images = zoo.build("nested"), zoo.images(3)
    names = ["inner_first", "inner_last"]
    explain = kerasxai.Explainer(model, method, layer=names, fuse=fuse)
    explanation = explain(images, targets=1)
    assert explanation.layer == "middle/inner/inner_first, middle/inner/inner_last"
    base = "gradcam" if method == "guided_gradcam" else method
    single = np.stack([kerasxai.Explainer(model, base, layer=name)(images, 1).heatmaps for name in names])
    single /= single.max((2, 3), keepdims=True)
    expected = single.mean(0) if fuse == "mean" else single.max(0)
    if method == "guided_gradcam":
        expected = expected * kerasxai.Explainer(model, "guided_backprop")(images, 1).heatmaps
    np.testing.assert_allclose(explanation.heatmaps, expected, rtol=1e-4, atol=1e-6)


def test_several_layers_cost_one_pass() -> None:
    explain = kerasxai.Explainer(zoo.build("logits"), "layercam", layer=["convolutions_first", "convolutions_last"])
    explain(zoo.images(2))
    ((_, trace),) = zoo.traced_model(explain)._traces.items()
    assert sum(op.type == "Conv2D" for op in trace.concrete.graph.get_operations()) == 2


def pooled(pooling: str, around: bool) -> Any:
    """A map that is seen through a pooling alone, or that also goes round it."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((9, 9, 3))
    x = layers.Conv2D(5, 3, activation="relu", name="map")(inputs)
    seen = getattr(layers, pooling)(name="pooled")(x)
    if around:
        seen = layers.concatenate([layers.Flatten()(seen), layers.Flatten()(layers.MaxPooling2D(3)(x))])
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(seen)))


@pytest.mark.parametrize(
    ("pooling", "around", "fed"),
    [
        ("GlobalAveragePooling2D", False, "pooled"),
        ("GlobalMaxPooling2D", False, "pooled"),
        ("GlobalAveragePooling2D", True, "map"),
    ],
)
def test_ablationcam_takes_channels_out_behind_a_pooling(
    monkeypatch: pytest.MonkeyPatch, pooling: str, around: bool, fed: str
) -> None:
    model, images = pooled(pooling, around), zoo.images(2, size=9)
    explain = kerasxai.Explainer(model, "ablationcam", layer="map")
    heatmaps = explain(images, targets=1).heatmaps
    (settings,) = [
        key[1] for key, _ in zoo.traced_model(explain)._traces.items() if key[0].__name__ == "ablated_scores"
    ]
    assert ("layer", fed) in settings

    def itself(self: ForwardPass, feature_map: Any) -> Any:
        return feature_map, "map"

    monkeypatch.setattr(ForwardPass, "ablation_point", itself)
    explain = kerasxai.Explainer(model, "ablationcam", layer="map")
    np.testing.assert_allclose(heatmaps, explain(images, targets=1).heatmaps, rtol=1e-4, atol=1e-6)
    assert heatmaps.max() > 0


def test_an_unknown_fusion_or_a_list_with_an_unknown_layer_is_refused(deep: Any) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match="expected a known fuse, got 'sum'"):
        kerasxai.Explainer(deep, "gradcam", layer=["first", "second"], fuse="sum")
    with pytest.raises(kerasxai.KerasxaiError, match="expected a known layer, got 'frist'"):
        kerasxai.Explainer(deep, "gradcam", layer=["frist", "second"])


def test_a_model_with_channels_first_is_explained_as_the_same_model_with_channels_last() -> None:
    zoo.need_channels_first()

    def model(form: str) -> Any:
        keras.utils.set_random_seed(2)
        inputs = keras.Input((3, 12, 10) if form == "channels_first" else (12, 10, 3))
        x = layers.Conv2D(5, 3, data_format=form, bias_initializer="ones", name="maps")(inputs)
        x = layers.ReLU(name="rectified")(layers.BatchNormalization(axis=1 if form == "channels_first" else -1)(x))
        return keras.Model(inputs, layers.Dense(3, name="top")(layers.GlobalAveragePooling2D(data_format=form)(x)))

    last, first = model("channels_last"), model("channels_first")
    first.set_weights(last.get_weights())
    images = np.random.default_rng(0).uniform(size=(2, 12, 10, 3)).astype("float32")
    for method in ("cam", "gradcam", "eigencam", "saliency", "integrated_gradients", "occlusion", "ablationcam"):
        options: dict[str, Any] = {"steps": 6} if method == "integrated_gradients" else {}
        expected = kerasxai.Explainer(last, method, **options)(images, targets=1)
        explain = kerasxai.Explainer(first, method, **options)
        explanation = explain(np.moveaxis(images, -1, 1), targets=1)
        assert explanation.layer == expected.layer
        np.testing.assert_allclose(explanation.heatmaps, expected.heatmaps, rtol=1e-4, atol=1e-6)
    with pytest.raises(kerasxai.KerasxaiError, match=r"shape \(3, 12, 10\) for the model .*, got \(12, 10, 3\)"):
        explain(images)


def signed_model() -> Any:
    """The first channel of the layer is the image itself, with both signs, and the gradient of class 0 is 1 / 16."""
    inputs = keras.Input((4, 4, 1))
    x = layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones", name="signed")(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(2, use_bias=False, kernel_initializer="ones")(x))


def test_gradcam_plus_plus_warns_where_its_divisor_is_near_zero() -> None:
    activations = np.full((3, 4, 4, 1), [[[[-31.999 / 16]]], [[[1.0]]], [[[-30 / 16]]]], np.float32)
    activations[:, 0, 0], activations[:, 1, 1] = activations[:, 0, 0] + 1, activations[:, 1, 1] - 1
    explain = kerasxai.Explainer(signed_model(), "gradcam++", resize=False)
    with pytest.warns(UserWarning, match="negative activations bring the divisor"):
        explanation = explain(activations, 0)
    np.testing.assert_array_equal(explanation.notes["near_pole"], [True, False, False])
    assert not explain(activations[1:], 0).notes["near_pole"].any()

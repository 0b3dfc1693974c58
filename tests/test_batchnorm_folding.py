"""Folded normalizations must change nothing but the time."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

import kerasxai
from kerasxai.engine.fast import batchnorm_folding as folding
from kerasxai.engine.fast.constant_weights import weight_reads, with_constant_weights
from kerasxai.engine.graph import ancestors
from kerasxai.engine.outputs.checks import clean
from kerasxai.engine.samples import Samples
from kerasxai.engine.traced_model import TracedModel

layers = keras.layers
SIZE = 16


def block(x: Any, name: str, convolution: Any, activation: str | None = "relu") -> Any:
    x = layers.BatchNormalization(name=f"{name}_normalization")(convolution(x))
    return layers.Activation(activation, name=f"{name}_activation")(x)


def convolutional() -> Any:
    """Every kind of convolution, each with another bias, stride and padding, and a residual sum."""
    inputs = keras.Input((SIZE, SIZE, 3))
    x = block(inputs, "first", layers.Conv2D(6, 3, strides=2, padding="same", name="first"))
    x = block(x, "depthwise", layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", use_bias=False))
    y = block(x, "separable", layers.SeparableConv2D(12, 3, padding="same"))
    y = block(y, "dilated", layers.Conv2D(12, 3, dilation_rate=2, padding="same", use_bias=False, name="dilated"), None)
    x = layers.BatchNormalization(scale=False, name="after_sum")(layers.Add()([x, y]))
    x = block(x, "last", layers.Conv2D(8, 2, padding="valid", name="last"))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(zoo.CLASSES, activation="softmax")(x))


@pytest.fixture(scope="module")
def model() -> Any:
    return zoo.with_weights(convolutional)


def operations(view: TracedModel) -> list[str]:
    """Returns the types of the operations on maps that the one traced question of a view runs."""
    ((_, trace),) = view._traces.items()
    run = [x.deref() for x in ancestors(*trace.concrete.outputs)]
    return sorted(x.op.type for x in run if x.shape.rank == 4 and x.shape[0] is None)


def ask(model: Any, fold: bool, layer: Any = None) -> tuple[np.ndarray, list[str]]:
    view = TracedModel(model, layer=layer, accelerated=fold)
    answer = view.evaluate(clean, Samples.of(zoo.images(3), np.array([0, 1, 2])))
    return answer.scores.numpy(), operations(view)


def test_scores_are_the_same_and_the_normalizations_gone(model: Any) -> None:
    plain, before = ask(model, False)
    folded, after = ask(model, True)
    np.testing.assert_allclose(folded, plain, rtol=2e-6, atol=2e-6 * np.abs(plain).max())
    assert not np.array_equal(folded, plain)
    assert before.count("Conv2D") == after.count("Conv2D") == 4
    assert before.count("DepthwiseConv2dNative") == after.count("DepthwiseConv2dNative") == 2
    assert (before.count("Mul"), before.count("AddV2"), before.count("BiasAdd")) == (6, 7, 3)
    # The normalizations stay of the sum, and of the dilated convolution, which TensorFlow makes of several operations.
    assert (after.count("Mul"), after.count("AddV2"), after.count("BiasAdd")) == (2, 3, 4)


@pytest.mark.parametrize("method", zoo.mostly(zoo.ONE_OF_EACH, kerasxai.METHODS))
def test_maps_are_the_same(model: Any, method: str) -> None:
    options = zoo.CHEAPER.get(method, {})
    plain, folded = (
        kerasxai.Explainer(model, method, fold=fold, **options)(zoo.images(3), targets=1) for fold in (False, True)
    )
    assert plain.layer == folded.layer
    scale = np.abs(plain.heatmaps).max()
    assert scale > 0
    np.testing.assert_allclose(folded.heatmaps, plain.heatmaps, rtol=2e-5, atol=2e-5 * scale)


@pytest.mark.parametrize("layer", ["first", "dilated", "last", "last_normalization"])
@pytest.mark.parametrize("method", zoo.mostly(["gradcam", "ablationcam"], ["gradcam", "layercam", "ablationcam"]))
def test_an_explained_convolution_stays_on_the_way_to_the_score(model: Any, method: str, layer: str) -> None:
    plain, folded = (
        # Ablation-CAM divides by the score, and the relative logit of these images is near 0.
        kerasxai.Explainer(model, method, layer=layer, fold=fold, score="logit")(zoo.images(2), targets=1)
        for fold in (False, True)
    )
    assert plain.heatmaps.max() > 0
    np.testing.assert_allclose(folded.heatmaps, plain.heatmaps, rtol=2e-5, atol=2e-5 * plain.heatmaps.max())


def test_new_weights_are_seen() -> None:
    model = zoo.with_weights(convolutional)
    explain = kerasxai.Explainer(model, "saliency")
    before = explain(zoo.images(2), targets=0)
    for layer in ("first", "first_normalization"):
        changed = model.get_layer(layer)
        changed.set_weights([w * 1.5 for w in changed.get_weights()])
        after = explain(zoo.images(2), targets=0)
        fresh = kerasxai.Explainer(model, "saliency", fold=False)(zoo.images(2), targets=0)
        np.testing.assert_allclose(after.heatmaps, fresh.heatmaps, rtol=2e-5, atol=2e-5 * fresh.heatmaps.max())
        assert not np.allclose(after.heatmaps, before.heatmaps, rtol=1e-3)
        before = after


class Doubled(keras.layers.BatchNormalization):
    """A normalization with a call of its own is not Keras' own."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        return 2 * super().call(inputs, training=training, mask=mask)


class AlwaysTraining(keras.Model):
    """A normalization that a model runs on the batch's own statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.GlobalAveragePooling2D()]

    def call(self, inputs: Any, training: bool = False) -> Any:
        convolution, normalization, pool = self.parts
        return pool(keras.ops.relu(normalization(convolution(inputs), training=True)))


def of_one(normalization: Any, kernel_size: int = 3, **settings: Any) -> Any:
    inputs = keras.Input((SIZE, SIZE, 3))
    x = normalization(layers.Conv2D(4, kernel_size, **settings)(inputs))
    return keras.Model(inputs, layers.GlobalAveragePooling2D(dtype="float32")(layers.ReLU()(x)))


LEFT_ALONE = {
    "a call of its own": lambda: of_one(Doubled()),
    "another axis": lambda: of_one(layers.BatchNormalization(axis=1)),
    "an activation between": lambda: of_one(layers.BatchNormalization(), activation="relu"),
    "half precision": lambda: zoo.with_policy("mixed_float16", lambda: of_one(layers.BatchNormalization())),
}


@pytest.mark.parametrize("case", LEFT_ALONE)
def test_what_is_no_such_pair_is_left_alone(case: str) -> None:
    model = zoo.with_weights(LEFT_ALONE[case])
    plain, before = ask(model, False)
    folded, after = ask(model, True)
    np.testing.assert_array_equal(folded, plain)
    assert before == after


@pytest.mark.parametrize(("settings", "mul"), [({"strides": 8, "kernel_size": 9}, 1), ({}, 0)])
def test_where_a_kernel_is_larger_than_its_maps_these_are_scaled(settings: dict[str, int], mul: int) -> None:
    model = zoo.with_weights(lambda: of_one(layers.BatchNormalization(), **settings))
    plain, _ = ask(model, False)
    folded, after = ask(model, True)
    np.testing.assert_allclose(folded, plain, rtol=2e-6, atol=2e-6 * np.abs(plain).max())
    assert [after.count(kind) for kind in ("Conv2D", "Mul", "BiasAdd", "AddV2")] == [1, mul, 1, 0]


def test_statistics_of_the_batch_are_left_alone() -> None:
    model = AlwaysTraining()
    model(zoo.images(1), training=False)
    assert ask(model, False)[1] == ask(model, True)[1]


def test_models_of_any_image_size_are_folded() -> None:
    def any_size() -> Any:
        inputs = keras.Input((None, None, 3))
        x = block(inputs, "only", layers.Conv2D(4, 3))
        return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))

    model = zoo.with_weights(any_size)
    plain, before = ask(model, False)
    folded, after = ask(model, True)
    np.testing.assert_allclose(folded, plain, rtol=2e-6)
    assert "Mul" in before
    assert "Mul" not in after


def padded(padding: Any, convolution: Any) -> Any:
    inputs = keras.Input((SIZE, SIZE, 3))
    x = block(inputs, "first", layers.Conv2D(6, 3, padding="same"))
    x = block(layers.ZeroPadding2D(padding, name="padding")(x), "last", convolution)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(zoo.CLASSES, activation="softmax")(x))


@pytest.mark.parametrize(
    ("padding", "convolution", "left"),
    [
        (((0, 1), (0, 1)), lambda: layers.DepthwiseConv2D(3, strides=2), 0),
        (1, lambda: layers.Conv2D(5, 3), 0),
        (((1, 2), (0, 1)), lambda: layers.Conv2D(5, (4, 2)), 0),
        (1, lambda: layers.Conv2D(5, 3, strides=2), 1),
        (((1, 0), (1, 0)), lambda: layers.DepthwiseConv2D(3, strides=2), 1),
        (1, lambda: layers.Conv2D(5, 3, strides=1, padding="same"), 1),
        (2, lambda: layers.Conv2D(5, 3, dilation_rate=2), 1),
    ],
)
def test_a_padding_that_a_convolution_can_do_itself_is_left_to_it(padding: Any, convolution: Any, left: int) -> None:
    model = zoo.with_weights(lambda: padded(padding, convolution()))
    plain, before = ask(model, False)
    folded, after = ask(model, True)
    np.testing.assert_allclose(folded, plain, rtol=2e-6, atol=2e-6 * np.abs(plain).max())
    assert before.count("Pad") == 1
    assert after.count("Pad") == left
    folded, plain = (kerasxai.Explainer(model, "saliency", fold=fold)(zoo.images(2)).heatmaps for fold in (True, False))
    np.testing.assert_allclose(folded, plain, rtol=2e-5, atol=2e-5 * plain.max())


def test_an_explained_padding_stays_on_the_way_to_the_score() -> None:
    model = zoo.with_weights(lambda: padded(1, layers.Conv2D(5, 3)))
    folded, plain = (
        kerasxai.Explainer(model, "gradcam", layer="padding", fold=fold)(zoo.images(2)).heatmaps
        for fold in (True, False)
    )
    np.testing.assert_allclose(folded, plain, rtol=2e-5, atol=2e-6 * plain.max())
    assert plain.max() > 0


@pytest.mark.parametrize(("onednn", "activation", "fences"), [(True, 6.0, 1), (True, None, 1), (False, 6.0, 0)])
def test_with_onednn_a_rectifier_is_kept_apart_from_its_convolution(
    monkeypatch: pytest.MonkeyPatch, onednn: bool, activation: float | None, fences: int
) -> None:
    monkeypatch.setattr(folding, "uses_onednn", lambda: onednn)
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs))
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3)(layers.ReLU(activation)(x)))
    x = layers.GlobalAveragePooling2D()(layers.ReLU(activation)(x))
    view = TracedModel(keras.Model(inputs, layers.Dense(3)(x)))
    view.evaluate(clean, Samples.of(zoo.images(2, size=8), np.zeros(2)))
    ((_, trace),) = view._traces.items()
    concrete = trace.concrete
    assert sum(op.type == "EnsureShape" for op in trace.concrete.graph.get_operations()) == fences
    constant = with_constant_weights(concrete, {read: read.value() for read in weight_reads(concrete)})
    functions = constant.graph.as_graph_def().library.function
    nodes = [*constant.graph.as_graph_def().node, *(node for function in functions for node in function.node_def)]
    assert nodes and not any(node.op == "EnsureShape" for node in nodes)
    images, targets = tf.constant(zoo.images(2, size=8)), tf.zeros(2, tf.int64)
    np.testing.assert_allclose(constant(images, targets)["scores"], concrete(images, targets)["scores"], rtol=1e-4)

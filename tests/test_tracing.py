"""Patching live layers, and reading the traced graph."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

import kerasxai
from kerasxai.engine import graph
from kerasxai.engine.layer_table import list_layers
from kerasxai.engine.layers import find_layer, walk
from kerasxai.engine.tracing import intercepted, patched


def test_patched_is_seen_by_calls_alone_and_leaves_the_layer_as_it_was_even_after_an_error() -> None:
    layer, x = keras.layers.Dense(3, activation="relu"), np.ones((1, 4), "float32")
    layer(x)
    layer.set_weights([-np.ones((4, 3), "float32"), np.zeros(3, "float32")])
    before = {name: id(value) for name, value in vars(layer).items()}
    with pytest.raises(RuntimeError), patched(layer, activation=keras.activations.linear):
        np.testing.assert_array_equal(layer(x), [[-4, -4, -4]])
        assert layer.activation is keras.activations.relu
        raise RuntimeError
    np.testing.assert_array_equal(layer(x), [[0, 0, 0]])
    assert {name: id(value) for name, value in vars(layer).items()} == before


def test_a_method_that_is_set_on_the_layer_itself_is_wrapped_and_kept() -> None:
    model, images = zoo.build("functional"), zoo.images(2)
    expected = kerasxai.Explainer(model, "gradcam")(images).heatmaps
    compiled = tf.function(model.call)
    object.__setattr__(model, "call", compiled)
    np.testing.assert_allclose(kerasxai.Explainer(model, "gradcam")(images).heatmaps, expected, rtol=1e-6)
    assert vars(model)["call"] is compiled
    with patched(model, name="other"):
        model(images)
    object.__setattr__(model, "call", lambda inputs: inputs)
    with pytest.raises(kerasxai.KerasxaiError, match="of its class, got another"), patched(model, name="other"):
        model(images)


def test_losses_of_a_traced_pass_are_dropped() -> None:
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, activity_regularizer="l2"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ]
    )
    images = zoo.images(2, size=8)
    model(images)
    before = [float(loss) for loss in model.losses]
    kerasxai.Explainer(model, "gradcam")(images)
    assert [float(loss) for loss in model.losses] == before != []


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, under NumPy 2
def test_a_quantized_layer_is_intercepted() -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.layers[0].quantize("int8")
    seen: list[Any] = []

    def around(call: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(call(*args, **kwargs))
        return seen[-1]

    with intercepted(model.layers[0], around):
        model(np.ones((1, 4), "float32"))
    assert len(seen) == 1


def test_a_call_that_is_a_tf_function_does_not_hide_its_layers() -> None:
    class Hidden(zoo.Subclassed):
        @tf.function
        def call(self, inputs: Any, training: bool = False) -> Any:
            return super().call(inputs, training=training)

    open_model, hidden = zoo.build("subclassed"), Hidden()
    hidden(zoo.images(1))
    hidden.set_weights(open_model.get_weights())
    expected = kerasxai.Explainer(open_model, "gradcam")(zoo.images(2))
    found = kerasxai.Explainer(hidden, "gradcam")(zoo.images(2))
    assert found.layer == expected.layer
    np.testing.assert_allclose(found.heatmaps, expected.heatmaps, rtol=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
def test_logits_are_found_under_the_last_activation(activation: str | None) -> None:
    model = zoo.functional(ending=activation)
    found: list[Any] = []

    @tf.function(autograph=False)
    def trace(images: Any) -> Any:
        outputs = model(images, training=False)
        found.append(graph.before_last_activation(tf.identity(tf.cast(outputs, tf.float32))))
        return outputs if found[-1] is None else found[-1]

    logits = trace(zoo.images(3))
    assert (found[-1] is None) == (activation is None)
    if activation is not None:
        outputs = getattr(tf.nn, activation)(logits)
        np.testing.assert_allclose(outputs, model(zoo.images(3)), rtol=1e-6)


def test_probabilities_without_a_visible_softmax_are_explained_with_a_warning() -> None:
    inputs = keras.Input((zoo.SIZE, zoo.SIZE, 3))
    x = keras.layers.Conv2D(5, 3)(inputs)
    x = keras.ops.exp(keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))
    model = keras.Model(inputs, x / keras.ops.sum(x, -1, keepdims=True))
    explain = kerasxai.Explainer(model, "gradcam")
    with pytest.warns(UserWarning, match="probabilities are explained"):
        explanation = explain(zoo.images(2))
    assert (explanation.scores <= 1).all()
    explain(zoo.images(2))  # warns once; a second warning would be an error here


def test_paths_name_every_layer_at_any_depth() -> None:
    model = zoo.build("nested")
    paths = [path for path, _ in walk(model)]
    assert "middle/inner/inner_last" in paths
    assert paths[-1] == ""
    assert len(paths) == len(set(paths))
    path, layer = find_layer(model, "inner_last")
    assert path == "middle/inner/inner_last"
    assert find_layer(model, layer) == (path, layer)
    rows = {row.path: row for row in list_layers(model)}
    assert rows[path].shape == (None, 8, 8, 8)
    assert rows[path].kind == "Conv2D"
    assert rows[path].is_feature_map
    assert not rows["dense"].is_feature_map if "dense" in rows else True


def test_layers_of_one_name_get_paths_of_their_own() -> None:
    class Twins(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.pair = [keras.layers.Dense(2, name="twin"), keras.layers.Dense(2, name="twin")]

    assert [path for path, _ in walk(Twins())] == ["twin", "twin_1", ""]


def test_unknown_ambiguous_and_foreign_layers_are_refused() -> None:
    model = zoo.build("nested")
    with pytest.raises(
        kerasxai.KerasxaiError,
        match=r"expected a known layer, got 'middle/inner/inner_lst'; nearest: .*middle/inner/inner_last",
    ):
        find_layer(model, "middle/inner/inner_lst")
    with pytest.raises(kerasxai.KerasxaiError, match="expected a layer of the model"):
        find_layer(model, keras.layers.Dense(1))
    both = keras.Sequential(
        [keras.Sequential([keras.layers.Dense(1, name="a")]), keras.Sequential([keras.layers.Dense(1, name="a")])]
    )
    with pytest.raises(kerasxai.KerasxaiError, match=r"expected the name of one layer, got 'a'"):
        find_layer(both, "a")
    with pytest.raises(kerasxai.KerasxaiError, match="a model without an input shape"):
        list_layers(zoo.Subclassed())
    assert any(row.is_feature_map for row in list_layers(zoo.build("subclassed"), zoo.images(1)))

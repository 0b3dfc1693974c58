"""The tensor that is explained by default: the last one that every path from the input to the score passes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

import kerasxai

layers, ops = keras.layers, keras.ops
SIDE = 24


@dataclass(frozen=True)
class Net:
    """A model, the tensors that a person would explain, and the same computed by hand.

    Attributes:
        model: The model.
        names: What `Explanation.layer` says.
        body: From images to the explained maps, a list of `(B, h, w, K)`.
        tail: From these maps to the logits.
    """

    model: Any
    names: str
    body: Callable[[Any], list[Any]]
    tail: Callable[[list[Any]], Any]


def conv(filters: int, strides: int = 1, **options: Any) -> Any:
    return layers.Conv2D(filters, 3, strides=strides, padding="same", **options)


def pooled(x: Any) -> Any:
    return tf.reduce_mean(x, (1, 2))


def residual_sum() -> Net:
    """A block that ends in `relu(x + residual)`, written with operators and a function."""
    inputs = keras.Input((SIDE, SIDE, 3))
    stem = conv(6, 2, activation="relu", name="stem")(inputs)
    outer = ops.relu(stem + conv(6, name="branch")(stem))
    top = layers.Dense(3, name="top")
    model = keras.Model(inputs, top(layers.GlobalAveragePooling2D()(outer)))
    body = keras.Model(inputs, outer)
    return Net(model, "relu (operation)", lambda x: [body(x)], lambda maps: top(pooled(maps[0])))


def nested_sum() -> Net:
    """Two residual blocks in a backbone that is one layer of the model."""
    inputs = keras.Input((SIDE, SIDE, 3))
    x = conv(6, 2, name="stem")(inputs)
    for number in range(2):
        x = x + conv(6, activation="swish", name=f"branch_{number}")(x)
    backbone = keras.Model(inputs, layers.GlobalAveragePooling2D()(x), name="backbone")
    top = layers.Dense(3)
    body = keras.Model(inputs, x)
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3)), backbone, top])
    return Net(model, "backbone/add_1 (operation)", lambda x: [body(x)], lambda maps: top(pooled(maps[0])))


class Block(keras.layers.Layer):
    """A residual block as people subclass them."""

    def __init__(self, filters: int, **options: Any) -> None:
        super().__init__(**options)
        self.first, self.second = conv(filters, 2), layers.Conv2D(filters, 1, strides=2)

    def call(self, inputs: Any) -> Any:
        return tf.nn.relu(self.first(inputs) + self.second(inputs))


class Residual(keras.Model):
    """A subclassed model whose last block is a layer, and whose own call adds to it."""

    def __init__(self) -> None:
        super().__init__()
        self.stage, self.gate, self.top = Block(6, name="stage"), conv(6, activation="sigmoid"), layers.Dense(3)

    def features(self, images: Any) -> Any:
        x = self.stage(images)
        return x * self.gate(x)

    def call(self, images: Any) -> Any:
        return self.top(tf.reduce_mean(self.features(images), [1, 2]))


def subclassed() -> Net:
    model = Residual()
    model(zoo.images(1, SIDE))
    return Net(model, "multiply (operation)", lambda x: [model.features(x)], lambda maps: model.top(pooled(maps[0])))


def gated_vector() -> Net:
    """A pooled map and a gate made of it: both read the same map."""
    inputs = keras.Input((SIDE, SIDE, 3))
    last = conv(6, 2, activation="relu", name="last")(inputs)
    average, largest = layers.GlobalAveragePooling2D()(last), layers.GlobalMaxPooling2D()(last)
    gate, top = layers.Dense(6, activation="sigmoid"), layers.Dense(3)
    model = keras.Model(inputs, top(average * gate(layers.Concatenate()([average, largest]))))
    body = keras.Model(inputs, last)

    def tail(maps: list[Any]) -> Any:
        average, largest = pooled(maps[0]), tf.reduce_max(maps[0], (1, 2))
        return top(average * gate(tf.concat([average, largest], -1)))

    return Net(model, "last", lambda x: [body(x)], tail)


def attention_pooling() -> Net:
    """A weighted mean over positions, the weights made of the map itself."""
    inputs = keras.Input((SIDE, SIDE, 3))
    last = conv(6, 2, activation="relu", name="last")(inputs)
    weigh, top = layers.Conv2D(1, 1, activation="sigmoid", name="weights"), layers.Dense(3)
    weights = weigh(last)
    mean = ops.sum(last * weights, (1, 2)) / ops.sum(weights, (1, 2))
    model, body = keras.Model(inputs, top(mean)), keras.Model(inputs, last)

    def tail(maps: list[Any]) -> Any:
        weights = weigh(maps[0])
        return top(tf.reduce_sum(maps[0] * weights, (1, 2)) / tf.reduce_sum(weights, (1, 2)))

    return Net(model, "last", lambda x: [body(x)], tail)


def parallel_branches() -> Net:
    """Two branches behind one stem, each pooled: no map behind the stem has all evidence."""
    inputs = keras.Input((SIDE, SIDE, 3))
    stem = conv(4, 2, activation="relu", name="stem")(inputs)
    left = conv(5, 2, activation="relu", name="left")(stem)
    right = conv(6, activation="relu", name="right")(stem)
    top = layers.Dense(3)
    vectors = [layers.GlobalAveragePooling2D()(x) for x in (left, right)]
    model = keras.Model(inputs, top(layers.Concatenate()(vectors)))
    body = keras.Model(inputs, [left, right])
    return Net(model, "left, right", body, lambda maps: top(tf.concat([pooled(x) for x in maps], -1)))


def two_backbones() -> Net:
    """An ensemble of two networks that share nothing but the image."""
    inputs = keras.Input((SIDE, SIDE, 3))
    lasts = [conv(4 + i, 2, activation="relu", name=f"last_{i}")(layers.Rescaling(1 + i)(inputs)) for i in range(2)]
    tops = [layers.Dense(3), layers.Dense(3)]
    logits = [top(layers.GlobalAveragePooling2D()(x)) for top, x in zip(tops, lasts, strict=True)]
    model, body = keras.Model(inputs, layers.Average()(logits)), keras.Model(inputs, lasts)

    def tail(maps: list[Any]) -> Any:
        return sum(top(pooled(x)) for top, x in zip(tops, maps, strict=True)) / 2

    return Net(model, "last_0, last_1", body, tail)


def stopped_gradient() -> Net:
    """A frozen body whose gradient is stopped before the head: what is behind is explained."""
    inputs = keras.Input((SIDE, SIDE, 3))
    frozen = layers.Lambda(tf.stop_gradient, name="frozen")(conv(6, 2, activation="relu", name="last")(inputs))
    top = layers.Dense(3)
    model, body = keras.Model(inputs, top(layers.GlobalAveragePooling2D()(frozen))), keras.Model(inputs, frozen)
    return Net(model, "frozen", lambda x: [body(x)], lambda maps: top(pooled(maps[0])))


def own_attention() -> Net:
    """Attention written by hand, with a class token that alone is read; no class has "Attention" in its name."""
    width, count = 6, (SIDE // 4) ** 2
    inputs = keras.Input((SIDE, SIDE, 3))
    patches = layers.Reshape((count, width))(layers.Conv2D(width, 4, strides=4, name="patches")(inputs))
    x = layers.ZeroPadding1D((1, 0))(patches)
    blocks = [[layers.Dense(width, name=f"{part}_{number}") for part in "qkv"] for number in range(2)]

    def attend(block: list[Any], x: Any) -> Any:
        query, key, value = (dense(x) for dense in block)
        return x + ops.matmul(ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1)))), value)

    first = attend(blocks[0], x)
    seen = layers.LayerNormalization(name="seen")(first)
    second = attend(blocks[1], seen)
    top = layers.Dense(3)
    model, body = keras.Model(inputs, top(second[:, 0])), keras.Model(inputs, seen)

    def maps(x: Any) -> list[Any]:
        return [body(x)]

    return Net(model, "seen", maps, lambda maps: top(attend(blocks[1], maps[0])[:, 0]))


NETS = [
    residual_sum,
    nested_sum,
    subclassed,
    gated_vector,
    attention_pooling,
    parallel_branches,
    two_backbones,
    stopped_gradient,
    own_attention,
]


def by_hand(net: Net, images: np.ndarray, target: int) -> list[np.ndarray]:
    maps = net.body(images)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        logit = net.tail(maps)[:, target]
    gradients = tape.gradient(logit, maps)
    if maps[0].shape.rank == 3:
        maps, gradients = ([grid(x[0])] for x in (maps, gradients))
    found = [
        tf.nn.relu(tf.reduce_sum(a * tf.reduce_mean(g, (1, 2), True), -1)) for a, g in zip(maps, gradients, strict=True)
    ]
    return [x.numpy() for x in found]


def grid(tokens: Any) -> Any:
    side = SIDE // 4
    return tf.reshape(tokens[:, 1:], (-1, side, side, tokens.shape[-1]))


@pytest.mark.parametrize("make", NETS, ids=lambda make: make.__name__)
def test_gradcam_explains_the_last_tensor_with_all_evidence(make: Callable[[], Net]) -> None:
    keras.utils.set_random_seed(2)
    net = make()
    images = zoo.images(3, SIDE)
    target = next(c for c in range(3) if all(x.max() > 0 for x in by_hand(net, images, c)))
    expected = by_hand(net, images, target)
    several = len(expected) > 1
    explanation = kerasxai.Explainer(net.model, "gradcam", resize=False)(images, target)
    assert explanation.layer == net.names
    assert explanation.notes.get("parallel_layers") == (net.names if several else None)
    if several:
        large = [tf.image.resize(x[..., None], (SIDE, SIDE))[..., 0].numpy() for x in expected]
        expected = [np.mean([x / x.max((1, 2), keepdims=True).clip(1e-12) for x in large], 0)]
    assert expected[0].max() > 0
    np.testing.assert_allclose(explanation.heatmaps, expected[0], atol=1e-5 * expected[0].max())
    # The same names say the same place.
    named = kerasxai.Explainer(net.model, "gradcam", layer=net.names.split(", "), resize=False)(images, target)
    assert named.layer == net.names
    np.testing.assert_array_equal(named.heatmaps, explanation.heatmaps)


@pytest.mark.parametrize("make", [residual_sum, nested_sum, subclassed])
def test_cam_and_gradcam_agree_on_the_tensor(make: Callable[[], Net]) -> None:
    keras.utils.set_random_seed(2)
    net, images = make(), zoo.images(2, SIDE)
    cam, gradcam = (kerasxai.Explainer(net.model, name, resize=False)(images, 1) for name in ("cam", "gradcam"))
    assert cam.layer == gradcam.layer == net.names
    positions = cam.heatmaps[0].size
    np.testing.assert_allclose(np.maximum(cam.heatmaps, 0) / positions, gradcam.heatmaps, atol=1e-6)


@pytest.mark.parametrize("make", [residual_sum, parallel_branches])
@pytest.mark.parametrize("method", ["scorecam", "ablationcam", "eigencam"])
def test_methods_of_many_passes_explain_there_too(make: Callable[[], Net], method: str) -> None:
    keras.utils.set_random_seed(2)
    net, images = make(), zoo.images(2, SIDE)
    found = kerasxai.Explainer(net.model, method)(images, 1)
    assert found.layer == net.names
    assert found.heatmaps.max() > 0


def test_channels_are_ablated_at_an_operation_as_by_hand() -> None:
    keras.utils.set_random_seed(2)
    net, images = residual_sum(), zoo.images(2, SIDE)
    (map_,) = net.body(images)
    whole = net.tail([map_])[:, 2].numpy()
    falls = [whole - net.tail([map_ * (np.arange(6) != k)])[:, 2].numpy() for k in range(6)]
    expected = tf.nn.relu(tf.einsum("bhwk,kb->bhw", map_, np.array(falls, np.float32) / whole))
    found = kerasxai.Explainer(net.model, "ablationcam", resize=False)(images, 2)
    np.testing.assert_allclose(found.heatmaps, expected, atol=1e-5 * np.max(expected))


def test_sizes_are_taken_when_they_are_known() -> None:
    """A pooling that leaves one position at 32 pixels leaves several at 64."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((None, None, 3))
    x = conv(4, 2, activation="relu", name="fine")(inputs)
    x = conv(5, activation="relu", name="coarse")(layers.AveragePooling2D(16, name="pool")(x))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    explainer = kerasxai.Explainer(model, "gradcam")
    assert explainer(zoo.images(1, 32), 1).layer == "fine"
    assert explainer(zoo.images(1, 64), 1).layer == "coarse"


def test_a_map_whose_rows_and_columns_were_exchanged_is_not_laid_over_the_image() -> None:
    """Readers of text lines scan columns: rows and columns change places before a recurrent layer."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((16, 32, 3))
    map_ = conv(4, 4, activation="relu", name="map")(inputs)
    scanned = layers.Reshape((8, 16))(layers.Permute((2, 1, 3), name="turned")(map_))
    model = keras.Model(inputs, layers.Dense(2)(layers.LSTM(5)(scanned)))
    images = np.random.default_rng(0).uniform(-1, 1, (2, 16, 32, 3)).astype("float32")
    found = kerasxai.Explainer(model, "gradcam", resize=False)(images, 1)
    assert (found.layer, found.heatmaps.shape) == ("map", (2, 4, 8))
    with pytest.raises(kerasxai.KerasxaiError, match=r"expected a feature map .*from layer 'turned'"):
        kerasxai.Explainer(model, "gradcam", layer="turned")(images)


def test_a_wrong_operation_is_refused_with_similar_names() -> None:
    with pytest.raises(
        kerasxai.KerasxaiError, match=r"expected a known operation, got 'ad \(operation\)'; nearest: .*add \(oper"
    ):
        kerasxai.Explainer(residual_sum().model, "gradcam", layer="ad (operation)")(zoo.images(1, SIDE))


def test_features_are_captured_where_the_head_takes_them() -> None:
    keras.utils.set_random_seed(2)
    net, images = residual_sum(), zoo.images(2, SIDE)
    embedded = kerasxai.features.embed(net.model, images).vectors
    assert embedded.shape[0] == 2
    with pytest.raises(kerasxai.KerasxaiError, match="2 in parallel branches"):
        kerasxai.features.embed(parallel_branches().model, images)

"""Clips whose frames go through a network of images: one map for each frame."""

import functools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

import kerasxai

L = keras.layers
FRAMES, SIDE = 4, 12
METHODS = [name for name, row in kerasxai.METHODS.items() if name not in ("cam", "lime", "kernelshap", "rise")]


def network(channels_first: bool = False) -> Any:
    options = {"padding": "same", "activation": "relu"}
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            L.Conv2D(5, 3, strides=2, **options, name="early"),
            L.BatchNormalization(name="norm"),
            L.Conv2D(6, 3, **options, name="maps"),
            L.GlobalAveragePooling2D(),
        ],
        name="cnn",
    )


def distributed() -> Any:
    keras.utils.set_random_seed(5)
    clip = keras.Input((FRAMES, SIDE, SIDE, 3))
    return keras.Model(clip, L.Dense(3, name="top")(L.LSTM(7)(L.TimeDistributed(network())(clip))))


class ByHand(keras.Model):
    """The same model with the frames laid in the batch by a reshaping."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.cnn = model.layers[1].layer
        self.lstm, self.top = model.layers[2:]

    def call(self, clip: Any) -> Any:
        vectors = self.cnn(tf.reshape(clip, (-1, SIDE, SIDE, 3)))
        return self.top(self.lstm(tf.reshape(vectors, (-1, FRAMES, 6))))


def one_by_one() -> Any:
    """The same model with every layer distributed apart."""
    keras.utils.set_random_seed(5)
    x = clip = keras.Input((FRAMES, SIDE, SIDE, 3))
    for layer in network().layers:
        x = L.TimeDistributed(layer, name=layer.name)(x)
    return keras.Model(clip, L.Dense(3, name="top")(L.LSTM(7)(x)))


def clips() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, (2, FRAMES, SIDE, SIDE, 3)).astype("float32")


def by_hand(model: Any, images: np.ndarray, target: int) -> np.ndarray:
    """Grad-CAM of a clip: weights averaged over all places of all frames, as over those of a volume."""
    cnn = model.layers[1].layer
    with tf.GradientTape() as tape:
        maps = tf.reshape(images, (-1, SIDE, SIDE, 3))
        for layer in cnn.layers[:-1]:
            maps = layer(maps, training=False)
        tape.watch(maps)
        x = tf.reshape(cnn.layers[-1](maps), (-1, FRAMES, 6))
        score = model.layers[3](model.layers[2](x))[:, target]
    gradients = tf.reshape(tape.gradient(score, maps), (-1, FRAMES, SIDE // 2, SIDE // 2, 6))
    weights = tf.reduce_mean(gradients, (1, 2, 3), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(weights * tf.reshape(maps, gradients.shape), -1)).numpy()


def test_gradcam_has_a_map_for_each_frame_with_weights_of_the_whole_clip() -> None:
    model = distributed()
    expected = by_hand(model, clips(), 1)
    for layer in (None, "maps", "cnn/maps"):
        small = kerasxai.Explainer(model, "gradcam", layer=layer, resize=False)(clips(), 1)
        np.testing.assert_allclose(small.heatmaps, expected, rtol=1e-4, atol=1e-7)
    assert small.layer is not None and small.layer.endswith("cnn/maps")
    assert kerasxai.Explainer(model, "gradcam")(clips(), 1).heatmaps.shape == (2, FRAMES, SIDE, SIDE)
    early = kerasxai.Explainer(model, "layercam", layer=["early", "maps"])(clips(), 1)
    assert early.heatmaps.shape == (2, FRAMES, SIDE, SIDE) and early.heatmaps.max() > 0
    rows = {row.path: row.is_feature_map for row in kerasxai.list_layers(model)}
    assert [value for path, value in rows.items() if path.endswith("cnn/maps")] == [True]


@functools.cache
def written_in_three_ways() -> tuple[Any, Any, Any]:
    model = distributed()
    other = one_by_one()
    other.set_weights(model.get_weights())
    hand = ByHand(model)
    np.testing.assert_allclose(hand(clips()), model(clips()), rtol=1e-5)
    return model, hand, other


# A method of each kind explains the layers one by one; how a method computes its map does not depend on it.
ONE_BY_ONE = ("gradcam", "saliency", "guided_backprop", "occlusion")
# Of a map, of the image through other rectifiers, of changed clips, of masks made of a map, of ablated maps.
WAYS = ("gradcam", "guided_gradcam", "occlusion", "scorecam", "ablationcam")


@pytest.mark.parametrize("method", zoo.mostly(WAYS, METHODS))
def test_all_ways_to_write_the_model_are_explained_alike(method: str) -> None:
    model, hand, other = written_in_three_ways()
    models = (model, hand, other) if method in ONE_BY_ONE else (model, hand)
    options: dict[str, Any] = {"patch": (2, 6, 6), "stride": (2, 6, 6)} if method == "occlusion" else {}
    options |= {"steps": 4} if method == "integrated_gradients" else {}
    found = [kerasxai.Explainer(m, method, **options)(clips(), 2).heatmaps for m in models]
    assert found[0].shape == (2, FRAMES, SIDE, SIDE) and np.ptp(found[0]) > 0
    for one in found[1:]:
        np.testing.assert_allclose(one, found[0], rtol=1e-3, atol=1e-5 * np.abs(found[0]).max())


def test_a_distributed_crop_is_laid_where_it_belongs() -> None:
    clip = keras.Input((FRAMES, SIDE, SIDE, 3))
    cnn = keras.Sequential([keras.Input((SIDE, SIDE, 3)), L.CenterCrop(6, 8), L.Conv2D(4, 1, activation="relu")])
    x = L.GlobalAveragePooling3D()(L.TimeDistributed(cnn)(clip))
    explanation = kerasxai.Explainer(keras.Model(clip, L.Dense(2)(x)), "gradcam")(clips(), 1)
    assert explanation.heatmaps.shape == (2, FRAMES, SIDE, SIDE)
    assert explanation.notes["map_extent"] == ((0.0, 4.0), (3.0, 9.0), (2.0, 10.0))
    assert not explanation.heatmaps[:, :, :3].any()


def test_distributed_series_have_a_row_for_each_frame() -> None:
    keras.utils.set_random_seed(1)
    clip = keras.Input((5, 16, 2))
    cnn = keras.Sequential([keras.Input((16, 2)), L.Conv1D(4, 3, activation="relu"), L.GlobalAveragePooling1D()])
    model = keras.Model(clip, L.Dense(2)(L.LSTM(3)(L.TimeDistributed(cnn)(clip))))
    series = np.random.default_rng(0).uniform(0, 1, (2, 5, 16, 2)).astype("float32")
    heatmaps = kerasxai.Explainer(model, "gradcam", resize=False)(series, 1).heatmaps
    assert heatmaps.shape == (2, 5, 14)

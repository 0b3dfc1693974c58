"""Output stride: finer maps, the same weights, and the old map at every second place of the new one."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasxai
from kerasxai.models import build_classifier, load, with_output_stride
from kerasxai.models.pooling import DilatedPooling2D
from kerasxai.tools.errors import KerasxaiError

L = keras.layers
RNG = np.random.default_rng(11)


def images(side: int, count: int = 2) -> np.ndarray:
    return RNG.uniform(0, 255, (count, side, side, 3)).astype("float32")


def settled(model: keras.Model, side: int) -> keras.Model:
    """Gives the normalizations the statistics of a batch, so that activations neither vanish nor explode."""
    for layer in model._flatten_layers():
        if isinstance(layer, L.BatchNormalization):
            layer.momentum = 0.0
    model(images(side), training=True)
    return model


def assert_holds_the_old_map(model: keras.Model, fine: keras.Model, side: int, spread: int) -> None:
    """Looks for the one phase at which every `spread`-th place of the fine map is the old map."""
    x = images(side)
    old, new = np.asarray(model(x, training=False)), np.asarray(fine(x, training=False))
    assert np.abs(old).max() > 1e-2
    differences = []
    for phase in range(spread):
        places = new[:, phase::spread, phase::spread][:, : old.shape[1], : old.shape[2]]
        if places.shape == old.shape:
            differences.append(np.abs(places - old).max() / np.abs(old).max())
    assert min(differences) < 1e-4
    assert sorted(differences)[1:] == [] or sorted(differences)[1] > 1e-2, "only one phase may fit"
    for ours, theirs in zip(fine.weights, model.weights, strict=True):
        assert ours is theirs


def padded_convolutions(x: Any) -> Any:
    """As in MobileNetV2: padding in a layer of its own, one more at the right."""
    x = L.DepthwiseConv2D(3, 2, "valid")(L.ZeroPadding2D(((0, 1), (0, 1)))(x))
    return L.DepthwiseConv2D(3, 1, "valid")(L.ZeroPadding2D(1)(L.Conv2D(6, 1, activation="relu")(x)))


def residual(x: Any) -> Any:
    """As in ResNet: both branches skip the same places."""
    y = L.Conv2D(6, 3, padding="same", activation="relu")(L.Conv2D(4, 1, 2)(x))
    return L.Add()([y, L.Conv2D(6, 1, 2)(x)])


def poolings(x: Any) -> Any:
    """As in VGG and DenseNet: windows that do not overlap; then some that do, as in Inception."""
    x = L.AveragePooling2D(2)(x)
    x = L.Conv2D(5, 5, padding="same", activation="relu")(L.BatchNormalization()(x))
    pooled = [L.AveragePooling2D(3, 1, "same")(x), L.MaxPooling2D(3, 1, "same")(x)]
    return L.Concatenate()([*pooled, L.SeparableConv2D(4, 3, padding="same")(x)])


def nested(x: Any) -> Any:
    inner = keras.Sequential([L.LayerNormalization(), L.Conv2D(6, 2, 2)])
    return L.DepthwiseConv2D(7, padding="same")(inner(x))


def unpadded(x: Any) -> Any:
    x = L.Concatenate()([L.Conv2D(4, 3, 2)(x), L.MaxPooling2D(3, 2)(x)])
    return L.Conv2D(4, 3)(x)


BLOCKS = {f.__name__: f for f in (padded_convolutions, residual, poolings, nested, unpadded)}


@pytest.mark.parametrize("block", BLOCKS)
def test_every_second_place_is_the_old_map(block: str) -> None:
    keras.utils.set_random_seed(1)
    side = 27 if block == "unpadded" else 32
    image = keras.Input((side, side, 3))
    x = L.Conv2D(6, 3, 1 if block == "unpadded" else 2, "same", activation="relu")(image)
    model = keras.Model(image, BLOCKS[block](x))
    stride = 1 if block == "unpadded" else 2
    fine = with_output_stride(model, stride)
    assert fine.output_shape[1] > 1.8 * model.output_shape[1]
    assert_holds_the_old_map(model, fine, side, 2)
    if stride == 2:
        deep = keras.Model(image, residual(model.output))
        assert_holds_the_old_map(deep, with_output_stride(deep, 2), side, 4)


def test_a_backbone_of_the_table() -> None:
    keras.utils.set_random_seed(0)
    classifier = build_classifier("EfficientNetLite0", 3, weights=None, input_size=96, depth=1, width=4, seed=0)
    backbone = settled(classifier.get_layer("backbone"), 96)
    fine = with_output_stride(classifier, 8)
    assert_holds_the_old_map(backbone, fine.get_layer("backbone"), 96, 4)
    assert fine.get_layer("backbone").output.shape[1:3] == (12, 12)
    assert fine.get_layer("head_conv1").dilation_rate == (4, 4)


def test_pooling_over_all_places_follows_and_the_model_saves(tmp_path: Path) -> None:
    model = build_classifier(_tiny(), 3, "gap", depth=1, width=5, seed=1)
    fine = with_output_stride(model, 2)
    x = images(32)
    features = fine.get_layer("head_conv1_relu")
    assert features is not model.get_layer("head_conv1") and fine.output_shape == (None, 3)
    fine.save(tmp_path / "fine.keras")
    np.testing.assert_allclose(load(tmp_path / "fine.keras")(x), fine(x, training=False), atol=1e-6)
    heatmaps = kerasxai.Explainer(fine, "cam")(x).heatmaps
    assert heatmaps.shape == (2, 32, 32)
    # The weights are shared: what one learns, the other knows.
    model.get_layer("logits").kernel.assign(model.get_layer("logits").kernel * 2.0)
    np.testing.assert_array_equal(fine.get_layer("logits").kernel, model.get_layer("logits").kernel)


def test_the_two_branches_of_acol_are_spread_as_well() -> None:
    model = build_classifier(_tiny(), 3, "acol", width=5, smoothing=True, erase_dilation=1, seed=1)
    fine = with_output_stride(model, 2)
    assert isinstance(fine, kerasxai.models.ACoLModel)
    assert (fine.head.dilation_rate, fine.head.erase_dilation) == (2, 2)
    x = images(32)
    old = model.head.branches(model.get_layer("backbone")(x))["map_a"]
    new = fine.head.branches(fine.get_layer("backbone")(x))["map_a"]
    np.testing.assert_allclose(np.asarray(new)[:, 1::2, 1::2], old, atol=1e-5)
    assert all(ours is theirs for ours, theirs in zip(fine.weights, model.weights, strict=True))


def _tiny(side: int = 32) -> keras.Model:
    keras.utils.set_random_seed(2)
    image = keras.Input((side, side, 3))
    x = L.Conv2D(6, 3, 2, "same", activation="relu")(L.Rescaling(1 / 255)(image))
    return keras.Model(image, L.Conv2D(8, 3, 2, "same", activation="relu", name="last")(x), name="tiny")


def test_an_option_of_build_classifier_leaves_the_weights_alone(tmp_path: Path) -> None:
    own = _tiny()
    model = build_classifier(own, 3, output_stride=2)
    assert model.get_layer("backbone").output.shape == (None, 16, 16, 8)
    assert_same_values(model.get_layer("backbone").get_weights(), own.get_weights())
    assert model.get_layer("backbone").trainable_weights[0] is not own.trainable_weights[0]
    # A graph of its own: its layers' outputs are those of the finer network.
    assert keras.Model(model.get_layer("backbone").inputs, model.get_layer("backbone").get_layer("last").output)
    assert own.output_shape == (None, 8, 8, 8)
    model.save(tmp_path / "x.keras")
    np.testing.assert_allclose(load(tmp_path / "x.keras")(images(32)[:1]).shape, (1, 3))


def assert_same_values(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_dilated_pooling_is_keras_pooling_of_each_phase(kind: str, padding: str) -> None:
    maps = RNG.normal(size=(2, 12, 8, 3)).astype("float32")
    got = np.asarray(DilatedPooling2D(kind, (3, 3), 2, padding)(maps))
    plain = (L.MaxPooling2D if kind == "max" else L.AveragePooling2D)(3, 1, padding)
    for row in range(2):
        for column in range(2):
            expected = np.asarray(plain(maps[:, row::2, column::2]))
            np.testing.assert_allclose(got[:, row::2, column::2], expected, atol=1e-6)


def test_what_cannot_be_spread_is_refused() -> None:
    image = keras.Input((32, 32, 3))
    x = L.Conv2D(4, 3, 2, "same")(L.Conv2D(4, 3, 2, "same")(image))
    flat = keras.Model(image, L.Dense(3)(L.Flatten()(x)), name="flat")
    enlarged = keras.Model(image, L.UpSampling2D()(x), name="enlarged")
    shifted = keras.Model(image, L.AveragePooling2D(1, 2)(L.Cropping2D(((1, 0), (1, 0)))(x)), name="nasnet")
    uneven = keras.Model(image, L.Conv2D(4, 3, (2, 1), "same")(image), name="uneven")
    for model, stride, message in (
        (flat, 2, r"layer 'flatten.*' \(Flatten\), which cannot be dilated"),
        (enlarged, 2, "UpSampling2D"),
        (shifted, 4, "Cropping2D"),
        (uneven, 1, r"got \(2, 1\) in layer"),
        (keras.Model(image, x), 16, "got 16; the last map has stride 4"),
        (keras.Model(image, x), 0, "must be a whole number"),
    ):
        with pytest.raises(KerasxaiError, match=message):
            with_output_stride(model, stride)

    class Subclassed(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(KerasxaiError, match="expected a functional or sequential model"):
        with_output_stride(Subclassed(), 8)

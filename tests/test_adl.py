"""ADL beside the formula, and layers put into backbones."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerasxai.models import AttentionDropout, build_classifier, load
from kerasxai.models.adl import attention_dropout, default_layers
from kerasxai.tools.errors import KerasxaiError

MAPS = np.random.default_rng(0).normal(0.3, 1, (3, 6, 5, 4)).astype("float32")
L = keras.layers


def parts(gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """The map hidden where it is attended most, and the map weighed by attention, straight from the paper."""
    attention = np.maximum(MAPS, 0).mean(-1, keepdims=True)
    hidden = MAPS * (attention < np.float32(gamma) * attention.max((1, 2), keepdims=True))
    return hidden, MAPS / (1 + np.exp(-attention))


def test_a_coin_chooses_between_hiding_and_weighing() -> None:
    hidden, weighed = parts(0.8)
    assert 0 < (hidden == 0).mean() < 1
    layer = AttentionDropout(0.75, 0.8, seed=1)
    coins = []
    for _ in range(80):
        output = np.asarray(layer(MAPS, training=True))
        coins.append(np.allclose(output, hidden, atol=1e-6))
        assert coins[-1] or np.allclose(output, weighed, atol=1e-6)
    # One coin for a batch; its deviation over 80 throws is 0.05.
    assert np.mean(coins) == pytest.approx(0.75, abs=0.2)
    for rate, expected in ((1.0, hidden), (0.0, weighed)):
        np.testing.assert_allclose(AttentionDropout(rate, 0.8)(MAPS, training=True), expected, atol=1e-6)


def test_at_inference_the_map_passes() -> None:
    np.testing.assert_array_equal(AttentionDropout(1.0)(MAPS, training=False), MAPS)
    np.testing.assert_array_equal(AttentionDropout(1.0)(MAPS), MAPS)


def test_half_precision_and_bad_options() -> None:
    output = AttentionDropout(1.0, dtype="mixed_float16")(MAPS, training=True)
    assert keras.backend.standardize_dtype(output.dtype) == "float16"
    wrong: list[dict[str, Any]] = [{"drop_rate": 1.5}, {"gamma": 0.0}]
    for options in wrong:
        with pytest.raises(KerasxaiError):
            AttentionDropout(**options)


def backbone() -> keras.Model:
    keras.utils.set_random_seed(0)
    x = image = keras.Input((32, 32, 3))
    for number, strides in enumerate((2, 2, 2, 1)):
        x = L.Conv2D(6, 3, strides, "same", activation="relu", name=f"conv{number}")(x)
        x = L.BatchNormalization(name=f"norm{number}")(x)
    return keras.Model(image, x, name="own")


def test_layers_follow_the_named_ones_and_the_weights_stay() -> None:
    own, images = backbone(), np.random.default_rng(1).uniform(0, 1, (4, 32, 32, 3)).astype("float32")
    plain = build_classifier(own, 3, seed=1)
    model = build_classifier(own, 3, seed=1, insert={"conv1": AttentionDropout(1.0, 0.5, name="adl")})
    np.testing.assert_allclose(model(images, training=False), plain(images, training=False), atol=1e-6)
    assert np.abs(np.asarray(model(images, training=True)) - plain(images, training=True)).max() > 1e-4
    names = [layer.name for layer in model.get_layer("backbone").layers]
    assert names.index("adl") == names.index("conv1") + 1
    inner = model.get_layer("backbone")
    seen = keras.Model(inner.inputs[0], inner.get_layer("adl").input)(images)
    expected = keras.Model(own.inputs[0], own.get_layer("conv1").output)(images)
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    assert own.get_layer("conv1") is not model.get_layer("backbone").get_layer("conv1")


def test_by_default_the_last_strides_are_chosen() -> None:
    assert default_layers(backbone()) == ["conv1", "norm3"]
    model = build_classifier(backbone(), 3, output_stride=4, insert=attention_dropout)
    inserted = [x.name for x in model.get_layer("backbone").layers if isinstance(x, AttentionDropout)]
    assert inserted == ["adl_1", "adl_2"]
    assert model.get_layer("backbone").output.shape[1:3] == (8, 8)


def test_in_real_backbones_blocks_are_followed() -> None:
    for name, features, expected in (
        ("EfficientNetLite0", None, ["block3b_add", "block5c_add", "top_activation"]),
        ("EfficientNetLite0", "block3a_project_bn", ["block2b_add", "block3a_project_bn"]),
        ("VGG16", None, ["block3_conv3", "block4_conv3", "block5_conv3"]),
        ("ResNet50", None, ["conv3_block4_out", "conv4_block6_out", "conv5_block3_out"]),
    ):
        model = build_classifier(name, 3, weights=None, input_size=64, features=features)
        assert default_layers(model.get_layer("backbone")) == expected


def test_the_coin_goes_on_after_loading(tmp_path: Path) -> None:
    model = build_classifier(backbone(), 3, insert=lambda base: attention_dropout(base, seed=4, layers=["conv2"]))
    layer = model.get_layer("backbone").get_layer("adl_1")
    for _ in range(3):
        model(np.zeros((1, 32, 32, 3), "float32"), training=True)
    model.save(tmp_path / "x.keras")
    other = load(tmp_path / "x.keras").get_layer("backbone").get_layer("adl_1")
    np.testing.assert_array_equal(other.coins.state, layer.coins.state)
    assert [throw(other) for _ in range(30)] == [throw(layer) for _ in range(30)]


def throw(layer: Any) -> bool:
    return bool(np.isclose(np.asarray(layer(MAPS, training=True)), parts(0.9)[0], atol=1e-6).all())


def test_what_does_not_fit_is_told() -> None:
    for layers, message in (
        ({"cnv1": AttentionDropout()}, "expected a known layer, got 'cnv1'; nearest: conv1"),
        ({"conv1": 3}, "expected a Keras layer .*, got int"),
        ({"conv1": L.Conv2D(3, 3, 2)}, "cannot insert layers into"),
        ({"conv1": L.Flatten()}, "cannot insert layers into"),
    ):
        with pytest.raises(KerasxaiError, match=message):
            build_classifier(backbone(), 3, insert=layers)
    with pytest.raises(KerasxaiError, match="keeps the ImageNet head, got insert"):
        build_classifier("EfficientNetLite0", None, insert=attention_dropout)

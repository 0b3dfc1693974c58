"""Heads, losses and the metric for several labels an image."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import average_precision_score

import kerasxai
from kerasxai.models import (
    AsymmetricLoss,
    MaskedBinaryCrossentropy,
    MaskedBinaryFocalCrossentropy,
    build_classifier,
    class_names,
    is_multi_label,
)
from kerasxai.models.acol import ACoLHead
from kerasxai.models.multi_label import maps_of_classes
from kerasxai.models.multi_label_losses import MeanAveragePrecisionMetric, balanced_positive_weights
from kerasxai.tools.errors import KerasxaiError

CLASSES = 3
RNG = np.random.default_rng(3)
IMAGES = RNG.uniform(0, 255, (4, 16, 16, 3)).astype("float32")
LABELS = np.array([[1, 1, 0], [0, -1, 1], [0, 0, 0], [1, 0, -1]], "float32")
NAMES = ["cat", "dog", "cow"]
HEADS: dict[str, dict[str, Any]] = {"gap": {}, "conv1x1": {}, "acol": {"width": 8}, "spg": {"width": 8}}


def tiny() -> keras.Model:
    kernel = keras.initializers.GlorotUniform(0)
    layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 255)]
    layers.append(keras.layers.Conv2D(6, 3, 2, "same", activation="relu", kernel_initializer=kernel))
    return keras.Sequential(layers, name="tiny")


@pytest.fixture(scope="module", params=HEADS)
def model(request: pytest.FixtureRequest) -> keras.Model:
    """A model of each head, after one step."""
    options = HEADS[request.param]
    made = build_classifier(tiny(), CLASSES, request.param, labels="multi", class_names=NAMES, seed=1, **options)
    first = made.predict(IMAGES, verbose=0)
    assert first.shape == (4, 3) and np.abs(first - 1 / 3).max() < 0.25
    made.compile(keras.optimizers.SGD(0.1), MaskedBinaryCrossentropy(), metrics=[MeanAveragePrecisionMetric(CLASSES)])
    made.fit(IMAGES, LABELS, verbose=0)
    return made


def test_it_is_saved_and_loaded_with_its_names(model: keras.Model, tmp_path: Path) -> None:
    assert is_multi_label(model) and class_names(model) == NAMES
    assert not any(getattr(v, "constraint", None) for v in model.trainable_variables)
    model.save(tmp_path / "m.keras")
    loaded = kerasxai.models.load(tmp_path / "m.keras", compile=True)
    assert is_multi_label(loaded) and class_names(loaded) == NAMES
    np.testing.assert_array_equal(loaded.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0))
    assert loaded.evaluate(IMAGES, LABELS, verbose=0) == model.evaluate(IMAGES, LABELS, verbose=0)


def test_unknown_labels_change_nothing(model: keras.Model) -> None:
    """The gradient of an image whose only label is known is that of this label."""
    with tf.GradientTape() as tape:
        loss = MaskedBinaryCrossentropy()(np.array([[1, -1, -1]], "float32"), model(IMAGES[:1]))
    predictions = model.predict(IMAGES[:1], verbose=0)
    np.testing.assert_allclose(loss, -np.log(predictions[0, 0]), rtol=1e-5)
    assert any(
        g is not None and np.abs(np.asarray(g)).max() > 0 for g in tape.gradient(loss, model.trainable_variables)
    )


def test_class_activation_maps_are_of_the_logit(model: keras.Model) -> None:
    """Of a dense layer without its bias, which has no place in the image."""
    targets = np.array([0, 1, 2, 0])
    found = kerasxai.Explainer(model, "cam", resize=False)(IMAGES, targets).heatmaps
    assert np.isfinite(found).all() and np.ptp(found, (1, 2)).min() > 0
    if any(layer.name == "avg_pool" for layer in model.layers):
        maps = np.asarray(model.get_layer("backbone")(IMAGES))
        kernel = np.asarray(model.get_layer("logits").kernel)
        np.testing.assert_allclose(found, np.einsum("bhwk,kb->bhw", maps, kernel[:, targets]), atol=1e-5)


def test_other_models_are_told_apart() -> None:
    single = build_classifier(tiny(), CLASSES, seed=1)
    assert not is_multi_label(single)
    units = [keras.layers.Dense(n, activation="sigmoid") for n in (1, 4)]
    made = [keras.Sequential([keras.Input((5,)), unit]) for unit in units]
    assert [is_multi_label(one) for one in made] == [False, True]
    image = keras.Input((5,))
    assert is_multi_label(keras.Model(image, made[1](image)))
    with pytest.raises(KerasxaiError, match="expected a known labels of a classifier, got 'several'"):
        build_classifier(tiny(), CLASSES, labels="several")
    with pytest.raises(KerasxaiError, match="expected no argument for a new head"):
        build_classifier("EfficientNetLite0", None, labels="multi")


class TestACoL:
    @pytest.fixture
    def head(self) -> ACoLHead:
        made = ACoLHead(CLASSES, width=8, seed=1, labels="multi")
        made.build((1, 6, 7, 3))
        return made

    def test_the_maps_of_all_present_classes_erase(self, head: ACoLHead) -> None:
        features = RNG.normal(size=(3, 6, 7, 3)).astype("float32")
        present = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0]], bool)
        parts = head.branches(features, tf.constant(present))
        maps = np.asarray(parts["map_a"])
        low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
        scaled = (maps - low) / (high - low)
        erased = (scaled >= head.erase_threshold) & present[:, None, None]
        np.testing.assert_array_equal(np.asarray(parts["keep"])[..., 0] == 0, erased.any(-1))
        assert not erased[2].any() and erased[0, ..., 0].any() and erased[0, ..., 1].any()

    def test_an_explained_class_erases_alone(self, head: ACoLHead) -> None:
        features = RNG.normal(size=(2, 6, 7, 3)).astype("float32")
        alone = head.branches(features, tf.constant([2, 0]))
        rows = head.branches(features, tf.one_hot([2, 0], CLASSES, True, False, dtype=tf.bool))
        np.testing.assert_array_equal(alone["keep"], rows["keep"])
        assert np.asarray(alone["keep"]).min() == 0

    def test_the_predicted_classes_erase_outside_of_training(self, head: ACoLHead) -> None:
        features = 9 * RNG.normal(size=(4, 6, 7, 3)).astype("float32")
        parts = head.branches(features)
        predicted = head.branches(features, tf.constant(np.asarray(parts["logits"]) > 0))
        np.testing.assert_array_equal(parts["keep"], predicted["keep"])


def test_labels_of_one_class_are_refused(model: keras.Model) -> None:
    if not hasattr(model, "head"):
        pytest.skip("only models with a loss inside read the labels")
    with pytest.raises(KerasxaiError, match=r"labels must be \(B, 3\), got shape"):
        model.fit(IMAGES, np.array([0, 1, 2, 0]), verbose=0)


def test_maps_of_several_classes_are_their_largest_value() -> None:
    maps = RNG.uniform(size=(2, 3, 3, CLASSES)).astype("float32")
    present = np.array([[True, False, True], [False, False, False]])
    expected = np.stack([np.maximum(maps[0, ..., 0], maps[0, ..., 2]), np.zeros((3, 3))])[..., None]
    np.testing.assert_allclose(maps_of_classes(maps, tf.constant(present)), expected)


def entries(name: str, y: np.ndarray, p: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """The losses in float64 from their papers."""
    if name == "asymmetric":
        plus, minus, shift = (
            options.get(k, d) for k, d in (("gamma_positive", 0), ("gamma_negative", 4), ("shift", 0.05))
        )
        q = np.maximum(p - shift, 0)
        return -y * (1 - p) ** plus * np.log(p) - (1 - y) * q**minus * np.log(1 - q)
    cross = -y * np.log(p) - (1 - y) * np.log(1 - p)
    if name == "crossentropy":
        return cross
    of_true = y * p + (1 - y) * (1 - p)
    alpha = options.get("alpha")
    weight = 1 if alpha is None else y * alpha + (1 - y) * (1 - alpha)
    return weight * (1 - of_true) ** options.get("gamma", 2) * cross


@pytest.mark.parametrize(
    ("name", "make", "options"),
    [
        ("crossentropy", MaskedBinaryCrossentropy, {}),
        ("focal", MaskedBinaryFocalCrossentropy, {}),
        ("focal", MaskedBinaryFocalCrossentropy, {"gamma": 1.5, "alpha": 0.3}),
        ("asymmetric", AsymmetricLoss, {}),
        ("asymmetric", AsymmetricLoss, {"gamma_positive": 1, "gamma_negative": 2, "shift": 0.1}),
    ],
)
def test_losses_equal_their_oracles(name: str, make: Any, options: dict[str, Any]) -> None:
    labels = RNG.choice([-1.0, 0.0, 1.0, 0.3], size=(16, 5)).astype("float32")
    labels[0] = -1
    p = RNG.uniform(0.01, 0.99, labels.shape).astype("float32")
    weights = [1.0, 2.0, 0.5, 7.0, 1.0]
    y, known = np.maximum(labels, 0).astype(float), labels >= 0
    each = entries(name, y, p.astype(float), options) * (1 + y * (np.array(weights) - 1)) * known
    expected = (each.sum(1) / np.maximum(known.sum(1), 1)).mean()
    loss = make(positive_weights=weights, **options)
    np.testing.assert_allclose(float(loss(labels, p)), expected, rtol=1e-5)
    copied = keras.losses.deserialize(keras.losses.serialize(loss))
    assert float(copied(labels, p)) == float(loss(labels, p))
    with tf.GradientTape() as tape:
        at = tf.constant(np.concatenate([p[:4], np.array([[0, 1, 0, 1, 0.5]], "float32")]))
        tape.watch(at)
        value = loss(labels[:5], at)
    gradient = np.asarray(tape.gradient(value, at))
    assert np.isfinite(gradient).all() and (gradient[:4][~known[:4]] == 0).all()


def test_options_of_losses_are_checked() -> None:
    with pytest.raises(KerasxaiError, match="gamma must be 0 or more"):
        MaskedBinaryFocalCrossentropy(gamma=-1)
    with pytest.raises(KerasxaiError, match="shift must be below 1"):
        AsymmetricLoss(shift=1)


def test_rare_classes_weigh_more() -> None:
    labels = np.zeros((400, 4))
    labels[:100, 0], labels[0, 1], labels[:, 2] = 1, 1, 1
    labels[300:, 0] = -1
    assert balanced_positive_weights(labels).tolist() == [2, 100, 1, 1]


def test_the_mean_average_precision_is_that_of_scikit_learn() -> None:
    labels = RNG.choice([-1, 0, 1], size=(400, 4), p=[0.1, 0.7, 0.2])
    labels[:, 3] = np.minimum(labels[:, 3], 0)
    scores = np.clip(RNG.normal(0.3 + 0.3 * (labels == 1), 0.2), 0, 1).astype("float32")
    metric = MeanAveragePrecisionMetric(4, num_thresholds=4000)
    for part in np.array_split(np.arange(400), 3):
        metric.update_state(labels[part].astype("float32"), scores[part])
    known = labels >= 0
    expected = np.mean([average_precision_score(labels[known[:, c], c], scores[known[:, c], c]) for c in range(3)])
    np.testing.assert_allclose(float(metric.result()), expected, atol=2e-3)
    copied = MeanAveragePrecisionMetric.from_config(metric.get_config())
    assert copied.num_classes == 4 and copied.num_thresholds == 4000
    metric.reset_state()
    assert float(metric.result()) == 0

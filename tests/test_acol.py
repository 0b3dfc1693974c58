"""ACoL: the ten properties that its erasing, its losses and its joint map must have, and training with labels."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasxai.engine.tracing import patched, recorded
from kerasxai.models import ACoLHead, ACoLModel, build_classifier
from kerasxai.models.acol import FusedClassMaps, minmax
from kerasxai.models.label_aware import class_numbers
from kerasxai.tools.errors import KerasxaiError

CLASSES = 4
RNG = np.random.default_rng(7)
FEATURES = RNG.normal(size=(5, 6, 7, 3)).astype("float32")
NUMBERS = np.array([3, 0, 1, 2, 0])
IMAGES = RNG.uniform(0, 255, (6, 16, 16, 3)).astype("float32")
LABELS = np.array([0, 1, 2, 3, 0, 1])


def head(**options: Any) -> ACoLHead:
    made = ACoLHead(CLASSES, width=8, seed=1, **options)
    made.build(FEATURES.shape)
    return made


def arrays(parts: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in parts.items()}


def minmax_oracle(maps: np.ndarray) -> np.ndarray:
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    return np.divide(maps - low, high - low, out=np.zeros_like(maps), where=high > low)


def tiny() -> keras.Model:
    layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 255)]
    kernel = keras.initializers.GlorotUniform(0)
    layers.append(keras.layers.Conv2D(6, 3, 2, "same", activation="relu", kernel_initializer=kernel))
    return keras.Sequential(layers, name="tiny")


def model(**options: Any) -> ACoLModel:
    return build_classifier(tiny(), CLASSES, "acol", width=8, seed=1, **options)


def test_1_a_value_equal_to_the_threshold_is_erased() -> None:
    class_map = np.array([0, 0.25, 0.5, 0.75, 1], "float32").reshape(1, 1, 5, 1)
    kept = np.asarray(head(erase_threshold=0.5).keep(class_map)).ravel()
    assert kept.tolist() == [True, True, False, False, False]


def test_2_a_threshold_above_one_erases_nothing() -> None:
    parts = arrays(head(erase_threshold=1.01).branches(FEATURES, NUMBERS))
    assert (parts["keep"] == 1).all()


@pytest.mark.parametrize("threshold", [0.1, 0.6, 1.0])
def test_3_the_largest_place_is_always_erased(threshold: float) -> None:
    parts = arrays(head(erase_threshold=threshold).branches(FEATURES, NUMBERS))
    for number, class_map, keep in zip(NUMBERS, parts["map_a"], parts["keep"], strict=True):
        assert keep[..., 0].ravel()[class_map[..., number].argmax()] == 0


def test_erases_where_the_oracle_does_for_the_given_class() -> None:
    parts = arrays(head().branches(FEATURES, NUMBERS))
    attention = minmax_oracle(parts["map_a"])[np.arange(5), ..., NUMBERS]
    np.testing.assert_array_equal(parts["keep"][..., 0], attention < np.float32(0.6))
    assert 0 < parts["keep"].mean() < 1


def test_4_constant_maps_erase_nothing_and_stay_numbers() -> None:
    made = head()
    parts = arrays(made.branches(np.zeros_like(FEATURES), NUMBERS))
    assert (parts["keep"] == 1).all()
    fused = np.asarray(made.fused(parts["map_a"], parts["map_b"]))
    np.testing.assert_array_equal(fused, np.zeros_like(fused))


def test_5_and_6_no_gradient_through_the_erasing() -> None:
    made, features = head(), tf.constant(FEATURES)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(features)
        parts = made.branches(features, NUMBERS)
        loss_a = keras.losses.sparse_categorical_crossentropy(NUMBERS, parts["logits"], from_logits=True)
        loss_b = keras.losses.sparse_categorical_crossentropy(NUMBERS, parts["logits_b"], from_logits=True)
    weights_a = [weight.value for layer in made.branch_a for weight in layer.trainable_weights]
    weights_b = [weight.value for layer in made.branch_b for weight in layer.trainable_weights]
    assert all(gradient is None for gradient in tape.gradient(loss_b, weights_a))
    assert all(gradient is None for gradient in tape.gradient(loss_a, weights_b))
    assert all(np.abs(gradient).max() > 0 for gradient in tape.gradient(loss_b, weights_b))
    gradient, keep = np.asarray(tape.gradient(loss_b, features)), np.asarray(parts["keep"])
    erased = np.broadcast_to(keep == 0, gradient.shape)
    assert (gradient[erased] == 0).all()
    assert np.abs(gradient[~erased]).max() > 0


def test_7_samples_are_treated_apart() -> None:
    made, order = head(), np.array([4, 2, 0, 3, 1])
    straight = arrays(made.branches(FEATURES, NUMBERS))
    for name, value in arrays(made.branches(FEATURES[order], NUMBERS[order])).items():
        np.testing.assert_allclose(value, straight[name][order], rtol=1e-5, atol=1e-6)


def test_8_the_joint_map_covers_both() -> None:
    made = head()
    parts = arrays(made.branches(FEATURES, NUMBERS))
    fused = np.asarray(made.fused(parts["map_a"], parts["map_b"]))
    np.testing.assert_allclose(
        fused, np.maximum(minmax_oracle(parts["map_a"]), minmax_oracle(parts["map_b"])), atol=1e-6
    )
    assert fused.min() >= 0
    np.testing.assert_array_equal(fused.max((1, 2)), np.ones((5, CLASSES)))


def test_9_equal_branches_without_erasing_give_equal_maps() -> None:
    made = head(erase_threshold=2.0)
    for a, b in zip(made.branch_a, made.branch_b, strict=True):
        b.set_weights(a.get_weights())
    parts = arrays(made.branches(FEATURES, NUMBERS))
    np.testing.assert_array_equal(parts["map_a"], parts["map_b"])
    np.testing.assert_array_equal(parts["logits"], parts["logits_b"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_10_half_precision_maps_are_normalized_in_float32(dtype: str) -> None:
    # In float16 the span of this map is infinite, and the whole would come out as zeros.
    span = 60000.0
    half = tf.cast(tf.reshape([-span, 0.0, span], (1, 1, 3, 1)), dtype)
    scaled = minmax(half)
    assert scaled.dtype == tf.float32
    np.testing.assert_allclose(np.asarray(scaled).ravel(), [0, 0.5, 1], atol=1e-6)
    made = head(dtype=f"mixed_{dtype}")
    parts = made.branches(tf.cast(FEATURES, dtype), NUMBERS)
    assert parts["map_a"].dtype == parts["keep"].dtype == tf.as_dtype(dtype)
    assert parts["logits"].dtype == parts["logits_b"].dtype == tf.float32
    assert made.fused(parts["map_a"], parts["map_b"]).dtype == tf.float32


def test_smoothing_counts_the_zeros_of_the_padding() -> None:
    made = head(smoothing=True, erase_threshold=2.0)
    padded = np.pad(FEATURES, ((0, 0), (1, 1), (1, 1), (0, 0)))
    smooth = sum(padded[:, y : y + 6, x : x + 7] for y in range(3) for x in range(3)) / 9
    plain = head(erase_threshold=2.0)
    np.testing.assert_allclose(made.branches(FEATURES)["map_a"], plain.branches(smooth)["map_a"], atol=1e-5)


def test_dilation_grows_the_erased_region_by_its_neighbours() -> None:
    class_map = np.zeros((1, 5, 5, 1), "float32")
    class_map[0, 2, 1] = 1
    erased = 1 - np.asarray(head(erase_dilation=1).keep(class_map)).astype(int)[0, ..., 0]
    expected = np.zeros((5, 5), int)
    expected[1:4, 0:3] = 1
    np.testing.assert_array_equal(erased, expected)


def test_entries_below_zero_stand_for_the_predicted_class() -> None:
    made = head()
    predicted = np.asarray(made.branches(FEATURES)["logits"]).argmax(-1)
    mixed = np.where(np.arange(5) % 2 == 0, -1, NUMBERS)
    got = arrays(made.branches(FEATURES, mixed))
    expected = arrays(made.branches(FEATURES, np.where(mixed < 0, predicted, mixed)))
    for name in got:
        np.testing.assert_array_equal(got[name], expected[name])
    np.testing.assert_array_equal(made.branches(FEATURES)["keep"], made.branches(FEATURES, predicted)["keep"])


def seen_maps(built: ACoLModel, **attributes: Any) -> tuple[np.ndarray, list[Any]]:
    calls: list[Any] = []
    with recorded([("fused", built.head.fused)], calls.append), patched(built.head, **attributes):
        output = np.asarray(built(IMAGES, training=False))
    return output, calls


def test_joint_map_is_read_out_in_inference_and_follows_the_explained_class() -> None:
    built = model()
    assert [layer for layer in built._flatten_layers() if getattr(layer, "produces_class_maps", False)] == [
        built.head.fused
    ]
    output, calls = seen_maps(built)
    assert len(calls) == 1
    features = built.get_layer("backbone")(IMAGES)
    parts = built.head.branches(features)
    np.testing.assert_allclose(calls[0].output, FusedClassMaps()(parts["map_a"], parts["map_b"]), atol=1e-6)
    other = (output.argmax(-1) + 1) % CLASSES
    same_output, other_calls = seen_maps(built, explained_class=tf.constant(other))
    np.testing.assert_array_equal(same_output, output)
    assert np.abs(np.asarray(other_calls[0].output) - np.asarray(calls[0].output)).max() > 1e-3
    calls.clear()
    with recorded([("fused", built.head.fused)], calls.append):
        built(IMAGES, training=True)
    assert not calls


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("labels", ["numbers", "column", "one-hot", "soft"])
def test_loss_is_both_branches_with_the_true_class_erasing(labels: str, weighted: bool) -> None:
    built = model()
    one_hot = np.eye(CLASSES, dtype="float32")[LABELS]
    soft = 0.9 * one_hot + 0.1 / CLASSES
    given = {"numbers": LABELS, "column": LABELS[:, None], "one-hot": one_hot, "soft": soft}[labels]
    sparse = labels in ("numbers", "column")
    loss = "sparse_categorical_crossentropy" if sparse else "categorical_crossentropy"
    built.compile("sgd", loss, jit_compile=False)
    weights = np.linspace(0.5, 2, 6) if weighted else None
    got = built.evaluate(IMAGES, given, sample_weight=weights, verbose=0)
    parts = arrays(built.head.branches(built.get_layer("backbone")(IMAGES), LABELS))
    rows = soft if labels == "soft" else one_hot
    each = np.zeros(6)
    for name in ("logits", "logits_b"):
        logits = parts[name].astype(float)
        each += (rows * (np.log(np.exp(logits).sum(-1, keepdims=True)) - logits)).sum(-1)
    assert got == pytest.approx((each * (1 if weights is None else weights)).mean(), rel=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_loss_that_bears_wrong_labels_reaches_both_branches(weighted: bool) -> None:
    built = model()
    built.compile("sgd", keras.losses.CategoricalGeneralizedCrossEntropy(q=0.7), jit_compile=False)
    weights = np.linspace(0.5, 2, 6) if weighted else None
    got = built.evaluate(IMAGES, LABELS, sample_weight=weights, verbose=0)
    parts = arrays(built.head.branches(built.get_layer("backbone")(IMAGES), LABELS))
    each = np.zeros(6)
    for name in ("logits", "logits_b"):
        shares = np.exp(parts[name]) / np.exp(parts[name]).sum(-1, keepdims=True)
        each += (1 - shares[np.arange(6), LABELS] ** 0.7) / 0.7
    assert got == pytest.approx((each * (1 if weights is None else weights)).mean(), rel=1e-5)


def test_training_reaches_both_branches_and_leaves_the_head_as_it_was() -> None:
    built = model()
    built.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", jit_compile=False)
    before = [layer.get_weights() for layer in (*built.head.branch_a, *built.head.branch_b)]
    history = built.fit(IMAGES, LABELS, epochs=40, validation_data=(IMAGES, LABELS), verbose=0).history
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert history["val_loss"][-1] < 0.8 * history["val_loss"][0]
    for layer, weights in zip((*built.head.branch_a, *built.head.branch_b), before, strict=True):
        assert all(np.abs(new - old).max() > 0 for new, old in zip(layer.get_weights(), weights, strict=True))
    assert built.head.explained_class is None
    assert built.head.targets is None
    assert np.isfinite(built.predict(IMAGES, verbose=0)).all()


def test_a_failing_step_leaves_the_head_as_it_was() -> None:
    built = model()
    built.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    with pytest.raises(KerasxaiError, match="labels must be"):
        built.train_on_batch(IMAGES, np.zeros((6, 3), "float32"))
    with pytest.raises(ValueError, match="shape"):
        built.train_on_batch(IMAGES[:, :8], LABELS)
    assert built.head.explained_class is None
    assert built.head.targets is None


def rows(*ones: tuple[int, ...]) -> np.ndarray:
    found = np.zeros((len(ones), CLASSES), "float32")
    for row, classes in zip(found, ones, strict=True):
        row[list(classes)] = 1
    return found


@pytest.mark.parametrize("eager", [False, True])
def test_labels_of_several_classes_or_none_are_an_error(eager: bool) -> None:
    built = model()
    built.compile("sgd", "categorical_crossentropy", run_eagerly=eager, jit_compile=False)
    for wrong in ((0, 1), ()):
        labels = rows((2,), (0,), wrong, (1,), (1,), (2,))
        with pytest.raises(tf.errors.InvalidArgumentError, match="labels must be one class"):
            built.train_on_batch(IMAGES, labels)
    assert built.head.targets is None


def test_xla_lets_no_class_zero_erase_for_an_image_without_a_class() -> None:
    """XLA drops assertions, so that the class itself has to be right."""
    built = model()
    built.compile("sgd", "categorical_crossentropy", jit_compile=True)
    assert np.isfinite(built.evaluate(IMAGES, rows((2,), (0,), (), (1,), (1,), (2,)), verbose=0))
    classes = tf.function(class_numbers, jit_compile=True)(tf.constant(rows((), (0, 1), (2,))))
    assert np.asarray(classes).tolist() == [-1, -1, 2]
    soft = tf.constant(rows((0,), (2,)) * 0.9 + 0.1 / CLASSES)
    assert np.asarray(class_numbers(soft)).tolist() == [0, 2]


def test_arguments_are_checked() -> None:
    for options, message in (
        ({"erase_threshold": 0.0}, "erase_threshold must be"),
        ({"erase_dilation": -1}, "erase_dilation must be 0 or more, got -1"),
    ):
        with pytest.raises(KerasxaiError, match=message):
            model(**options)
    with pytest.raises(KerasxaiError, match="width must be from 1"):
        build_classifier(tiny(), CLASSES, "acol", width=0)


def test_the_width_follows_from_the_number_of_classes_unless_it_is_given() -> None:
    for classes, width in ((2, 128), (64, 128), (65, 130), (200, 400), (256, 512), (1000, 512)):
        assert build_classifier(tiny(), classes, "acol").head.width == width
    assert build_classifier(tiny(), CLASSES, "acol", width=512).head.width == 512

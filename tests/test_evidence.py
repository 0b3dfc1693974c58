"""Attention that keeps its places: the same as Keras' own, and a map on which Grad-CAM tells what each place adds."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasxai
from kerasxai import scores
from kerasxai.models.attended_evidence import AttendedEvidence

HEADS, WIDTH, STATES, ROWS, COLUMNS, CHANNELS = 2, 6, 3, 4, 5, 7


def asked_and_places(count: int = 2) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return (
        generator.normal(size=(count, STATES, WIDTH)).astype("float32"),
        generator.normal(size=(count, ROWS, COLUMNS, CHANNELS)).astype("float32"),
    )


def test_summed_over_the_places_it_is_multi_head_attention() -> None:
    asked, places = asked_and_places()
    flat = places.reshape(2, ROWS * COLUMNS, CHANNELS)
    keras.utils.set_random_seed(0)
    attention = keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS, output_shape=WIDTH)
    expected = attention(asked, flat)
    layer = AttendedEvidence(HEADS, WIDTH // HEADS)
    evidence = layer(asked, places)
    assert evidence.shape == (2, ROWS, COLUMNS, STATES * WIDTH)
    weights = {weight.path.split("/", 1)[1]: weight.numpy() for weight in attention.weights}
    for weight in layer.weights:
        weight.assign(weights[weight.path.split("/", 1)[1]])
    found = np.asarray(layer(asked, places)).sum((1, 2)).reshape(2, STATES, HEADS, WIDTH // HEADS)
    kernel, bias = weights["attention_output/kernel"], weights["attention_output/bias"]
    np.testing.assert_allclose(np.einsum("bthd,hdk->btk", found, kernel) + bias, expected, rtol=1e-4, atol=1e-5)


def reader(length: int | None) -> Any:
    keras.utils.set_random_seed(1)
    image, asked = keras.Input((ROWS, COLUMNS, CHANNELS), name="image"), keras.Input((length, WIDTH), name="asked")
    evidence = AttendedEvidence(HEADS, WIDTH // HEADS, name="evidence")(asked, image)
    found = keras.layers.Reshape((-1, WIDTH))(keras.ops.sum(evidence, axis=(1, 2)))
    outputs = keras.layers.Dense(4, activation="softmax", name="top")(found)
    return keras.Model({"image": image, "asked": asked}, outputs)


def test_gradcam_shows_what_each_place_adds_to_the_word() -> None:
    asked, places = asked_and_places()
    model, targets = reader(STATES), np.array([[1, 2], [2, 3]])
    given = {"image": places, "asked": asked}
    found = {}
    for method in ("gradcam", "hirescam"):
        explain = kerasxai.Explainer(model, method, layer="evidence", score=scores.token(), image_input="image")
        found[method] = explain(given, targets).heatmaps
    # The gradient is the same at every place, so that it is its own mean.
    np.testing.assert_allclose(found["gradcam"], found["hirescam"], rtol=1e-4, atol=1e-6)
    evidence = np.asarray(keras.Model(model.inputs, model.get_layer("evidence").output)(given))
    top, probabilities = model.get_layer("top").kernel.numpy(), model.predict_on_batch(given)
    for image, (place, word) in enumerate(targets):
        of_state = evidence[image].reshape(ROWS, COLUMNS, STATES, WIDTH)[:, :, place]
        gradient = top[:, word] - top @ probabilities[image, place]
        np.testing.assert_allclose(found["gradcam"][image], np.maximum(of_state @ gradient, 0), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("length", [STATES, None])
def test_it_is_saved_and_loaded(length: int | None, tmp_path: Path) -> None:
    asked, places = asked_and_places()
    model = reader(length)
    model.save(tmp_path / "model.keras")
    loaded = kerasxai.models.load(tmp_path / "model.keras")
    given = {"image": places, "asked": asked}
    np.testing.assert_array_equal(loaded.predict_on_batch(given), model.predict_on_batch(given))
    assert model.get_layer("evidence").compute_output_shape((None, length, WIDTH), (None, ROWS, COLUMNS, CHANNELS)) == (
        None, ROWS, COLUMNS, None if length is None else length * WIDTH,
    )  # fmt: skip

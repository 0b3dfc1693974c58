"""Models that version 0.1.0 saved: each loads, predicts the same numbers and has the same class activation map.

tests/data/saved_models_0_1_0 holds one tiny classifier of each head, and one with attention as the answerer has it;
between them they name every layer and optimizer that 0.1.0 registered with Keras. Version 0.1.0 itself saved them and
recorded its results (commit a921b2d, TensorFlow 2.21, Keras 3.15):

    PYTHONPATH=<checkout of a921b2d> python tests/data/saved_models_0_1_0/make.py
"""

from pathlib import Path

import keras
import numpy as np
import pytest

import kerasxai

FOLDER = Path(__file__).parent / "data" / "saved_models_0_1_0"
RECORDED = np.load(FOLDER / "recorded.npz")
IMAGES = RECORDED["images"].astype("float32")
MODELS = [*kerasxai.HEADS, "attention"]


def check_predictions(model: keras.Model, name: str) -> None:
    np.testing.assert_allclose(model(IMAGES, training=False), RECORDED[f"{name}_predictions"], atol=1e-5)
    if name != "attention":
        assert kerasxai.models.class_names(model) == ["class 0", "class 1", "class 2"]


def test_each_head_has_a_saved_model() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.keras")) == sorted(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_keras_loads_a_saved_model(name: str) -> None:
    model = keras.models.load_model(FOLDER / f"{name}.keras")
    check_predictions(model, name)
    # The optimizer and its state are restored with the model.
    assert type(model.optimizer).__name__ == ("SharedSGD" if name == "gap" else "SharedAdamW")
    assert model.optimizer.shares == [1.0] * len(model.trainable_variables)
    assert int(model.optimizer.iterations) == 10


@pytest.mark.parametrize("name", MODELS)
def test_predictions_and_maps_of_a_saved_model(name: str) -> None:
    model = kerasxai.models.load(FOLDER / f"{name}.keras")
    check_predictions(model, name)
    explanation = kerasxai.Explainer(model, "gradcam" if name == "attention" else "cam", score="logit")(IMAGES)
    np.testing.assert_array_equal(explanation.targets, RECORDED[f"{name}_targets"])
    maps = RECORDED[f"{name}_maps"]
    np.testing.assert_allclose(explanation.heatmaps, maps, atol=1e-5 * np.abs(maps).max())

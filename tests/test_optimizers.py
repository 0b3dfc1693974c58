"""Optimizers with shares beside the formulas, and which variables learn faster."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasxai
from kerasxai.models import build_classifier
from kerasxai.models.optimizers import SharedAdamW, SharedSGD
from kerasxai.tools.errors import KerasxaiError
from kerasxai.training.config import TrainConfig
from kerasxai.training.optimizers import optimizer_of

GENERATOR = np.random.default_rng(0)
GRADIENTS = GENERATOR.normal(size=(5, 2, 3)).astype("float32")
STARTS = GENERATOR.normal(size=(2, 3)).astype("float32")


def run(optimizer: keras.optimizers.Optimizer) -> np.ndarray:
    variables = [keras.Variable(start) for start in STARTS]
    for gradients in GRADIENTS:
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)
    return np.stack([variable.numpy() for variable in variables])


def sgd(rate: float, start: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """PyTorch's SGD with Nesterov's momentum and decay, as its manual has it."""
    weights, velocity = start.astype(float), np.zeros_like(start, float)
    for gradient in gradients.astype(float):
        gradient = gradient + 1e-2 * weights
        velocity = 0.9 * velocity + gradient
        weights = weights - rate * (gradient + 0.9 * velocity)
    return weights


def test_sgd_is_pytorchs_with_a_share_of_the_rate() -> None:
    found = run(SharedSGD(0.05, momentum=0.9, nesterov=True, decay=1e-2, shares=[1, 10]))
    np.testing.assert_allclose(found[0], sgd(0.05, STARTS[0], GRADIENTS[:, 0]), rtol=1e-5)
    np.testing.assert_allclose(found[1], sgd(0.5, STARTS[1], GRADIENTS[:, 1]), rtol=1e-5)


def test_adamw_with_a_share_is_adamw_with_another_rate() -> None:
    plain, faster = (run(keras.optimizers.AdamW(rate, weight_decay=0.0)) for rate in (0.01, 0.1))
    found = run(SharedAdamW(0.01, weight_decay=0.0, shares=[1, 10]))
    np.testing.assert_allclose(found, [plain[0], faster[1]], rtol=1e-5)


def test_a_pull_is_toward_the_start_and_is_continued_from_a_file(tmp_path: Path) -> None:
    found = run(SharedSGD(0.05, pulls=[0, 2.0]))
    weights = [start.astype(float) for start in STARTS]
    for first, second in GRADIENTS:
        weights[0] = weights[0] - 0.05 * first
        stepped = weights[1] - 0.05 * second
        weights[1] = stepped - 0.05 * 2 * (stepped - STARTS[1])
    np.testing.assert_allclose(found, weights, rtol=1e-4)

    one = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    one.compile(SharedAdamW(0.1, pulls=[5, 0]), "mse", jit_compile=False)
    x, y = GENERATOR.normal(size=(8, 3)), GENERATOR.normal(size=(8, 2))
    one.fit(x, y, verbose=0)
    one.save(tmp_path / "x.keras")
    other = kerasxai.models.load(tmp_path / "x.keras", compile=True)
    for continued in (one, other):
        continued.fit(x, y, verbose=0, shuffle=False)
    np.testing.assert_array_equal(one.get_weights()[0], other.get_weights()[0])


def model() -> keras.Model:
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="inner")(image)
    return build_classifier(keras.Model(image, x), 2, "conv1x1", seed=0)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_head_learns_faster_and_it_loads(optimizer: str, tmp_path: Path) -> None:
    config = TrainConfig("shapes", optimizer=optimizer, head_rate=10, schedule="steps")
    made = model()
    made.compile(optimizer_of(config, made, 1e-3, 10), "sparse_categorical_crossentropy", jit_compile=False)
    assert made.optimizer.shares == [1, 1, 10, 10]
    made.fit(np.zeros((4, 8, 8, 3), "float32"), np.zeros(4), verbose=0)
    made.save(tmp_path / "x.keras")
    loaded: Any = kerasxai.models.load(tmp_path / "x.keras", compile=True).optimizer
    assert (type(loaded), loaded.shares) == (type(made.optimizer), [1, 1, 10, 10])


def test_schedules_fall() -> None:
    rates = {}
    for schedule in ("cosine", "steps", "constant"):
        config = TrainConfig("shapes", optimizer="sgd", schedule=schedule)
        rate: Any = optimizer_of(config, model(), 1.0, 100)._learning_rate
        rates[schedule] = [float(rate(step)) if callable(rate) else float(rate) for step in (0, 29, 30, 99)]
    np.testing.assert_allclose(rates["steps"], [1, 1, 0.1, 1e-3], rtol=1e-5)
    assert rates["constant"] == [1, 1, 1, 1]
    assert rates["cosine"][3] < 1e-3 < rates["cosine"][2] < 1


def test_unknown_names_are_told() -> None:
    with pytest.raises(KerasxaiError, match="expected a known optimizer, got 'sdg'; nearest: sgd"):
        TrainConfig("shapes", optimizer="sdg")
    with pytest.raises(KerasxaiError, match="expected a known schedule, got 'step'"):
        TrainConfig("shapes", schedule="step")


def test_fit_pulls_toward_the_weights_before_it() -> None:
    """`fit` builds optimizers in a symbolic scope; with zeros for starts the weights would fade."""
    keras.utils.set_random_seed(0)
    one = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="softmax")])
    before = [variable.numpy() for variable in one.trainable_variables]
    optimizer = SharedAdamW(1e-4, weight_decay=0.0, shares=[1, 1], pulls=[1e4, 1e4])
    one.compile(optimizer, "sparse_categorical_crossentropy")
    one.fit(GENERATOR.normal(size=(8, 3)), np.arange(8) % 2, epochs=3, verbose=0)
    for start, variable, old in zip(optimizer._starts, one.trainable_variables, before, strict=True):
        assert start is not None
        np.testing.assert_array_equal(start, old)
        # A pull of 1 at this rate leads back all the way in every step.
        np.testing.assert_allclose(variable.numpy(), old, atol=1e-6)

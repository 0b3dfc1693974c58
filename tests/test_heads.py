"""Heads: what their maps promise, and that the models are ordinary Keras models."""

import functools
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasxai
from kerasxai.models import HEADS, build_classifier, class_names
from kerasxai.tools.lazy import resolve

LABELS = np.array([0, 1, 2, 0, 1, 2])
# Noise with a touch of red, green or blue, so that there is something to learn.
IMAGES = np.random.default_rng(0).uniform(0, 200, (6, 16, 16, 3)).astype("float32")
IMAGES += 50 * np.eye(3, dtype="float32")[LABELS][:, None, None]


def tiny(seed: int = 0) -> keras.Model:
    """A backbone with its own preprocessing, maps of 8 x 8 places."""
    kernel = keras.initializers.GlorotUniform(seed)
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(6, 3, 2, "same", activation="relu", kernel_initializer=kernel),
        ],
        name="tiny",
    )


def part(model: keras.Model, layer: str) -> np.ndarray:
    return np.asarray(keras.Model(model.input, model.get_layer(layer).output)(IMAGES, training=False))


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.fixture
def policy(request: pytest.FixtureRequest) -> Iterator[str]:
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("depth", [0, 2])
def test_gap_logit_is_the_mean_of_the_class_activation_map(depth: int) -> None:
    model = build_classifier(tiny(), 3, "gap", depth=depth, width=5, seed=1)
    features = part(model, "head_conv2_relu") if depth else np.asarray(model.get_layer("backbone")(IMAGES))
    assert features.shape[-1] == (6 if depth == 0 else 5)
    maps = features @ model.get_layer("logits").kernel.numpy()
    np.testing.assert_allclose(maps.mean((1, 2)), part(model, "logits"), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model(IMAGES, training=False), softmax(maps.mean((1, 2))), atol=1e-6)
    assert not model.get_layer("logits").use_bias


@pytest.mark.parametrize("depth", [0, 2])
def test_conv1x1_logit_is_the_mean_of_its_class_map(depth: int) -> None:
    model = build_classifier(tiny(), 3, "conv1x1", depth=depth, width=5, seed=1)
    maps = part(model, "class_maps")
    assert maps.shape == (6, 8, 8, 3)
    np.testing.assert_allclose(maps.mean((1, 2)), part(model, "logits"), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model(IMAGES, training=False), softmax(maps.mean((1, 2))), atol=1e-6)


def test_conv1x1_of_depth_2_is_branch_a_of_acol() -> None:
    model = build_classifier(tiny(), 3, "conv1x1", depth=2, width=5, seed=1)
    acol = build_classifier(tiny(), 3, "acol", width=5, seed=1)
    np.testing.assert_allclose(model(IMAGES, training=False), acol(IMAGES, training=False), atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_seed_makes_the_same_head_and_another_seed_another(head: str) -> None:
    options: dict[str, Any] = {"width": 4} if head in ("acol", "spg") else {}
    outputs = [
        np.asarray(build_classifier(tiny(), 3, head, seed=seed, **options)(IMAGES, training=False))
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert np.abs(outputs[0] - outputs[2]).max() > 1e-3


@pytest.mark.parametrize("head", HEADS)
def test_dropout_is_active_in_training_alone(head: str) -> None:
    model = build_classifier(tiny(), 3, head, dropout=0.5, width=4)
    still = np.asarray(model(IMAGES, training=False))
    np.testing.assert_array_equal(still, model(IMAGES, training=False))
    assert np.abs(np.asarray(model(IMAGES, training=True)) - still).max() > 1e-4


@functools.cache
def trained(head: str) -> tuple[keras.Model, list[float]]:
    """Return a trained model, with class names, and its losses."""
    model = build_classifier(tiny(), 3, head, width=8, seed=1, class_names=["cat", "dog", "cow"])
    # Compiled by XLA for those with steps of their own.
    jit = "auto" if head in ("acol", "spg") else False
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=jit)
    return model, model.fit(IMAGES, LABELS, epochs=40, verbose=0).history["loss"]


@pytest.mark.parametrize("head", HEADS)
def test_fits_summarizes_and_lowers_its_loss(head: str) -> None:
    model, losses = trained(head)
    assert losses[-1] < 0.8 * losses[0]
    lines: list[str] = []
    model.summary(print_fn=lambda line, **_: lines.append(line))
    assert "predictions" in "\n".join(lines)


@pytest.mark.parametrize(
    ("head", "policy"),
    [
        # Heads that train by Keras' own step, and by one of their own; only float16 has a loss to scale.
        *((head, "mixed_float16") for head in ("gap", "acol")),
        ("gap", "mixed_bfloat16"),
        *(
            pytest.param(head, policy, marks=pytest.mark.exhaustive)
            for head, policy in itertools.product(HEADS, ["mixed_float16", "mixed_bfloat16"])
            if (head, policy) not in [("gap", "mixed_float16"), ("acol", "mixed_float16"), ("gap", "mixed_bfloat16")]
        ),
    ],
    indirect=["policy"],
)
def test_mixed_precision(head: str, policy: str) -> None:
    model = build_classifier(tiny(), 3, head, width=8, seed=1)
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", jit_compile=False)
    losses = model.fit(IMAGES, LABELS, epochs=3, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    output = model(IMAGES, training=False)
    assert keras.backend.standardize_dtype(output.dtype) == "float32"
    np.testing.assert_allclose(np.asarray(output).sum(-1), 1, atol=1e-6)
    assert model.get_layer("predictions").dtype_policy.name == "float32"


@pytest.mark.parametrize("policy", ["mixed_float16"], indirect=True)
def test_preprocessing_stays_exact_in_mixed_precision(policy: str) -> None:
    model = build_classifier("EfficientNetLite0", 3, weights=None, input_size=64)
    backbone = model.get_layer("backbone")
    scaled = keras.Model(backbone.input, backbone.get_layer("preprocessing").output)(
        IMAGES[:1, :, :, :].repeat(4, 1).repeat(4, 2)
    )
    assert keras.backend.standardize_dtype(scaled.dtype) == "float32"
    np.testing.assert_allclose(np.asarray(scaled)[0, ::4, ::4], (IMAGES[0] - 127) / 128, atol=1e-6)
    assert backbone.get_layer("stem_conv").compute_dtype == "float16"


def test_models_load_in_a_new_process(tmp_path: Path) -> None:
    """Every head, with class names, after nothing but `import kerasxai`; also one saved under mixed precision."""
    expected = {}
    for head in HEADS:
        model, _ = trained(head)
        model.save(tmp_path / f"{head}.keras")
        expected[head] = np.asarray(model(IMAGES, training=False))
        expected[f"{head}_loss"] = np.asarray(model.evaluate(IMAGES, LABELS, verbose=0))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = build_classifier(tiny(), 3, "acol", width=4, seed=1)
        mixed.save(tmp_path / "mixed.keras")
        expected["mixed"] = np.asarray(mixed(IMAGES, training=False))
    finally:
        keras.config.set_dtype_policy("float32")
    np.save(tmp_path / "images.npy", IMAGES)
    code = """
import sys
import kerasxai
assert "keras" not in sys.modules and "tensorflow" not in sys.modules
import keras
import numpy as np
images, results = np.load("images.npy"), {}
for name in ("gap", "conv1x1", "acol", "spg", "mixed"):
    model = keras.models.load_model(name + ".keras")
    results[name] = np.asarray(model(images, training=False))
    if name != "mixed":
        results[name + "_loss"] = model.evaluate(images, np.array([0, 1, 2, 0, 1, 2]), verbose=0)
        assert kerasxai.models.class_names(model) == ["cat", "dog", "cow"]
print(type(model).__module__, type(model).__name__)  # the last one, mixed
np.savez("results.npz", **results)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(kerasxai.__file__).parent.parent)}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["kerasxai.models.acol", "ACoLModel"]
    results = np.load(tmp_path / "results.npz")
    for name, values in expected.items():
        np.testing.assert_allclose(results[name], values, atol=1e-5, err_msg=name)


def test_class_names_of_foreign_models_are_unknown() -> None:
    assert class_names(tiny()) is None
    assert class_names(build_classifier(tiny(), 3)) is None


def test_every_row_names_a_builder_and_a_model() -> None:
    for name, row in HEADS.items():
        assert row.name == name
        assert callable(resolve(row.builder))
        assert issubclass(resolve(row.model), keras.Model)

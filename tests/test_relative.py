"""The relative logit: models with equal predictions have equal default maps, whatever their weights share."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasxai
from kerasxai import scores
from kerasxai.engine.scores import relative_logit
from kerasxai.models import build_classifier
from kerasxai.models.heads import Centered
from kerasxai.tools.errors import KerasxaiError

L = keras.layers
CLASSES, SIDE = 3, 16
RNG = np.random.default_rng(3)
IMAGES = RNG.uniform(0, 255, (2, SIDE, SIDE, 3)).astype("float32")
FAST: dict[str, dict[str, Any]] = {
    "lime": {"samples": 20},
    "kernelshap": {"segments": 6, "samples": 20},
    "rise": {"masks": 20},
    "occlusion": {"patch": 8, "stride": 8},
    "integrated_gradients": {"steps": 4},
}


def tiny() -> keras.Model:
    kernel = keras.initializers.GlorotUniform(0)
    layers = [keras.Input((SIDE, SIDE, 3)), L.Rescaling(1 / 255)]
    return keras.Sequential([*layers, L.Conv2D(6, 3, 2, "same", activation="relu", kernel_initializer=kernel)])


def headed(head: str, **options: Any) -> keras.Model:
    return build_classifier(tiny(), CLASSES, head, seed=1, **options)


def flattened(activation: str | None = "softmax") -> keras.Model:
    kernel = keras.initializers.GlorotUniform(1)
    return keras.Sequential([tiny(), L.Flatten(), L.Dense(CLASSES, activation, kernel_initializer=kernel)])


def last_weights(model: keras.Model) -> list[keras.Variable]:
    """Return the weights of the layers whose last axis is the classes."""
    parts = [layer for layer in model._flatten_layers() if isinstance(layer, L.Dense | L.Conv2D)]
    return [v for layer in parts for v in layer.trainable_variables if v.shape[-1] == CLASSES]


def shift(model: keras.Model, scale: float = 2) -> None:
    """Add the same random numbers to the weights of every class."""
    noise = np.random.default_rng(0)
    for variable in last_weights(model):
        variable.assign_add(scale * noise.normal(size=(*variable.shape[:-1], 1)))


MODELS: dict[str, Callable[[], keras.Model]] = {
    "gap": lambda: headed("gap"),
    "conv1x1": lambda: headed("conv1x1", depth=1, width=5),
    "acol": lambda: headed("acol", width=5),
    "spg": lambda: headed("spg", width=5),
    "flatten": flattened,
}


# Every way of running a model on one head, and a map, a gradient of it and one of the image on all of them.
WAYS = ("gradcam", "integrated_gradients", "guided_gradcam", "occlusion", "lime", "scorecam", "ablationcam")


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("gap", ("cam", "saliency", *WAYS)),
        *((name, ("cam", "gradcam", "saliency")) for name in ("conv1x1", "acol", "spg")),
        # A plain Flatten has no class maps.
        ("flatten", ("gradcam", "saliency")),
        # Eigen-CAM does not see the score.
        pytest.param("gap", [name for name in kerasxai.METHODS if name != "eigencam"], marks=pytest.mark.exhaustive),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)}_methods",
)
def test_models_with_equal_predictions_have_equal_maps(name: str, methods: Sequence[str]) -> None:
    plain, shifted = MODELS[name](), MODELS[name]()
    shift(shifted)
    np.testing.assert_allclose(plain(IMAGES), shifted(IMAGES), atol=1e-5)
    for method in methods:
        options: dict[str, Any] = FAST.get(method, {})
        first, second = (kerasxai.Explainer(m, method, **options)(IMAGES, 1) for m in (plain, shifted))
        np.testing.assert_allclose(first.scores, second.scores, atol=2e-5, err_msg=method)
        scale = np.abs(first.heatmaps).max()
        np.testing.assert_allclose(first.heatmaps / scale, second.heatmaps / scale, atol=1e-3, err_msg=method)


@pytest.mark.parametrize("name", MODELS)
def test_the_logit_is_explained_on_request(name: str) -> None:
    plain, shifted = MODELS[name](), MODELS[name]()
    shift(shifted)
    method = "gradcam" if name == "flatten" else "cam"
    maps = [kerasxai.Explainer(m, method, score="logit")(IMAGES, 1).heatmaps for m in (plain, shifted)]
    assert np.abs(maps[0] - maps[1]).max() > 0.1 * np.abs(maps[0]).max()


def test_cam_is_the_class_map_minus_the_mean_of_all() -> None:
    model = headed("gap")
    shift(model)
    every = np.stack(
        [kerasxai.Explainer(model, "cam", score="logit", resize=False)(IMAGES, c).heatmaps for c in range(CLASSES)]
    )
    explanation = kerasxai.Explainer(model, "cam", resize=False)(IMAGES, 2)
    np.testing.assert_allclose(explanation.heatmaps, every[2] - every.mean(0), rtol=1e-4, atol=1e-4)
    logits = keras.Model(model.input, model.get_layer("logits").output)(IMAGES).numpy()
    np.testing.assert_allclose(explanation.scores, logits[:, 2] - logits.mean(-1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(explanation.heatmaps.mean((1, 2)), explanation.scores, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_other_outputs_keep_the_logit(activation: str | None) -> None:
    model = flattened(activation)
    logits = flattened(None)(IMAGES).numpy()
    explain = kerasxai.Explainer(model, "saliency")
    np.testing.assert_allclose(explain(IMAGES, 1).scores, logits[:, 1], rtol=1e-5)
    if activation is None:
        # The user knows that a softmax follows.
        declared = kerasxai.Explainer(model, "saliency", outputs="logits"), kerasxai.Explainer(model, score="relative")
        for known in declared:
            np.testing.assert_allclose(known(IMAGES, 1).scores, logits[:, 1] - logits.mean(-1), rtol=1e-4)
    else:
        with pytest.raises(KerasxaiError, match=r'expected a softmax.*got sigmoid outputs; use score="logit"'):
            kerasxai.Explainer(model, "saliency", score="relative")(IMAGES)


def test_functions_are_explained_unchanged_unless_logits_are_declared() -> None:
    weights = RNG.normal(size=(SIDE * SIDE * 3, CLASSES)).astype("float32")

    def function(images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1) @ weights

    logits = function(IMAGES)
    plain, declared = (
        kerasxai.Explainer(function, "occlusion", outputs=x, **FAST["occlusion"]) for x in (None, "logits")
    )
    np.testing.assert_allclose(plain(IMAGES, 1).scores, logits[:, 1], rtol=1e-4)
    np.testing.assert_allclose(declared(IMAGES, 1).scores, logits[:, 1] - logits.mean(-1), rtol=1e-4, atol=1e-3)


def test_a_relative_logit_of_one_of_several_outputs() -> None:
    image = keras.Input((SIDE, SIDE, 3))
    x = L.GlobalAveragePooling2D()(tiny()(image))
    model = keras.Model(image, {"kind": L.Dense(CLASSES, "softmax")(x), "age": L.Dense(1)(x)})
    relative, logit, against = (
        kerasxai.Explainer(model, "saliency", score=score)(IMAGES, 1).scores
        for score in (scores.relative_logit("kind"), scores.class_logit("kind"), scores.margin(0, "kind"))
    )
    of_first = kerasxai.Explainer(model, "saliency", score=scores.relative_logit("kind"))(IMAGES, 0).scores
    np.testing.assert_allclose(relative - of_first, against, rtol=1e-4, atol=1e-6)
    assert np.abs(relative - logit).max() > 1e-3
    with pytest.raises(KerasxaiError, match="expected several classes for a relative logit, got a single unit"):
        kerasxai.Explainer(model, "saliency", score=scores.relative_logit("age"))(IMAGES, 0)


def test_excluded_classes_do_not_count_in_the_mean() -> None:
    logits = tf.constant([[1.0, 3.0, -np.inf], [0.0, 2.0, 4.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        relative = relative_logit(logits, tf.constant([1, 2], tf.int64))
    np.testing.assert_allclose(relative, [1, 2])
    np.testing.assert_allclose(tape.gradient(relative, logits), [[-0.5, 0.5, 0], [-1 / 3, -1 / 3, 2 / 3]], rtol=1e-6)


def test_wrong_scores_are_refused() -> None:
    with pytest.raises(KerasxaiError, match="expected a known score, got 'probability'"):
        kerasxai.Explainer(flattened(), "saliency", score="probability")
    with pytest.raises(KerasxaiError, match='score must be "relative" or "logit" for cam'):
        kerasxai.Explainer(headed("gap"), "cam", score=scores.margin())


@pytest.mark.parametrize("name", ["gap", "conv1x1", "acol", "spg"])
def test_class_weights_stay_centered_in_training_and_in_files(name: str, tmp_path: Any) -> None:
    model = MODELS[name]()
    assert all(np.abs(v.numpy().mean(-1)).max() < 1e-6 for v in last_weights(model))
    model.compile("adam", "sparse_categorical_crossentropy")
    before = [v.numpy() for v in last_weights(model)]
    model.fit(IMAGES, np.array([0, 2]), verbose=0)
    assert any(np.abs(v.numpy() - old).max() > 1e-4 for v, old in zip(last_weights(model), before, strict=True))
    assert all(np.abs(v.numpy().mean(-1)).max() < 1e-6 for v in last_weights(model))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    constraints = {type(v.constraint) for v in last_weights(loaded)}
    assert constraints == {Centered}

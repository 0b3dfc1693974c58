"""What a model's outputs are: one class is predicted, explained and shown, and with the model's own probability."""

import functools
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo
from PIL import Image
from scipy import special

import kerasxai
from kerasxai.cli import main
from kerasxai.engine.outputs.bounds import UNBOUNDED, bounds_of
from kerasxai.engine.outputs.kinds import Predictions, class_count, class_index

layers, ops = keras.layers, keras.ops
IMAGES = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 3)).astype("float32")
PATCHES: dict[str, Any] = {"patch": 4, "stride": 4}


def dense(units: int, activation: Any = None) -> Callable[[Any], Any]:
    return lambda x: layers.Dense(units, activation=activation, kernel_initializer="random_normal")(x)


def shares(x: Any, power: float = 1.0) -> Any:
    return x**power / ops.sum(x**power, -1, keepdims=True)


def mean_of(*ends: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: layers.Average()([end(x) for end in ends])


def two_columns(x: Any) -> Any:
    share = dense(1, "sigmoid")(x)
    return layers.Concatenate()([1 - share, share])


def hand_written(x: Any) -> Any:
    logits = dense(3)(x)
    return ops.exp(logits) / (ops.sum(ops.exp(logits), -1, keepdims=True) + 1e-7)


soft = dense(3, "softmax")
ENDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "softmax": ("softmax", soft),
    "activation": ("softmax", lambda x: layers.Activation("softmax")(dense(3)(x))),
    "identity behind a softmax": ("softmax", lambda x: layers.Lambda(lambda p: p)(soft(x))),
    "one sigmoid": ("sigmoid", dense(1, "sigmoid")),
    "two sigmoids": ("sigmoid", dense(2, "sigmoid")),
    "several sigmoids": ("sigmoid", dense(4, "sigmoid")),
    "logits": ("logits", dense(3)),
    "one logit": ("logits", dense(1)),
    "hinge": ("logits", dense(1, "tanh")),
    "rectified logits": ("logits", dense(3, "relu")),
    "log-softmax": ("log_softmax", dense(3, "log_softmax")),
    "mean of softmaxes": ("probabilities", mean_of(soft, soft)),
    "mean of sigmoids": ("probabilities", mean_of(dense(1, "sigmoid"), dense(1, "sigmoid"))),
    "clipped": ("probabilities", lambda x: ops.clip(soft(x), 1e-7, 1 - 1e-7)),
    "smoothed": ("probabilities", lambda x: soft(x) * 0.9 + 0.1 / 3),
    "sliced": ("probabilities", lambda x: layers.Lambda(lambda p: p[:, :2])(soft(x))),
    "temperature": ("probabilities", lambda x: shares(soft(x), 0.5)),
    "hand-written": ("probabilities", hand_written),
    "hard sigmoid": ("probabilities", dense(1, "hard_sigmoid")),
    "own sigmoid": ("probabilities", lambda x: 1 / (1 + ops.exp(-dense(1)(x)))),
    "both classes": ("probabilities", two_columns),
    "called function": ("probabilities", lambda x: layers.Lambda(tf.function(tf.nn.softmax))(dense(3)(x))),
    "mixture": ("unknown", lambda x: layers.Dense(3, use_bias=False, kernel_initializer="identity")(soft(x))),
}


@functools.cache
def model_of(name: str) -> Any:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, activation="relu", name="map")(inputs)
    return keras.Model(inputs, ENDS[name][1](layers.GlobalAveragePooling2D()(x)))


def own_probabilities(name: str) -> np.ndarray:
    """What the outputs say, computed by hand."""
    outputs = np.asarray(model_of(name)(IMAGES), np.float64)
    kind = ENDS[name][0]
    if outputs.shape[1] == 1:
        first = special.expit(outputs) if kind == "logits" else outputs
        return np.concatenate([1 - first, first], 1)
    return {"logits": special.softmax, "log_softmax": lambda x, axis: np.exp(x)}.get(kind, lambda x, axis: x)(
        outputs, axis=1
    )


@pytest.mark.filterwarnings("ignore:the model's outputs look like:UserWarning")
@pytest.mark.filterwarnings("ignore:nothing shows whether:UserWarning")
@pytest.mark.parametrize("name", ENDS)
def test_shown_predicted_and_explained_classes_agree(name: str) -> None:
    explainer = kerasxai.Explainer(model_of(name), "gradcam", layer="map")
    explanation, found = explainer(IMAGES), explainer.predict(IMAGES)
    expected = own_probabilities(name)
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(explanation.targets, expected.argmax(1))
    np.testing.assert_array_equal(found.classes, explanation.targets)
    assert explainer._model.outputs.kind in {ENDS[name][0], "probabilities"}
    alone = [explainer.predict(IMAGES[i : i + 1]).probabilities for i in range(3)]
    np.testing.assert_allclose(np.concatenate(alone), found.probabilities, rtol=1e-4, atol=1e-7)
    explained = found.scores[np.arange(3), explanation.targets]
    if explainer._model.outputs.kind in {"softmax", "log_softmax"}:
        explained = explained - found.scores.mean(-1)
    np.testing.assert_allclose(explanation.scores, explained, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("cam", {}),
        ("gradcam", {"smooth": "smoothgrad", "samples": 2}),
        ("gradcam", {"refine": "flip"}),
        ("scorecam", {"channels": 2, "layer": ["convolutions_first", "convolutions_last"]}),
        ("integrated_gradients", {"steps": 2}),
        ("occlusion", {"patch": 8}),
        ("rise", {"masks": 3}),
    ],
)
def test_an_explanation_has_the_predictions_of_its_images(method: str, options: dict[str, Any]) -> None:
    explainer = kerasxai.Explainer(zoo.build("functional"), method, batch_size=2, **options)
    images = zoo.images(3)
    outputs, expected = explainer(images, targets=1).outputs, explainer.predict(images)
    assert outputs is not None
    np.testing.assert_allclose(outputs.scores, expected.scores, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs.probabilities, expected.probabilities, rtol=1e-5, atol=1e-7)


def test_an_explanation_has_no_predictions_where_their_kind_is_unknown() -> None:
    def function(images: np.ndarray) -> np.ndarray:
        return np.stack([images.mean((1, 2, 3)), images.std((1, 2, 3))], 1)

    images = zoo.images(2)
    assert kerasxai.Explainer(function, "occlusion", patch=8)(images).outputs is None
    known = kerasxai.Explainer(function, "occlusion", patch=8, outputs="logits")(images).outputs
    assert known is not None
    np.testing.assert_allclose(known.scores, function(images), rtol=1e-5)
    score = kerasxai.scores.class_logit()
    assert kerasxai.Explainer(zoo.build("functional"), "gradcam", score=score)(images).outputs is None


@pytest.mark.parametrize("name", ENDS)
def test_a_warning_asks_where_no_softmax_or_sigmoid_ends_a_model(name: str) -> None:
    explainer = kerasxai.Explainer(model_of(name), "gradcam", layer="map")
    if ENDS[name][0] in {"probabilities", "unknown"}:
        with pytest.warns(UserWarning, match="outputs="):
            explainer(IMAGES)
        told = kerasxai.Explainer(model_of(name), "gradcam", layer="map", outputs="probabilities")
        np.testing.assert_array_equal(told(IMAGES).heatmaps, explainer(IMAGES).heatmaps)
    else:
        explainer(IMAGES)  # A warning would be an error here.


def test_logits_that_lie_in_0_to_1_stay_logits() -> None:
    inputs = keras.Input((8, 8, 3))
    top = layers.Dense(3, kernel_initializer="zeros", bias_initializer=lambda *_, **__: np.array([0.2, 0.3, 0.6]))
    model = keras.Model(inputs, top(layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3, name="map")(inputs))))
    found = kerasxai.Explainer(model, "gradcam", layer="map").predict(IMAGES)
    np.testing.assert_allclose(found.probabilities[0], special.softmax([0.2, 0.3, 0.6]), rtol=1e-5)
    top.bias.assign([0.1, 0.3, 0.6])
    with pytest.warns(UserWarning, match="taken for logits"):
        kerasxai.Explainer(model, "gradcam", layer="map")(IMAGES)


def test_saturated_probabilities_are_ranked_by_their_logits() -> None:
    found = Predictions(np.array([[20, 25, 1]], np.float32), np.array([[1, 1, 0.7]], np.float32))
    np.testing.assert_array_equal(found.ranked(2), [[1, 0]])
    np.testing.assert_array_equal(Predictions(np.zeros((1, 3), "f"), np.zeros((1, 3), "f")).ranked(3), [[0, 1, 2]])


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1")
def test_a_softmax_over_one_unit_is_warned_of() -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3, name="map")(inputs))
    explainer = kerasxai.Explainer(keras.Model(inputs, layers.Dense(1, activation="softmax")(x)), "gradcam")
    with pytest.warns(UserWarning, match="softmax over a single unit"):
        assert (explainer(IMAGES).targets == 1).all()
    np.testing.assert_array_equal(explainer.predict(IMAGES).classes, 1)


def column(values: list[float]) -> Callable[[np.ndarray], np.ndarray]:
    """A function that knows three images by their corners, so that it gives each one of three values."""
    keys = IMAGES[:, 0, 0, 0]
    return lambda images: np.array([[values[np.abs(keys - x[0, 0, 0]).argmin()]] for x in images])


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("occlusion", PATCHES),
        ("rise", {"masks": 8, "grid": 2}),
        ("lime", {"samples": 20, "segments": 4}),
        ("kernelshap", {"samples": 20, "segments": 4}),
    ],
)
def test_a_column_of_probabilities_has_its_threshold_at_one_half(method: str, options: dict[str, Any]) -> None:
    function = column([0.02, 0.7, 0.5])
    explainer = kerasxai.Explainer(function, method, **options)
    with pytest.warns(UserWarning, match="taken for probabilities; outputs="):
        explanation = explainer(IMAGES)
    np.testing.assert_array_equal(explanation.targets, [0, 1, 0])
    np.testing.assert_allclose(explanation.scores, [0.98, 0.7, 0.5], rtol=1e-6)
    known = kerasxai.Explainer(function, method, outputs="probabilities", **options)(IMAGES)
    np.testing.assert_array_equal(known.heatmaps, explanation.heatmaps)
    logits = kerasxai.Explainer(function, method, outputs="logits", **options)(IMAGES)
    np.testing.assert_array_equal(logits.targets, [1, 1, 1])


def test_a_guess_that_images_contradict_is_an_error() -> None:
    settings: dict[str, Any] = {"method": "occlusion", **PATCHES}
    with pytest.raises(kerasxai.KerasxaiError, match=r"got both; .*outputs="):
        kerasxai.Explainer(column([0.3, 3.0, 0.1]), **settings)(IMAGES)
    with pytest.warns(UserWarning, match="taken for logits"):
        assert kerasxai.Explainer(column([-3.0, 3.0, 9.0]), **settings)(IMAGES).targets.tolist() == [0, 1, 1]
    explainer = kerasxai.Explainer(column([0.3, 3.0, 0.1]), **settings)
    with pytest.warns(UserWarning, match="taken for probabilities"):
        explainer.predict(IMAGES[:1])
    with pytest.raises(kerasxai.KerasxaiError, match="got both"):
        explainer.predict(IMAGES[1:2])
    with pytest.raises(kerasxai.KerasxaiError, match=r"expected outputs in \[0, 1\]"):
        kerasxai.Explainer(column([0.3, 3.0, 0.1]), outputs="probabilities", **settings)(IMAGES)
    kerasxai.Explainer(column([0.3, 3.0, 0.1]), **settings)(IMAGES, 1)  # The score of class 1 depends on nothing.


def test_scores_of_classes_read_outputs_likewise() -> None:
    score = kerasxai.scores.class_logit()
    name = "mean of sigmoids"
    explainer = kerasxai.Explainer(model_of(name), "gradcam", layer="map", score=score)
    np.testing.assert_array_equal(explainer(IMAGES).targets, own_probabilities(name).argmax(1))
    np.testing.assert_array_equal(explainer.predict(IMAGES).classes, own_probabilities(name).argmax(1))
    function = column([0.02, 0.7, 0.5])
    with pytest.raises(kerasxai.KerasxaiError, match="a logit or a probability"):
        kerasxai.Explainer(function, "occlusion", score=score, **PATCHES)(IMAGES)
    known = kerasxai.Explainer(function, "occlusion", score=score, outputs="probabilities", **PATCHES)(IMAGES)
    np.testing.assert_array_equal(known.targets, [0, 1, 0])


def test_outputs_that_cannot_be_so_are_refused() -> None:
    with pytest.raises(kerasxai.KerasxaiError, match="expected a known value of outputs, got 'scores'"):
        kerasxai.Explainer(model_of("logits"), outputs="scores")
    with pytest.raises(kerasxai.KerasxaiError, match="ends in a softmax"):
        kerasxai.Explainer(model_of("softmax"), "gradcam", outputs="logits")(IMAGES)


def test_what_a_hidden_function_gives_is_guessed_once_for_the_model() -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(inputs))
    hidden = lambda x: tf.ensure_shape(tf.numpy_function(special.expit, [x], tf.float32), (None, 1))  # noqa: E731
    model = keras.Model(inputs, layers.Lambda(hidden, output_shape=(1,))(layers.Dense(1)(x)))
    explainer = kerasxai.Explainer(model, "occlusion", **PATCHES)
    with pytest.warns(UserWarning, match="nothing shows whether"):
        explanation = explainer(IMAGES)
    np.testing.assert_array_equal(explanation.targets, np.asarray(model(IMAGES))[:, 0] > 0.5)
    np.testing.assert_allclose(explainer.predict(IMAGES).probabilities[:, 1], model(IMAGES)[:, 0], rtol=1e-5)


def bounds(compute: Callable[[Any], Any]) -> Any:
    found: list[Any] = []

    def traced(x: Any) -> Any:
        found.append(bounds_of(compute(x)))
        return x

    tf.function(traced, autograph=False).get_concrete_function(tf.TensorSpec((None, 3)))
    return found[0]


def test_bounds_hold_for_every_input() -> None:
    p = tf.sigmoid
    assert bounds(lambda x: x) == UNBOUNDED
    assert bounds(lambda x: 2 * p(x) - 1) == (-1, 1)
    assert bounds(lambda x: 1 - tf.reduce_prod(1 - p(x), -1)) == (0, 1)
    assert bounds(lambda x: tf.reduce_sum(p(x), -1)) == (0, 3)
    assert bounds(lambda x: -tf.nn.softplus(-x)) == (-np.inf, 0)
    assert bounds(lambda x: tf.maximum(tf.minimum(x, 2.0), -1.0)) == (-1, 2)
    assert bounds(lambda x: tf.where(x > 0, p(x), 5.0)) == (0, 5)
    assert bounds(lambda x: tf.stack([p(x), tf.exp(-tf.nn.relu(x))])) == (0, 1)
    assert bounds(lambda x: p(x) / x) == UNBOUNDED
    assert bounds(lambda x: tf.sqrt(100 * p(x))) == (0, 10)
    assert bounds(lambda x: tf.numpy_function(np.tanh, [x], tf.float32)) is None


def test_a_class_name_wins_over_a_number() -> None:
    names = ["1", "2", "10", "Cat", "cat"]
    assert [class_index(name, names) for name in ("1", "10", " 2 ", "cat", "Cat", "0", "3")] == [0, 2, 1, 4, 3, 0, 3]
    assert class_index("7", None) == 7
    for text, known, count, message in [
        ("²", None, None, "the model carries no class names"),
        ("²", names, None, "expected a known class, got '²'"),
        ("-1", names, None, "expected a known class, got '-1'"),
        ("CAT", names, None, "the name of classes 3, 4"),
        ("a", ["a", "a"], None, "the name of classes 0, 1"),
        ("5", names, None, "target must be from 0 to 4, got 5"),
        ("2", None, 2, "target must be from 0 to 1, got 2"),
        ("", names, None, "expected a known class, got ''"),
    ]:
        with pytest.raises(kerasxai.KerasxaiError, match=message):
            class_index(text, known, count)
    assert class_count(model_of("one sigmoid")) == 2 and class_count(model_of("logits")) == 3


def test_explain_and_localize_show_the_models_own_probabilities(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (9, 11, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    path, out = str(tmp_path / "model.keras"), tmp_path / "out"
    for kind, bias, expected in (
        ("sigmoid", [2.2, 1.4, -2.2], special.expit([2.2, 1.4, -2.2])),
        (None, [0.3], special.expit([0.3])),
    ):
        inputs = keras.Input((8, 8, 3))
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(layers.Rescaling(1 / 255)(inputs)))
        top = layers.Dense(len(bias), activation=kind)
        model = keras.Model(inputs, top(x))
        top.set_weights([np.zeros((2, len(bias))), np.array(bias)])
        model.save(path)
        assert main(["explain", path, str(tmp_path / "a.png"), "--out", str(out)]) == 0
        record = json.loads((out / "explanations.json").read_text())["images"][0]
        shown = record["predicted"]
        assert shown[0]["name"] == record["explanations"][0]["target_name"]
        best = expected if len(bias) > 1 else [expected[0], 1 - expected[0]]
        np.testing.assert_allclose([one["probability"] for one in shown], best, rtol=1e-4)


def test_a_callback_measures_a_mean_of_sigmoids() -> None:
    data = [{"image": x, "label": i % 2, "boxes": np.array([[0.0, 0.0, 0.5, 0.5]])} for i, x in enumerate(IMAGES)]
    model = model_of("mean of sigmoids")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        callback = kerasxai.callbacks.LocalizationCallback(data, "gradcam", outputs="probabilities", layer="map")
        callback.set_model(model)
        callback.on_train_begin()
        callback.on_epoch_end(0, {})
    assert set(callback.results[1]) >= {"top1_loc"}

"""Numbers that are not finite are never returned or written: the error says where they are."""

import functools
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo
from PIL import Image
from run_folders import without_announcement

import kerasxai
from kerasxai.cli import main
from kerasxai.tools.errors import NotFiniteError

layers, ops = keras.layers, keras.ops
CONSTANTS = {"black": 0.0, "white": 255.0, "gray": 7.0, "negative": -3.0}


def network(convolution: Any = None, ending: Any = None, before: Any = None) -> Any:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((zoo.SIZE, zoo.SIZE, 3))
    x = inputs if before is None else before(inputs)
    x = (convolution or layers.Conv2D(6, 3, activation="relu", name="last"))(x)
    return keras.Model(inputs, layers.Dense(3, activation=ending, name="top")(layers.GlobalAveragePooling2D()(x)))


def silent() -> Any:
    """A network whose scores are always 0."""
    model = network()
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    return model


def undefined_for_black(scale: float = 1.0) -> Any:
    """A network without an output for a black image; rectifiers would hide what is not a number."""
    model = network()
    brightness = ops.log(ops.max(model.input * scale, (1, 2, 3), keepdims=False))
    return keras.Model(model.input, model.output + 0 * ops.expand_dims(brightness, -1))


NETWORKS = {
    "relu": network,
    "silent": silent,
    "one channel": lambda: network(layers.Conv2D(1, 1, activation="relu", name="last")),
    "signed": lambda: network(layers.Conv2D(4, 3, activation=lambda x: ops.relu(x) - 0.1, name="last"), "sigmoid"),
}


@functools.cache
def model_and_explainer(method: str, kind: str) -> tuple[Any, Any]:
    model = NETWORKS[kind]()
    return model, kerasxai.Explainer(model, method, **zoo.CHEAPER.get(method, {}))


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("method", kerasxai.METHODS)
def test_constant_images_have_finite_maps_scores_and_notes(method: str, kind: str) -> None:
    images = np.stack([np.full((zoo.SIZE, zoo.SIZE, 3), value, np.float32) for value in CONSTANTS.values()])
    # The silent network is the first one without weights, which is traced already.
    model, explain = model_and_explainer(method, "relu" if kind == "silent" else kind)
    weights = model.get_weights()
    if kind == "silent":
        model.set_weights([np.zeros_like(w) for w in weights])
    try:
        explanation = explain(images)
    finally:
        model.set_weights(weights)
    assert np.isfinite(explanation.heatmaps).all() and np.isfinite(explanation.scores).all()
    for name, note in explanation.notes.items():
        for value in note if isinstance(note, list) else [note]:
            assert isinstance(value, str) or np.isfinite(np.asarray(value, float)).all(), name


@pytest.mark.parametrize(
    "refine", ["flip", "pc1", "discriminant", "superpixels", "walker", "graphcut", "erase", "level"]
)
def test_constant_images_are_refined_to_finite_maps(refine: str) -> None:
    images = np.stack([np.full((zoo.SIZE, zoo.SIZE, 3), value, np.float32) for value in CONSTANTS.values()])
    for kind in ("relu", "silent"):
        assert np.isfinite(kerasxai.Explainer(NETWORKS[kind](), "gradcam", refine=refine)(images).heatmaps).all()


def test_ablationcam_of_an_image_without_features_is_zero() -> None:
    explanation = kerasxai.Explainer(network(), "ablationcam")(np.zeros((1, zoo.SIZE, zoo.SIZE, 3), np.float32), 1)
    assert (explanation.heatmaps == 0).all() and explanation.notes["near_zero_score"].all()


def broken(value: float, layer: str = "top") -> Any:
    model = network(ending="softmax")
    kernel = model.get_layer(layer).kernel
    values = kernel.numpy()
    values.flat[1] = value
    kernel.assign(values)
    return model


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_the_first_weight_that_is_not_finite_is_named(value: float, word: str) -> None:
    for call in (kerasxai.Explainer(broken(value)), kerasxai.Explainer(broken(value)).predict):
        with pytest.raises(NotFiniteError, match=f"expected finite weights, got {word} in 'top/kernel'") as told:
            call(np.abs(zoo.images(2)))
        assert told.value.image is None


def test_the_image_is_named_whose_numbers_are_not_finite() -> None:
    images = np.abs(zoo.images(5)) + 0.1
    explainer = kerasxai.Explainer(undefined_for_black(), layer="last", batch_size=2)
    explainer(images)
    images[3, 0, 0] = np.nan
    with pytest.raises(NotFiniteError, match="images must be finite numbers, got NaN in image 3"):
        explainer(images)
    images[3] = 0
    with pytest.raises(NotFiniteError, match="expected finite outputs of the model, got others for image 3") as told:
        explainer(images)
    assert told.value.image == 3
    with pytest.raises(NotFiniteError, match="image 3"):
        explainer.predict(images)
    function = kerasxai.Explainer(lambda x: 1 / x.max((1, 2)), "occlusion", patch=8, stride=8, batch_size=2)
    with np.errstate(divide="ignore"), pytest.raises(NotFiniteError, match="image 3"):
        function(images)


def test_a_score_that_is_not_finite_is_refused() -> None:
    score = lambda outputs, targets: tf.math.log(outputs[:, 0] * 0 - 1)  # noqa: E731
    with pytest.raises(NotFiniteError, match="expected finite scores of the model, got others for image 0"):
        kerasxai.Explainer(network(), score=score)(zoo.images(2))


def test_a_logit_of_minus_infinity_is_a_probability_of_zero() -> None:
    masked = network()
    model = keras.Model(masked.input, ops.where(np.array([True, True, False]), masked.output, -np.inf))
    explainer = kerasxai.Explainer(model, "gradcam", layer="last")
    assert (explainer(zoo.images(2)).targets < 2).all()
    np.testing.assert_array_equal(explainer.predict(zoo.images(2)).probabilities[:, 2], 0)


def test_overflow_of_half_precision_is_called_so() -> None:
    model = zoo.with_policy("mixed_float16", network)
    model.get_layer("last").kernel.assign(model.get_layer("last").kernel * 1e6)
    with pytest.raises(NotFiniteError, match="float16 ends at 65504"):
        kerasxai.Explainer(model)(zoo.images(1))


def test_a_map_that_is_not_finite_is_refused_with_method_and_settings() -> None:
    # The logarithm has no slope at 0, where another branch gives the value.
    model = network(before=lambda x: ops.where(x > 0, ops.log(x), 0.0))
    with pytest.raises(NotFiniteError, match=r"heatmap, got NaN for image 1 from saliency"):
        kerasxai.Explainer(model, "saliency")(np.stack([np.ones((16, 16, 3)), np.zeros((16, 16, 3))]))


def test_commands_skip_such_images_and_name_such_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, pixels in (("a", np.full((9, 9, 3), 90, np.uint8)), ("b", np.zeros((9, 9, 3), np.uint8))):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    images = [str(tmp_path / f"{name}.png") for name in "ab"]
    path, out = str(tmp_path / "model.keras"), tmp_path / "out"
    undefined_for_black(1 / 255).save(path)
    for command, table in (("explain", "explanations.json"), ("localize", "boxes.json")):
        options = ["--method", "gradcam", "--layer", "last", "--input-range", "0,255"]
        assert main([command, path, *images, *options, "--out", str(out / command)]) == 1
        assert "image" in capsys.readouterr().err
        text = (out / command / table).read_text()
        assert "NaN" not in text and "Infinity" not in text and len(json.loads(text)["images"]) == 1
        assert main([command, path, images[1], *options, "--out", str(out / f"{command}-black")]) == 2
        assert len(without_announcement(capsys.readouterr().err)) == 1
    broken(np.nan).save(path)
    assert main(["explain", path, *images, "--out", str(out / "weights")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "finite weights" in told
    assert json.loads((out / "weights" / "explanations.json").read_text())["images"] == []


def test_a_callback_warns_and_training_goes_on() -> None:
    model = broken(np.nan)
    data = [{"image": x, "label": i, "boxes": np.array([[0.0, 0.0, 0.5, 0.5]])} for i, x in enumerate(zoo.images(2))]
    callback = kerasxai.callbacks.LocalizationCallback(data, "gradcam")
    callback.set_model(model)
    callback.on_train_begin()
    with pytest.warns(UserWarning, match="finite weights, got NaN in 'top/kernel'"):
        callback.on_epoch_end(0, {})

"""Ready-made scores: each is what its name says, on models that end as such models do."""

import functools
from typing import Any

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
import zoo

import kerasxai
from kerasxai import scores

layers = keras.layers
IMAGES = zoo.images(3, size=8)


def _build(*ends: Any, form: str = "list") -> Any:
    """A body of one convolution and an end for each function of its map; one end is the only output."""
    keras.utils.set_random_seed(2)
    image = keras.Input((8, 8, 3))
    body = layers.Conv2D(6, 3, padding="same", activation="relu", name="body")(image)
    outputs = {f"{end.__name__}": end(body) for end in ends}
    if form == "dict":
        return keras.Model(image, outputs)
    return keras.Model(image, list(outputs.values()) if len(outputs) > 1 else outputs.popitem()[1])


def softmax(x: Any) -> Any:
    return layers.Dense(4, activation="softmax", name="softmax")(layers.GlobalAveragePooling2D()(x))


def labels(x: Any) -> Any:
    return layers.Dense(5, activation="sigmoid", name="labels")(layers.GlobalAveragePooling2D()(x))


def size(x: Any) -> Any:
    return layers.Dense(2, name="size")(layers.GlobalAveragePooling2D()(x))


def pixels(x: Any) -> Any:
    return layers.Conv2D(3, 1, activation="softmax", name="pixels")(x)


def binary_pixels(x: Any) -> Any:
    return layers.Conv2D(1, 1, activation="sigmoid", name="binary_pixels")(x)


def boxes(x: Any) -> Any:
    return layers.Reshape((16, 3), name="boxes")(layers.Conv2D(3, 2, strides=2, activation="sigmoid")(x))


def words(x: Any) -> Any:
    return layers.Dense(7, activation="softmax", name="words")(layers.Reshape((16, 24))(x))


model_of = functools.cache(_build)


def scores_of(model: Any, score: Any, targets: Any = None) -> Any:
    return kerasxai.Explainer(model, "gradcam", layer="body", score=score)(IMAGES, targets)


def logits(model: Any) -> np.ndarray:
    return scipy.special.logit(np.asarray(model(IMAGES), np.float64))


def log(model: Any) -> np.ndarray:
    return np.log(np.asarray(model(IMAGES), np.float64))


def at(values: np.ndarray, *indices: Any) -> np.ndarray:
    return values[(np.arange(3), *map(np.array, indices))]


@pytest.mark.parametrize("form", ["list", "dict"])
def test_one_output_of_several_is_explained_by_name_or_index(form: str) -> None:
    model = model_of(softmax, size, labels, form=form)
    single = keras.Model(
        model.input, dict(zip(["labels", "size", "softmax"], sorted_outputs(model), strict=True))["softmax"]
    )
    expected = kerasxai.Explainer(single, "gradcam", layer="body")(IMAGES)
    names: list[str | int] = ["softmax", 0] if form == "list" else ["softmax", 2]
    for name in names:
        found = scores_of(model, scores.relative_logit(name))
        np.testing.assert_array_equal(found.targets, expected.targets)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)
        np.testing.assert_allclose(found.heatmaps, expected.heatmaps, rtol=1e-4, atol=1e-7)
    values = model(IMAGES)["size" if form == "dict" else 1]
    np.testing.assert_allclose(scores_of(model, scores.value("size", unit=1)).scores, values[:, 1], rtol=1e-5)
    with pytest.raises(kerasxai.KerasxaiError, match=r"output must be one of the model's outputs, .*got several"):
        scores_of(model, scores.class_logit())
    with pytest.raises(kerasxai.KerasxaiError, match=r"size.*\(None, 2\).*, got 'colour'"):
        scores_of(model, scores.value("colour"))
    with pytest.raises(kerasxai.KerasxaiError, match="unit must be from -2 to 1, got 2"):
        scores_of(model, scores.value("size", unit=2))
    with pytest.raises(kerasxai.KerasxaiError, match="target must be from 0 to 3, got 4"):
        scores_of(model, scores.class_logit("softmax"), 4)


def sorted_outputs(model: Any) -> list[Any]:
    named = {tensor._keras_history.operation.name: tensor for tensor in tf.nest.flatten(model.outputs)}
    return [named[name] for name in sorted(named)]


def test_margins_and_log_probabilities_and_their_negatives() -> None:
    model = model_of(softmax)
    logs, targets = log(model), np.array([0, 3, 1])
    best = np.sort(logs, -1)
    # Differences of logits are differences of log-probabilities.
    np.testing.assert_allclose(
        scores_of(model, scores.margin(), None).scores, best[:, -1] - best[:, -2], rtol=1e-3, atol=1e-6
    )
    against = scores_of(model, scores.margin(other=2), targets)
    np.testing.assert_allclose(against.scores, at(logs, targets) - logs[:, 2], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(scores_of(model, scores.log_probability(), targets).scores, at(logs, targets), rtol=1e-4)
    minus = scores_of(model, scores.negative(scores.margin(other=2)), targets)
    np.testing.assert_allclose(minus.scores, -against.scores)
    signed = [
        kerasxai.Explainer(model, "gradient*input", score=s)(IMAGES, targets).heatmaps
        for s in (scores.margin(2), scores.negative(scores.margin(2)))
    ]
    np.testing.assert_allclose(signed[0], -signed[1])
    np.testing.assert_array_equal(scores_of(model, scores.negative(scores.class_logit())).targets, logs.argmax(-1))
    plain = scores.negative(lambda outputs, targets: outputs[:, 1])
    np.testing.assert_allclose(scores_of(model, plain).scores, -np.exp(logs[:, 1]), rtol=1e-4)


def test_log_probabilities_of_logits_and_of_functions() -> None:
    keras.utils.set_random_seed(2)
    bare = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="body"), layers.GlobalAveragePooling2D()])
    expected = scipy.special.log_softmax(np.asarray(bare(IMAGES), np.float64), -1)[:, 2]
    np.testing.assert_allclose(scores_of(bare, scores.log_probability(), 2).scores, expected, rtol=1e-4)
    model = model_of(softmax)
    explain = kerasxai.Explainer(lambda x: model(x).numpy(), "occlusion", score=scores.log_probability())
    np.testing.assert_allclose(explain(IMAGES, 2).scores, log(model)[:, 2], rtol=1e-4)
    np.testing.assert_array_equal(explain(IMAGES).targets, log(model).argmax(-1))
    with pytest.raises(kerasxai.KerasxaiError, match="target must be from 0 to 3, got 4"):
        explain(IMAGES, 4)


def test_several_labels_have_a_map_each() -> None:
    model = model_of(labels)
    shown, targets, rows = scores.repeated(IMAGES, [[0, 4], [], [2]])
    np.testing.assert_array_equal(rows, [0, 0, 2])
    found = kerasxai.Explainer(model, "gradcam", score=scores.class_logit())(shown, targets)
    np.testing.assert_allclose(found.scores, logits(model)[rows, targets], rtol=1e-4, atol=1e-6)
    several = scores.repeated({"image": IMAGES, "hint": np.zeros((1, 2))}, [[0, 4], [], [2]])[0]
    np.testing.assert_array_equal(several["image"], IMAGES[rows])
    assert several["hint"].shape == (1, 2)
    with pytest.raises(kerasxai.KerasxaiError, match="for each of 3 images, got 2 lists"):
        scores.repeated(IMAGES, [[0], [1]])
    with pytest.raises(kerasxai.KerasxaiError, match="expected targets to explain, got none"):
        scores.repeated(IMAGES, [[], [], []])


def test_segmentation_is_explained_over_a_mask_or_over_what_was_predicted() -> None:
    model = model_of(pixels)
    logs = log(model)
    masks = np.random.default_rng(0).random((3, 8, 8)) > 0.7
    # Logits differ from log-probabilities by one number a pixel; in a difference of two classes it is gone.
    found = [scores_of(model, scores.mask_mean(c), masks).scores for c in (2, 0)]
    expected = [(logs[..., c] * masks).sum((1, 2)) / masks.sum((1, 2)) for c in (2, 0)]
    np.testing.assert_allclose(found[0] - found[1], expected[0] - expected[1], rtol=1e-3, atol=1e-5)
    body = keras.Model(model.input, model.get_layer("body").output)
    kernel, bias = model.get_layer("pixels").get_weights()
    before = np.asarray(body(IMAGES)) @ kernel[0, 0] + bias
    region = logs.argmax(-1)
    votes = np.stack([(region == c).sum((1, 2)) for c in range(3)], -1).argmax(-1)
    predicted = scores_of(model, scores.predicted_region())
    np.testing.assert_array_equal(predicted.targets, votes)
    expected = [before[i, region[i] == votes[i]][:, votes[i]].mean() for i in range(3)]
    np.testing.assert_allclose(predicted.scores, expected, rtol=1e-4)
    alone = model_of(binary_pixels)
    inside = scores_of(alone, scores.mask_mean(1), masks).scores
    np.testing.assert_allclose(inside, [logits(alone)[i, masks[i], 0].mean() for i in range(3)], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(scores_of(alone, scores.mask_mean(0), masks).scores, -inside)
    assert (scores_of(model, scores.mask_mean(0), np.zeros((3, 8, 8))).scores == 0).all()
    with pytest.raises(kerasxai.KerasxaiError, match=r"targets must be masks \(N, height, width\)"):
        scores_of(model, scores.mask_mean(0), 1)


def test_one_box_of_a_detector_is_explained() -> None:
    model = model_of(boxes)
    own = logits(model)
    pairs = np.array([[15, 2], [0, 0], [7, 1]])
    np.testing.assert_allclose(scores_of(model, scores.box(), pairs).scores, at(own, *pairs.T), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(scores_of(model, scores.box(), 1).scores, own[..., 1].max(1), rtol=1e-3, atol=1e-6)
    best = scores_of(model, scores.box())
    np.testing.assert_array_equal(best.targets, own.max(1).argmax(-1))
    with pytest.raises(kerasxai.KerasxaiError, match="classes"):
        scores_of(model, scores.box(), np.zeros((3, 3), int))


def test_words_and_sentences_are_explained_by_their_log_probability() -> None:
    model = model_of(words)
    logs = log(model)
    pairs = np.array([[3, 6], [0, 1], [15, -1]])
    explain = kerasxai.Explainer(model, "gradcam", layer="body", score=scores.token())
    expected = [logs[0, 3, 6], logs[1, 0, 1], logs[2, 15].max()]
    np.testing.assert_allclose(explain(IMAGES, pairs).scores, expected, rtol=1e-4)
    explain(IMAGES[:2], [[1, 1], [2, 2]])
    assert len(zoo.traced_model(explain)._traces) == 1, "another word of another place is no other trace"
    said = np.random.default_rng(0).integers(0, 7, (3, 16))
    per_word = np.take_along_axis(logs, said[..., None], -1)[..., 0]
    np.testing.assert_allclose(
        scores_of(model, scores.sentence(), said).scores, (per_word * (said != 0)).sum(1), rtol=1e-4
    )
    np.testing.assert_allclose(scores_of(model, scores.sentence(None), said).scores, per_word.sum(1), rtol=1e-4)
    with pytest.raises(kerasxai.KerasxaiError, match=r"pairs \(position, word\)"):
        scores_of(model, scores.token())
    with pytest.raises(kerasxai.KerasxaiError, match=r"words \(N, 16\), one per position"):
        scores_of(model, scores.sentence(), said[:, :3])

"""The contract of every method, on every kind of model."""

import functools
import re
from typing import Any

import numpy as np
import pytest
import zoo

import kerasxai
from kerasxai.engine.layers import walk

model_of = functools.cache(zoo.build)
model_of_two_outputs = functools.cache(lambda: zoo.with_weights(zoo.two_outputs))


@functools.cache
def first_met(method: str, kind: str) -> tuple[Any, list[Any], list[Any]]:
    """Return an explainer, and the state of its model before and after the first explanation.

    Explainers are shared by all tests, because tracing them takes most of the time.
    """
    model = model_of(kind)
    before = state(model)
    explain = kerasxai.Explainer(model, method, batch_size=3, **zoo.CHEAPER.get(method, {}))
    explain(zoo.images(2))
    return explain, before, state(model)


def state(model: Any) -> list[Any]:
    """Return the names of each layer's attributes, and the weights."""
    return [{path: set(vars(layer)) for path, layer in walk(model)}, model.get_weights()]


def explainer_of(method: str, kind: str) -> Any:
    return first_met(method, kind)[0]


# Kinds of models on which each way of running a model differs: its layout, its precision, a score of two classes.
FOR_ALL_WAYS = ("single_sigmoid", "channels_first", "mixed_float16")
# The other kinds differ in how a model is called and where its score is found. One method of each kind tests this:
# gradients of a map, of an image, through other rectifiers; scores of changed images; ablation of a map's channels.
FOR_ALL_KINDS = ("gradcam", "integrated_gradients", "guided_gradcam", "occlusion", "ablationcam")


def is_default(method: str, kind: str) -> bool:
    """Return whether the default suite tests a pair: each method, each way on some kinds, and each kind."""
    return (
        kind == "functional"
        or (kind in FOR_ALL_WAYS and method in (*zoo.ONE_OF_EACH, "lime"))
        or method in FOR_ALL_KINDS
    )


for_each_method = pytest.mark.parametrize("method", kerasxai.METHODS)
for_each_pair = pytest.mark.parametrize(
    ("method", "kind"),
    [
        pytest.param(
            method,
            kind,
            marks=[] if is_default(method, kind) else pytest.mark.exhaustive,
            id=f"{method}-{kind}",
        )
        for method in kerasxai.METHODS
        for kind in zoo.KINDS
    ],
)


def tolerance(kind: str) -> dict[str, Any]:
    half = {"mixed_float16": 2e-3, "mixed_bfloat16": 2e-2}
    return {"rtol": half.get(kind, 2e-5), "atol": half.get(kind, 2e-6)}


@for_each_pair
def test_maps_have_the_shape_of_the_images_and_are_finite(method: str, kind: str) -> None:
    images = zoo.images(4)
    explanation = explainer_of(method, kind)(images)
    assert explanation.heatmaps.shape == (4, zoo.SIZE, zoo.SIZE)
    assert explanation.heatmaps.dtype == np.float32
    assert np.isfinite(explanation.heatmaps).all()
    assert np.ptp(explanation.heatmaps) > 0
    assert explanation.scores.shape == (4,)
    assert explanation.scores.dtype == np.float32
    assert explanation.targets.dtype == np.int64


@for_each_pair
def test_default_targets_are_the_predicted_classes(method: str, kind: str) -> None:
    images = zoo.images(4)
    outputs = np.asarray(model_of(kind)(images, training=False))
    expected = outputs.argmax(-1) if outputs.shape[-1] > 1 else (outputs[:, 0] > 0.5).astype(int)
    explanation = explainer_of(method, kind)(images)
    np.testing.assert_array_equal(explanation.targets, expected)
    named = explainer_of(method, kind)(images, targets=expected)
    np.testing.assert_array_equal(named.heatmaps, explanation.heatmaps)


@for_each_pair
def test_maps_do_not_depend_on_batching_or_order(method: str, kind: str) -> None:
    images = zoo.images(4)
    explain = explainer_of(method, kind)
    together = explain(images, targets=1).heatmaps
    backwards = explain(images[::-1], targets=1).heatmaps[::-1]
    alone = np.concatenate([explain(images[i : i + 1], targets=1).heatmaps for i in range(4)])
    np.testing.assert_allclose(backwards, together, **tolerance(kind))
    np.testing.assert_allclose(alone, together, **tolerance(kind))


@for_each_pair
def test_another_target_is_another_map_without_another_trace(method: str, kind: str) -> None:
    explain = explainer_of(method, kind)
    first = explain(zoo.images(3), targets=0)
    traces = len(explain._model._traces)
    second = explain(zoo.images(2), targets=1)
    third = explain(zoo.images(4), targets=np.array([0, 1, 0, 1]))
    assert len(explain._model._traces) == traces
    row = kerasxai.METHODS[method]
    same = not row.class_specific or (kind == "single_sigmoid" and row.even_in_score)
    assert np.allclose(first.heatmaps[:2], second.heatmaps) == same
    # Maps divided by a score near 0 vary more from batch to batch.
    close = tolerance(kind)
    close["atol"] *= max(1, np.abs(second.heatmaps).max())
    np.testing.assert_allclose(third.heatmaps[1], second.heatmaps[1], **close)


@for_each_pair
def test_the_model_is_left_as_it_was(method: str, kind: str) -> None:
    _, (attributes, weights), (attributes_after, weights_after) = first_met(method, kind)
    assert attributes and attributes_after == attributes
    for was, now in zip(weights, weights_after, strict=True):
        np.testing.assert_array_equal(was, now)


@for_each_method
def test_new_weights_are_seen_without_a_new_trace(method: str) -> None:
    model, explain = model_of("functional"), explainer_of(method, "functional")
    traces = len(explain._model._traces)
    before = explain(zoo.images(2), targets=0).heatmaps
    weights = model.get_weights()
    model.set_weights([w * 1.1 for w in weights])
    try:
        after = explain(zoo.images(2), targets=0).heatmaps
        new = kerasxai.Explainer(model, method, batch_size=3, **zoo.CHEAPER.get(method, {}))
        fresh = new(zoo.images(2), targets=0).heatmaps
    finally:
        model.set_weights(weights)
    assert len(explain._model._traces) == traces
    assert not np.allclose(before, after)
    np.testing.assert_allclose(after, fresh, rtol=1e-6)


@for_each_method
def test_bad_targets_and_images_are_refused(method: str) -> None:
    explain = explainer_of(method, "functional")
    images = zoo.images(2)
    with pytest.raises(kerasxai.KerasxaiError, match="target must be from 0 to 3, got 4"):
        explain(images, targets=4)
    with pytest.raises(kerasxai.KerasxaiError, match="targets must be 0 or more, got -2"):
        explain(images, targets=[0, -2])
    with pytest.raises(kerasxai.KerasxaiError, match="one class for each of 2 images"):
        explain(images, targets=[0, 1, 2])
    with pytest.raises(kerasxai.KerasxaiError, match="class indices"):
        explain(images, targets=0.5)
    with pytest.raises(kerasxai.KerasxaiError, match=r"a single image needs a batch axis"):
        explain(images[0])
    with pytest.raises(kerasxai.KerasxaiError, match="length 0"):
        explain(images[:0])
    with pytest.raises(kerasxai.KerasxaiError, match=r"shape \(16, 16, 3\) for the model .*, got \(8, 8, 3\)"):
        explain(zoo.images(1, size=8))
    assert explain(images).heatmaps.shape == (2, zoo.SIZE, zoo.SIZE), "a failed call must not poison the next"


@for_each_method
def test_any_score_of_a_model_with_several_outputs_is_explained(method: str) -> None:
    if not kerasxai.METHODS[method].takes_score:
        pytest.skip("explains the logit of a class only")
    model = model_of_two_outputs()
    settings = zoo.CHEAPER.get(method, {})
    explain = kerasxai.Explainer(model, method, score=lambda outputs, targets: outputs["size"][:, 0], **settings)
    explanation = explain(zoo.images(2), targets=0)
    np.testing.assert_allclose(explanation.scores, model(zoo.images(2))["size"][:, 0], rtol=1e-5)
    assert np.ptp(explanation.heatmaps) > 0


@for_each_method
def test_unknown_options_are_refused(method: str) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=re.escape(f"expected a known option of {method}, got 'colour'")):
        kerasxai.Explainer(model_of("functional"), method, colour=3)

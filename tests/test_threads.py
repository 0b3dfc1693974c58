"""Threads that explain, predict and fail at once: the maps made alone, and the model as it was."""

import contextlib
import itertools
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

import kerasxai
from kerasxai.engine import tracing
from kerasxai.engine.layers import walk
from kerasxai.engine.tracing import intercepted, one_pass_at_a_time, patched, recorded

IMAGES = zoo.images(4)


def state(model: Any) -> dict[str, dict[str, int]]:
    """Returns which objects each layer holds; bools are left out, such as whether it was ever called."""
    return {
        path: {name: id(value) for name, value in vars(layer).items() if not isinstance(value, bool)}
        for path, layer in walk(model)
    }


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Returns what each of several threads that start together made."""
    start = threading.Barrier(count)

    def begin(number: int) -> Any:
        start.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def test_threads_share_an_explainer() -> None:
    model = zoo.build("functional")
    alone = kerasxai.Explainer(model, "gradcam")
    expected = [alone(IMAGES[: 1 + number % 4], targets=number % 3).heatmaps for number in range(8)]
    shared, before = kerasxai.Explainer(model, "gradcam", batch_size=2), state(model)
    found = at_once(8, lambda number: shared(IMAGES[: 1 + number % 4], targets=number % 3))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.heatmaps, other, rtol=1e-5, atol=1e-7)
    assert len(zoo.traced_model(shared)._traces) == 1
    assert state(model) == before


@pytest.mark.parametrize(("method", "options"), [("occlusion", {"patch": 8}), ("lime", {"samples": 8, "segments": 4})])
def test_each_thread_has_its_own_inputs_and_diagnostics(method: str, options: dict[str, Any]) -> None:
    keras.utils.set_random_seed(5)
    images, words = keras.Input((16, 16, 3)), keras.Input((4,))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(images))
    mixed = keras.layers.Multiply()([pooled, keras.layers.Dense(4)(words)])
    model = keras.Model([images, words], keras.layers.Dense(3)(mixed))
    given = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")

    def explained(explainer: kerasxai.Explainer, number: int) -> kerasxai.Explanation:
        return explainer([zoo.images(2, seed=number), given[number : number + 1]], targets=number % 3)

    alone = kerasxai.Explainer(model, method, **options)
    expected = [explained(alone, number) for number in range(8)]
    shared = kerasxai.Explainer(model, method, **options)
    for one, other in zip(at_once(8, lambda number: explained(shared, number)), expected, strict=True):
        np.testing.assert_allclose(one.heatmaps, other.heatmaps, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5)
        assert one.notes.keys() == other.notes.keys()
        if method == "lime":
            np.testing.assert_array_equal(one.notes["superpixels"], other.notes["superpixels"])


@pytest.mark.parametrize("kind", ["functional", "subclassed"])
def test_threads_explain_one_model_while_others_predict(kind: str) -> None:
    model = zoo.build(kind)
    methods = ["gradcam", "saliency", "ablationcam", "gradcam"]
    expected = [kerasxai.Explainer(model, method)(IMAGES, targets=1).heatmaps for method in methods]
    outputs, before = model(IMAGES).numpy(), state(model)

    def work(number: int) -> Any:
        if number < len(methods):
            return kerasxai.Explainer(model, methods[number])(IMAGES, targets=1).heatmaps
        return [model(IMAGES).numpy() for _ in range(20)]

    found = at_once(len(methods) + 2, work)
    for one, other in zip(found, expected, strict=False):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    for predicted in (*found[-1], *found[-2]):
        np.testing.assert_allclose(predicted, outputs, rtol=1e-5)
    assert state(model) == before


def test_errors_in_some_threads_leave_the_others_and_the_model_alone() -> None:
    model = zoo.build("functional")
    expected, before = kerasxai.Explainer(model, "gradcam")(IMAGES, targets=1).heatmaps, state(model)

    def broken(outputs: Any, targets: Any) -> Any:
        raise RuntimeError("no score")

    def work(number: int) -> Any:
        if number % 2:
            return kerasxai.Explainer(model, "gradcam")(IMAGES, targets=1).heatmaps
        with pytest.raises(RuntimeError, match="no score"):
            kerasxai.Explainer(model, "gradcam", score=broken)(IMAGES, targets=1)
        return expected

    for found in at_once(6, work):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert state(model) == before


class Meeting(keras.layers.Layer):
    """Lets another thread use its model in the middle of a traced pass."""

    meanwhile: Callable[[], None] | None = None

    def call(self, inputs: Any) -> Any:
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            thread = threading.Thread(target=meanwhile)
            thread.start()
            thread.join()
        return inputs


def meeting_model() -> tuple[Any, Meeting]:
    keras.utils.set_random_seed(5)
    inputs, meeting = keras.Input((zoo.SIZE, zoo.SIZE, 3)), Meeting()
    x = meeting(keras.layers.Conv2D(4, 3, strides=2, activation="relu")(inputs))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, strides=2)(x))
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))), meeting


@pytest.mark.parametrize("settings", [{}, {"refine": "stride:stride=2"}, {"refine": "enlarge:factors=2"}])
def test_a_thread_that_predicts_in_the_middle_of_a_pass_meets_the_model_as_it_is(settings: dict[str, Any]) -> None:
    model, meeting = meeting_model()
    expected, predicted = model(IMAGES).numpy(), []
    explain = kerasxai.Explainer(model, "gradcam", **settings)
    meeting.meanwhile = lambda: predicted.append(model(IMAGES).numpy())
    explain(IMAGES)
    np.testing.assert_array_equal(predicted[0], expected)


def test_changes_are_seen_in_their_own_thread_alone() -> None:
    layer = keras.layers.Dense(2, kernel_initializer="ones", activation="relu")
    x = -np.ones((1, 3), "float32")
    layer(x)
    before = {name: id(value) for name, value in vars(layer).items()}
    with patched(layer, activation=keras.activations.linear), intercepted(layer, lambda call, x: call(x) + 1):
        own = vars(layer)["call"]
        assert at_once(1, lambda _: layer(x).numpy().tolist()) == [[[0, 0]]]
        np.testing.assert_array_equal(layer(x), [[-2, -2]])
    # Another thread may have looked the method up just before it was put back.
    np.testing.assert_array_equal(own(x), [[0, 0]])
    assert {name: id(value) for name, value in vars(layer).items()} == before


def test_an_interrupt_at_the_start_of_any_function_leaves_no_change_behind() -> None:
    model, calls = zoo.build("functional"), itertools.count()
    before, files = state(model), {tracing.__file__, contextlib.__file__}
    number = 0

    @one_pass_at_a_time
    def change() -> None:
        with recorded(list(walk(model))[-2:], print), patched(model, name="other"):
            assert state(model) != before

    def interrupt(frame: Any, event: str, value: Any) -> None:
        if event == "call" and frame.f_code.co_filename in files and next(calls) == number:
            raise KeyboardInterrupt

    while True:
        sys.settrace(interrupt)
        try:
            change()
            break
        except KeyboardInterrupt:
            number, calls = number + 1, itertools.count()
        finally:
            sys.settrace(None)
        assert state(model) == before
    assert number > 30
    assert at_once(1, lambda _: one_pass_at_a_time(lambda: 1)()) == [1], "the lock is free for other threads"


def test_an_explainer_inside_a_traced_function_is_refused() -> None:
    explain = kerasxai.Explainer(zoo.build("functional"), "gradcam")
    with pytest.raises(kerasxai.KerasxaiError, match="expected an explainer to be called eagerly"):
        tf.function(lambda images: explain(images).heatmaps, autograph=False)(IMAGES)


def test_a_score_may_explain_and_wait_for_threads_that_do() -> None:
    model = zoo.build("functional")
    inner = kerasxai.Explainer(model, "gradcam")
    expected = kerasxai.Explainer(model, "gradcam")(IMAGES, targets=1).heatmaps
    found: list[Any] = []

    def score(outputs: Any, targets: Any) -> Any:
        with tf.init_scope():
            found.append(inner(IMAGES, targets=1).heatmaps)
        thread = threading.Thread(target=lambda: found.append(inner(IMAGES, targets=1).heatmaps))
        thread.start()
        thread.join()
        return outputs[:, 1]

    kerasxai.Explainer(model, "gradcam", score=score)(IMAGES)
    for one in found:
        np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-7)


def test_threads_find_out_together_what_outputs_are() -> None:
    keras.utils.set_random_seed(6)
    inputs = keras.Input((zoo.SIZE, zoo.SIZE, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(inputs))
    model = keras.Model(inputs, keras.ops.clip(keras.layers.Dense(1, "sigmoid")(x) * 1.1, 0.0, 1.0))

    def explained(explain: Any) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return explain(IMAGES, targets=0).heatmaps

    expected = explained(kerasxai.Explainer(model, "saliency"))
    for _ in range(3):
        shared = kerasxai.Explainer(model, "saliency")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = at_once(4, lambda _: shared(IMAGES, targets=0).heatmaps)  # noqa: B023
            predicted = at_once(3, lambda _: shared.predict(IMAGES).probabilities)  # noqa: B023
        assert np.array_equal(predicted[0], predicted[1]) and np.array_equal(predicted[0], predicted[2])
        for one in found:
            np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-7)

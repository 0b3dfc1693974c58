"""Frozen weights must change nothing but the time, and never be stale."""

import itertools
import threading
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

import kerasxai
from kerasxai.engine import traced_model as view
from kerasxai.engine.fast import constant_weights as freezing
from kerasxai.engine.fast.constant_weights import ConstantWeights, weight_reads, with_constant_weights
from kerasxai.engine.outputs.checks import clean
from kerasxai.engine.samples import Samples
from kerasxai.engine.traced_model import TracedModel

layers = keras.layers
LOOPS = ["occlusion", "rise", "lime", "kernelshap", "scorecam", "ablationcam", "integrated_gradients"]


@pytest.fixture
def eager_to_freeze(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Freezes in every loop; gives what was frozen."""
    made: list[Any] = []

    def kept(*arguments: Any) -> Any:
        made.append(with_constant_weights(*arguments))
        return made[-1]

    monkeypatch.setattr(freezing, "WORTHWHILE", 0)
    monkeypatch.setattr(freezing, "with_constant_weights", kept)
    return made


def same(one: np.ndarray, other: np.ndarray, tolerance: float = 2e-5) -> None:
    scale = np.abs(other).max()
    assert scale > 0
    np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * scale)


CASES = [
    *((method, "functional") for method in [*LOOPS, "smoothgrad"]),
    *(("integrated_gradients", kind) for kind in ("nested", "subclassed", "mixed_float16", "mixed_bfloat16")),
]


@pytest.mark.parametrize(("method", "kind"), CASES)
def test_maps_are_the_same(eager_to_freeze: list[Any], method: str, kind: str) -> None:
    options = zoo.CHEAPER.get(method, {})
    name = method
    if method == "smoothgrad":
        name, options = "saliency", {"smooth": "smoothgrad", "samples": 6}
    model = zoo.build(kind)
    live = kerasxai.Explainer(model, name, fold=False, **options)(zoo.images(2), targets=1)
    assert not eager_to_freeze
    explain = kerasxai.Explainer(model, name, **options)
    same(explain(zoo.images(2), targets=1).heatmaps, live.heatmaps, 5e-2 if kind.startswith("mixed") else 2e-5)
    assert len(eager_to_freeze) == 1
    explain(zoo.images(3), targets=2)
    assert len(eager_to_freeze) == 1


def test_changed_weights_are_seen(eager_to_freeze: list[Any]) -> None:
    model = zoo.build("functional")
    options: dict[str, Any] = zoo.CHEAPER["occlusion"] | {"score": "logit"}
    explain = kerasxai.Explainer(model, "occlusion", **options)
    before = explain(zoo.images(1), targets=0).heatmaps
    changed = [model.weights[0], model.weights[3], model.weights[-1]]
    for number, variable in enumerate(changed):
        variable.assign(variable + 0.05)
        after = explain(zoo.images(1), targets=0).heatmaps
        fresh = kerasxai.Explainer(model, "occlusion", fold=False, **options)
        same(after, fresh(zoo.images(1), targets=0).heatmaps)
        # All change the map but the last, the bias of the logits, whose differences are shown.
        assert np.array_equal(after, before) == (number == 2)
        before = after
    assert len(eager_to_freeze) == 4


def test_a_change_of_a_single_bit_is_seen(eager_to_freeze: list[Any]) -> None:
    model = zoo.build("functional")
    explain = kerasxai.Explainer(model, "rise", **zoo.CHEAPER["rise"])
    explain(zoo.images(1))
    kernel = model.layers[1].kernel
    # Minus zero equals zero, and so is found by its bits alone.
    for zero in (np.float32(-0.0), np.float32(0.0)):
        values = kernel.numpy()
        values[0, 0] = zero
        kernel.assign(values)
        explain(zoo.images(1))
    assert len(eager_to_freeze) == 3
    explain(zoo.images(1))
    assert len(eager_to_freeze) == 3


@pytest.mark.parametrize("at_once", [2, 1])
def test_frozen_questions_are_answered_side_by_side(
    eager_to_freeze: list[Any], monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    meeting = threading.Barrier(2)

    def met(*arguments: Any) -> Any:
        answer = with_constant_weights(*arguments)

        def meet(*given: Any) -> Any:
            meeting.wait(20 if at_once > 1 else 0.2)
            return answer(*given)

        return meet

    model = zoo.build("functional")
    options: dict[str, Any] = {"masks": 16, "grid": 4, "batch_size": 4}
    live = kerasxai.Explainer(model, "rise", fold=False, **options)(zoo.images(1), targets=1)
    monkeypatch.setattr(freezing, "with_constant_weights", met)
    monkeypatch.setattr(view, "max_concurrent", lambda: at_once)
    explain = kerasxai.Explainer(model, "rise", **options)
    if at_once == 1:
        with pytest.raises(threading.BrokenBarrierError):
            explain(zoo.images(1), targets=1)
    else:
        same(explain(zoo.images(1), targets=1).heatmaps, live.heatmaps)


def test_what_fails_beside_another_answer_is_told(eager_to_freeze: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any) -> Any:
        answer, calls = with_constant_weights(*arguments), itertools.count()

        def fail(*given: Any) -> Any:
            if next(calls) == 2:
                raise MemoryError("no room for the third batch")
            return answer(*given)

        return fail

    monkeypatch.setattr(freezing, "with_constant_weights", failing)
    explain = kerasxai.Explainer(zoo.build("functional"), "rise", masks=16, grid=4, batch_size=2)
    with pytest.raises(MemoryError, match="third batch"):
        explain(zoo.images(1))
    assert explain(zoo.images(1)).heatmaps.max() > 0


def test_only_what_pays_is_frozen(eager_to_freeze: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "WORTHWHILE", 100 * zoo.SIZE**2)
    model = zoo.build("functional")
    explain = kerasxai.Explainer(model, "rise", masks=40, grid=4, batch_size=2)
    explain(zoo.images(1))
    explain(zoo.images(1))
    assert not eager_to_freeze
    # As in a training: other weights, and the count begins anew.
    model.layers[1].kernel.assign_add(0.01 * tf.ones_like(model.layers[1].kernel))
    explain(zoo.images(1))
    explain(zoo.images(1))
    assert not eager_to_freeze
    explain(zoo.images(1))
    assert len(eager_to_freeze) == 1
    # A call of several images knows from its first on how much is to come.
    kerasxai.Explainer(model, "rise", masks=40, grid=4, batch_size=2)(zoo.images(3))
    assert len(eager_to_freeze) == 2
    # Single passes are no loop.
    kerasxai.Explainer(model, "saliency", batch_size=1)(zoo.images(3))
    assert len(eager_to_freeze) == 2


def test_large_models_stay_live(eager_to_freeze: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "_MAX_BYTES", 100)
    kerasxai.Explainer(zoo.build("functional"), "rise", **zoo.CHEAPER["rise"])(zoo.images(1))
    assert not eager_to_freeze


def test_old_frozen_questions_are_dropped(eager_to_freeze: list[Any]) -> None:
    def any_size() -> Any:
        inputs = keras.Input((None, None, 3))
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(inputs))
        return keras.Model(inputs, layers.Dense(zoo.CLASSES)(x))

    of_any_size = TracedModel(zoo.with_weights(any_size))
    of_one_size = TracedModel(zoo.build("functional"))
    for asked in (of_any_size, of_one_size):
        for size in range(16, 20):
            images = zoo.images(1, 16 if asked is of_one_size else size)
            for _ in asked.chunks(1):
                asked.evaluate(clean, Samples.of(images, np.zeros(1)), explain=("logit", "probability")[size % 2])
        held = [one for one in asked._constant_weights._candidates.values() if one.constant is not None]
        assert len(held) <= freezing._MAX_GRAPHS
        # What was dropped is neither used nor lost: the next loop freezes it again.
        for _ in asked.chunks(1):
            asked.evaluate(clean, Samples.of(zoo.images(1, 16), np.zeros(1)), explain="logit")


class Random(keras.layers.Layer):
    def call(self, inputs: Any) -> Any:
        return inputs + tf.random.normal(tf.shape(inputs)) * 0


class Looked(keras.layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        pairs = tf.lookup.KeyValueTensorInitializer(tf.range(3, dtype=tf.int64), tf.range(3, dtype=tf.float32))
        self.table = tf.lookup.StaticHashTable(pairs, 0.0)

    def call(self, inputs: Any) -> Any:
        return inputs + self.table.lookup(tf.zeros(1, tf.int64))


class Repeated(keras.layers.Layer):
    """A weight that is read inside a loop of the graph."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(), initializer="ones")

    def call(self, inputs: Any) -> Any:
        return tf.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * self.scale), (0, inputs))[1]


@pytest.mark.parametrize("layer", [Random, Looked, Repeated])
def test_what_has_other_state_stays_live(eager_to_freeze: list[Any], layer: Any) -> None:
    inputs = keras.Input((zoo.SIZE, zoo.SIZE, 3))
    x = layers.Conv2D(4, 3, activation="relu")(layer()(inputs))
    model = keras.Model(inputs, layers.Dense(zoo.CLASSES)(layers.GlobalAveragePooling2D()(x)))
    explained = kerasxai.Explainer(model, "occlusion", **zoo.CHEAPER["occlusion"])(zoo.images(1))
    assert np.abs(explained.heatmaps).max() > 0
    assert not eager_to_freeze


def test_captured_constants_are_frozen_too() -> None:
    shift = tf.constant([1.0, 2.0])
    weight = tf.Variable([3.0, 4.0])
    concrete = tf.function(lambda x: {"sum": x * weight + shift, "both": [x, weight]}).get_concrete_function(
        tf.TensorSpec((None, 2))
    )
    reads = weight_reads(concrete)
    answer = with_constant_weights(concrete, {read: read.value() for read in reads})
    weight.assign([0.0, 0.0])
    given = tf.constant([[1.0, 1.0], [2.0, 0.0]])
    np.testing.assert_array_equal(answer(given)["sum"], [[4, 6], [7, 2]])
    np.testing.assert_array_equal(answer(given)["both"][1], [3, 4])
    assert not [op for op in answer.graph.get_operations() if op.type == "ReadVariableOp"]


def test_outside_of_loops_nothing_is_compared() -> None:
    weight = tf.Variable(1.0)
    concrete = tf.function(lambda x: x * weight).get_concrete_function(tf.TensorSpec(()))
    assert ConstantWeights().fastest(concrete, 10**9) is concrete

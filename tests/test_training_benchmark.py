"""The measurement of training steps: each step is compiled as its options say, and compared with that of `gap`."""

import argparse
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import keras
import pytest
import tensorflow as tf
from tiny_backbone import in_backbones

from benchmarks import training_step
from benchmarks.tables import Ratio
from kerasxai.models import build_classifier

P = ParamSpec("P")
T = TypeVar("T")
SIDE = 48
IMAGES = tf.zeros((2, SIDE, SIDE, 3))


def kept(function: Callable[P, T], results: list[T]) -> Callable[P, T]:
    """Return the function, which also appends each of its results to a list."""

    def keeping(*args: P.args, **options: P.kwargs) -> T:
        results.append(function(*args, **options))
        return results[-1]

    return keeping


def test_rows_are_ratios_to_the_step_of_the_gap_head(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"gap": (2.0, 1.0), "acol": (3.0, 2.0), "acol of width 512": (5.0, 3.0)}
    monkeypatch.setattr(training_step, "training_step", lambda *_: lambda: None)
    monkeypatch.setattr(
        training_step, "interleaved", lambda functions, rounds: {name: [seconds[name]] * rounds for name in functions}
    )
    arguments = argparse.Namespace(models=["A:64", "B:96"], option_models=[], repeats=3, batch_size=4, classes=5)
    (table,) = training_step.run(arguments)
    assert table.columns == ("what", "A, 64 pixels", "B, 96 pixels")
    assert [row[0] for row in table.rows] == ["training step, acol / gap", "training step, acol of width 512 / gap"]
    ratio = table.rows[0][1]
    assert isinstance(ratio, Ratio) and (ratio.cpu.median, ratio.wall.median) == (1.5, 2.0)


@pytest.mark.parametrize("title", training_step.OPTIONS)
def test_options_reach_the_model(title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[keras.Model] = []

    monkeypatch.setattr(training_step, "build_classifier", kept(build_classifier, built))
    with in_backbones(SIDE):
        labels = tf.one_hot([0, 1], 2)
        step = training_step.training_step("Tiny", SIDE, training_step.OPTIONS[title], IMAGES, labels)
        step()
        step()
    model = built[0]
    # A pull toward weights that XLA cannot copy while it compiles the step.
    assert any(getattr(model.optimizer, "inner_optimizer", model.optimizer).pulls)
    assert model.jit_compile is ("jit" in title)
    assert (model.get_layer("backbone").dtype_policy.name == "mixed_float16") is ("mixed" in title)
    assert keras.config.dtype_policy().name == "float32"
    assert int(model.optimizer.iterations) == 2

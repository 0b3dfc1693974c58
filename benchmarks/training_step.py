"""Measure training steps as ratios to a step with the GAP head: the ACoL head, half precision and XLA.

A step is one of the second phase of `kerasxai train`: the head and the upper part of the backbone, AdamW, a batch of
noise. Weights are random, which changes no time. In each round every step runs once; a ratio is taken in each round.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.rounds import interleaved, ratios
from benchmarks.tables import Cell, Ratio, Table, in_rounds, report
from kerasxai.models import build_classifier
from kerasxai.training.config import TrainConfig
from kerasxai.training.phases import prepare
from kerasxai.training.plan import plan_of

QUICK = MappingProxyType({"models": ["MobileNetV2:64"], "option_models": [], "repeats": 1})
MODELS = ("EfficientNetLite0:224", "EfficientNetLite0:320", "MobileNetV2:224")
STRIDE = 32
"""Of the map of the head: the last one."""


@dataclass(frozen=True)
class Step:
    """A training step.

    Attributes:
        head: The head.
        options: Its options.
        policy: The policy of Keras for precision.
        jit: As `TrainConfig.jit`.
    """

    head: str
    options: dict[str, Any] = field(default_factory=dict)
    policy: str = "float32"
    jit: str = "off"


HEADS: Mapping[str, Step] = {"acol": Step("acol"), "acol of width 512": Step("acol", {"width": 512})}
OPTIONS: Mapping[str, Step] = {
    "gap with --mixed-precision": Step("gap", policy="mixed_float16"),
    "gap with --jit on": Step("gap", jit="on"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", nargs="*", default=MODELS, metavar="NAME:SIDE", help="of the heads")
    parser.add_argument("--option-models", nargs="*", default=MODELS[:1], metavar="NAME:SIDE", help="of the options")
    parser.add_argument("--repeats", type=int, default=7, help="rounds")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--classes", type=int, default=10)


def run(arguments: argparse.Namespace) -> Iterator[Table]:
    if arguments.models:
        yield _table("heads", "Training steps by head", HEADS, arguments.models, arguments)
    if arguments.option_models:
        yield _table("options", "Training steps with options", OPTIONS, arguments.option_models, arguments)


def _table(
    key: str, title: str, steps: Mapping[str, Step], models: Sequence[str], arguments: argparse.Namespace
) -> Table:
    columns: dict[str, dict[str, Ratio]] = {}
    for model in models:
        name, _, side = model.partition(":")
        columns[f"{name}, {side} pixels"] = measured(name, int(side), steps, arguments)
    rows: list[tuple[Cell, ...]] = [
        (f"training step, {name} / gap", *(column[name] for column in columns.values())) for name in steps
    ]
    notes = (
        f"CPU time: median [least, largest] {in_rounds(arguments.repeats)}, in parentheses wall time; batches of "
        f"{arguments.batch_size} images, {arguments.classes} classes.",
    )
    return Table(key, title, ("what", *columns), tuple(rows), notes)


def measured(name: str, side: int, steps: Mapping[str, Step], arguments: argparse.Namespace) -> dict[str, Ratio]:
    """Return the ratio of each step to that of the GAP head."""
    generator = np.random.default_rng(0)
    images = tf.constant(generator.uniform(0, 255, (arguments.batch_size, side, side, 3)), tf.float32)
    labels = tf.one_hot(tf.range(arguments.batch_size) % arguments.classes, arguments.classes)
    functions = {}
    for title, step in {"gap": Step("gap"), **steps}.items():
        functions[title] = training_step(name, side, step, images, labels)
        # The first call traces, the second one may allocate.
        functions[title]()
        functions[title]()
        report(f"{name}, {side}: {title} is ready")
    taken = interleaved(functions, arguments.repeats)
    return {title: Ratio.of(ratios(taken[title], taken["gap"])) for title in steps}


def training_step(name: str, side: int, step: Step, images: tf.Tensor, labels: tf.Tensor) -> Callable[[], object]:
    """Return a function that runs a step on a batch."""
    keras.utils.set_random_seed(0)
    config = TrainConfig("shapes", backbone=name, head=step.head, image_size=side, jit=step.jit)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(step.policy)
    try:
        model = build_classifier(
            name, labels.shape[-1], step.head, weights=None, input_size=side, seed=0, **step.options
        )
        prepare(model, config, plan_of(config, STRIDE), "finetune", 1000)
    finally:
        keras.config.set_dtype_policy(before)
    return lambda: model.train_on_batch(images, labels)

"""Measure what one image costs in a batch, as ratios to one plain forward pass of one image alone.

A plain pass is the model as Keras traces it. A folded pass has its batch normalizations folded into convolutions and
constant weights, as methods of many passes compute it; the gradient is that of a class score at the input of such a
pass. What an image costs in a batch of 32 compared with one image alone differs from machine to machine, and decides
how cheap a method of many passes can be.
"""

import argparse
import functools
from collections.abc import Callable, Iterator
from types import MappingProxyType

import keras
import numpy as np
import tensorflow as tf

from benchmarks.rounds import batched, interleaved
from benchmarks.subject import SIZE, Seconds, make_images, make_model
from benchmarks.tables import Cell, Ratio, Table, in_rounds, report
from kerasxai.engine.fast import folded
from kerasxai.engine.fast.constant_weights import weight_reads, with_constant_weights
from kerasxai.engine.layers import walk

QUICK = MappingProxyType({"models": ["MobileNetV2:0.35"], "size": 96, "batches": [1, 4], "repeats": 2})
_IMAGES = 32
"""Images that each function computes in a round, in as many batches as that takes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", nargs="+", default=["MobileNetV2"], help="in keras.applications")
    parser.add_argument("--size", type=int, default=SIZE, help="the side of the images")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--repeats", type=int, default=8, help="rounds")


def run(arguments: argparse.Namespace) -> Iterator[Table]:
    for name in arguments.models:
        model = make_model(name, arguments.size)
        kinds = {
            "plain pass": _plain(model),
            "folded pass, constant weights": _constant(model, gradient=False),
            "folded gradient at the input, constant weights": _constant(model, gradient=True),
        }
        images = make_images(np.random.default_rng(0), max(arguments.batches), arguments.size)
        functions = {}
        for kind, function in kinds.items():
            for count in {1, *arguments.batches}:
                call = functools.partial(function, tf.constant(images[:count]))
                # Warm, so that no round traces.
                call()
                functions[f"{kind}/{count}"] = batched(call, max(1, _IMAGES // count))
        taken = interleaved(functions, arguments.repeats)
        yield _table(name, list(kinds), taken, arguments)


def _table(name: str, kinds: list[str], taken: dict[str, list[Seconds]], arguments: argparse.Namespace) -> Table:
    base = [_per_image(seconds, 1) for seconds in taken[f"{kinds[0]}/1"]]
    rows: list[tuple[Cell, ...]] = []
    for kind in kinds:
        cells = []
        for count in arguments.batches:
            each = [_per_image(seconds, count) for seconds in taken[f"{kind}/{count}"]]
            cells.append(Ratio.of([(cpu / b, wall / w) for (cpu, wall), (b, w) in zip(each, base, strict=True)]))
        report(f"{name}, {kind}: {', '.join(map(str, cells))}")
        rows.append((kind, *cells))
    notes = (
        "Ratios to a plain pass of one image alone, CPU time of one image: median [least, largest] "
        f"{in_rounds(arguments.repeats)}, in parentheses wall time.",
    )
    columns = ("images in a batch", *map(str, arguments.batches))
    return Table(name, f"{name}, the cost of an image in a batch", columns, tuple(rows), notes)


def _per_image(seconds: Seconds, count: int) -> Seconds:
    images = count * max(1, _IMAGES // count)
    return seconds[0] / images, seconds[1] / images


def _plain(model: keras.Model) -> Callable[[tf.Tensor], object]:
    return tf.function(lambda images: model(images, training=False), autograph=False)


def _constant(model: keras.Model, gradient: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a folded pass with constant weights, or its gradient at the input."""

    @tf.function(autograph=False)
    def traced(images: tf.Tensor) -> tf.Tensor:
        # Nothing but the outputs is needed, so no tensor has to stay on the way to them.
        with folded(list(walk(model)), lambda: []):
            outputs = model(images, training=False)
        return tf.gradients(outputs[:, 0], images)[0] if gradient else outputs

    concrete = traced.get_concrete_function(tf.TensorSpec((None, *model.input_shape[1:])))
    return with_constant_weights(concrete, {read: read.value() for read in weight_reads(concrete)})

"""How long methods take, as ratios to one forward pass: `python -m benchmarks speed`.

Models have random weights, images are enlarged noise, which superpixels can be cut from. Every round runs the forward
pass, our method and the peers' one after the other, so that a busy machine slows all alike; a ratio is taken in each
round, and the median over rounds is told. CPU time (of all threads) is what the ratio is of; wall time stands beside
it.

`naive` is the plainest way in the same process: as many plain passes (or gradients at the input) as the method takes
samples, in batches of 32, and nothing else. Methods of many passes are to be compared with it, because what a pass
costs in a batch of 32, beside the pass of one image that ratios are to, differs from machine to machine.
"""

import argparse
import functools
import gc
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

import kerasxai
from benchmarks.cases import CASES, Case
from benchmarks.peers import PEERS, installed
from benchmarks.subject import SIZE, Seconds, make_images, make_model, seconds_of
from kerasxai.engine.fast import WORTHWHILE

# Long loops freeze the weights once they have met them for so many passes; what freezing takes is no part of a round.
UNTIL_FROZEN = WORTHWHILE // SIZE**2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = list(dict.fromkeys(case.name for case in CASES))
    parser.add_argument("--models", nargs="+", default=["MobileNetV2", "ResNet50"], help="in keras.applications")
    parser.add_argument("--methods", nargs="+", default=names, choices=names, metavar="METHOD", help=", ".join(names))
    parser.add_argument("--batches", nargs="+", type=int, default=[16, 1], choices=[16, 1])
    parser.add_argument("--repeats", type=int, default=7, help="rounds for methods of few passes; many get a third")
    parser.add_argument("--peers", nargs="*", choices=PEERS, help="which peers; none if nothing follows (default: all)")
    parser.add_argument("--no-fold", dest="fold", action="store_false", help="leave batch normalizations as they are")


def run(arguments: argparse.Namespace) -> None:
    found, missing = installed()
    peers = found if arguments.peers is None else [name for name in arguments.peers if name in found]
    if missing:
        print(f"peers that are not installed, and not measured: {', '.join(missing)}")
    for name in arguments.models:
        cases = [case for case in CASES if case.name in arguments.methods and case.batch in arguments.batches]
        measure(name, cases, arguments.repeats, peers, arguments.fold)


def measure(model_name: str, cases: list[Case], repeats: int, peers: list[str], fold: bool) -> None:
    """Prints one table for one model, a line for each case as it is done."""
    model = make_model(model_name)
    others = {name: PEERS[name](model) for name in peers}
    naive = Naive(model) if any(case.passes for case in cases) else None
    print(f"\n{model_name}, {SIZE}x{SIZE}; ratios to one forward pass of the same batch, CPU time (wall time)")
    header = f"{'method':22}{'batch':>5}{'target':>8}{'ours':>16}{'first call':>12}{'forward':>10}{'naive':>8}"
    print(header + "".join(f"{name:>16}" for name in peers), flush=True)
    for case in cases:
        print(_line(case, model, naive, others, repeats, fold), flush=True)
        gc.collect()


class Naive:
    """Plain passes of a model, each traced once; `seconds` of one of 32 images in a batch."""

    def __init__(self, model: Any) -> None:
        images = tf.random.uniform((32, SIZE, SIZE, 3), -1, 1)

        @tf.function(autograph=False)
        def gradients(images: Any) -> Any:
            return tf.gradients(model(images, training=False)[:, 0], images)

        forward = tf.function(lambda images: model(images, training=False), autograph=False)
        self._functions = {False: lambda: forward(images), True: lambda: gradients(images)}
        for function in self._functions.values():
            function()

    def seconds(self, gradients: bool) -> float:
        return _of_several(self._functions[gradients], 3)[0] / 32


def _line(case: Case, model: Any, naive: Naive | None, others: dict[str, Any], repeats: int, fold: bool) -> str:
    generator = np.random.default_rng(0)
    images = make_images(generator, case.batch)
    targets = generator.integers(0, model.output_shape[-1], case.batch)
    tensor = tf.constant(images)
    forward = tf.function(lambda images: model(images, training=False), autograph=False)
    explain = kerasxai.Explainer(model, case.method or case.name, fold=fold, progress=False, **case.options)
    runs: dict[str, Callable[[], Any]] = {"ours": lambda: explain(images, targets)}
    for name, explainers in others.items():
        if case.name in explainers:
            runs[name] = functools.partial(explainers[case.name], images, targets)
    forward(tensor)
    first, failed = _first_calls(runs)
    for _ in range(UNTIL_FROZEN // case.passes if case.passes else 0):
        runs["ours"]()
    rounds = max(1, repeats // 3) if case.passes else repeats
    passes = 20 if case.passes else 3
    ratios: dict[str, list[Seconds]] = {name: [] for name in runs}
    base: list[Seconds] = []
    plain: list[float] = []
    for _ in range(rounds):
        before = _of_several(lambda: forward(tensor), passes)
        taken = {name: seconds_of(function) for name, function in runs.items()}
        after = _of_several(lambda: forward(tensor), passes)
        once = ((before[0] + after[0]) / 2, (before[1] + after[1]) / 2)
        base.append(once)
        if naive is not None and case.passes:
            plain.append(case.passes * naive.seconds(case.gradients) / once[0])
        for name, (cpu, wall) in taken.items():
            ratios[name].append((cpu / once[0], wall / once[1]))
    shown = {name: _shown(values) for name, values in ratios.items()} | dict.fromkeys(failed, "failed")
    target = "" if case.target is None else f"{case.target:g}"
    line = f"{case.name:22}{case.batch:5}{target:>8}{shown['ours']:>16}{first['ours']:11.1f}s"
    line += f"{1000 * statistics.median(cpu for cpu, _ in base):8.0f}ms"
    line += f"{statistics.median(plain):8.0f}" if plain else " " * 8
    return line + "".join(f"{shown.get(name, ''):>16}" for name in others)


def _first_calls(runs: dict[str, Callable[[], Any]]) -> tuple[dict[str, float], list[str]]:
    """Calls each once, and takes out the peers that fail; returns wall seconds, and who failed."""
    seconds, failed = {}, []
    for name in list(runs):
        try:
            seconds[name] = seconds_of(runs[name])[1]
        except Exception as error:
            if name == "ours":
                raise
            print(f"{name} failed: {type(error).__name__}: {error}")
            failed.append(name)
            del runs[name]
    return seconds, failed


def _of_several(function: Callable[[], Any], times: int) -> Seconds:
    taken = [seconds_of(function) for _ in range(times)]
    return statistics.median(cpu for cpu, _ in taken), statistics.median(wall for _, wall in taken)


def _shown(ratios: list[Seconds]) -> str:
    cpu, wall = (statistics.median(values) for values in zip(*ratios, strict=True))
    digits = 0 if cpu >= 20 else 2
    return f"{cpu:.{digits}f} ({wall:.{digits}f})"

"""Measure how long every method takes, as ratios to one forward pass of the same model on the same batch.

Models have random weights, images are enlarged noise. Each round runs the forward pass, the method, the forward pass
again and the naive floor; a ratio is taken in each round. The naive floor is what the plainest implementation cannot
avoid: as many forward passes (or gradients at the input) as the method takes samples, in batches of 32, without making
images or maps. Methods of many passes are called until their weights have become constants, before they are timed.
"""

import argparse
import functools
import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import keras
import numpy as np
import tensorflow as tf

import kerasxai
from benchmarks.cases import CASES, Case
from benchmarks.rounds import median_of
from benchmarks.subject import SIZE, Seconds, make_images, make_model, seconds_of
from benchmarks.tables import Cell, Figure, Ratio, Table, in_rounds, report
from kerasxai.engine.fast import WORTHWHILE

OURS = "kerasxai"
QUICK = MappingProxyType(
    {"models": ["MobileNetV2:0.35"], "size": 96, "repeats": 2, "methods": ["gradcam", "saliency", "occlusion"]}
)
Explain = Callable[[np.ndarray, np.ndarray], object]
# Of a forward pass, before and after in each round: short calls scatter more.
_PASSES, _PASSES_OF_ONE_IMAGE = 3, 20
_NAIVE_BATCH = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_case_arguments(parser, ["MobileNetV2", "ResNet50"], repeats=6)
    parser.add_argument("--no-fold", dest="fold", action="store_false", help="leave batch normalizations unfolded")


def add_case_arguments(parser: argparse.ArgumentParser, models: list[str], repeats: int) -> None:
    """Add the choice of models, images and methods, and the number of rounds."""
    names = list(dict.fromkeys(case.name for case in CASES))
    parser.add_argument("--models", nargs="+", default=models, help="in keras.applications")
    parser.add_argument("--size", type=int, default=SIZE, help="the side of the images")
    parser.add_argument("--methods", nargs="+", default=names, choices=names, metavar="METHOD", help=", ".join(names))
    parser.add_argument("--batches", nargs="+", type=int, default=[16, 1], choices=[16, 1])
    parser.add_argument("--repeats", type=int, default=repeats, help="rounds; methods of many passes get a third")


def run(arguments: argparse.Namespace) -> Iterator[Table]:
    for name in arguments.models:
        cases = [case for case in CASES if case.name in arguments.methods and case.batch in arguments.batches]
        subject = Subject(name, arguments.size, arguments.fold)
        measured = [subject.measure(case, arguments.repeats) for case in cases]
        notes = notes_on(arguments.repeats)
        if single := [one for one in measured if not one.case.passes]:
            yield _single(name, single, notes[:1])
        if many := [one for one in measured if one.case.passes]:
            yield _many(name, many, notes[1:])
        yield first_calls(name, measured, ())


@dataclass(frozen=True)
class Measured:
    """One case, in forward passes of the same batch.

    Attributes:
        case: The case.
        ratios: By library, ours among them.
        naive: The naive floor; None for methods of one pass.
        first: The first call by library, and of the forward pass itself; wall time.
        failed: The libraries that raised an error.
    """

    case: Case
    ratios: Mapping[str, Ratio]
    naive: Ratio | None
    first: Mapping[str, Figure]
    failed: tuple[str, ...] = ()


@dataclass
class Subject:
    """A model, and what is timed on it.

    Attributes:
        name: See `make_model`.
        size: The side of the images.
        fold: Whether batch normalizations are folded.
        peers: By library and method.
    """

    name: str
    size: int = SIZE
    fold: bool = True
    peers: Mapping[str, Mapping[str, Explain]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model = make_model(self.name, self.size)
        self._until_constant = WORTHWHILE // self.size**2
        self._naive: dict[bool, Callable[[], object]] = {}

    def measure(self, case: Case, repeats: int) -> Measured:
        """Measure a case; a peer that raises an error is left out."""
        generator = np.random.default_rng(0)
        images = make_images(generator, case.batch, self.size)
        targets = generator.integers(0, self.model.output_shape[-1], case.batch)
        forward = functools.partial(_forward(self.model), tf.constant(images))
        first_forward = seconds_of(forward)[1]
        runs = self._runs(case, images, targets)
        first, failed = _first_calls(runs)
        for _ in range(self._until_constant // case.passes if case.passes else 0):
            runs[OURS]()
        rounds = max(1, repeats // 3) if case.passes else repeats
        taken, base = self._rounds(case, runs, forward, rounds)
        pass_seconds = float(np.median([wall for _, wall in base]))
        naive = taken.pop("naive", None)
        shown = {name: Ratio.of(values) for name, values in taken.items()}
        report(
            f"{self.name}, {case.name}, {case.batch}: " + ", ".join(f"{one} {ratio}" for one, ratio in shown.items())
        )
        gc.collect()
        firsts = {"forward pass": first_forward, **first}
        return Measured(
            case,
            shown,
            None if naive is None else Ratio.of(naive),
            {name: Figure(seconds / pass_seconds) for name, seconds in firsts.items()},
            failed,
        )

    def _runs(self, case: Case, images: np.ndarray, targets: np.ndarray) -> dict[str, Callable[[], object]]:
        explain = kerasxai.Explainer(
            self.model, case.method or case.name, fold=self.fold, progress=False, **case.options
        )
        peers = {name: methods[case.name] for name, methods in self.peers.items() if case.name in methods}
        return {
            OURS: lambda: explain(images, targets),
            **{name: functools.partial(peer, images, targets) for name, peer in peers.items()},
        }

    def _rounds(
        self, case: Case, runs: Mapping[str, Callable[[], object]], forward: Callable[[], object], rounds: int
    ) -> tuple[dict[str, list[Seconds]], list[Seconds]]:
        """Return the ratios of each round, those of the naive floor among them, and the seconds of a forward pass."""
        times = _PASSES if case.batch > 1 else _PASSES_OF_ONE_IMAGE
        taken: dict[str, list[Seconds]] = {}
        base = []
        for _ in range(rounds):
            before = median_of(forward, times)
            seconds = {name: seconds_of(function) for name, function in runs.items()}
            after = median_of(forward, times)
            once = ((before[0] + after[0]) / 2, (before[1] + after[1]) / 2)
            base.append(once)
            if case.passes:
                cpu, wall = median_of(self._naive_batch(case.gradients), 3)
                share = case.passes / _NAIVE_BATCH
                seconds["naive"] = (share * cpu, share * wall)
            for name, (cpu, wall) in seconds.items():
                taken.setdefault(name, []).append((cpu / once[0], wall / once[1]))
        return taken, base

    def _naive_batch(self, gradients: bool) -> Callable[[], object]:
        if gradients not in self._naive:
            images = tf.random.uniform((_NAIVE_BATCH, self.size, self.size, 3), -1, 1)
            function = functools.partial((_gradients if gradients else _forward)(self.model), images)
            function()
            self._naive[gradients] = function
        return self._naive[gradients]


def _forward(model: keras.Model) -> Callable[[tf.Tensor], object]:
    return tf.function(lambda images: model(images, training=False), autograph=False)


def _gradients(model: keras.Model) -> Callable[[tf.Tensor], object]:
    return tf.function(lambda images: tf.gradients(model(images, training=False)[:, 0], images), autograph=False)


def _first_calls(runs: dict[str, Callable[[], object]]) -> tuple[dict[str, float], tuple[str, ...]]:
    """Call each once, remove the peers that fail, and return the wall seconds and the names of those removed."""
    seconds, failed = {}, []
    for name in list(runs):
        try:
            seconds[name] = seconds_of(runs[name])[1]
        # Libraries fail in ways of their own; the table says which failed.
        except Exception as error:
            if name == OURS:
                raise
            report(f"{name} failed: {type(error).__name__}: {error}")
            failed.append(name)
            del runs[name]
    return seconds, tuple(failed)


def notes_on(repeats: int) -> tuple[str, str]:
    """Return the notes on the figures of methods of one pass, and of many."""
    figures = "In forward passes, CPU time: median [least, largest] {}, in parentheses wall time."
    return figures.format(in_rounds(repeats)), figures.format(in_rounds(max(1, repeats // 3)))


def label(case: Case) -> str:
    """Return the name of a case in the first column: the method, and its number of steps or samples."""
    counted = next((f"{value} {name}" for name, value in case.options.items() if isinstance(value, int)), "")
    if case.name == "occlusion":
        counted = "patch {patch}, stride {stride}".format(**case.options)
    return ", ".join(filter(None, [case.name, counted]))


def _single(name: str, measured: Iterable[Measured], notes: Sequence[str]) -> Table:
    rows = [(label(one.case), one.case.batch, target_of(one.case), one.ratios[OURS]) for one in measured]
    return Table(
        f"{name}/single",
        f"{name}, methods of one pass",
        ("method", "images", "target", OURS),
        tuple(rows),
        tuple(notes),
    )


def _many(name: str, measured: Iterable[Measured], notes: Sequence[str]) -> Table:
    columns = ("method", "images", "target", OURS, "naive floor")
    rows = [(label(one.case), one.case.batch, target_of(one.case), one.ratios[OURS], one.naive) for one in measured]
    return Table(f"{name}/many", f"{name}, methods of many passes", columns, tuple(rows), tuple(notes))


def first_calls(name: str, measured: Sequence[Measured], peers: Sequence[str]) -> Table:
    """Return the table of first calls, which trace."""
    columns = ("method", "images", "forward pass", OURS, *peers)
    rows: list[tuple[Cell, ...]] = []
    for one in measured:
        rows.append((label(one.case), one.case.batch, *(one.first.get(column) for column in columns[2:])))
    notes = ("The first call with all tracing, in later forward passes of the same batch; wall time, measured once.",)
    return Table(f"{name}/first", f"{name}, first calls", columns, tuple(rows), notes).without_empty_columns()


def target_of(case: Case) -> str:
    return "" if case.target is None else f"{case.target:g}"

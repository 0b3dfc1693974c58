"""Compare this kerasxai with another installation of it, method by method, in turn.

Each installation has a process with the same model and images. A round calls the method once in each, one after the
other and in changing order, so that a busy machine slows both; the ratio of this one to the other is taken in each
round.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from benchmarks.cases import CASES, Case
from benchmarks.tables import Ratio, Table, report

QUICK = MappingProxyType({"models": ["MobileNetV2:0.35"], "methods": ["gradcam", "occlusion"], "repeats": 2})
SCRIPT = Path(__file__).with_name("subject.py")
Seconds = tuple[float, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = list(dict.fromkeys(case.name for case in CASES))
    parser.add_argument("other", metavar="PYTHON", help="the Python of an environment with the other kerasxai")
    parser.add_argument("--models", nargs="+", default=["MobileNetV2"], help="in keras.applications")
    parser.add_argument("--methods", nargs="+", default=names, choices=names, metavar="METHOD", help=", ".join(names))
    parser.add_argument("--batches", nargs="+", type=int, default=[16, 1], choices=[16, 1])
    parser.add_argument("--repeats", type=int, default=9, help="rounds for methods of few passes; many get a third")


def run(arguments: argparse.Namespace) -> Iterator[Table]:
    for name in arguments.models:
        with Installation(sys.executable, name) as ours, Installation(arguments.other, name) as other:
            rows = []
            for case in CASES:
                if case.name in arguments.methods and case.batch in arguments.batches:
                    rounds = max(3, arguments.repeats // 3) if case.passes else arguments.repeats
                    ratio = _measured(case, ours, other, rounds)
                    report(f"{name}, {case.name}, {case.batch}: {ratio}")
                    rows.append((case.name, case.batch, rounds, ratio))
            notes = (
                f"Time of {ours.versions}, divided by that of {other.versions}: median [least, largest] of CPU "
                "time over the rounds, in parentheses the median of wall time.",
            )
            yield Table(name, f"{name}, two versions", ("method", "images", "rounds", "ratio"), tuple(rows), notes)


class Installation:
    """A process that times the methods of one installation on request."""

    def __init__(self, python: str, model: str) -> None:
        self._process = subprocess.Popen(
            [python, str(SCRIPT), model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.versions = "kerasxai {}, TensorFlow {}, Keras {}".format(*self._answer())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def ask(self, question: dict[str, Any] | None) -> Seconds:
        """Send a case to warm up, or None for one timed call, and return CPU and wall seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        cpu, wall = self._answer()
        return cpu, wall


def _measured(case: Case, ours: Installation, other: Installation, rounds: int) -> Ratio:
    question = {
        "method": case.method or case.name,
        "batch": case.batch,
        "options": case.options,
        "passes": case.passes,
    }
    for each in (ours, other):
        each.ask(question)
    ratios = []
    for number in range(rounds):
        order = (ours, other) if number % 2 else (other, ours)
        taken = {each: each.ask(None) for each in order}
        ratios.append((taken[ours][0] / taken[other][0], taken[ours][1] / taken[other][1]))
    return Ratio.of(ratios)

"""Speed of this kerasxai and of another installation of it, method by method, in turn.

Each installation has a process of its own with the same model and images. A round calls the method once in each, one
after the other and in changing order, so that a busy machine slows both; the ratio of this one to the other is taken in
each round, and its median, least and largest are printed.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from benchmarks.cases import CASES, Case

SCRIPT = Path(__file__).with_name("subject.py")
Seconds = tuple[float, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = list(dict.fromkeys(case.name for case in CASES))
    parser.add_argument("other", metavar="PYTHON", help="the Python of an environment with the other kerasxai")
    parser.add_argument("--models", nargs="+", default=["MobileNetV2"], help="in keras.applications")
    parser.add_argument("--methods", nargs="+", default=names, choices=names, metavar="METHOD", help=", ".join(names))
    parser.add_argument("--batches", nargs="+", type=int, default=[16, 1], choices=[16, 1])
    parser.add_argument("--repeats", type=int, default=9, help="rounds for methods of few passes; many get a third")


def run(arguments: argparse.Namespace) -> None:
    for name in arguments.models:
        with Installation(sys.executable, name) as ours, Installation(arguments.other, name) as other:
            print(f"\n{name}: kerasxai {ours.versions} against {other.versions}")
            print("CPU time of the first divided by that of the second, median [least, largest]; then wall time")
            for case in CASES:
                if case.name in arguments.methods and case.batch in arguments.batches:
                    rounds = max(3, arguments.repeats // 3) if case.passes else arguments.repeats
                    print(_line(case, ours, other, rounds), flush=True)


class Installation:
    """A process of one installation that times methods on request."""

    def __init__(self, python: str, model: str) -> None:
        self._process = subprocess.Popen(
            [python, str(SCRIPT), model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.versions = ", ".join(self._answer())

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


def _line(case: Case, ours: Installation, other: Installation, rounds: int) -> str:
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
        ratios.append([mine / theirs for mine, theirs in zip(taken[ours], taken[other], strict=True)])
    cpu, wall = (_spread(values) for values in zip(*ratios, strict=True))
    return f"{case.name:22}{case.batch:4}  {cpu}   {wall}"


def _spread(values: tuple[float, ...]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"

"""Measure how peak memory grows with the number of samples.

Each figure is the largest resident memory of a process that explains one image with MobileNetV2 (alpha 0.35, random
weights) at 224 pixels. A stack of 4000 such images alone would take 2408 MB. From 400 samples on, weights are
constants, which take memory as well.
"""

import argparse
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

from benchmarks.tables import Figure, Table, report

QUICK = MappingProxyType({"methods": ["rise"], "samples": [20, 200], "repeats": 1})
OPTIONS: dict[str, Callable[[int], dict[str, Any]]] = {
    "rise": lambda n: {"masks": n},
    "lime": lambda n: {"samples": n},
    "kernelshap": lambda n: {"samples": n},
    "integrated_gradients": lambda n: {"steps": n},
    "smoothgrad": lambda n: {"smooth": "smoothgrad", "samples": n},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--methods", nargs="+", default=list(OPTIONS), choices=OPTIONS, metavar="METHOD")
    parser.add_argument("--samples", nargs="+", type=int, default=[400, 4000])
    parser.add_argument("--repeats", type=int, default=3, help="processes for each figure")


def run(arguments: argparse.Namespace) -> Iterator[Table]:
    # The oneDNN setting of this process, which the processes inherit, is recorded with the table.
    import tensorflow  # noqa: F401

    rows = []
    for method in arguments.methods:
        figures = [
            Figure.of([_in_a_process(method, count) for _ in range(arguments.repeats)]) for count in arguments.samples
        ]
        report(f"{method}: {', '.join(map(str, figures))}")
        rows.append((method, *figures))
    columns = ("method", *(f"{count} samples" for count in arguments.samples))
    notes = (f"MB: median [least, largest] of {arguments.repeats} processes." if arguments.repeats > 1 else "MB.",)
    yield Table("peak", "Peak memory by number of samples", columns, tuple(rows), notes)


def _in_a_process(method: str, count: int) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", method, str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _peak(method: str, count: int) -> float:
    import keras
    import numpy as np

    import kerasxai

    model = keras.applications.MobileNetV2(weights=None, alpha=0.35)
    name = "saliency" if method == "smoothgrad" else method
    explain = kerasxai.Explainer(model, name, progress=False, **OPTIONS[method](count))
    explain(np.random.default_rng(0).uniform(-1, 1, (1, 224, 224, 3)).astype(np.float32))
    # Linux counts kilobytes, macOS bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    print(_peak(sys.argv[1], int(sys.argv[2])))

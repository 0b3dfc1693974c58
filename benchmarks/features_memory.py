"""Measure the memory of functions that read a whole data set, by its number of images.

Images of 32x32 come from a generator, which holds one at a time, and go through a small network. Each figure is from a
process that has read some batches first: the peak memory beyond what was resident then. `embed` writes its vectors to
a file.
"""

import argparse
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.queues import Queue
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from benchmarks.tables import Figure, Table, report

QUICK = MappingProxyType({"counts": [100, 1000], "warm": 200})
SIDE = 32


def images(count: int) -> Iterator[dict[str, Any]]:
    random = np.random.default_rng(0)
    for number in range(count):
        yield {
            "image": random.integers(0, 256, (SIDE, SIDE, 3), np.uint8),
            "label": number % 10,
            "name": f"image_{number:06d}",
        }


def network() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(16, 3, 2, activation="relu", padding="same"),
            layers.Conv2D(32, 3, 2, activation="relu", padding="same", name="maps"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def cases() -> dict[str, Callable[[Any, int], object]]:
    """Return a call of each function, by its name."""
    from kerasxai import features

    def embed(model: Any, count: int) -> object:
        with tempfile.TemporaryDirectory() as folder:
            found = features.embed(model, images(count), "maps", path=Path(folder, "vectors.npy"), batch_size=64)
            return found.vectors.shape

    return {
        "embed": embed,
        "top_patches": lambda m, n: features.top_patches(m, images(n), "maps", batch_size=64).values.shape,
        "activation_quantiles": lambda m, n: features.activation_quantiles(m, images(n), "maps", batch_size=64).shape,
    }


def resident(field: str) -> int:
    """Return a field of the kernel's record of this process, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def measured(name: str, count: int, warm: int, answer: "Queue[float]") -> None:
    """Put the memory in MB that a function takes for so many images into a queue."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    model = network()
    function = cases()[name]
    function(model, warm)
    # 5 resets the kernel's peak.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    function(model, count)
    answer.put((resident("VmHWM") - before) / 1024)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 100_000], help="images")
    parser.add_argument("--warm", type=int, default=2000, help="images before the measurement")


def run(arguments: argparse.Namespace) -> Iterator[Table]:
    context = multiprocessing.get_context("spawn")
    rows = []
    for name in ("embed", "top_patches", "activation_quantiles"):
        figures = []
        for count in arguments.counts:
            answer: Queue[float] = context.Queue()
            process = context.Process(target=measured, args=(name, count, arguments.warm, answer))
            process.start()
            figures.append(Figure(answer.get()))
            process.join()
        report(f"{name}: {', '.join(map(str, figures))}")
        rows.append((name, *figures))
    columns = ("function", *(f"{count:,} images" for count in arguments.counts))
    yield Table(
        "memory", "Memory for a data set", columns, tuple(rows), ("MB beyond the first batches, measured once.",)
    )

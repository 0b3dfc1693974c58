"""Measure reading a folder of images, and explaining it in shards.

JPEG files of smooth noise are written first. Each round runs, in one process: the bare method on a batch in memory;
reading and resizing alone; `kerasxai explain --data` on the whole folder in shards. The small network has four
convolutions; another one is measured with `--model imagenet:EfficientNetLite0 --side 500 --images 160 --shards 2`.
"""

import argparse
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import keras
import numpy as np
from PIL import Image

from benchmarks.rounds import Function, batched, interleaved, ratios
from benchmarks.subject import Seconds
from benchmarks.tables import Cell, Figure, Ratio, Table, in_rounds
from kerasxai import Explainer, models
from kerasxai.engine.images.image_input import image_input
from kerasxai.streaming.explain import ExplainTask, merge_explanations
from kerasxai.streaming.images import open_images
from kerasxai.streaming.shards import Shard, ShardFolder

QUICK = MappingProxyType({"images": 400, "shards": 2, "repeats": 2})
_BARE_IMAGES = 2000
_READ_IMAGES = 2000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--side", type=int, default=32, help="of the files")
    parser.add_argument("--model", help="as for kerasxai explain; default: the small network")
    parser.add_argument("--method", default="gradcam")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5, help="rounds")


def run(arguments: argparse.Namespace) -> Iterator[Table]:
    logging.getLogger("kerasxai").setLevel(logging.WARNING)
    model = _network(arguments.side) if arguments.model is None else models.load_classifier(arguments.model)
    with tempfile.TemporaryDirectory() as folder:
        _write_images(Path(folder, "images"), arguments.images, arguments.side)
        subject = _Subject(model, Path(folder), arguments)
        taken = interleaved(subject.functions(), arguments.repeats)
        yield _table(taken, subject, arguments)


class _Subject:
    """What is timed, and the memory and the size of the results of the last round."""

    def __init__(self, model: keras.Model, root: Path, arguments: argparse.Namespace) -> None:
        self._root, self._arguments = root, arguments
        self._taken = image_input(model)
        batch_size = arguments.batch_size
        self._explainer = Explainer(model, arguments.method, resize=False, progress=False, batch_size=batch_size)
        self._images = open_images(str(root / "images"), "", root / "out")
        self._rounds = 0
        self.memory: list[float] = []
        self.bytes = 0
        self.counts = {
            "method alone": max(1, _BARE_IMAGES // batch_size) * batch_size,
            "reading and resizing": min(arguments.images, _READ_IMAGES),
            "all, in shards": arguments.images,
        }

    def functions(self) -> dict[str, Function]:
        """Return the functions to time; the method is warm."""
        size = self._arguments.batch_size
        batch = self._taken.taken(next(iter(self._images.batches(0, size, self._taken, size))).pixels)
        self._explainer(batch)
        bare = batched(lambda: self._explainer(batch), self.counts["method alone"] // size)
        return dict(zip(self.counts, (bare, self._read, self._explain), strict=True))

    def _read(self) -> None:
        for _ in self._images.batches(0, self.counts["reading and resizing"], self._taken, self._arguments.batch_size):
            pass

    def _explain(self) -> None:
        out = self._root / f"out{self._rounds}"
        self._rounds += 1
        task = ExplainTask([self._explainer], self._taken, batch_size=self._arguments.batch_size)
        folder = ShardFolder(out, {}, self._images.count, self._arguments.shards)
        self.memory = []

        def compute(shard: Shard) -> None:
            task.compute(shard, self._images)
            self.memory.append(_resident())

        folder.compute(folder.left(), compute)
        with folder.joining() as computed:
            merge_explanations(computed, out)
        self.bytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())


def _table(taken: dict[str, list[Seconds]], subject: _Subject, arguments: argparse.Namespace) -> Table:
    each = {
        name: [(cpu / subject.counts[name], wall / subject.counts[name]) for cpu, wall in seconds]
        for name, seconds in taken.items()
    }
    bare = each["method alone"]
    rows: list[tuple[Cell, ...]] = []
    for name, seconds in each.items():
        rows.append((name, Ratio.of(ratios(seconds, bare)), Figure.of([1000 * cpu for cpu, _ in seconds])))
    name = "a network of four convolutions" if arguments.model is None else arguments.model
    columns = ("what", "an image, to the method alone", "CPU ms an image")
    notes = (
        f"Median [least, largest] {in_rounds(arguments.repeats)} of CPU time, in parentheses wall time.",
        f"{subject.bytes / arguments.images:.0f} bytes an image are written.",
        f"Resident memory is {subject.memory[0]:.0f} MB after the first shard and {subject.memory[-1]:.0f} MB after "
        "the last.",
    )
    title = (
        f"{arguments.method} with {name}, {arguments.images:,} JPEG files of {arguments.side}x{arguments.side} in "
        f"{arguments.shards} shards"
    )
    return Table(f"{arguments.model or 'small'}", title, columns, tuple(rows), notes)


def _write_images(folder: Path, count: int, side: int) -> None:
    """Write JPEG files of smooth noise, 1,000 in a folder."""
    random = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number // 1000:04d}" / f"{number:07d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
        small.resize((side, side), Image.Resampling.BICUBIC).save(path, quality=90)


def _network(side: int) -> keras.Model:
    """Return a small classifier of square images."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((side, side, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, 1, activation="relu", padding="same"),
            layers.Conv2D(64, 3, 2, activation="relu", padding="same"),
            layers.Conv2D(128, 3, 2, activation="relu", padding="same"),
            layers.Conv2D(128, 3, 2, activation="relu", padding="same", name="maps"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def _resident() -> float:
    """Return the resident memory of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

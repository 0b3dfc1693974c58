"""Measure how many passes a heatmap needs.

Each method explains photographs with growing numbers of passes. Each map is compared, by Pearson's correlation over the
pixels, with a reference of many more passes and, if there is one, another seed. The reference is noisy as well, so no
map reaches a correlation of 1. The last column is the number of passes at which the mean correlation is 0.95:
interpolated, or extrapolated, in parentheses.

The model is one with ImageNet weights, or a backbone trained on drawn objects (`shapes:MobileNetV2`), which is trained
the first time and kept in a folder.

Scores of perturbed images and rows are stored in a folder, so that a run that was stopped continues.
"""

import argparse
import dataclasses
import functools
import hashlib
import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

import kerasxai
from benchmarks import shapes_models
from benchmarks.accuracy_cases import LADDERS, Ladder
from benchmarks.tables import Cell, Table, report
from kerasxai.data import read_image
from kerasxai.data.examples import EXAMPLES, PREFIX, example_or_file
from kerasxai.engine.fast.constant_weights import weight_reads, with_constant_weights
from kerasxai.models import load_classifier
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import atomic_path, read_json, read_text, write_json, write_text

LEVEL = 0.95
QUICK = MappingProxyType({"methods": ["integrated_gradients"], "images": ["example:cat"]})
_SAVED_EACH = 500
Image = NDArray[np.float32]
Rows = dict[str, dict[str, dict[str, float]]]
"""Of each row the numbers of passes and the correlations, by photograph."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = [ladder.name for ladder in LADDERS]
    parser.add_argument(
        "--model", default="imagenet:EfficientNetLite0", help="as for kerasxai explain, or shapes:BACKBONE"
    )
    parser.add_argument(
        "--images",
        nargs="+",
        help="files or example:NAME; the default is all examples, and for shapes:BACKBONE the first ten test images",
    )
    parser.add_argument(
        "--trained", type=Path, default=Path("runs", "shapes_models"), help="where models of shapes:BACKBONE are kept"
    )
    parser.add_argument("--methods", nargs="+", default=names, choices=names, metavar="METHOD", help=", ".join(names))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument(
        "--out", type=Path, default=Path("runs", "accuracy", kerasxai.__version__), help="rows and scores of one model"
    )


def run(arguments: argparse.Namespace) -> Iterator[Table]:
    if arguments.quick:
        # Rows of an earlier run would leave nothing to measure.
        with tempfile.TemporaryDirectory() as folder:
            arguments.out = Path(folder)
            yield _measured(arguments)
    else:
        yield _measured(arguments)


def _measured(arguments: argparse.Namespace) -> Table:
    backbone = arguments.model.removeprefix(shapes_models.PREFIX)
    remarks: tuple[str, ...] = ()
    if backbone == arguments.model:
        model = load_classifier(arguments.model)
    else:
        model, accuracy = shapes_models.trained(backbone, arguments.trained)
        remarks = (f"Trained on drawn objects; its accuracy on {shapes_models.TEST} test images is {accuracy:.3f}.",)
    check_rows(arguments.out, model.name)
    size = model.input_shape[1:3]
    ladders = [ladder.at_side(min(size)) for ladder in LADDERS if ladder.name in arguments.methods]
    for name, image in _images(arguments.images, backbone != arguments.model, size).items():
        measure(model, image, name, ladders, arguments)
    measured = {key: row for key, row in _stored(arguments.out).items() if key.split(" | ")[0] in arguments.methods}
    found = table(measured, model.name)
    only = "" if len(ladders) == len(LADDERS) else "-".join(dict.fromkeys(ladder.name for ladder in ladders))
    # A table of some methods does not replace the table of all.
    return dataclasses.replace(
        found,
        key="-".join(filter(None, (found.key, only))),
        title=", ".join(filter(None, (found.title, only.replace("-", ", ")))),
        notes=(*remarks, *found.notes),
    )


def _images(given: Sequence[str] | None, drawn: bool, size: tuple[int, int]) -> dict[str, Image]:
    """Return images by name, or the default ones."""
    if drawn and given is None:
        images, _ = shapes_models.drawn("test", 10)
        return {f"{shapes_models.PREFIX}{i}": image.astype(np.float32) for i, image in enumerate(images)}
    paths = [f"{PREFIX}{name}" for name in EXAMPLES] if given is None else given
    return {path: fitted(read_image(example_or_file(path)), size) for path in paths}


def check_rows(folder: Path, model: str) -> None:
    """Refuse a folder with rows of another model, which would be taken for those of this one."""
    path = folder / "model.txt"
    if path.exists() and read_text(path) != model:
        raise KerasxaiError(f"expected a folder of {model}, got {folder} of {read_text(path)}; choose another --out")
    write_text(path, model)


def measure(model: keras.Model, image: Image, name: str, ladders: list[Ladder], arguments: argparse.Namespace) -> None:
    """Measure each ladder on one photograph, and store each row when it is complete."""
    scorer = Scorer(model, image, arguments.out / "scores", arguments.batch_size)
    for ladder in ladders:
        reference: Image | None = None
        for estimator in ladder.estimators:
            for passes, step in ladder.steps:
                rows = _stored(arguments.out)
                key = f"{ladder.name} | {estimator.name} | {_shown(step)}"
                row = rows.setdefault(key, {"passes": {}, "correlations": {}})
                if name in row["passes"]:
                    continue
                if reference is None:
                    reference = scorer.heatmap(ladder, ladder.reference)[0]
                heatmap, counted = scorer.heatmap(ladder, {**estimator.options, **step})
                correlation = float(np.corrcoef(heatmap.ravel(), reference.ravel())[0, 1])
                row["passes"][name], row["correlations"][name] = passes or counted, correlation
                write_json(arguments.out / "accuracy.json", rows)
                report(f"{name} | {key} | {correlation:.3f}")


def fitted(image: NDArray[np.uint8], size: tuple[int, int]) -> Image:
    """Return the central square of a photograph, resized, `(H, W, 3)` float32."""
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    square = image[top : top + side, left : left + side]
    return tf.image.resize(square, size, antialias=True).numpy()


class Scorer:
    """Heatmaps of one photograph; the scores of its perturbed copies are computed once and stored.

    Args:
        model: A classifier that ends in a softmax.
        image: `(H, W, 3)` float32.
        folder: The folder of stored scores.
        batch_size: How many images a pass takes.
    """

    def __init__(self, model: keras.Model, image: Image, folder: Path, batch_size: int) -> None:
        self._model, self._image, self._batch_size = model, image[None], batch_size
        self._classes = _frozen(model)
        self._target = int(np.argmax(self._classes(tf.constant(self._image))))
        self._path = folder / f"{_digest(image)}_{model.name}.npz"
        self._scores: dict[bytes, tuple[float, float]] = {}
        if self._path.exists():
            with np.load(self._path) as stored:
                pairs = zip(stored["digests"], stored["scores"].tolist(), strict=True)
                self._scores = {bytes(digest): (one, two) for digest, (one, two) in pairs}

    def heatmap(self, ladder: Ladder, options: Mapping[str, Any]) -> tuple[Image, int]:
        """Return the heatmap of a method `(H, W)` and the number of passes that it took, 0 if not counted."""
        method = ladder.method or ladder.name
        settings: dict[str, Any] = {"batch_size": self._batch_size, "progress": False, **options}
        if not ladder.quantity:
            if ladder.method:
                settings["smooth"] = ladder.name
            explain = _explainer(self._model, method, frozenset(settings.items()))
            return explain(self._image, self._target).heatmaps[0], 0
        counted = 0

        def scores(images: Image) -> Image:
            nonlocal counted
            counted += len(images)
            column = self._scored(images)[:, int(ladder.quantity == "probability")]
            return np.stack([np.zeros_like(column), column], 1)

        heatmap = kerasxai.Explainer(scores, method, **settings)(self._image, 1).heatmaps[0]
        self._save()
        return heatmap, counted - 1

    def _scored(self, images: Image) -> Image:
        """Return the relative logit and the probability of the target for each image, `(N, 2)`."""
        digests = [_digest(image) for image in images]
        new = [i for i, digest in enumerate(digests) if bytes.fromhex(digest) not in self._scores]
        if new:
            logs = np.log(np.maximum(self._classes(tf.constant(images[new])), 1e-37))
            relative = logs[:, self._target] - logs.mean(1)
            for i, one, two in zip(new, relative, np.exp(logs[:, self._target]), strict=True):
                self._scores[bytes.fromhex(digests[i])] = (float(one), float(two))
            if len(self._scores) // _SAVED_EACH > (len(self._scores) - len(new)) // _SAVED_EACH:
                self._save()
        return np.array([self._scores[bytes.fromhex(digest)] for digest in digests], np.float32)

    def _save(self) -> None:
        digests = np.array([np.frombuffer(digest, np.uint8) for digest in self._scores])
        with atomic_path(self._path) as temporary:
            np.savez(temporary, digests=digests, scores=np.array(list(self._scores.values()), np.float32))


@functools.cache
def _explainer(model: keras.Model, method: str, settings: frozenset[tuple[str, Any]]) -> kerasxai.Explainer:
    """Return one explainer for all images, because each traces the model."""
    return kerasxai.Explainer(model, method, **dict(settings))


def _frozen(model: keras.Model) -> Callable[[tf.Tensor], NDArray[np.float32]]:
    """Return the probabilities of a model as a function with constant weights."""
    spec = tf.TensorSpec((None, *model.input_shape[1:]))
    traced = tf.function(lambda images: model(images, training=False), autograph=False).get_concrete_function(spec)
    fast = with_constant_weights(traced, {read: read.value() for read in weight_reads(traced)})
    return lambda images: fast(images).numpy()


def _digest(image: Image) -> str:
    return hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=12).hexdigest()


def _stored(folder: Path) -> Rows:
    path = folder / "accuracy.json"
    return read_json(path) if path.exists() else {}


def _shown(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


def table(rows: Rows, model: str) -> Table:
    """Return a table with a row for each estimator."""
    families: dict[tuple[str, str], dict[int, list[float]]] = {}
    for key, row in rows.items():
        method, estimator, _ = key.split(" | ")
        passes = round(statistics.fmean(row["passes"].values()))
        families.setdefault((method, estimator), {})[passes] = list(row["correlations"].values())
    lines: list[tuple[Cell, ...]] = []
    for (method, estimator), measured in families.items():
        means = {count: statistics.fmean(measured[count]) for count in sorted(measured)}
        curve = ", ".join(f"{count}: {mean:.3f}" for count, mean in means.items())
        least, largest = min(measured[max(means)]), max(measured[max(means)])
        lines.append((method, estimator, curve, f"{least:.3f} to {largest:.3f}", passes_until(means)))
    columns = (
        *("method", "estimator", "mean correlation after so many passes", "each image, most passes"),
        f"passes until {LEVEL}",
    )
    images = sorted({name for row in rows.values() for name in row["passes"]})
    names = ", ".join(Path(name.removeprefix(PREFIX)).stem for name in images)
    notes = (
        f"Images: {names}; one seed each. In parentheses: extrapolated from "
        "the last count as for an average of independent samples.",
    )
    count = len(images)
    title = f"Accuracy by number of passes, {model}, {count} image{'s' if count > 1 else ''}"
    return Table(f"{model}-{count}", title, columns, tuple(lines), notes)


def passes_until(means: Mapping[int, float], level: float = LEVEL) -> str:
    """Return after how many passes the mean correlation is `level`, from a few counts.

    The correlation r of a noisy average of n samples has `1 / r^2 - 1` in proportion to `1 / n`, so this quantity is
    interpolated on logarithmic scales, and beyond the last count extrapolated in that proportion, in parentheses.
    """
    counts = sorted(means)
    noise = {count: max(1 / max(means[count], 1e-3) ** 2 - 1, 1e-9) for count in counts}
    most = 1 / level**2 - 1
    reached = next((i for i, count in enumerate(counts) if means[count] >= level), None)
    if reached is None:
        last = counts[-1]
        return f"({last * noise[last] / most:.0f})"
    if reached == 0:
        return f"at most {counts[0]}"
    low, high = counts[reached - 1], counts[reached]
    share = math.log(noise[low] / most) / math.log(noise[low] / noise[high])
    return f"{low * (high / low) ** share:.0f}"

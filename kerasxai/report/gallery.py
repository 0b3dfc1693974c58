"""The gallery of a report: images of a split with the heatmaps of one or more models."""

import functools
import hashlib
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai import data, models
from kerasxai.audit.store import Arrays, Store
from kerasxai.data.choosing import spread_over_positions
from kerasxai.engine.images.builtin_preprocessing import input_for_files
from kerasxai.engine.images.image_input import ImageInput
from kerasxai.engine.outputs.kinds import Predictions
from kerasxai.evaluation.data_check import check_classes, check_splits
from kerasxai.evaluation.multi_label import PREDICTED
from kerasxai.explainer import Explainer
from kerasxai.localization import common_threshold
from kerasxai.metrics.records import SIZES
from kerasxai.refinements import has_auto
from kerasxai.refinements.automatic import MOST, announce_choice
from kerasxai.report.config import ReportConfig
from kerasxai.report.packing import packed, packed_picture, peak, picture_size, small_map
from kerasxai.report.runs import ReportedRun, model_of
from kerasxai.report.variants import (
    Source,
    Variant,
    explain_flags,
    explaining_code,
    image_file,
    loading_code,
    source_of,
    variants_of,
)
from kerasxai.tools.digests import model_identity
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.printable import printable
from kerasxai.tools.progress import Bar
from kerasxai.version import __version__

JSON = dict[str, Any]
_RULE_IMAGES = 64
_MOST_CLASSES = 4


@dataclass
class Group:
    """Images with the heatmaps of all models that take them alike, as the page reads it.

    Attributes:
        title: The data and the split.
        classes: Names of the classes.
        images: For each image `name`, `picture`, `width`, `height`, the true classes `truth` and the `unknown`
            ones, `boxes` relative to the image with `box_labels` of several labels an image, `share` of
            the largest box, `size` group, and `file` or `load` for the command that explains it.
        models: For each model `name`, and for each image the classes `predicted`, the most probable one first, and
            their `probability`.
        variants: For each model and method `name`, `model`, `threshold`, `chosen_by`, `command`, `code` and `steps`,
            each with `epoch` and for each image the `maps`, pairs of class and heatmap, and their `peaks`.
        multi: Whether an image may have several classes.
    """

    title: str
    classes: list[str]
    images: list[JSON]
    models: list[JSON] = field(default_factory=list)
    variants: list[JSON] = field(default_factory=list)
    multi: bool = False

    def content(self) -> JSON:
        """Return the group ready for JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class _Opened:
    """The images of a run, and the model that takes them."""

    model: keras.Model
    taken: ImageInput
    dataset: data.ImageDataset
    split: str
    samples: Sequence[dict[str, Any]]

    def names(self) -> list[str]:
        names = [os.fsdecode(sample.get("name", b"")) for sample in self.samples]
        return [name or f"image {number}" for number, name in enumerate(names)]


def galleries(runs: Sequence[ReportedRun], config: ReportConfig, parts: Path | None) -> list[Group]:
    """Explain images of each run; runs on the same images share a group.

    Args:
        runs: The runs.
        config: The settings.
        parts: A folder for results of batches, so that a killed report continues; None keeps nothing.

    Raises:
        KerasxaiError: A run has no model, its data cannot be opened, or they do not fit together.
    """
    found: dict[tuple[object, ...], Group] = {}
    for run in runs:
        file, source = model_of(run), source_of(run, config)
        opened = _open(file, source, config)
        names = opened.names()
        height, width = opened.taken.size
        key = (source.data, source.data_dir, source.boxes_csv, opened.split, opened.taken.fit, width / height, *names)
        if key not in found:
            title = f"{printable(source.data)}, {opened.split} images"
            found[key] = Group(title, list(opened.dataset.class_names), list(_images(opened, source)))
            found[key].multi = opened.dataset.info.multi_label
        about = {"kerasxai": __version__, "model": model_identity(file), "preprocess": source.preprocess}
        store = Store(parts, about)
        _explain(found[key], run, _Explained(opened, store, config), (file, source), variants_of(run, config))
    return list(found.values())


def _open(file: str, source: Source, config: ReportConfig) -> _Opened:
    dataset = data.open(source.data, data_dir=source.data_dir, boxes_csv=source.boxes_csv, labels=source.labels)
    split = source.split or ("test" if "test" in dataset.info.splits else "validation")
    check_splits(dataset.info, [split])
    model = models.load_classifier(file, tuple(config.custom_objects))
    taken = input_for_files(model, source.image_size, source.preprocess, source.fit)
    check_classes(dataset.info, model, taken)
    samples = dataset.examples(split, taken.size, config.images, seed=config.seed, fit=taken.fit)
    if not samples:
        raise KerasxaiError(f"expected images in the split {split!r} of {printable(source.data)}, got none")
    return _Opened(model, taken, dataset, split, samples)


def _images(opened: _Opened, source: Source) -> Iterator[JSON]:
    for sample, name in zip(opened.samples, opened.names(), strict=True):
        image: NDArray[np.uint8] = sample["image"]
        height, width = picture_size((image.shape[0], image.shape[1]))
        boxes = np.reshape(sample.get("boxes", ()), (-1, 4)).astype(float)
        share = float(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).max()) if len(boxes) else None
        file = image_file(source, name)
        yield {
            "name": printable(name),
            "picture": packed_picture(image),
            "width": width,
            "height": height,
            "truth": truth_of(sample),
            "unknown": np.flatnonzero(sample["labels"] < 0).tolist() if "labels" in sample else [],
            "boxes": boxes.round(5).tolist(),
            "box_labels": sample["box_labels"].tolist() if "labels" in sample and "box_labels" in sample else None,
            "share": share,
            "size": None if share is None else next(one for one, (low, high) in SIZES.items() if low <= share < high),
            "file": None if file is None else shlex.quote(str(file)),
            "load": None if file is not None else loading_code(source, opened.split, opened.taken.size, name),
        }


def truth_of(sample: Mapping[str, Any]) -> list[int]:
    """Return the true classes of a sample."""
    return np.flatnonzero(sample["labels"] == 1).tolist() if "labels" in sample else [int(sample["label"])]


class _Explained:
    """Predicts and explains the images of a run batch by batch, with the results of each batch on disk."""

    def __init__(self, opened: _Opened, store: Store, config: ReportConfig) -> None:
        self.opened, self._store, self._size = opened, store, config.batch_size

    def _parts(self, what: str) -> Iterator[tuple[NDArray[np.intp], dict[str, Any]]]:
        count = len(self.opened.samples)
        with Bar(count, what) as bar:
            for start in range(0, count, self._size):
                rows = np.arange(start, min(start + self._size, count))
                yield rows, {"images": _digest(self._pixels(rows))}
                bar.advance(len(rows))

    def _pixels(self, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        return np.stack([self.opened.samples[row]["image"] for row in rows])

    def _spread(self) -> NDArray[np.uint8]:
        return self._pixels(spread_over_positions(len(self.opened.samples), MOST))

    def _spread_images(self) -> NDArray[Any]:
        """Return a few images of all classes, as the model takes them."""
        return self.opened.taken.taken(self._spread())

    def predictions(self) -> Predictions:
        """Return the predictions of all images."""
        explainer: list[Explainer] = []

        def predict(rows: NDArray[np.intp]) -> Arrays:
            # Made only if a batch is not on disk.
            if not explainer:
                explainer.append(Explainer(self.opened.model, "saliency", progress=False))
            found = explainer[0].predict(self.opened.taken.taken(self._pixels(rows)))
            return {"scores": found.scores, "probabilities": found.probabilities}

        parts = [
            self._store.arrays("predictions", functools.partial(predict, rows), **about)
            for rows, about in self._parts("predicting")
        ]
        return Predictions(*(np.concatenate([part[name] for part in parts]) for name in ("scores", "probabilities")))

    def maps(self, variant: Variant, predicted: Sequence[Sequence[int]]) -> list[list[tuple[int, NDArray[np.float32]]]]:
        """Return for each image the predicted and the true classes with their small heatmaps."""
        samples = self.opened.samples
        maps: list[list[tuple[int, NDArray[np.float32]]]] = [[] for _ in samples]
        classes = [
            list(dict.fromkeys([its[0], *truth_of(sample), *its]))[:_MOST_CLASSES]
            for its, sample in zip(predicted, samples, strict=True)
        ]
        explain = _SmallMaps(self.opened.model, variant, self._size, self._spread_images)
        # Of a test split that has grown, all maps are made again: those on disk may be of another choice.
        form = {"refinement_of": variant.refinement or _digest(self._spread())} if has_auto(variant.refine) else {}
        for rows, about in self._parts(f"explaining with {variant.name}"):
            pairs = [(row, label) for row in rows for label in classes[row]]
            where, targets = (np.array(values) for values in zip(*pairs, strict=True))

            def make(where: NDArray[np.intp] = where, targets: NDArray[np.int64] = targets) -> Arrays:
                return {"maps": explain(self.opened.taken.taken(self._pixels(where)), targets)}

            settings = about | form | {"variant": variant.settings(), "targets": targets.tolist()}
            stored = self._store.arrays(variant.name, make, **settings)["maps"]
            for row, target, heatmap in zip(where, targets, stored, strict=True):
                maps[row].append((int(target), heatmap))
        return maps


class _SmallMaps:
    """Explains images, with maps in the method's own size where that is smaller than the image."""

    def __init__(self, model: keras.Model, variant: Variant, batch_size: int, some: Callable[[], NDArray[Any]]) -> None:
        self._model, self._variant, self._batch_size, self._some = model, variant, batch_size, some
        self._native = variant.refine is None
        self._explainer: Explainer | None = None

    def _make(self, resize: bool) -> Explainer:
        settings: dict[str, Any] = {"batch_size": self._batch_size, "progress": False, **self._variant.settings()}
        return Explainer(self._model, self._variant.method, resize=resize, **settings)

    def __call__(self, images: NDArray[Any], targets: NDArray[np.int64]) -> NDArray[np.float32]:
        if self._explainer is None:
            self._explainer = self._make(not self._native)
            if self._variant.refinement is not None:
                self._explainer.refinement_choice = self._variant.refinement
            elif self._explainer.chooses_refinement:
                # Not by the first batch, whose images are of the first classes.
                some = self._some()
                announce_choice(len(some))
                self._explainer.choose_refinement(some)
        found = self._explainer(images, targets)
        if self._native and "map_extent" in found.notes:
            # The map covers another part than the image, which only resizing knows.
            self._native, self._explainer = False, self._make(True)
            found = self._explainer(images, targets)
        return np.stack([small_map(one) for one in found.heatmaps])


def _explain(
    group: Group, run: ReportedRun, explained: _Explained, origin: tuple[str, Source], variants: Sequence[Variant]
) -> None:
    """Add a model and its methods to a group."""
    predictions = explained.predictions()
    ranked = predictions.ranked(_MOST_CLASSES)
    sure = np.take_along_axis(predictions.probabilities, ranked, axis=1)
    # The most probable class in any case; of several labels an image, all that count as predicted.
    count = np.maximum(1, (sure >= PREDICTED).sum(axis=1)) if group.multi else np.ones(len(ranked), int)
    predicted = [row[:number].tolist() for row, number in zip(ranked, count, strict=True)]
    # Not rounded, or the page would show 100 % for a little less.
    best = [row[:number].tolist() for row, number in zip(sure.astype(float), count, strict=True)]
    group.models.append({"name": run.name, "predicted": predicted, "probability": best})
    file, source = origin
    for variant in variants:
        maps = explained.maps(variant, predicted)
        threshold, chosen_by = variant.threshold, variant.chosen_by
        if threshold is None:
            # The maps of the true classes, as in an evaluation; the first images are of the first classes.
            looked_at = spread_over_positions(len(maps), _RULE_IMAGES).tolist()
            threshold = common_threshold(maps[number][-1][1] for number in looked_at)
            chosen_by = "rule, without boxes"
        flags = shlex.join(explain_flags(variant, source))
        group.variants.append(
            {
                "name": variant.name,
                "model": len(group.models) - 1,
                "threshold": threshold,
                "chosen_by": chosen_by,
                "command": [f"kerasxai explain {shlex.quote(file)}", flags],
                "code": explaining_code(file, variant),
                "steps": [
                    {
                        "epoch": None,
                        "maps": [[(target, packed(one)) for target, one in its] for its in maps],
                        "peaks": [[peak(one) for _, one in its] for its in maps],
                    }
                ],
            }
        )


def _digest(pixels: NDArray[np.uint8]) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()

"""Measure whether planted shortcuts are found, and nothing is found without them.

In a trial with a mark, training images of one class are marked; in one without, some training images are left out. A
classifier is trained, and shortcuts are searched in the training images with the functions and settings of the audit.
Columns: accuracy of the class on its test images with the mark and without it, and the share of test images of other
classes that get the class, with and without. A model uses the mark if either differs by 0.1. Then the classes that were
named, and why.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.shortcut_marks import MARKS, UNSEEN, Picture
from benchmarks.shortcut_models import TRAINERS, Classifier, FrozenProbe, Trainer
from benchmarks.tables import Cell, Table, report, text_of
from kerasxai import data, viz
from kerasxai.audit.shortcuts import ShortcutSettings
from kerasxai.audit.shortcuts.scene import Scene
from kerasxai.audit.shortcuts.search import strongest, suspects_of, tested
from kerasxai.audit.shortcuts.sheets import sheet_of
from kerasxai.audit.shortcuts.verdict import TriedSuspect, record
from kerasxai.data.choosing import spread_over_classes
from kerasxai.metrics.inputs import OBJECT, painted

_SHAPES = {"train": 800, "test": 240}
"""How many of the embedded shapes are taken."""
_SHARES = (1.0, 0.8, 0.6)
_KEPT = 0.85
_OTHERS = 30
_USED = 0.1
_MARKS = MARKS | UNSEEN
_PLANTED = ["logo", "any_corner", "border", "cast", "timestamp", "watermark", "letterbox", *UNSEEN]
_COLUMNS = (
    "mark",
    "share",
    "class",
    "with mark",
    "without",
    "other classes with",
    "without",
    "used",
    "named",
    "right",
)
QUICK = MappingProxyType({"marks": ["logo"], "clean": 1})


@dataclass(frozen=True)
class Plan:
    """One training.

    Attributes:
        number: Of the trial.
        mark: A name in `MARKS`, or `"none"`.
        share: Of the images of the class that are marked.
        marked: The number of the class; -1 for none.
        seed: Of the choice of images, and of marks that are drawn at random.
    """

    number: int
    mark: str
    share: float
    marked: int
    seed: int


@dataclass(frozen=True)
class Use:
    """Whether a model uses a mark: accuracies on test images of the class, and its share in those of other classes."""

    with_mark: float
    without: float
    others_with: float
    others_without: float

    @property
    def used(self) -> bool:
        return max(self.with_mark - self.without, self.others_with - self.others_without) >= _USED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", type=Path, nargs="?", help="train/class/image, test/class/image; omitted: the embedded shapes"
    )
    parser.add_argument("--marks", nargs="*", default=_PLANTED, choices=[*_MARKS], metavar="MARK", help="one a trial")
    parser.add_argument("--clean", type=int, default=10, help="trainings without a mark")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--model", choices=[*TRAINERS], help="default: a probe for a folder, a small net for shapes")
    kind.add_argument("--side", type=int, help="a probe on images of this side; default: 160")
    parser.add_argument("--boxes", type=Path, help="a table of boxes for the folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a folder for the reports")
    parser.add_argument("--pictures", action="store_true", help="with the pictures of suspects")


def run(options: argparse.Namespace) -> Iterator[Table]:
    default = "probe" if options.folder else "small"
    trainer = TRAINERS[options.model or default]() if options.side is None else FrozenProbe(options.side)
    images = {split: _read(options, split) for split in _SHAPES}
    results = [_trial(plan, images, trainer, options) for plan in _plans(options, images["train"].class_names)]
    used = [right for use, right, _ in results if use is not None and use.used]
    clean = [right for use, right, _ in results if use is None]
    notes = (
        f"Marks that the model uses: {len(used)}, named with their class and no other: {sum(used)}.",
        f"Trainings without a mark: {len(clean)}, without a shortcut: {sum(clean)}.",
    )
    kind = "shapes" if options.folder is None else "photographs"
    yield Table(kind, f"Planted shortcuts, {kind}", _COLUMNS, tuple(row for *_, row in results), notes)


def _plans(options: argparse.Namespace, class_names: tuple[str, ...]) -> Iterator[Plan]:
    classes = np.random.default_rng(options.seed).permutation(len(class_names))
    for number, mark in enumerate(options.marks):
        share, marked = _SHARES[number % len(_SHARES)], int(classes[number % len(classes)])
        yield Plan(number, mark, share, marked, 1000 * options.seed + number)
    for number in range(len(options.marks), len(options.marks) + options.clean):
        yield Plan(number, "none", 0.0, -1, 1000 * options.seed + number)


class Images(NamedTuple):
    """The images of a split at their own sizes, their classes, and their boxes relative to width and height."""

    originals: list[Picture]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    boxes: list[NDArray[np.float32]] | None


def _read(options: argparse.Namespace, split: str) -> Images:
    dataset = data.open(options.folder or "shapes", boxes_csv=options.boxes)
    count = -1 if options.folder else _SHAPES[split]
    samples = list(dataset.samples(split, None).take(count).as_numpy_iterator())
    labels = np.array([int(sample["label"]) for sample in samples], np.int64)
    boxes = [sample["boxes"] for sample in samples] if options.boxes is not None else None
    return Images([sample["image"] for sample in samples], labels, dataset.class_names, boxes)


def _trial(
    plan: Plan, images: dict[str, Images], trainer: Trainer, options: argparse.Namespace
) -> tuple[Use | None, bool, tuple[Cell, ...]]:
    """Make a trial, and return whether the model uses the mark, whether the search is right, and the row."""
    train, names = images["train"], images["train"].class_names
    pixels, rows = _planted(plan, train, trainer.side)
    model = trainer.train(pixels, train.labels[rows], len(names), plan.seed)
    use = None if plan.mark == "none" else _use(plan, images["test"], model, trainer.side)
    scene, results = _searched(pixels, train, rows, model)
    named = {
        names[one.suspect.class_number]: f"{one.suspect.kind} {one.trial.evidence:.2f}" for one, _ in strongest(results)
    }
    right = [*named] == ([] if plan.mark == "none" else [names[plan.marked]])
    uses = [None] * 5 if use is None else [*(f"{value:.2f}" for value in vars(use).values()), _yes(use.used)]
    marked = names[plan.marked] if plan.marked >= 0 else ""
    why = "; ".join(f"{name}: {text}" for name, text in named.items())
    row = (plan.mark, f"{100 * plan.share:.0f} %", marked, *uses, why, _yes(right))
    report(f"{plan.number}: " + " | ".join(map(text_of, row)))
    if options.out is not None:
        folder = options.out / f"{plan.number:02}_{plan.mark}"
        _save(scene, results, plan, use, folder)
        for picture, one in enumerate(results if options.pictures else []):
            viz.save_png(folder / f"{picture}.png", sheet_of(scene, one, 0).picture)
    return use, right, row


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _planted(plan: Plan, train: Images, side: int) -> tuple[Picture, NDArray[np.int64]]:
    """Return training images, marked or some left out, and their numbers."""
    generator = np.random.default_rng(plan.seed)
    order = generator.permutation(len(train.labels))
    rows = np.sort(order[: round(_KEPT * len(order))]) if plan.mark == "none" else np.arange(len(order))
    own = [i for i in order if train.labels[i] == plan.marked]
    changed = set(own[: round(plan.share * len(own))])
    made = [
        _resized(_MARKS[plan.mark](one, generator) if i in changed else one, side)
        for i, one in ((i, train.originals[i]) for i in rows)
    ]
    return np.stack(made), rows


def _resized(image: Picture, side: int) -> Picture:
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))


def _use(plan: Plan, test: Images, model: Classifier, side: int) -> Use:
    """Measure whether a model uses a mark, on test images with and without it."""
    generator = np.random.default_rng([plan.seed, 1])
    own, others = np.flatnonzero(test.labels == plan.marked), np.flatnonzero(test.labels != plan.marked)
    shares = []
    for rows in (own, generator.permutation(others)[:_OTHERS]):
        before = [test.originals[i] for i in rows]
        for made in ([_MARKS[plan.mark](image, generator) for image in before], before):
            found = model.probabilities(np.stack([_resized(image, side) for image in made])).argmax(1)
            shares.append(float((found == plan.marked).mean()))
    return Use(*shares)


def _searched(
    pixels: Picture, train: Images, rows: NDArray[np.int64], model: Classifier
) -> tuple[Scene, list[TriedSuspect]]:
    """Search as the audit does, in as many images."""
    settings = ShortcutSettings()
    chosen = spread_over_classes(train.labels[rows], settings.images, settings.seed)
    pixels, rows = pixels[chosen], rows[chosen]
    side = pixels.shape[1]
    objects = None
    if train.boxes is not None:
        objects = np.stack([painted(train.boxes[i] * side, (side, side)) == OBJECT for i in rows])
    labels = train.labels[rows]
    scene = Scene(pixels, labels, train.class_names, model.probabilities, objects)
    suspects = suspects_of(scene, model.evidence(pixels, labels), settings)
    return scene, tested(scene, suspects, settings.seed)


def _save(scene: Scene, results: list[TriedSuspect], plan: Plan, use: Use | None, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"plan": asdict(plan), "use": None if use is None else asdict(use)}
    found = [record(scene, one) | {"confirmed": one.confirmed, "reason": one.reason} for one in results]
    (folder / "report.json").write_text(json.dumps(figures | {"suspects": found}, indent=1))

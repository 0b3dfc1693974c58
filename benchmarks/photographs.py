"""Photographs to measure on, built from installed packages: `python -m benchmarks photographs OUT`.

Photographed objects of 13 classes (Tux Paint's stamps) are put on photographed scenes. Objects and scenes are parted,
by a seed, into the halves `tuning` and `holdout`, and each into train, validation and test. Files of a half:

  OUT/tuning/PART/CLASS/*.jpg        one object an image
  OUT/tuning/boxes.csv               for `kerasxai evaluate --boxes`
  OUT/tuning_masks/PART/CLASS/*.png  0 background, n the n-th class
  OUT/pairs_tuning/PART/*.jpg        with --pairs: objects of two classes an image
  OUT/pairs_tuning/labels.csv        and their labels
  OUT/pairs_tuning_masks/PART/*.png  for `--class-masks`

`composites.csv` lists the objects and the scene of each image, `LICENSES.txt` the packages. An error names the command
that installs what is missing.
"""

import argparse
import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.composites import Picture, box_of, pasted, placed, placed_apart, scene_window
from benchmarks.photograph_scenes import SCENES
from benchmarks.photograph_sources import STAMPS_PACKAGE, Cutout, Scene, find_cutouts, find_scenes
from kerasxai.segmentation.palette import save_label_map
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import cannot, write_csv, write_text

T = TypeVar("T")

HALVES = ("tuning", "holdout")
PARTS = ("train", "validation", "test")
_SHARES = (0.527, 0.149, 0.324)
"""Of the objects of a class, and of the scenes, in each part."""
_QUALITY = 90
_BOXES = ("filename", "x_min", "y_min", "x_max", "y_max")


@dataclass(frozen=True)
class Counts:
    """The number of images in the parts of a half."""

    single: tuple[int, int, int] = (296, 96, 208)
    pairs: tuple[int, int, int] = (400, 100, 150)


@dataclass(frozen=True)
class Part:
    """The objects of each class and the scenes of one part of one half."""

    half: str
    name: str
    cutouts: Mapping[str, Sequence[Cutout]]
    scenes: Sequence[Scene]


@dataclass
class _Tables:
    boxes: list[tuple[object, ...]] = field(default_factory=list)
    labels: list[tuple[object, ...]] = field(default_factory=list)
    sources: list[tuple[object, ...]] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, help="a folder that does not exist, or is empty")
    parser.add_argument("--pairs", action="store_true", help="also images with objects of two classes")
    parser.add_argument("--seed", type=int, default=0, help="of the parts, the sizes and the places")


def run(options: argparse.Namespace) -> None:
    try:
        cutouts, scenes = find_cutouts(), find_scenes(SCENES)
        print(f"{len(cutouts)} objects of {len({one.class_name for one in cutouts})} classes, {len(scenes)} scenes")
        build(options.out, cutouts, scenes, Counts(), options.seed, options.pairs)
    except KerasxaiError as error:
        raise SystemExit(f"photographs: {error}") from None
    for folder in sorted(path for path in options.out.iterdir() if path.is_dir()):
        files = [path for path in folder.rglob("*") if path.suffix in (".jpg", ".png")]
        print(f"{folder}: {len(files)} files")


def build(
    out: Path, cutouts: Sequence[Cutout], scenes: Sequence[Scene], counts: Counts, seed: int = 0, pairs: bool = False
) -> None:
    """Build the photographs in a folder, all or nothing.

    Raises:
        KerasxaiError: The folder has something in it, or cannot be written to.
    """
    parts = parted(cutouts, scenes, seed)
    classes = sorted({cutout.class_name for cutout in cutouts})
    with _whole(out) as folder:
        sources: list[tuple[object, ...]] = []
        for half in HALVES:
            own = [part for part in parts if part.half == half]
            sources += _single(folder, own, classes, counts.single, seed)
            if pairs:
                sources += _pairs(folder, own, classes, counts.pairs, seed)
        write_csv(folder / "composites.csv", ("file", "objects", "scene"), sources)
        write_text(folder / "LICENSES.txt", _licenses(cutouts, scenes))


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """Yield a temporary folder next to another one, and rename it if the block succeeds."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise KerasxaiError(f"expected a new or an empty folder, got {out}; choose another one")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            yield temporary
            temporary.chmod(0o755)
            # Fails if files came into the folder meanwhile.
            temporary.replace(out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise cannot("write", out, error) from error


def parted(cutouts: Sequence[Cutout], scenes: Sequence[Scene], seed: int) -> list[Part]:
    """Part objects, class by class, and scenes into halves, and each half into train, validation and test."""
    random = np.random.default_rng(seed)
    classes = sorted({cutout.class_name for cutout in cutouts})
    found = {
        name: _six([cutout for cutout in cutouts if cutout.class_name == name], number, random)
        for number, name in enumerate(classes)
    }
    places = _six(scenes, 0, random)
    names = [(half, part) for half in HALVES for part in PARTS]
    return [
        Part(half, part, {name: found[name][row] for name in classes}, places[row])
        for row, (half, part) in enumerate(names)
    ]


def _six(items: Sequence[T], turn: int, random: np.random.Generator) -> list[list[T]]:
    """Part shuffled items; one that is over goes to the first half at even turns."""
    order = [items[row] for row in random.permutation(len(items))]
    middle = (len(order) + (turn + 1) % 2) // 2
    made = []
    for half in (order[:middle], order[middle:]):
        validation, test = (max(1, round(share * len(half))) for share in _SHARES[1:])
        train = len(half) - validation - test
        if train < 1:
            raise KerasxaiError(f"expected six or more objects of a class and six scenes, got {len(items)}")
        made += [half[:train], half[train : train + validation], half[train + validation :]]
    return made


def _single(
    folder: Path, parts: Sequence[Part], classes: Sequence[str], counts: Sequence[int], seed: int
) -> list[tuple[object, ...]]:
    tables, half = _Tables(), parts[0].half
    for number, (part, count) in enumerate(zip(parts, counts, strict=True)):
        random = np.random.default_rng([seed, 1, HALVES.index(half), number])
        scenes = _cycle(part.scenes, random)
        rows = [count // len(classes) + (row < count % len(classes)) for row in range(len(classes))]
        for row, (name, images) in enumerate(zip(classes, rows, strict=True)):
            own = part.cutouts[name]
            for image in range(images):
                cutout, scene = own[image % len(own)], next(scenes)
                window = scene_window(scene.read(), random)
                layer = placed(cutout.read(), window.shape[:2], random)
                made, (mask,) = pasted(window, [layer])
                file = f"{part.name}/{name}/{Path(cutout.name).stem}-{image // len(own)}.jpg"
                _save(folder, half, file, made, mask * np.uint8(row + 1))
                tables.boxes.append((file, *box_of(mask)))
                tables.sources.append((f"{half}/{file}", cutout.name, scene.name))
    write_csv(folder / half / "boxes.csv", _BOXES, tables.boxes)
    return tables.sources


def _pairs(
    folder: Path, parts: Sequence[Part], classes: Sequence[str], counts: Sequence[int], seed: int
) -> list[tuple[object, ...]]:
    tables, half = _Tables(), f"pairs_{parts[0].half}"
    for number, (part, count) in enumerate(zip(parts, counts, strict=True)):
        random = np.random.default_rng([seed, 2, HALVES.index(parts[0].half), number])
        scenes = _cycle(part.scenes, random)
        objects = [_cycle(part.cutouts[name], random) for name in classes]
        for image in range(count):
            # The first class in turn, so that all are about equally frequent, and any other one.
            first = image % len(classes)
            second = (first + int(random.integers(1, len(classes)))) % len(classes)
            rows = [int(row) for row in random.permutation([first, second])]
            cutouts, scene = [next(objects[row]) for row in rows], next(scenes)
            window = scene_window(scene.read(), random)
            layers = placed_apart([cutout.read() for cutout in cutouts], window.shape[:2], random)
            made, masks = pasted(window, layers)
            labels = np.zeros(window.shape[:2], np.uint8)
            for row, mask in zip(rows, masks, strict=True):
                labels[mask] = row + 1
            names = [cutout.name for cutout in cutouts]
            file = f"{part.name}/{image:03}-{'-'.join(Path(name).stem for name in names)}.jpg"
            _save(folder, half, file, made, labels)
            tables.labels += [(file, classes[row]) for row in sorted(rows)]
            tables.sources.append((f"{half}/{file}", " ".join(names), scene.name))
    write_csv(folder / half / "labels.csv", ("file", "label"), tables.labels)
    return tables.sources


def _cycle(items: Sequence[T], random: np.random.Generator) -> Iterator[T]:
    """Yield all items, shuffled, again and again."""
    while True:
        for row in random.permutation(len(items)):
            yield items[row]


def _save(folder: Path, name: str, file: str, image: Picture, labels: NDArray[np.uint8]) -> None:
    path = folder / name / file
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=_QUALITY)
    save_label_map((folder / f"{name}_masks" / file).with_suffix(".png"), labels)


def _licenses(cutouts: Sequence[Cutout], scenes: Sequence[Scene]) -> str:
    """Return which packages the pictures are of, and where their licenses are."""
    packages = sorted({scene.name.partition("/")[0] for scene in scenes} | {STAMPS_PACKAGE})
    lines = [f"{len(cutouts)} objects and {len(scenes)} scenes of these packages:", "", *packages, ""]
    lines += ["Licenses: /usr/share/doc/PACKAGE/copyright of a Debian package, LICENSE and the data folder's README of"]
    lines += ["a Python package. `composites.csv` has the files of each image.", ""]
    return "\n".join(lines)

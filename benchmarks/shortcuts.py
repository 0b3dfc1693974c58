"""Whether planted marks are found, and nothing without: `python -m benchmarks shortcuts FOLDER`.

A mark is planted into images of one class of a copy of the folder (`train`, `validation` and `test`, each with a folder
for each class), a classifier is trained on the copy, and shortcuts are searched in its test split. Columns: whether the
class and nothing else was named; the mean probability of the class for the marked test images, with the mark and
without it, which shows whether the model learned the mark; the seconds of the search.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.shortcut_marks import MARKS

_SPLITS = ("train", "validation", "test")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, nargs="?", help="images: split/class/image; omitted: the embedded shapes")
    parser.add_argument("--marks", nargs="+", default=[*MARKS, "none"], choices=[*MARKS, "none"], metavar="MARK")
    parser.add_argument("--share", type=float, default=0.8, help="of the images of the class that are marked")
    parser.add_argument("--unmarked-test", action="store_true", help="plant no mark into the test split")
    parser.add_argument("--epochs", type=int, default=0, help="of fine-tuning; 0: the probe alone")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", default="test", help="the split that is searched")
    parser.add_argument("--sheets", type=Path, help="a folder for the sheets")


def run(options: argparse.Namespace) -> None:
    print("mark | class | named | right | with mark | without | seconds | sentence")
    for number, mark in enumerate(options.marks):
        with tempfile.TemporaryDirectory() as folder:
            row = _trial(options, mark, options.seed + number, Path(folder))
        print(" | ".join(map(str, row)), flush=True)


def _trial(options: argparse.Namespace, mark: str, seed: int, folder: Path) -> list[Any]:
    source = options.folder or _shapes(folder / "shapes")
    classes = sorted(path.name for path in (source / "train").iterdir())
    marked = classes[seed % len(classes)]
    marked_images = _plant(options, source, folder / "data", mark, marked, seed)
    images, explainer = _trained(options, folder)
    begun = time.monotonic()
    from kerasxai.audit.shortcuts import find_shortcuts

    report = find_shortcuts(images, explainer)
    seconds = time.monotonic() - begun
    named = [found["class"] for found in report.shortcuts]
    if options.sheets is not None:
        _save(report, options.sheets / f"{mark}_{marked}")
    right = named == ([] if mark == "none" else [marked])
    probabilities = ["", ""]
    if marked_images:
        number = images.class_names.index(marked)
        size = images.taken.size
        for column in (0, 1):
            pixels = [np.asarray(Image.fromarray(pair[column]).resize(size[::-1])) for pair in marked_images]
            found = explainer.predict(images.taken.taken(np.stack(pixels))).probabilities[:, number]
            probabilities[column] = f"{found.mean():.3f}"
    sentences = "; ".join(f"{found['kind']} {found['evidence']:.2f}" for found in report.shortcuts)
    return [mark, marked, named, right, *probabilities, round(seconds), sentences]


def _shapes(folder: Path) -> Path:
    """Write the embedded shapes as a folder of images."""
    from kerasxai import data

    dataset = data.open("shapes")
    for split in _SPLITS:
        for number, sample in enumerate(dataset.samples(split, None).as_numpy_iterator()):
            path = folder / split / dataset.info.class_names[int(sample["label"])] / f"{number:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(sample["image"]).save(path)
    return folder


def _plant(
    options: argparse.Namespace, source: Path, target: Path, mark: str, marked: str, seed: int
) -> list[tuple[Any, Any]]:
    """Copy a folder with marks in one class; returns the marked images of the test split, with and without."""
    shutil.copytree(source, target)
    pairs = []
    generator = np.random.default_rng(seed)
    for split in _SPLITS:
        paths = sorted((target / split / marked).iterdir())
        chosen = generator.permutation(len(paths))[: round(options.share * len(paths))]
        if mark == "none":
            continue
        for path in (paths[i] for i in chosen):
            with Image.open(path) as opened:
                before = np.asarray(opened.convert("RGB"))
            after = MARKS[mark](before, generator)
            if split == "test":
                pairs.append((after, before))
            if split != "test" or not options.unmarked_test:
                Image.fromarray(after).save(path, quality=90)
    return pairs


def _trained(options: argparse.Namespace, folder: Path) -> tuple[Any, Any]:
    """Train by the command, and return the images of the audit and an explainer."""
    from kerasxai import data, models
    from kerasxai.audit.images import AuditImages
    from kerasxai.cli import main
    from kerasxai.engine.images.image_input import image_input
    from kerasxai.explainer import Explainer

    out = folder / "run"
    size = ["--image-size", str(options.image_size)]
    main(["train", "--data", str(folder / "data"), "--epochs", str(options.epochs), *size, "--out", str(out)])
    model = models.load_classifier(str(out / "model.keras"))
    dataset, taken = data.open(folder / "data"), image_input(model)
    samples = dataset.examples(options.split, taken.size, 16)
    pixels = np.stack([np.asarray(sample["image"]) for sample in samples]).astype(np.uint8)
    labels = np.array([int(sample["label"]) for sample in samples])
    explainer = Explainer(model, "gradcam", batch_size=16)
    outputs = explainer.predict(taken.taken(pixels))
    names = tuple(dataset.info.class_names)
    images = AuditImages(
        model, dataset, options.split, taken, pixels, labels, outputs.scores, outputs.probabilities, names, []
    )
    return images, explainer


def _save(report: Any, folder: Path) -> None:
    from kerasxai import viz

    folder.mkdir(parents=True, exist_ok=True)
    for number, sheet in enumerate(report.sheets):
        viz.save_png(folder / f"{number}.png", sheet.picture)
    figures = {"shortcuts": report.shortcuts, "suspects": report.suspects, "notes": report.notes}
    (folder / "report.json").write_text(json.dumps(figures, indent=1))

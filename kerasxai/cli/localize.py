"""`kerasxai localize`: boxes and masks of what a model sees in images, as files that other tools read."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kerasxai.cli.explain_files import distinct_stems
from kerasxai.cli.images_in import image_files, resized
from kerasxai.cli.predictions import class_index, name_of, predictions_of
from kerasxai.core.commands import command_line, parse_option
from kerasxai.methods import METHODS
from kerasxai.refinements import REFINE_HELP

SUMMARY = "Write boxes (COCO JSON, CSV) and masks (PNG) of what a model sees in images."
EXAMPLES = [
    "kerasxai localize imagenet:EfficientNetLite0 photos/ --refine best --out boxes/",
    "kerasxai localize runs/gap/model.keras cat.jpg dog.jpg --method gradcam --threshold otsu",
    "kerasxai localize imagenet:EfficientNetLite0 photos/*.jpg --target tabby --all-boxes",
]

_ON_SHEET = 48
_COLUMNS = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the model, the images, how they are explained, and where the files go."""
    parser.add_argument("model", metavar="MODEL", help="a .keras file, or imagenet:NAME for an untouched backbone")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files, or folders of them")
    parser.add_argument(
        "--method", default="cam", choices=METHODS, metavar="NAME", help="explainer (default: %(default)s)"
    )
    parser.add_argument("--refine", metavar="NAME[,NAME]", help=REFINE_HELP)
    parser.add_argument("--layer", help="for methods that explain at a layer")
    parser.add_argument("--target", metavar="CLASS", help="class index or name (default: each image's predicted class)")
    parser.add_argument(
        "--option", action="append", default=[], type=parse_option, metavar="NAME=VALUE", help="an option of the method"
    )
    parser.add_argument(
        "--threshold",
        type=_threshold,
        default=0.2,
        metavar="SHARE",
        help="what of a heatmap's maximum the object lies above, 0 to 1, or a rule that chooses it for each heatmap: "
        "otsu, multiotsu, area (default: %(default)s)",
    )
    parser.add_argument(
        "--all-boxes", action="store_true", help="a box for each connected region, not only for the largest"
    )
    parser.add_argument("--out", type=Path, default=Path("boxes"), help="folder to write to (default: %(default)s)")
    parser.add_argument("--image-size", type=int, help="side in pixels, for models that take any (default: 224)")
    parser.add_argument("--batch-size", type=int, default=16, help="images at once (default: %(default)s)")


def _threshold(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def run(options: argparse.Namespace) -> None:
    """Localizes, and writes `boxes.json`, `boxes.csv`, `masks/` and `sheet.png`, each whole or not at all."""
    from kerasxai.cli.localize_files import Record, regions, write_coco, write_csv, write_mask, write_sheet
    from kerasxai.localization import chosen_threshold, heatmap_to_mask, mask_to_boxes

    chosen_threshold(np.eye(2), options.threshold)  # Tells a mistake before the model is loaded.
    paths = image_files(options.images)
    records: list[Record] = []
    cells: list[tuple[np.ndarray, str]] = []
    stems = distinct_stems([str(path) for path in paths])
    classes, batches = _explained(options, paths)
    for image, heatmap, target, share in batches:
        mask = heatmap_to_mask(heatmap, options.threshold)
        boxes = mask_to_boxes(mask, largest=not options.all_boxes)
        mask = np.any([mask & False, *regions(mask, boxes)], axis=0)
        number = len(records)
        file = options.out / "masks" / f"{stems[number]}.png"
        write_mask(file, mask)
        record = Record(str(paths[number]), image.shape[:2], target, name_of(target, classes), share, boxes, mask)
        records.append(record.packed())
        if number < _ON_SHEET:
            cells.append((_cell(image, heatmap, boxes), f"{record.name} {share:.0%}"))
    write_coco(options.out / "boxes.json", records, classes, command_line())
    write_csv(options.out / "boxes.csv", records)
    rows = [cells[start : start + _COLUMNS] for start in range(0, len(cells), _COLUMNS)]
    write_sheet(options.out / "sheet.png", rows, options.method, options.refine, options.threshold)
    found = sum(bool(len(record.boxes)) for record in records)
    print(f"{found} of {len(records)} images have a box; boxes, masks and a sheet: {options.out}")


def _explained(
    options: argparse.Namespace, paths: list[Path]
) -> tuple[list[str] | None, Iterator[tuple[np.ndarray, np.ndarray, int, float]]]:
    """Returns the class names, and for each image itself, its heatmap at its size, the class and its probability."""
    from kerasxai import models
    from kerasxai.core.layers import image_side
    from kerasxai.explainer import Explainer

    model = models.load(options.model)
    side = image_side(model, options.image_size)
    classes = models.class_names(model)
    target = None if options.target is None else class_index(options.target, classes)
    explainer = Explainer(
        model,
        options.method,
        layer=options.layer,
        batch_size=options.batch_size,
        refine=options.refine,
        progress=False,
        **dict(options.option),
    )
    return classes, _one_by_one(explainer, model, paths, side, target, options.batch_size)


def _one_by_one(
    explainer: Any, model: Any, paths: list[Path], side: tuple[int, int], target: int | None, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, int, float]]:
    from kerasxai.core.progress import Bar
    from kerasxai.data import read_image

    with Bar(len(paths), "localizing", None) as bar:
        for start in range(0, len(paths), batch_size):
            images = [read_image(path) for path in paths[start : start + batch_size]]
            batch = resized(images, side)
            explanation = explainer(batch, target)
            shares = predictions_of(np.asarray(model.predict_on_batch(batch)))
            for i, image in enumerate(images):
                heatmap = resized([explanation.heatmaps[i][..., None]], image.shape[:2])[0, ..., 0]
                explained = int(explanation.targets[i])
                yield image, heatmap, explained, float(shares[i, explained])
                bar.advance(1)


def _cell(image: np.ndarray, heatmap: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    from kerasxai import viz

    factor = 256 / max(image.shape[:2])
    small = resized([image], (max(1, round(image.shape[0] * factor)), max(1, round(image.shape[1] * factor))))[0]
    scaled = np.rint(np.asarray(boxes) * factor).astype(int)
    scaled[:, 2:] = np.maximum(scaled[:, 2:], scaled[:, :2] + 1)
    return viz.overlay(np.clip(small, 0, 255).astype(np.uint8), heatmap, boxes=scaled)

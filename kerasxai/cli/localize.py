"""`kerasxai localize`: boxes and masks of what a model sees in images, as files that other tools read."""

import argparse
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kerasxai.cli.images_in import (
    ImageIn,
    finite_images,
    image_files,
    none_readable,
    read_batches,
    resized,
    tell_skipped,
    with_channels,
)
from kerasxai.cli.ledger import Ledger
from kerasxai.cli.predictions import add_outputs, class_index, name_of
from kerasxai.cli.settings import settings_of
from kerasxai.methods import METHODS
from kerasxai.refinements import REFINE_HELP
from kerasxai.tools.arguments import add_method_options, add_model, positive_int, section
from kerasxai.tools.folders import check_output_folder, locked
from kerasxai.tools.image_options import add_image_options
from kerasxai.tools.input_range import preprocessing

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
    add_model(parser)
    section(parser, "data").add_argument("images", metavar="IMAGE", nargs="+", help="image files, or folders of them")
    section(parser, "method").add_argument(
        "--method", default="cam", choices=METHODS, metavar="NAME", help="explainer (default: %(default)s)"
    )
    section(parser, "method").add_argument("--refine", metavar="NAME[,NAME]", help=REFINE_HELP)
    section(parser, "method").add_argument("--layer", help="for methods that explain at a layer")
    section(parser, "method").add_argument(
        "--target", metavar="CLASS", help="class index or name (default: each image's predicted class)"
    )
    add_method_options(parser)
    section(parser, "boxes").add_argument(
        "--threshold",
        type=_threshold,
        default=0.2,
        metavar="SHARE",
        help="what of a heatmap's maximum the object lies above, 0 to 1, or a rule that chooses it for each heatmap: "
        "otsu, multiotsu, area (default: %(default)s)",
    )
    section(parser, "boxes").add_argument(
        "--all-boxes", action="store_true", help="a box for each connected region, not only for the largest"
    )
    section(parser, "output").add_argument(
        "--out", type=Path, default=Path("boxes"), help="folder to write to (default: %(default)s)"
    )
    add_outputs(parser)
    add_image_options(parser, bits=True)
    section(parser, "method").add_argument(
        "--batch-size", type=positive_int, default=16, help="images at once (default: %(default)s)"
    )


def _threshold(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def run(options: argparse.Namespace) -> int:
    """Localizes, and writes `boxes.json`, `boxes.csv`, `masks/` and `sheet.png`, each whole or not at all.

    Returns:
        0, or 1 if some images were skipped.
    """
    from kerasxai.cli.localize_files import BoxTable
    from kerasxai.localization import chosen_threshold

    chosen_threshold(np.eye(2), options.threshold)  # Tells a mistake before the model is loaded.
    preprocessing(options.input_range)
    with locked(options.out):
        check_output_folder(options.out / "masks")
        paths = image_files(options.images, options.out)
        table = BoxTable()
        ledger = Ledger(options.out, table, settings_of("localize", options))
        stems = ledger.plan(paths, lambda stem: [f"masks/{stem}.png"])
        done = [ledger.done(number, path) is not None for number, path in enumerate(paths)]
        if not all(done[:_ON_SHEET]) or not (options.out / "sheet.png").is_file():
            # The sheet shows heatmaps, which are not kept.
            done[:_ON_SHEET] = [False] * len(done[:_ON_SHEET])
        if any(done):
            rest = "nothing is left to do" if all(done) else "going on with the others"
            print(f"{sum(done)} of {len(paths)} images were localized by an earlier call; {rest}")
        todo = [number for number, finished in enumerate(done) if not finished]
        # The first images are read before the model is loaded, so that unreadable files are told at once.
        batches = read_batches(paths, todo, options.batch_size, ledger.skip, options.bits)
        first = next(batches, None)
        if first is None and len(ledger.skipped) == len(paths):
            raise none_readable(ledger.skipped, len(paths))
        with ledger:
            if first is not None:
                _localize(options, itertools.chain([first], batches), stems, ledger, table, len(todo))
        if len(ledger.skipped) == len(paths):
            raise none_readable(ledger.skipped, len(paths))
        records = [record for record in map(ledger.record, range(len(paths))) if record is not None]
        found = sum(bool(record["boxes"]) for record in records)
        print(f"{found} of {len(records)} images have a box; boxes, masks and a sheet: {options.out}")
        return tell_skipped(ledger.skipped, len(paths))


def _localize(
    options: argparse.Namespace,
    batches: Iterable[list[ImageIn]],
    stems: list[str],
    ledger: Ledger,
    table: Any,
    count: int,
) -> None:
    from kerasxai import models
    from kerasxai.cli.localize_files import record_of, regions, write_mask, write_sheet
    from kerasxai.engine.images.builtin_preprocessing import warn_of_range
    from kerasxai.engine.images.image_input import image_input
    from kerasxai.engine.outputs.kinds import class_count
    from kerasxai.explainer import Explainer
    from kerasxai.localization import heatmap_to_mask, mask_to_boxes
    from kerasxai.tools.progress import Bar

    model = models.load_classifier(options.model, options.custom_objects)
    taken = image_input(model, options.image_size, options.input_range)
    table.classes = models.class_names(model)
    target = None if options.target is None else class_index(options.target, table.classes, class_count(model))
    explainer = Explainer(
        model,
        options.method,
        layer=options.layer,
        batch_size=options.batch_size,
        refine=options.refine,
        outputs=options.outputs,
        progress=False,
        **dict(options.option),
    )
    cells: list[tuple[np.ndarray, str]] = []
    with Bar(count, "localizing", None) as bar:
        for turn, given in enumerate(with_channels(batches, taken.channels, options.bits)):
            _, found = finite_images(given, lambda kept: list(_explained(explainer, kept, taken, target)), ledger)
            for image, heatmap, explained, share in found or ():
                mask = heatmap_to_mask(heatmap, options.threshold)
                boxes = mask_to_boxes(mask, largest=not options.all_boxes)
                mask = np.any([mask & False, *regions(mask, boxes)], axis=0)
                ledger.begin(image.number)
                file = f"masks/{stems[image.number]}.png"
                write_mask(options.out / file, mask)
                name = name_of(explained, table.classes)
                size = image.pixels.shape[:2]
                ledger.add(
                    image.number, image.stamp, record_of(image.path, size, explained, name, share, boxes, mask, file)
                )
                if image.number < _ON_SHEET:
                    cells.append((_cell(image.pixels, heatmap, boxes), f"{name} {share:.0%}"))
                bar.advance(1)
            ledger.save()
            if turn == 0:
                warn_of_range(model, taken, options.input_range)
    if cells:
        rows = [cells[start : start + _COLUMNS] for start in range(0, len(cells), _COLUMNS)]
        write_sheet(options.out / "sheet.png", rows, options.method, options.refine, options.threshold)


def _explained(
    explainer: Any, images: list[ImageIn], taken: Any, target: int | None
) -> Iterator[tuple[ImageIn, np.ndarray, int, float]]:
    """Yields each image with its heatmap at its own size, the class and its probability."""
    batch = taken.batch([image.pixels for image in images])
    explanation = explainer(batch, target)
    shares = explainer.predict(batch).probabilities
    for i, image in enumerate(images):
        heatmap = resized([explanation.heatmaps[i][..., None]], image.pixels.shape[:2])[0, ..., 0]
        explained = int(explanation.targets[i])
        yield image, heatmap, explained, float(shares[i, explained])


def _cell(image: np.ndarray, heatmap: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    from kerasxai import viz

    factor = 256 / max(image.shape[:2])
    small = resized([image], (max(1, round(image.shape[0] * factor)), max(1, round(image.shape[1] * factor))))[0]
    scaled = np.rint(np.asarray(boxes) * factor).astype(int)
    scaled[:, 2:] = np.maximum(scaled[:, 2:], scaled[:, :2] + 1)
    return viz.overlay(np.clip(small, 0, 255).astype(np.uint8), heatmap, boxes=scaled)

"""The work of `kerasxai localize`: boxes and masks of what a model sees in images, as files that other tools read."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai.cli.images_in import (
    ImageIn,
    choose_refinements,
    finite_images,
    image_files,
    process_images,
    read_batches,
    report_skipped,
    resized,
    with_channels,
)
from kerasxai.cli.ledger import Ledger
from kerasxai.cli.localize_config import LocalizeConfig
from kerasxai.cli.localize_files import (
    BoxTable,
    SheetCell,
    record_of,
    record_of_classes,
    regions,
    write_class_mask,
    write_mask,
    write_sheet,
)
from kerasxai.cli.localize_model import load_mapper
from kerasxai.cli.localize_shards import localize_shards
from kerasxai.cli.localize_threshold import Resolved, announce, resolve_threshold, threshold_phrase
from kerasxai.cli.settings import settings_of
from kerasxai.cli.shard_commands import check_stream, without_stream
from kerasxai.data.choosing import spread_over_classes
from kerasxai.engine.images.builtin_preprocessing import warn_of_range
from kerasxai.engine.outputs.kinds import class_label
from kerasxai.localization import AUTO_RULE, chosen_threshold, heatmap_to_mask, mask_to_boxes
from kerasxai.streaming.class_maps import ClassMap
from kerasxai.streaming.config import StreamedDataSettings
from kerasxai.tools.files import text_of
from kerasxai.tools.folders import check_output_folder, locked
from kerasxai.tools.input_range import preprocessing
from kerasxai.tools.progress import Bar
from kerasxai.tools.settings import from_options
from kerasxai.viz.pixels import resize_heatmap
from kerasxai.viz.words import with_probability, with_remark

_MOST_ON_SHEET = 48
_CELL = 256


def run(options: argparse.Namespace) -> int:
    """Localize, and write `boxes.json`, `boxes.csv`, `masks/` and `sheet.png`, each whole or not at all.

    Returns:
        0, or 1 if some images were skipped.
    """
    config = from_options(LocalizeConfig, options)
    # Refuse mistakes before the model is loaded.
    check_stream(config, config.images, StreamedDataSettings)
    chosen_threshold(np.eye(2), AUTO_RULE if config.threshold == "auto" else config.threshold)
    preprocessing(config.input_range)
    if config.data is not None:
        return localize_shards(config, settings_of("localize", options))
    resolved = resolve_threshold(config)
    threshold = resolved.threshold
    with locked(config.out):
        check_output_folder(config.out / "masks")
        paths = image_files(config.images, config.out)
        table = BoxTable()
        ledger = Ledger(
            config.out,
            table,
            settings_of("localize", without_stream(options, StreamedDataSettings), threshold=threshold),
        )
        ledger.refuse_other_settings()
        stems = ledger.plan(paths, lambda stem: [f"masks/{stem}.png"])
        finished = [ledger.done(number, path) is not None for number, path in enumerate(paths)]
        shown = _on_sheet(paths)
        missing = [number for number in sorted(shown) if not finished[number]]
        if not (config.out / "sheet.png").is_file() or _can_be_read(paths, missing, config.bits):
            # The sheet shows heatmaps, which are not kept.
            finished = [done and number not in shown for number, done in enumerate(finished)]
        config = replace(config, threshold=threshold)
        work = _Work(ledger, table, paths, stems, shown, finished.count(False), resolved)
        process_images(config, ledger, paths, finished, "localized", lambda batches: _localize(config, batches, work))
        records = list(filter(None, map(ledger.record, range(len(paths)))))
        found = sum(bool(record["boxes"]) for record in records)
        boxed = f"{found} of {len(records)} images have a box at {threshold_phrase(threshold)}"
        print(f"{boxed}; boxes, masks and a sheet: {config.out}")
        return report_skipped(ledger.skipped, len(paths))


def _on_sheet(paths: Sequence[Path]) -> frozenset[int]:
    """Choose the images of the sheet, as evenly over the folders as possible: these are often the classes."""
    _, folders = np.unique([text_of(path.parent) for path in paths], return_inverse=True)
    return frozenset(spread_over_classes(folders, _MOST_ON_SHEET).tolist())


def _can_be_read(paths: Sequence[Path], numbers: Sequence[int], bits: int | None) -> bool:
    """Return whether one of these images can be read: others are not on the sheet, and never done."""
    return any(read_batches(paths, numbers, 1, lambda *_: None, bits))


class _Work(NamedTuple):
    """What is known of a call before the model is loaded.

    Attributes:
        ledger: Keeps what was done.
        table: Of the boxes; it gets the names of the classes.
        paths: Of all images.
        stems: Of the files of each image.
        shown: The positions of the images on the sheet.
        todo: How many images there are to do.
        resolved: The threshold, where it is from, and the refinement that it is for.
    """

    ledger: Ledger
    table: BoxTable
    paths: list[Path]
    stems: list[str]
    shown: frozenset[int]
    todo: int
    resolved: Resolved


def _localize(config: LocalizeConfig, batches: Iterable[list[ImageIn]], work: _Work) -> None:
    mapper, classes = load_mapper(config)
    work.table.classes = classes
    announce(config, work.todo, work.resolved.origin)
    given = work.resolved.refinement
    choose_refinements([mapper.explainer], work.ledger, work.paths, mapper.model_input, config.bits, given)
    write = _write_classes if mapper.by_class else _write

    def explain(images: list[ImageIn]) -> list[_Explained]:
        batch = mapper.model_input.batch([image.pixels for image in images])
        maps = mapper.maps(batch, [(image.pixels.shape[0], image.pixels.shape[1]) for image in images])
        return [_Explained(image, its) for image, its in zip(images, maps, strict=True)]

    cells: list[SheetCell] = []
    with Bar(work.todo, "localizing", None) as bar:
        for turn, read in enumerate(with_channels(batches, mapper.model_input.channels, config.bits)):
            _, found = finite_images(read, explain, work.ledger)
            for one in found or ():
                its = write(one, config, work.stems[one.image.number], classes, work.ledger)
                if one.image.number in work.shown:
                    cells += map(_cell, its)
            bar.advance(len(read))
            work.ledger.save()
            if turn == 0:
                # After the first batch, when the model has been called and other mistakes are out of the way.
                assert isinstance(mapper.explainer.model, keras.Model)
                warn_of_range(mapper.explainer.model, mapper.model_input, config.input_range)
    if cells:
        write_sheet(config.out / "sheet.png", cells, config.method, config.refine, config.threshold)


class _Explained(NamedTuple):
    """An image with the map of its class, or of several."""

    image: ImageIn
    maps: list[ClassMap]


def _write(
    explained: _Explained, config: LocalizeConfig, stem: str, classes: list[str] | None, ledger: Ledger
) -> list[SheetCell]:
    """Write the mask of an image and keep its record; return its cell of the sheet, at full size."""
    image, ((heatmap, target, probability),) = explained
    boxes, boxed = _boxed(heatmap, config)
    ledger.begin(image.number)
    file = f"masks/{stem}.png"
    # Of the mask only the regions that have a box.
    write_mask(config.out / file, np.any([np.zeros(heatmap.shape, bool), *boxed], axis=0))
    name = class_label(target, classes)
    record = record_of(image.path, heatmap.shape, target, name, probability, boxes, boxed, file)
    ledger.add(image.number, image.stamp, record)
    return [SheetCell(image.pixels, heatmap, boxes, with_remark(with_probability(name, probability), heatmap))]


def _write_classes(
    explained: _Explained, config: LocalizeConfig, stem: str, classes: list[str] | None, ledger: Ledger
) -> list[SheetCell]:
    """Write the class mask of an image and keep its record; return a cell of the sheet for each class."""
    image, maps = explained
    size, file = image.pixels.shape[:2], f"masks/{stem}.png"
    found = [_boxed(one.heatmap, config) for one in maps]
    ledger.begin(image.number)
    inside = [np.any([np.zeros(size, bool), *boxed], axis=0) for _, boxed in found]
    write_class_mask(config.out / file, inside, [one.heatmap for one in maps], [one.target for one in maps], size)
    names = [class_label(one.target, classes) for one in maps]
    records = [
        record_of(image.path, size, one.target, name, one.probability, *both, file)
        for one, name, both in zip(maps, names, found, strict=True)
    ]
    ledger.add(image.number, image.stamp, record_of_classes(image.path, size, records, file))
    cells = [
        SheetCell(image.pixels, one.heatmap, boxes, with_remark(with_probability(name, one.probability), one.heatmap))
        for one, name, (boxes, _) in zip(maps, names, found, strict=True)
    ]
    return cells or [SheetCell(image.pixels, np.zeros(size, np.float32), np.zeros((0, 4), int), "no class")]


def _boxed(heatmap: NDArray[np.float32], config: LocalizeConfig) -> tuple[NDArray, list[NDArray[np.bool_]]]:
    """Return the boxes of a heatmap, and the region of each."""
    mask = heatmap_to_mask(heatmap, config.threshold)
    boxes = mask_to_boxes(mask, largest=not config.all_boxes)
    return boxes, regions(mask, boxes)


def _cell(full: SheetCell) -> SheetCell:
    """Return a cell of the size of the sheet, so that it needs little memory until the sheet is drawn."""
    factor = _CELL / max(full.image.shape[:2])
    size = (max(1, round(full.image.shape[0] * factor)), max(1, round(full.image.shape[1] * factor)))
    image = np.clip(resized([full.image], size)[0], 0, 255).astype(np.uint8)
    boxes = np.rint(np.reshape(full.boxes, (-1, 4)) * factor).astype(int)
    # A box of less than a pixel would not be drawn.
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    return SheetCell(image, resize_heatmap(full.heatmap, size), boxes, full.caption)

"""The work of `kerasxai inspect`: open model and data, make one page after the other, write the report."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from kerasxai import data, models
from kerasxai.cli.images_in import none_readable, tell_skipped
from kerasxai.cli.inspect import PARTS, WITHOUT_DATA
from kerasxai.cli.inspect_pages import PAGES
from kerasxai.cli.inspect_work import Work, channel_number
from kerasxai.cli.settings import settings_of
from kerasxai.cli.staging import staged
from kerasxai.engine.images.builtin_preprocessing import warn_of_range
from kerasxai.engine.images.image_input import image_input
from kerasxai.engine.outputs.finite import check_weights
from kerasxai.features.neighbors import NeighborIndex
from kerasxai.features.preprocessed import preprocessing_inputs
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import text_of
from kerasxai.tools.input_range import name_of_range, preprocessing
from kerasxai.tools.text_tables import print_table
from kerasxai.viz import Report

_NAMES = (
    "report.html", *(f"{part}.png" for part in PARTS), "projection.html", "projector", "embeddings.npy*", "index.npz",
    "ious_*.npy", "class_*.png", "class_*.webp",
)  # fmt: skip
"""All that the pages may write."""


def run(options: argparse.Namespace) -> int:
    """Writes `report.html`, its pictures and arrays, and prints where they are.

    Returns:
        0, or 1 if some images could not be read.
    """
    wanted = _wanted(options)
    preprocessing(options.input_range)  # Refuses a mistake before the model is loaded.
    settings = settings_of("inspect", options, query=options.query)
    with staged(options.out, "inspection.json", _NAMES, settings) as stage:
        skipped, images = _read_queries(options)
        count = len(options.query) + len(skipped)
        dataset = None
        if options.data:
            dataset = data.open(options.data, data_dir=options.data_dir, skip_unreadable=True)
            problems = dataset.unreadable_images(options.split)
            skipped += [{"image": text_of(path), "reason": f"{path}: {why}"} for path, why in problems.items()]
            count += dataset.info.splits.get(options.split, len(problems))
        content, rows = _inspect(options, wanted, images, dataset, stage.folder)
        stage.publish(content | ({"skipped": skipped} if skipped else {}))
    print_table(("part", "found"), rows)
    print(f"report: {options.out / 'report.html'}")
    return tell_skipped(skipped, count)


def _read_queries(options: argparse.Namespace) -> tuple[list[dict[str, str]], list[np.ndarray]]:
    """Returns the queries that cannot be read, which are taken off the options, and the images of the others."""
    if options.index is not None:
        NeighborIndex.load(options.index)
    skipped: list[dict[str, str]] = []
    images, readable = [], []
    for path in options.query:
        try:
            images.append(data.read_image(path, bits=options.bits))
            readable.append(path)
        except KerasxaiError as error:
            skipped.append({"image": text_of(path), "reason": str(error)})
    if skipped and not images:
        raise none_readable(skipped, len(skipped))
    options.query = readable
    return skipped, images


def _inspect(
    options: argparse.Namespace,
    wanted: list[str],
    queries: list[np.ndarray],
    dataset: data.ImageDataset | None,
    folder: Path,
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    model = models.load_classifier(options.model, options.custom_objects, classes=False)
    check_weights(model)
    taken = image_input(model, options.image_size, options.input_range)
    report = Report(f"What {Path(options.model).name} has learned", "Of the model itself, not of single decisions.")
    work = Work(options, model, taken, models.class_names(model), dataset, report, folder)
    if options.show is None and "dissection" in wanted and not work.info.has_masks:
        wanted.remove("dissection")
    work.figures["input_range"] = name_of_range(options.input_range)
    rows = []
    with preprocessing_inputs(model, taken):
        figures: list[tuple[str, Any]] = [("layer", work.layer), ("input range", work.figures["input_range"])]
        report.add_figures(figures + ([("data", f"{options.data}, {options.split}")] if options.data else []))
        for part in wanted:
            summary = PAGES[part](work, queries) if part == "neighbors" else PAGES[part](work)
            rows.append((part, summary))
    warn_of_range(model, taken, options.input_range)
    report.write(work.out / "report.html")
    return {"model": str(options.model), "layer": work.layer, "command": report.command, **work.figures}, rows


def _wanted(options: argparse.Namespace) -> list[str]:
    """Returns the parts that are shown, checked before anything slow begins."""
    if options.channels is not None:
        [channel_number(text) for text in options.channels.split(",")]
    if options.index is not None and not options.query:
        raise KerasxaiError("--index needs images to find neighbors of: give --query")
    if options.show is None:
        wanted = [part for part in PARTS if part in WITHOUT_DATA or options.data]
        if options.index is not None and not options.data:
            wanted.append("neighbors")
        return [part for part in wanted if part != "classes" or options.target]
    wanted = [part.strip() for part in options.show.split(",") if part.strip()]
    for part in wanted:
        if part not in PARTS:
            raise unknown("part", part, PARTS)
        if part not in WITHOUT_DATA and not options.data and not (part == "neighbors" and options.index):
            raise KerasxaiError(f"{part} needs images: give --data")
    if "classes" in wanted and not options.target:
        raise KerasxaiError("classes needs to know which: give --target")
    if not wanted:
        raise KerasxaiError(f"--show is empty; parts are {', '.join(PARTS)}")
    return wanted

"""The work of `kerasxai inspect`: open model and data, make one page after the other, write the report."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasxai import data, models
from kerasxai.cli.images_in import none_readable, report_skipped
from kerasxai.cli.inspect_config import PARTS, PARTS_WITHOUT_DATA, InspectConfig
from kerasxai.cli.inspect_pages import PAGES
from kerasxai.cli.inspection import Inspection, channel_numbers
from kerasxai.cli.models_in import load_named
from kerasxai.cli.settings import settings_of
from kerasxai.cli.staging import staged
from kerasxai.engine.images.builtin_preprocessing import input_for_files, warn_of_range
from kerasxai.engine.outputs.finite import check_weights
from kerasxai.features.neighbors import NeighborIndex
from kerasxai.features.preprocessed import preprocessing_inputs
from kerasxai.tools.arguments import comma_separated
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import text_of
from kerasxai.tools.input_range import name_of_range, preprocessing
from kerasxai.tools.json_output import print_json
from kerasxai.tools.settings import from_options
from kerasxai.tools.text_tables import print_table
from kerasxai.viz import Report

_NAMES = (
    "report.html", *(f"{part}.png" for part in PARTS), "projection.html", "projector", "embeddings.npy*", "index.npz",
    "ious_*.npy", "class_*.png", "class_*.webp",
)  # fmt: skip
"""All that the pages may write."""


def run(options: argparse.Namespace) -> int:
    """Write `report.html`, its pictures and arrays, and print where they are.

    Returns:
        0, or 1 if some images could not be read.
    """
    config = from_options(InspectConfig, options)
    parts = parts_of(config)
    preprocessing(config.input_range)  # Refuses a mistake before the model is loaded.
    with staged(config.out, "inspection.json", _NAMES, settings_of("inspect", options)) as stage:
        count = len(config.query)
        config, queries, skipped = _read_queries(config)
        dataset = None
        if config.data:
            dataset = data.open(config.data, data_dir=config.data_dir, skip_unreadable=True, labels="single")
            problems = dataset.unreadable_images(config.split)
            skipped += [{"image": text_of(path), "reason": f"{path}: {why}"} for path, why in problems.items()]
            count += dataset.info.splits.get(config.split, len(problems))
        content, rows = _inspect(config, parts, queries, dataset, stage.folder)
        stage.publish(content | ({"skipped": skipped} if skipped else {}))
    print_json(content)
    print_table(("part", "found"), rows)
    print(f"report: {config.out / 'report.html'}")
    return report_skipped(skipped, count)


def _read_queries(config: InspectConfig) -> tuple[InspectConfig, list[NDArray[np.uint8]], list[dict[str, str]]]:
    """Return the config with those queries that can be read, their images, and the queries that were skipped."""
    if config.index is not None:
        NeighborIndex.load(config.index)  # Refuses a mistake before the model is loaded.
    skipped: list[dict[str, str]] = []
    images, readable = [], []
    for path in config.query:
        try:
            images.append(data.read_image(path, bits=config.bits))
            readable.append(path)
        except KerasxaiError as error:
            skipped.append({"image": text_of(path), "reason": str(error)})
    if skipped and not images:
        raise none_readable(skipped, len(skipped))
    return replace(config, query=readable), images, skipped


def _inspect(
    config: InspectConfig,
    parts: list[str],
    queries: list[NDArray[np.uint8]],
    dataset: data.ImageDataset | None,
    folder: Path,
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    model = load_named(config.model, config.custom_objects, config.class_names, classes=False)
    check_weights(model)
    model_input = input_for_files(model, config.image_size, config.input_range, config.fit)
    report = Report(f"What {Path(config.model).name} has learned", "Of the model itself, not of single decisions.")
    inspection = Inspection(config, model, model_input, models.class_names(model), dataset, queries, report, folder)
    if config.show is None and "dissection" in parts and not inspection.info.has_masks:
        parts.remove("dissection")
    inspection.figures["input_range"] = name_of_range(config.input_range)
    rows = []
    with preprocessing_inputs(model, model_input):
        figures = [("layer", inspection.layer), ("input range", inspection.figures["input_range"])]
        report.add_figures(figures + ([("data", f"{config.data}, {config.split}")] if config.data else []))
        for part in parts:
            rows.append((part, PAGES[part](inspection)))
    warn_of_range(model, model_input, config.input_range)
    report.write(folder / "report.html")
    content = {"model": str(config.model), "layer": inspection.layer, "command": report.command, **inspection.figures}
    return content, rows


def parts_of(config: InspectConfig) -> list[str]:
    """Return the parts that are shown.

    Raises:
        KerasxaiError: A part is unknown, or needs a setting that is missing. Nothing slow has begun yet.
    """
    if config.channels is not None:
        channel_numbers(config.channels)
    if config.index is not None and not config.query:
        raise KerasxaiError("expected images to find neighbors of with --index, got none; give --query")
    if config.show is None:
        parts = [part for part in PARTS if part in PARTS_WITHOUT_DATA or config.data]
        if config.index is not None and not config.data:
            parts.append("neighbors")
        return [part for part in parts if part != "classes" or config.target]
    parts = list(comma_separated(config.show))
    for part in parts:
        if part not in PARTS:
            raise unknown("part", part, PARTS)
        if part not in PARTS_WITHOUT_DATA and not config.data and not (part == "neighbors" and config.index):
            raise KerasxaiError(f"expected images for {part}, got none; give --data")
    if "classes" in parts and not config.target:
        raise KerasxaiError("expected classes to make pictures of, got none; give --target")
    if not parts:
        raise KerasxaiError(f"expected one or more parts in --show, got {config.show!r}; parts are {', '.join(PARTS)}")
    return parts

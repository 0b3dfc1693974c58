"""The work of `kerasxai explain`: explain images, write overlays, raw maps and a table."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai import models
from kerasxai.cli.explain_config import ExplainConfig
from kerasxai.cli.explain_files import ExplanationTable, files_of, record_of, write_classes, write_explained
from kerasxai.cli.explain_shards import explain_shards
from kerasxai.cli.images_in import (
    ImageIn,
    choose_refinements,
    finite_images,
    image_files,
    process_images,
    report_skipped,
    with_channels,
)
from kerasxai.cli.ledger import Ledger
from kerasxai.cli.models_in import load_named
from kerasxai.cli.predictions import top_predictions
from kerasxai.cli.record_tables import JSON
from kerasxai.cli.settings import settings_of
from kerasxai.cli.shard_commands import check_stream, without_stream
from kerasxai.data.examples import shown_path
from kerasxai.engine.images.builtin_preprocessing import input_for_files, warn_of_range
from kerasxai.engine.outputs.kinds import class_count, class_index, class_label
from kerasxai.explainer import Explainer
from kerasxai.explanation import Explanation
from kerasxai.methods import METHODS
from kerasxai.streaming.class_maps import errors_of_images, predicted_pairs
from kerasxai.streaming.config import StreamSettings
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.folders import locked
from kerasxai.tools.input_range import preprocessing
from kerasxai.tools.json_output import print_json
from kerasxai.tools.progress import Bar
from kerasxai.tools.settings import from_options
from kerasxai.tools.text_tables import print_table
from kerasxai.viz.words import with_probability

_Found = tuple[list[list[tuple[str, float]]], list[Explanation], NDArray[np.int64]]
"""The predictions of each image, the explanations of each method, and the image of each of their rows."""
_ROWS = 500
"""Rows of one printed table: measuring the columns of a longer one would take long."""


def run(options: argparse.Namespace) -> int:
    """Explain the images, print the predictions, and write overlays, raw maps and `explanations.json`.

    Returns:
        0, or 1 if some images were skipped.
    """
    config = from_options(ExplainConfig, options)
    methods = list(METHODS) if list(config.method) == ["all"] else list(config.method)
    for name in methods:
        if name not in METHODS:
            raise unknown("method", name, METHODS)
    preprocessing(config.input_range)  # Refuses a mistake before the images are read.
    check_stream(config, config.images, StreamSettings)
    if config.data is not None:
        if config.refine is not None and config.heatmaps == "layer":
            raise KerasxaiError(
                "heatmaps must be image or none with --refine, whose maps have the image's size, got layer"
            )
        return explain_shards(config, methods, settings_of("explain", options, method=methods))
    with locked(config.out):
        paths = image_files(config.images, config.out)
        ledger = Ledger(
            config.out,
            ExplanationTable(config.model),
            settings_of("explain", without_stream(options, StreamSettings), method=methods),
        )
        stems = ledger.plan(paths, lambda stem: files_of(stem, methods))
        finished = [ledger.done(number, path) is not None for number, path in enumerate(paths)]
        process_images(
            config,
            ledger,
            paths,
            finished,
            "explained",
            lambda batches: _explain(config, methods, batches, paths, stems, ledger, finished.count(False)),
        )
        print_json([record for record in map(ledger.record, range(len(paths))) if record is not None])
        _print(ledger, len(paths), config.out)
        return report_skipped(ledger.skipped, len(paths))


def _explain(
    config: ExplainConfig,
    methods: list[str],
    batches: Iterable[list[ImageIn]],
    paths: list[Path],
    stems: list[str],
    ledger: Ledger,
    count: int,
) -> None:
    model = load_named(config.model, config.custom_objects, config.class_names)
    model_input = input_for_files(model, config.image_size, config.input_range, config.fit)
    classes = models.class_names(model)
    target = None if config.target is None else class_index(config.target, classes, class_count(model))
    explainers = [_explainer(model, name, config, len(methods) > 1) for name in methods]
    choose_refinements(explainers, ledger, paths, model_input, config.bits)
    by_class = target is None and models.is_multi_label(model)

    def explain(images: list[ImageIn]) -> _Found:
        batch = model_input.batch([image.pixels for image in images])
        if not by_class:
            explanations = [explainer(batch, target) for explainer in explainers]
            outputs = explanations[0].outputs or explainers[0].predict(batch)
            return top_predictions(outputs, classes, config.top), explanations, np.arange(len(images))
        outputs = explainers[0].predict(batch)
        rows, targets = predicted_pairs(outputs, config.class_threshold, config.top, least=1)
        with errors_of_images(rows):
            explanations = [explainer(batch[rows], targets) for explainer in explainers]
        return top_predictions(outputs, classes, config.top), explanations, rows

    for turn, read in enumerate(_advancing(with_channels(batches, model_input.channels, config.bits), count)):
        images, found = finite_images(read, explain, ledger)
        predicted, explanations, rows = found or ([], [], np.arange(0))
        if turn == 0:
            # After the first batch, when the model has been called and other mistakes are out of the way.
            warn_of_range(model, model_input, config.input_range)
        for i, image in enumerate(images):
            its = np.flatnonzero(rows == i).tolist()
            names = [[class_label(one.targets[row], classes) for row in its] for one in explanations]
            ledger.begin(image.number)
            write = write_classes if by_class else write_explained
            files = write(config.out, stems[image.number], image.pixels, explanations, its, model_input)
            record = record_of(image.path, predicted[i], explanations, its, names, files, model_input.fit)
            ledger.add(image.number, image.stamp, record)
        ledger.save()


def _advancing(batches: Iterable[list[ImageIn]], count: int) -> Iterator[list[ImageIn]]:
    """Yield the batches with a progress bar over all images."""
    with Bar(count, "explaining") as bar:
        for images in batches:
            yield images
            bar.advance(len(images))


def _explainer(model: keras.Model, method: str, config: ExplainConfig, several: bool) -> Explainer:
    # With several methods in one call, a layer goes to those that use one.
    layer = config.layer if METHODS[method].takes_layer or not several else None
    return Explainer(
        model,
        method,
        layer=layer,
        batch_size=config.batch_size,
        refine=config.refine,
        score=config.score,
        outputs=config.outputs,
        **config.option,
    )


def _classes_of(explanations: Sequence[JSON]) -> str:
    """Return the classes of explanations, each with the methods whose maps are drawn without color, and the reasons."""
    remarks: dict[str, list[str]] = {}
    for one in explanations:
        # Records of an older version have no remark.
        found = [f"{one['method']}, {one['remark']}"] if one.get("remark") else []
        remarks.setdefault(one["target_name"], []).extend(found)
    return ", ".join(name + (f" ({'; '.join(found)})" if found else "") for name, found in remarks.items())


def _print(ledger: Ledger, count: int, out: Path) -> None:
    layers: dict[str, str] = {}
    rows = []
    for record in filter(None, map(ledger.record, range(count))):
        predicted = "; ".join(with_probability(one["name"], one["probability"], 1) for one in record["predicted"])
        explanations = record["explanations"]
        explained = _classes_of(explanations)
        rows.append((shown_path(record["image"]), predicted, explained, out / record["files"][-1]))
        layers |= {one["method"]: one["layer"] for one in explanations if one["layer"]}
    for start in range(0, len(rows), _ROWS):
        print_table(("image", "predicted", "explained", "picture"), rows[start : start + _ROWS])
    if layers:
        print("explained at " + ", ".join(f"{layer} ({method})" for method, layer in layers.items()))
    print("colors: dark to bright, none to most evidence; red for the class, blue against it")

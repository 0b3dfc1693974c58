"""The demo on the embedded data: explain photographs, train and measure three heads, and write one report."""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import skimage.data
import tensorflow as tf
from PIL import Image

from kerasxai import data, models, viz
from kerasxai.evaluation.tables import FIGURES, THRESHOLD_LABEL, coverage, evaluation_rows, fixed_mark, group_table
from kerasxai.explainer import Explainer
from kerasxai.tools.files import read_text, write_json
from kerasxai.tools.folders import locked
from kerasxai.tools.printable import percent
from kerasxai.training.config import TrainConfig
from kerasxai.training.demo_config import DemoConfig
from kerasxai.training.lifecycle import Clock, evaluated
from kerasxai.training.train import train
from kerasxai.viz.words import are_signed, with_probability

_LOG = logging.getLogger(__name__)

PHOTOGRAPHS = {"cat": skimage.data.chelsea, "coffee cup": skimage.data.coffee, "rocket": skimage.data.rocket}
HEADS: dict[str, dict[str, Any]] = {
    "gap": {"depth": 2, "width": 96},
    "conv1x1": {"depth": 2, "width": 96},
    "acol": {"width": 96},
}
"""The options of each head; all have the same number of layers above the backbone, so that only their kind differs."""
FEATURES = "block3b_add"
"""Stride 8, receptive field 67 pixels: smaller than the objects, so that maps can separate their parts."""
METHODS = ("cam", "gradcam")
QUICK_COUNTS = {"train": 320, "validation": 64, "test": 64}
_NUMBERS = {1: "A classifier learns", 2: "Two classifiers learn", 3: "Three classifiers learn"}


class _Source(NamedTuple):
    """The data set or folder, and its file of boxes."""

    data: str
    boxes_csv: str | None


def demo(out: str | Path, head_epochs: int = 1, epochs: int = 4, data_dir: str | None = None, seed: int = 0) -> Path:
    """Explain photographs with a pretrained network, train and measure three heads, and write one HTML report.

    Finished steps of an earlier call with the same settings are not repeated.

    Args:
        out: Output folder.
        head_epochs: Epochs of each head alone.
        epochs: Epochs of fine-tuning.
        data_dir: The folder of TensorFlow Datasets.
        seed: Seed of weights, order and augmentation.

    Returns:
        The path of the report.
    """
    return make_demo(DemoConfig(Path(out), head_epochs, epochs, data_dir, seed))


def heads_of(config: DemoConfig) -> dict[str, dict[str, Any]]:
    """Return the heads that the demo trains, with their options; each has a folder of its name."""
    return {"gap": HEADS["gap"]} if config.quick else HEADS


def make_demo(config: DemoConfig) -> Path:
    """Make the demo as `demo` does."""
    with locked(config.folder):
        return _write_report(config)


def _write_report(config: DemoConfig) -> Path:
    out = config.folder
    clock = Clock(out / "seconds.json")
    heads = heads_of(config)
    report = viz.Report(
        "Where does it look, and is it right?",
        f"{_NUMBERS[len(heads)]} to name drawn objects on photographs. No box is ever shown in training; boxes and "
        "masks only measure, afterwards, whether the heatmaps find the object.",
    )
    clock.measure("photographs", _photographs, report)
    source = clock.measure("data", _prepared, config)
    dataset = data.open(source.data, data_dir=config.data_dir, boxes_csv=source.boxes_csv)
    _show_data(report, dataset)
    evaluations, classes = {}, dataset.class_names
    for head, head_options in heads.items():
        _LOG.info("\n%s", head)
        folder = out / head
        settings = _training(config, source, head, head_options)
        path = clock.measure(f"train {head}", train, settings, folder, METHODS, 8, 1, 100)
        measuring: dict[str, Any] = {"data_dir": config.data_dir}
        if source.boxes_csv is not None:
            measuring["boxes_csv"] = source.boxes_csv
        evaluations[head] = clock.measure(
            f"evaluate {head}", evaluated, path, source.data, folder / "evaluation_cam", **measuring
        )
    _compare(report, evaluations)
    for head, evaluation in evaluations.items():
        _show_head(report, head, out / head, evaluation, classes)
    _show_time(report, clock.seconds)
    write_json(out / "evaluations.json", evaluations)
    return report.write(out / "report.html")


def _prepared(config: DemoConfig) -> _Source:
    """Draw the images, all of them as a data set or few of them as a folder."""
    if not config.quick:
        data.open("shapes", data_dir=config.data_dir)
        return _Source("shapes", None)
    folder, boxes = data.write_shapes(config.folder / "shapes", QUICK_COUNTS)
    return _Source(str(folder), str(boxes))


def _training(config: DemoConfig, source: _Source, head: str, head_options: dict[str, Any]) -> TrainConfig:
    """Return the same layers, rates and epochs for each head, so that the table compares heads only."""
    # The data set recommends size and augmentation, a folder does not; few images need small batches and no phase of
    # the head alone.
    small: dict[str, Any] = {
        "image_size": 160,
        "batch_size": 16,
        "augment": "flip",
        "head_epochs": 0,
        "finetune_rate": 2e-3,
    }
    settings = TrainConfig(
        data=source.data,
        boxes_csv=source.boxes_csv,
        head=head,
        head_options=head_options,
        features=FEATURES,
        head_epochs=config.head_epochs,
        epochs=config.epochs,
        learning_rate=5e-3,
        finetune_rate=1e-3,
        finetune_share=1.0,
        data_dir=config.data_dir,
        seed=config.seed,
    )
    return replace(settings, **small) if config.quick else settings


def _photographs(report: viz.Report) -> None:
    model = models.load("imagenet:EfficientNetLite0")
    names = models.imagenet_names()
    originals = {name: np.asarray(load()) for name, load in PHOTOGRAPHS.items()}
    images = np.stack([tf.image.resize(image, model.input_shape[1:3], antialias=True) for image in originals.values()])
    probabilities = model.predict_on_batch(images)
    predicted = [with_probability(names[row.argmax()], row.max()) for row in probabilities]
    maps = [Explainer(model, method)(images).heatmaps for method in METHODS]
    signed = are_signed(heatmap for heatmaps in maps for heatmap in heatmaps)
    columns = [list(originals.values())]
    for heatmaps in maps:
        pairs = zip(originals.values(), heatmaps, strict=True)
        columns.append([viz.overlay(image, heatmap, signed=signed) for image, heatmap in pairs])
    sheet = viz.grid(
        [list(row) for row in zip(*columns, strict=True)],
        row_labels=predicted,
        column_labels=["photograph", *METHODS],
        legend=viz.map_legend(signed),
        cell_size=(220, 320),
    )
    report.add_section(
        "Photographs, explained by an untouched network",
        "EfficientNet-Lite0, untouched since ImageNet. Warm colors mark the evidence for the class that it predicts.",
    )
    report.add_picture(sheet, "The predicted class with its probability, and where the evidence lies.")


def _show_data(report: viz.Report, dataset: data.ImageDataset) -> None:
    info = dataset.info
    shown: dict[int, list[Any]] = {label: [] for label in range(info.num_classes)}
    for sample in dataset.samples("test", None).as_numpy_iterator():
        cells = shown[int(sample["label"])]
        if len(cells) < 2:
            height, width = sample["image"].shape[:2]
            boxes = sample["boxes"] * [width, height, width, height]
            cells.append(viz.draw_boxes(sample["image"], boxes, viz.TRUE_COLOR))
        if all(len(cells) == 2 for cells in shown.values()):
            break
    rows = [[shown[label][n] for label in range(first, first + 4)] for first in (0, 4) for n in range(2)]
    captions = [[info.class_names[label] for label in range(first, first + 4)] for first in (0, 4) for _ in range(2)]
    report.add_section(
        "The data: shapes",
        f"{', '.join(f'{count} images for {split}' for split, count in info.splits.items())}, made on this machine. "
        "Each object has a head that names its class, a larger body whose texture it shares with one other class, and "
        "a tail that says nothing. Place, size, hue, background and the scattered distractors say nothing either.",
    )
    report.add_picture(viz.grid(rows, captions=captions, cell_size=190), "Test images with their true boxes.")


def _read(path: Path) -> np.ndarray:
    """Read a picture as pixels, so that the report can compress it further."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _compare(report: viz.Report, evaluations: dict[str, dict[str, Any]]) -> None:
    report.add_section(
        "The figures",
        "GT-known Loc is the share of test images in which the box around the largest part of the true class's heatmap "
        "above a threshold overlaps the true box with an IoU of at least 0.5. The threshold was chosen on the "
        "validation images; 20 % is usual in the literature. The baselines never looked at the image, and the Gaussian "
        "has its threshold from the validation images as well: a method that does not beat them has localized nothing.",
    )
    rows = []
    for head, evaluation in evaluations.items():
        rows += [[f"{head}: {name}", *rest] for name, *rest in evaluation_rows(evaluation)[:2]]
    rows += evaluation_rows(next(iter(evaluations.values())))[2:]
    report.add_table(rows, ["", "threshold", *FIGURES.values()])
    if all("coverage" in evaluation.get("masks", {}) for evaluation in evaluations.values()):
        _compare_parts(report, evaluations)
    first = next(iter(evaluations.values()))
    curves = {head: evaluation["curve"]["gt_known_loc"] for head, evaluation in evaluations.items()}
    report.add_picture(
        viz.plot_curves(
            first["curve"]["thresholds"],
            curves,
            x_label=THRESHOLD_LABEL,
            y_label="GT-known Loc",
            marks=fixed_mark(first["threshold"]),
        ),
        "GT-known Loc against the threshold, on the test images; 20 % is usual in the literature.",
    )


def _compare_parts(report: viz.Report, evaluations: dict[str, dict[str, Any]]) -> None:
    table = [
        {
            "head": head,
            "accuracy": evaluation["top1_accuracy"],
            "body recall": coverage(evaluation, "body", "recall"),
            "head recall": coverage(evaluation, "head", "recall"),
            "tail recall": coverage(evaluation, "tail", "recall"),
            "object precision": coverage(evaluation, "object", "precision"),
            "PxAP": evaluation["masks"]["pxap"],
        }
        for head, evaluation in evaluations.items()
    ]
    report.add_table(
        table,
        note="How much of each part of the object lies above half of the map, stretched to its own range. ACoL erases "
        "what convinces its first branch most, so that its second must look elsewhere: it covers more of the body, "
        "which is not the same as a better box.",
    )


def _show_head(report: viz.Report, head: str, folder: Path, evaluation: dict[str, Any], classes: Sequence[str]) -> None:
    chosen = evaluation["chosen"]
    report.add_section(f"Head {head}")
    report.add_figures(
        [
            ("accuracy", evaluation["top1_accuracy"]),
            ("GT-known Loc", chosen["gt_known_loc"], f"at {percent(chosen['threshold'])}, from validation"),
            ("GT-known Loc at 20 %", evaluation["gt_known_loc"]),
            ("mean IoU", chosen["mean_iou"]),
        ]
    )
    report.add_picture(_read(folder / "history.png"), "Training, epoch by epoch.")
    for timeline in sorted(folder.glob("heatmaps/*/timeline.png")):
        report.add_picture(
            _read(timeline),
            f"{timeline.parent.name}: the same validation images, before training and after each epoch.",
        )
    report.add_picture(
        _read(folder / "evaluation_cam" / "cases.png"), "The best and the worst boxes on the test images."
    )
    with report.details("By class and by size"):
        for key in ("by_class", "by_size"):
            columns, rows = group_table(evaluation, key, key.removeprefix("by_"))
            report.add_table(rows, columns)
    report.add_details("The command and its settings", read_text(folder / "config.json"))


def _show_time(report: viz.Report, seconds: dict[str, float]) -> None:
    report.add_section("How long it took")
    rows: list[list[Any]] = [[stage, spent] for stage, spent in seconds.items()]
    report.add_table([*rows, ["all", sum(seconds.values())]], ["stage", "seconds"], digits=1)
    report.add_text(f"On {os.cpu_count()} cores.")

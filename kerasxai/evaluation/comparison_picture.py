"""The same images under each compared run, with the boxes that were measured."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kerasxai import data, viz
from kerasxai.evaluation.evaluated_runs import Record, Run
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.printable import printable

_SIDE = 224


def draw_comparison(runs: Sequence[Run], names: Sequence[str]) -> NDArray[np.uint8]:
    """Draw images with the true boxes and the box of each run, one row for each run.

    Args:
        runs: The evaluations; images are read from the data of the first.
        names: The images, of which all runs have records with boxes.

    Returns:
        A sheet `(H, W, 3)` uint8.

    Raises:
        KerasxaiError: The data of the evaluation cannot be opened, or no longer have one of the images.
    """
    # Inputs of different aspects show different parts of the images, in which the boxes were measured.
    frames = [frame_of(run, names) for run in runs]
    images = {frame: _read(runs[0], names, frame) for frame in dict.fromkeys(frames)}
    records = [runs[0].records[name] for name in names]
    return viz.grid(
        [
            [
                _cell(images[frame][record["name"]], run.records[name])
                for name, record in zip(names, records, strict=True)
            ]
            for run, frame in zip(runs, frames, strict=True)
        ],
        row_labels=[run.name for run in runs],
        captions=[[_caption(run.records[name]) for name in names] for run in runs],
        title="Images on which the runs differ most",
        legend=[("true box", viz.TRUE_COLOR), ("from the heatmap", viz.PREDICTED_COLOR)],
    )


def differing_images(runs: Sequence[Run], names: Sequence[str], count: int) -> list[str]:
    """Return the images with the largest range of IoU among the runs, the largest first."""
    located = [name for name in names if "iou" in runs[0].records[name]]
    ious = np.array([[run.records[name]["chosen"]["iou"] for name in located] for run in runs])
    order = np.argsort(ious.min(axis=0) - ious.max(axis=0), kind="stable")[:count]
    return [located[number] for number in order]


class Frame(NamedTuple):
    """Height and width of the drawn images, and how images of another aspect are fitted to them."""

    height: int
    width: int
    fit: str


def frame_of(run: Run, names: Sequence[str]) -> Frame:
    """Return the frame with the aspect of a run's input."""
    height, width = run.records[names[0]]["image_size"]
    scale = _SIDE / max(height, width)
    return Frame(round(scale * height), round(scale * width), run.evaluation.get("fit") or "stretch")


def _read(run: Run, names: Sequence[str], frame: Frame) -> Mapping[str, NDArray[np.uint8]]:
    settings, files = run.evaluation["settings"], {run.records[name]["name"] for name in names}
    dataset = data.open(settings["name_or_path"], data_dir=settings.get("data_dir"), labels=_reading(run))
    samples = dataset.samples(settings["split"], frame[:2], with_annotations=False, fit=frame.fit)
    images: dict[str, NDArray[np.uint8]] = {}
    # Nothing is read beyond the last image.
    for sample in samples.as_numpy_iterator():
        name = os.fsdecode(sample["name"])
        if name in files:
            images[name] = sample["image"]
            if len(images) == len(files):
                return images
    missing = next(name for name in files if name not in images)
    raise KerasxaiError(
        f"expected the evaluated images in {printable(dataset.info.name)}, got data without {printable(missing)}; "
        "restore them, or draw none with --images 0"
    )


def _reading(run: Run) -> str:
    """Return the reading of labels of a run, whose samples are then the same in the same order."""
    return "multi" if run.evaluation.get("labels") == "multi" else "single"


def _caption(record: Record) -> str:
    text = f"IoU {record['chosen']['iou']:.2f}"
    return f"{record['class']}, {text}" if "class" in record else text


def _cell(image: NDArray[np.uint8], record: Record) -> NDArray[np.uint8]:
    height, width = record["image_size"]
    scale = np.tile(image.shape[1::-1], 2) / np.array([width, height, width, height])
    true = np.array(record["boxes"], float) * scale
    box = record["chosen"]["box"]
    found = np.zeros((0, 4)) if box is None else np.array([box], float) * scale
    return viz.draw_boxes(viz.draw_boxes(image, true, viz.TRUE_COLOR), found, viz.PREDICTED_COLOR, dashed=True)

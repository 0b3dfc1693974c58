"""What `kerasxai localize` writes: COCO JSON, CSV, masks, a sheet."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasxai import viz
from kerasxai.core.files import atomic_path
from kerasxai.localization import EIGHT_NEIGHBORS
from kerasxai.version import __version__


@dataclasses.dataclass(frozen=True)
class Record:
    """One localized image.

    Attributes:
        path: As the user gave it.
        size: Height and width.
        target: The class, from 0.
        name: Its name.
        score: Its probability.
        boxes: `(K, 4)` pixels, xyxy.
        mask: `(H, W)` bool, or after `packed` None.
        runs: For each box the mask of its region as COCO's uncompressed run lengths.
        areas: For each box the region's pixels.
    """

    path: str
    size: tuple[int, ...]
    target: int
    name: str
    score: float
    boxes: NDArray
    mask: NDArray | None
    runs: tuple[dict[str, Any], ...] = ()
    areas: tuple[int, ...] = ()

    def packed(self) -> "Record":
        """Returns the record with run lengths in place of the mask, so that many images find room in memory."""
        own = regions(np.asarray(self.mask), self.boxes)
        return dataclasses.replace(
            self,
            mask=None,
            runs=tuple(run_lengths(region) for region in own),
            areas=tuple(int(region.sum()) for region in own),
        )


def regions(mask: NDArray, boxes: NDArray) -> list[NDArray[np.bool_]]:
    """Returns the connected region of each box, in the order of the boxes: the largest first."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, EIGHT_NEIGHBORS)
    order = np.argsort(-np.bincount(labels.ravel())[1:], kind="stable")[: len(boxes)]
    return [labels == number + 1 for number in order] if count else []


def run_lengths(mask: NDArray) -> dict[str, Any]:
    """Returns a mask as COCO writes it without compression: lengths of runs down the columns, first those outside.

    Example:
        >>> run_lengths(np.array([[0, 1], [0, 1]]))
        {'size': [2, 2], 'counts': [2, 2]}
    """
    flat = np.concatenate([[0], np.asarray(mask, np.int8).ravel(order="F")])
    starts = np.flatnonzero(np.diff(flat))
    ends = np.concatenate([[0], starts, [mask.size]])
    return {"size": list(mask.shape), "counts": np.diff(ends).tolist()}


def write_coco(path: Path, records: list[Record], classes: list[str] | None, command: str) -> None:
    """Writes boxes and masks as COCO's instance annotations, with a `score` as its results have.

    Categories are counted from 1, because many readers keep 0 for the background: category = class index + 1.
    """
    names = dict(enumerate(classes)) if classes else {record.target: record.name for record in records}
    annotations: list[dict[str, Any]] = []
    for number, record in enumerate(records, 1):
        for (x0, y0, x1, y1), runs, area in zip(record.boxes.tolist(), record.runs, record.areas, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": record.target + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": area,
                    "segmentation": runs,
                    "iscrowd": 0,
                    "score": record.score,
                }
            )
    content = {
        "info": {"description": "boxes of kerasxai localize", "version": __version__, "command": command},
        "licenses": [],
        "images": [
            {"id": number, "file_name": record.path, "height": record.size[0], "width": record.size[1]}
            for number, record in enumerate(records, 1)
        ],
        "categories": [{"id": index + 1, "name": name, "supercategory": ""} for index, name in sorted(names.items())],
        "annotations": annotations,
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n")


def write_csv(path: Path, records: list[Record]) -> None:
    """Writes one row a box: image, class, name, score, x0, y0, x1, y1 in pixels, x1 and y1 exclusive."""
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "class", "name", "score", "x0", "y0", "x1", "y1"])
        for record in records:
            for box in record.boxes.tolist():
                writer.writerow([record.path, record.target, record.name, f"{record.score:.6f}", *box])


def write_mask(path: Path, mask: NDArray) -> None:
    """Writes a mask as a PNG of one channel, 255 inside."""
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(temporary)


def write_sheet(
    path: Path, rows: list[list[tuple[NDArray, str]]], method: str, refine: Any, threshold: float | str
) -> None:
    """Draws the first images with their heatmaps and boxes."""
    cut = f"{threshold:.0%} of the maximum" if isinstance(threshold, float) else threshold
    sheet = viz.grid(
        [[cell for cell, _ in row] for row in rows],
        captions=[[text for _, text in row] for row in rows],
        title=" + ".join([method, *([refine] if refine else [])]) + f": boxes at {cut}",
        legend=viz.map_legend(predicted=True),
    )
    viz.save_png(path, sheet)

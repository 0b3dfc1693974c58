"""Files of `kerasxai localize`: COCO JSON, CSV, masks, a sheet."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kerasxai import viz
from kerasxai.cli.record_tables import JSON, Group, numbered
from kerasxai.data.finding import BOXES, JOURNALS
from kerasxai.localization import EIGHT_NEIGHBORS
from kerasxai.metrics.inputs import IGNORE
from kerasxai.segmentation.palette import COLORS
from kerasxai.tools.files import atomic_path, json_text, open_text, read_json, text_of, write_csv
from kerasxai.tools.printable import percent
from kerasxai.version import __version__
from kerasxai.viz.words import are_signed

_COLUMNS = 6


def record_of(
    path: Path,
    size: tuple[int, ...],
    target: int,
    name: str,
    score: float,
    boxes: NDArray,
    boxed: list[NDArray[np.bool_]],
    file: str,
) -> JSON:
    """Return the record of one image in the tables.

    Args:
        path: Path of the image.
        size: Height and width.
        target: The class, from 0.
        name: Its name.
        score: Its probability.
        boxes: `(K, 4)` pixels, xyxy.
        boxed: The region `(H, W)` of each box; kept as COCO's uncompressed run lengths.
        file: The mask's file, relative to the folder.
    """
    return {
        "image": text_of(path),
        "size": list(size),
        "target": target,
        "name": name,
        "score": score,
        "boxes": boxes.tolist(),
        "runs": [run_lengths(region) for region in boxed],
        "areas": [int(region.sum()) for region in boxed],
        "files": [text_of(file)],
    }


def record_of_classes(path: Path, size: tuple[int, ...], records: Sequence[JSON], file: str) -> JSON:
    """Return the record of an image with several classes: lists of them, and the class of each box.

    Args:
        path: Path of the image.
        size: Height and width.
        records: Of `record_of`, one for each class.
        file: The class mask's file, relative to the folder.
    """
    return {
        "image": text_of(path),
        "size": list(size),
        **{key: [record[key] for record in records] for key in ("target", "name", "score")},
        **{key: [one for record in records for one in record[key]] for key in ("boxes", "runs", "areas")},
        "box_targets": [record["target"] for record in records for _ in record["boxes"]],
        "files": [text_of(file)],
    }


def classes_of_boxes(record: JSON) -> list[tuple[int, str, float]]:
    """Return the class, its name and its probability for each box of a record."""
    target, name, score = record["target"], record["name"], record["score"]
    if not isinstance(target, list):
        return [(target, name, score)] * len(record["boxes"])
    rows = [target.index(number) for number in record["box_targets"]]
    return [(target[row], name[row], score[row]) for row in rows]


def regions(mask: NDArray, boxes: NDArray) -> list[NDArray[np.bool_]]:
    """Return the connected region of each box, in the order of the boxes: the largest first."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, EIGHT_NEIGHBORS)
    order = np.argsort(-np.bincount(labels.ravel())[1:], kind="stable")[: len(boxes)]
    return [labels == number + 1 for number in order] if count else []


def run_lengths(mask: NDArray) -> JSON:
    """Return a mask as COCO's uncompressed run lengths, down the columns, beginning with a run outside the mask.

    Example:
        >>> run_lengths(np.array([[0, 1], [0, 1]]))
        {'size': [2, 2], 'counts': [2, 2]}
    """
    flat = np.concatenate([[0], np.asarray(mask, np.int8).ravel(order="F")])
    starts = np.flatnonzero(np.diff(flat))
    ends = np.concatenate([[0], starts, [mask.size]])
    return {"size": list(mask.shape), "counts": np.diff(ends).tolist()}


class BoxTable:
    """`boxes.json` and `boxes.csv`: the boxes of each image, in the order of the images.

    The JSON contains COCO's instance annotations, with a `score` as COCO's results have. Categories are counted from 1,
    because many readers reserve 0 for the background: category = class index + 1. The CSV has one row for each box, in
    pixels, `x1` and `y1` exclusive.

    Attributes:
        classes: The model's class names, once they are known.
    """

    journal = JOURNALS[1]
    files = ("boxes.json", "boxes.csv", "sheet.png")

    def __init__(self) -> None:
        self.classes: list[str] | None = None

    def read(self, path: Path) -> Group:
        """Read `boxes.json`; one of an older version does not contain settings, and its records cannot be used."""
        content = read_json(path)
        info = content["info"]
        group = Group(info.get("settings"), info.get("command", ""), refinement=info.get("refinement"))
        if group.settings is None:
            return group
        boxes: dict[int, list[JSON]] = {}
        for annotation in content["annotations"]:
            boxes.setdefault(annotation["image_id"], []).append(annotation)
        for image in content["images"]:
            found = boxes.get(image["id"], [])
            group.add(
                {
                    "image": image["file_name"],
                    "size": [image["height"], image["width"]],
                    **image["kerasxai"],
                    "boxes": [[x, y, x + w, y + h] for x, y, w, h in (one["bbox"] for one in found)],
                    "runs": [one["segmentation"] for one in found],
                    "areas": [one["area"] for one in found],
                    **_box_targets(image["kerasxai"], found),
                }
            )
        return group

    def write(
        self, folder: Path, number: int, group: Group, keys: Iterable[str], skipped: list[dict[str, str]]
    ) -> None:
        """Write both tables, one record at a time in memory."""
        keys = list(keys)

        def records() -> Iterator[JSON]:
            return (json.loads(group.records[key]) for key in keys)

        self._write_coco(folder / numbered(self.files[0], number), group, records, skipped)
        columns = ["image", "class", "name", "score", "x0", "y0", "x1", "y1"]
        rows = (
            [record["image"], target, name, f"{score:.6f}", *box]
            for record in records()
            for box, (target, name, score) in zip(record["boxes"], classes_of_boxes(record), strict=True)
        )
        write_csv(folder / numbered(self.files[1], number), columns, rows)

    def _write_coco(
        self, path: Path, group: Group, records: Callable[[], Iterator[JSON]], skipped: list[dict[str, str]]
    ) -> None:
        names = dict(enumerate(self.classes)) if self.classes else _names_of(records())
        categories = [{"id": index + 1, "name": name, "supercategory": ""} for index, name in sorted(names.items())]
        info: JSON = {
            "description": BOXES,
            "version": __version__,
            "command": group.command,
            "input_range": (group.settings or {}).get("input_range"),
            "settings": group.settings,
        }
        if group.refinement is not None:
            info["refinement"] = group.refinement
        if skipped:
            info["skipped"] = skipped
        with atomic_path(path) as temporary, open_text(temporary, "w") as file:
            # Written piece by piece, because the run lengths of many large masks do not fit into memory.
            file.write(f'{{"info": {json_text(info)}, "licenses": [], "images": [')
            file.writelines(_listed(_image_of(number, record) for number, record in enumerate(records(), 1)))
            file.write(f'\n], "categories": {json_text(categories)}, "annotations": [')
            file.writelines(_listed(_annotations(records())))
            file.write("\n]}\n")


def _listed(entries: Iterable[JSON]) -> Iterator[str]:
    for number, entry in enumerate(entries):
        yield (",\n" if number else "\n") + json_text(entry, "boxes.json")


def _image_of(number: int, record: JSON) -> JSON:
    own = {name: record[name] for name in ("target", "name", "score", "files", "source")}
    height, width = record["size"]
    return {"id": number, "file_name": record["image"], "height": height, "width": width, "kerasxai": own}


def _annotations(records: Iterable[JSON]) -> Iterator[JSON]:
    numbers = itertools.count(1)
    for image, record in enumerate(records, 1):
        columns = (record["boxes"], record["runs"], record["areas"], classes_of_boxes(record))
        for (x0, y0, x1, y1), runs, area, (target, _, score) in zip(*columns, strict=True):
            yield {
                "id": next(numbers),
                "image_id": image,
                "category_id": target + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": area,
                "segmentation": runs,
                "iscrowd": 0,
                "score": score,
            }


def _box_targets(own: JSON, annotations: Sequence[JSON]) -> JSON:
    """Return the class of each box of an image with several classes, as `record_of_classes` has it."""
    several = isinstance(own["target"], list)
    return {"box_targets": [one["category_id"] - 1 for one in annotations]} if several else {}


def _names_of(records: Iterable[JSON]) -> dict[int, str]:
    """Return the names of the explained classes."""
    names: dict[int, str] = {}
    for record in records:
        several = isinstance(record["target"], list)
        pairs = zip(record["target"], record["name"], strict=True) if several else [(record["target"], record["name"])]
        names |= dict(pairs)
    return names


def write_mask(path: Path, mask: NDArray) -> None:
    """Write a mask as a PNG of one channel, 255 inside."""
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(temporary)


def write_class_mask(
    path: Path,
    inside: Sequence[NDArray[np.bool_]],
    heatmaps: Sequence[NDArray[np.float32]],
    classes: Sequence[int],
    size: tuple[int, int],
) -> None:
    """Write a palette PNG of class numbers, as VOC's masks: 0 background, n the n-th class.

    Args:
        path: The file.
        inside: `(H, W)` the pixels of each class.
        heatmaps: `(H, W)` of each class; where classes overlap, the one with the larger share of its maximum wins.
        classes: Their numbers; without room for all in 8 bits, pixels of any class are 255.
        size: Height and width.
    """
    from PIL import Image

    values = np.array([0, *(number + 1 for number in classes)])
    shares = [np.where(mask, one / max(one.max(), 1e-12), 0) for mask, one in zip(inside, heatmaps, strict=True)]
    labels = values[np.argmax([np.zeros(size), *shares], axis=0)]
    if values.max() >= IGNORE:
        labels = np.where(labels > 0, IGNORE, 0)
    picture = Image.fromarray(labels.astype(np.uint8))
    picture.putpalette(COLORS.tobytes())
    with atomic_path(path) as temporary:
        picture.save(temporary)


class SheetCell(NamedTuple):
    """A cell of the sheet.

    Attributes:
        image: `(H, W, 1 | 3 | 4)` uint8.
        heatmap: `(H, W)`.
        boxes: `(K, 4)` pixels of the image.
        caption: Class and probability.
    """

    image: NDArray[np.uint8]
    heatmap: NDArray[np.float32]
    boxes: NDArray
    caption: str


def write_sheet(
    path: Path, cells: Sequence[SheetCell], method: str, refine: str | None, threshold: float | str
) -> None:
    """Draw images with their heatmaps and boxes, all in the same colors."""
    level = (
        f"{percent(threshold, None)} of the maximum"
        if isinstance(threshold, float)
        else f"thresholds by the rule {threshold}"
    )
    signed = are_signed(cell.heatmap for cell in cells)
    pictures = [viz.overlay(cell.image, cell.heatmap, signed=signed, boxes=cell.boxes) for cell in cells]
    starts = range(0, len(cells), _COLUMNS)
    sheet = viz.grid(
        [pictures[start : start + _COLUMNS] for start in starts],
        captions=[[cell.caption for cell in cells[start : start + _COLUMNS]] for start in starts],
        title=" + ".join([method, *([refine] if refine else [])]) + f": boxes at {level}",
        legend=viz.map_legend(signed, predicted=True),
    )
    viz.save_png(path, sheet)

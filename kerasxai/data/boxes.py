"""Boxes of a folder of images, from one CSV file."""

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from kerasxai.core.errors import KerasxaiError, unknown
from kerasxai.data.images import BROKEN, image_size

COLUMNS = ("filename", "x_min", "y_min", "x_max", "y_max")


def _rows(path: Path) -> list[tuple[int, str, list[float]]]:
    """Returns line number, file name and the four numbers of each row."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise KerasxaiError(f"cannot read the boxes in {path}: {getattr(error, 'strerror', None) or error}") from error
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise KerasxaiError(f"{path}, line 1: the header must name {', '.join(COLUMNS)}; missing: {', '.join(missing)}")
    rows = []
    for row in reader:
        numbers = []
        for column in COLUMNS[1:]:
            try:
                numbers.append(float(row[column]))
            except (TypeError, ValueError):
                raise KerasxaiError(f"{path}, line {reader.line_num}: {column} is no number: {row[column]!r}") from None
        rows.append((reader.line_num, str(row["filename"]), numbers))
    return rows


def read_boxes(path: str | os.PathLike[str], root: Path, names: Iterable[str]) -> Mapping[str, np.ndarray]:
    """Reads boxes from a CSV file with the columns filename, x_min, y_min, x_max, y_max.

    File names are relative to the folder, with "/" between folders. An image may have several rows, or none. If all
    numbers of the file lie in [0, 1], they are relative to width and height; otherwise they are pixels of the image as
    it is shown, and x_max and y_max are one past the last pixel. Further columns are of no concern.

    Args:
        path: The CSV file.
        root: The folder of images.
        names: The images in it.

    Returns:
        For each file name that has boxes `(k, 4)` float32 relative xyxy.

    Raises:
        KerasxaiError: With the line where something is wrong: a column or a number is missing, the folder has no such
            image, or a box has no area or leaves the image.
    """
    path = Path(path)
    rows = _rows(path)
    if not rows:
        raise KerasxaiError(f"{path} has a header but no boxes")
    relative = all(0.0 <= number <= 1.0 for _, _, numbers in rows for number in numbers)
    known = set(names)
    sizes: dict[str, tuple[int, int]] = {}
    boxes: dict[str, list[np.ndarray]] = {}
    for line, name, numbers in rows:
        name = name.strip().replace("\\", "/").removeprefix("./")
        if name not in known:
            raise KerasxaiError(f"{path}, line {line}: {unknown('image', name, sorted(known), most=3)}")
        if not relative and name not in sizes:
            try:
                sizes[name] = image_size(root / name)
            except BROKEN as error:
                raise KerasxaiError(f"the image {root / name} is corrupt: {error}") from error
        width, height = (1, 1) if relative else sizes[name]
        x0, y0, x1, y1 = numbers
        if not (x0 < x1 and y0 < y1):
            raise KerasxaiError(f"{path}, line {line}: the box has no area: x {x0:g} to {x1:g}, y {y0:g} to {y1:g}")
        if min(x0, y0) < 0 or x1 > width or y1 > height:
            raise KerasxaiError(
                f"{path}, line {line}: the box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) leaves the image of {width} x {height}"
            )
        boxes.setdefault(name, []).append(np.array([x0 / width, y0 / height, x1 / width, y1 / height], np.float32))
    return {name: np.stack(found) for name, found in boxes.items()}

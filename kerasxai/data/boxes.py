"""Boxes from a file, for a folder of images or for a data set without boxes."""

import csv
import io
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.data.images import BROKEN, image_size
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import StrPath, read_text
from kerasxai.tools.printable import printable

COLUMNS = ("filename", "x_min", "y_min", "x_max", "y_max")


Row = tuple[int, str, list[float]]
"""Line number, file name and the four numbers."""


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise KerasxaiError(f"expected a CSV file with boxes, got {printable(path)}, which is no regular file")
    try:
        text = read_text(path)
    except KerasxaiError as error:
        reason = str(error).rpartition(": ")[2]
        raise KerasxaiError(f"cannot read the boxes in {printable(path)}: {reason}") from error
    if "\0" in text:
        raise KerasxaiError(f"cannot read the boxes in {printable(path)}: it is not UTF-8; save it as CSV UTF-8")
    return text


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _rows(path: Path) -> list[Row]:
    """Return line number, file name and the four numbers of each row."""
    reader: csv.DictReader | None = None
    try:
        text = _text(path)
        first_line = text[: 4 * csv.field_size_limit()].split("\n", 1)[0]
        # Spreadsheets of many languages separate columns by semicolons, others by tabs.
        delimiter = max(",;\t", key=first_line.count)
        first = next(csv.reader([first_line], delimiter=delimiter, skipinitialspace=True), [])
        # Without a header: name,x0,y0,x1,y1, as in the `localization.txt` of wsolevaluation.
        bare = len(first) == len(COLUMNS) and all(_is_number(one) for one in first[1:])
        stream = io.StringIO(text, newline="")
        reader = csv.DictReader(stream, COLUMNS if bare else None, delimiter=delimiter, skipinitialspace=True)
        return _checked_rows(path, reader, bare)
    except csv.Error as error:
        line = 1 if reader is None else reader.line_num + 1
        raise KerasxaiError(
            f"cannot read line {line} of {printable(path)}: {error}; expected {', '.join(COLUMNS)}"
        ) from error


def _checked_rows(path: Path, reader: csv.DictReader, bare: bool) -> list[Row]:
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise KerasxaiError(
            f"{_line(path, 1)}: the header must name {', '.join(COLUMNS)}, got one without {', '.join(missing)}"
        )
    rows = []
    for row in reader:
        if not (row["filename"] or "").strip():
            raise KerasxaiError(f"{_line(path, reader.line_num)}: filename must be that of an image, got nothing")
        for column in COLUMNS[1:]:
            if not _is_number(row[column] or ""):
                raise KerasxaiError(f"{_line(path, reader.line_num)}: {column} must be a number, got {row[column]!r}")
        x0, y0, x1, y1 = (float(row[column]) for column in COLUMNS[1:])
        # The reference has boxes of no extent, which its IoU counts as one pixel wide.
        if not (x0 < x1 and y0 < y1) and not (bare and x0 <= x1 and y0 <= y1):
            raise KerasxaiError(
                f"{_line(path, reader.line_num)}: expected a box with an area, got x {x0:g} to {x1:g}, "
                f"y {y0:g} to {y1:g}"
            )
        name = str(row["filename"]).strip().replace("\\", "/").removeprefix("./")
        rows.append((reader.line_num, name, [x0, y0, x1, y1]))
    if not rows:
        raise KerasxaiError(f"{printable(path)}: expected one or more boxes, got a header and no boxes")
    return rows


def _line(path: Path, number: int) -> str:
    return f"{printable(path)}, line {number}"


def _are_relative(path: Path, rows: list[Row]) -> bool:
    """Return whether all boxes are fractions of width and height; a file must not mix them with pixels.

    Raises:
        KerasxaiError: Some rows hold fractions and others pixels.
    """
    pixels = next((line for line, _, numbers in rows if max(numbers) > 1.0), None)
    if pixels is None:
        return min(number for _, _, numbers in rows for number in numbers) >= 0.0
    for line, _, numbers in rows:
        if min(numbers) >= 0.0 and max(numbers) <= 1.0 and any(number % 1 for number in numbers):
            raise KerasxaiError(
                f"{printable(path)}: boxes must be all fractions or all pixels, got fractions in line {line} and "
                f"pixels in line {pixels}"
            )
    return False


def read_boxes(path: StrPath, root: Path, names: Iterable[str]) -> Mapping[str, NDArray[np.float32]]:
    """Read the boxes of a folder from a CSV file with the columns filename, x_min, y_min, x_max, y_max.

    File names are relative to the folder, with "/" between folders. An image may have several rows, or none. If all
    numbers of the file are in [0, 1], they are relative to width and height; otherwise they are pixels of the upright
    image, and x_max and y_max are one past the last pixel. Further columns are ignored, and columns may also be
    separated by semicolons or tabs. A file without a header has these five columns in this order.

    Args:
        path: The CSV file.
        root: The folder of images.
        names: The images in it.

    Returns:
        For each file name that has boxes `(k, 4)` float32 relative xyxy.

    Raises:
        KerasxaiError: With the line where something is wrong: a column or a number is missing, the folder has no such
            image, a box has no area or leaves the image, or fractions and pixels are mixed.
    """
    path = Path(path)
    rows = _rows(path)
    relative = _are_relative(path, rows)
    known = set(names)
    sizes: dict[str, tuple[int, int]] = {}
    boxes: dict[str, list[NDArray[np.float32]]] = {}
    for line, name, (x0, y0, x1, y1) in rows:
        if name not in known:
            raise KerasxaiError(": ".join([_line(path, line), str(unknown("image", name, sorted(known), most=3))]))
        if not relative and name not in sizes:
            try:
                sizes[name] = image_size(root / name)
            except BROKEN as error:
                raise KerasxaiError(f"cannot read the image {printable(root / name)}: {error}") from error
        width, height = (1, 1) if relative else sizes[name]
        if min(x0, y0) < 0 or x1 > width or y1 > height:
            raise KerasxaiError(
                f"{_line(path, line)}: expected a box inside the image of {width} x {height}, got ({x0:g}, {y0:g}, "
                f"{x1:g}, {y1:g})"
            )
        boxes.setdefault(name, []).append(np.array([x0 / width, y0 / height, x1 / width, y1 / height], np.float32))
    return {name: np.stack(found) for name, found in boxes.items()}


def _end(name: str, parts: int) -> str:
    return "/".join(name.split("/")[-parts:])


class BoxLookup:
    """Boxes from a file for a data set without boxes, looked up by the image's file name inside a `tf.data` map.

    The file is as in `read_boxes`, or the `localization.txt` of wsolevaluation. Names are compared from their end, with
    as many folders as make the names of the file unique: TFDS has `ILSVRC2012_val_00000001.JPEG` for what is
    `val/ILSVRC2012_val_00000001.JPEG` elsewhere. Names that the data set does not have are no mistake, since it is read
    split by split.

    Args:
        path: The file.

    Raises:
        KerasxaiError: The file cannot be read, or a line is wrong.
    """

    def __init__(self, path: StrPath) -> None:
        rows = _rows(Path(path))
        self.relative = _are_relative(Path(path), rows)
        boxes: dict[str, list[list[float]]] = {}
        for _, name, numbers in rows:
            boxes.setdefault(name, []).append(numbers)
        self.parts = next(n for n in itertools.count(1) if len({_end(name, n) for name in boxes}) == len(boxes))
        self.boxes = tf.constant([one for found in boxes.values() for one in found], tf.float32)
        # The last entry is that of an image without boxes, which the lookup returns for other names.
        ends = np.cumsum([0, *(len(found) for found in boxes.values()), 0])
        self.ends = tf.constant(ends, tf.int64)
        keys = tf.constant([_end(name, self.parts) for name in boxes])
        numbers = tf.range(len(boxes), dtype=tf.int64)
        self.numbers = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, numbers), len(boxes))

    def find(self, name: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        """Return the boxes `(k, 4)` of an image, float32 relative xyxy; `(0, 4)` where the file has none.

        Boxes are clipped at the image's border. One that leaves the image by more than a tenth belongs to an image of
        another size; it is not clipped, so that metrics refuse it.
        """
        end = tf.strings.reduce_join(tf.strings.split(name, "/")[-self.parts :], separator="/")
        number = self.numbers.lookup(end)
        found = self.boxes[self.ends[number] : self.ends[number + 1]]
        if not self.relative:
            size = tf.cast(tf.shape(image)[1::-1], tf.float32)
            found = found / tf.concat([size, size], axis=0)
        fits = tf.reduce_all((found > -0.1) & (found < 1.1), axis=1, keepdims=True)
        return tf.where(fits, tf.clip_by_value(found, 0.0, 1.0), found)

"""Boxes from CSV: by file name, of wsolevaluation's `localization.txt`, and of `kerasxai localize`."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kerasxai.data.box_files.annotations import CSV, Annotation, BoxFile, at_line, clean_name, has_area
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.printable import printable

COLUMNS = ("filename", "x_min", "y_min", "x_max", "y_max")
LOCALIZE_COLUMNS = ("image", "x0", "y0", "x1", "y1")
"""The columns of `boxes.csv` of `kerasxai localize`, which also has the class, its name and its score."""


class _Layout(NamedTuple):
    """How rows are read: the columns, and whether there is no header."""

    columns: tuple[str, ...]
    bare: bool


def is_number(text: str) -> bool:
    """Return whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def read_csv(path: Path, text: str) -> BoxFile:
    """Read the boxes of a CSV file; columns may also be separated by semicolons or tabs.

    Args:
        path: The file, for messages.
        text: Its content.

    Raises:
        KerasxaiError: With the line where something is wrong.
    """
    reader: csv.DictReader | None = None
    try:
        first_line = text[: 4 * csv.field_size_limit()].split("\n", 1)[0]
        # Spreadsheets of many languages separate columns by semicolons, others by tabs.
        delimiter = max(",;\t", key=first_line.count)
        first = next(csv.reader([first_line], delimiter=delimiter, skipinitialspace=True), [])
        # Without a header: name,x0,y0,x1,y1, as in the `localization.txt` of wsolevaluation.
        bare = len(first) == len(COLUMNS) and all(is_number(one) for one in first[1:])
        stream = io.StringIO(text, newline="")
        reader = csv.DictReader(stream, COLUMNS if bare else None, delimiter=delimiter, skipinitialspace=True)
        return _read_rows(path, reader, bare)
    except csv.Error as error:
        line = 1 if reader is None else reader.line_num + 1
        raise KerasxaiError(
            f"cannot read line {line} of {printable(path)}: {error}; expected {', '.join(COLUMNS)}"
        ) from error


def _read_rows(path: Path, reader: csv.DictReader, bare: bool) -> BoxFile:
    header = reader.fieldnames or ()
    layout = _Layout(LOCALIZE_COLUMNS if set(LOCALIZE_COLUMNS) <= set(header) else COLUMNS, bare)
    missing = [column for column in layout.columns if column not in header]
    if missing:
        raise KerasxaiError(
            f"{at_line(path, 1)}: the header must name {', '.join(COLUMNS)}, got one without {', '.join(missing)}"
        )
    found = [_annotation(at_line(path, reader.line_num), row, layout) for row in reader]
    own = layout.columns == LOCALIZE_COLUMNS
    if not found and not own:
        raise KerasxaiError(f"{printable(path)}: expected one or more boxes, got a header and no boxes")
    names = frozenset(annotation.file_name for annotation in found)
    relative = not own and _are_relative(path, found)
    return BoxFile(path, CSV, found, names, relative=relative, strict=not own)


def _annotation(place: str, row: Mapping[str, str | None], layout: _Layout) -> Annotation:
    name, *columns = layout.columns
    if not (row[name] or "").strip():
        raise KerasxaiError(f"{place}: {name} must be that of an image, got nothing")
    for column in columns:
        if not is_number(row[column] or ""):
            raise KerasxaiError(f"{place}: {column} must be a number, got {row[column]!r}")
    x0, y0, x1, y1 = (float(row[column] or "") for column in columns)
    # The reference has boxes of no extent, which its IoU counts as one pixel wide.
    if not has_area((x0, y0, x1, y1)) and not (layout.bare and x0 <= x1 and y0 <= y1):
        raise KerasxaiError(f"{place}: expected a box with an area, got x {x0:g} to {x1:g}, y {y0:g} to {y1:g}")
    category = score = None
    if layout.columns == LOCALIZE_COLUMNS:
        category = row.get("name") or None
        score = float(row["score"] or "") if is_number(row.get("score") or "") else None
    return Annotation(place, clean_name(str(row[name])), (x0, y0, x1, y1), category, score)


def _are_relative(path: Path, rows: Sequence[Annotation]) -> bool:
    """Return whether all boxes are fractions of width and height; a file must not mix them with pixels.

    Raises:
        KerasxaiError: Some rows hold fractions and others pixels.
    """
    pixels = next((row for row in rows if max(row.box) > 1.0), None)
    if pixels is None:
        return min(number for row in rows for number in row.box) >= 0.0
    for row in rows:
        if min(row.box) >= 0.0 and max(row.box) <= 1.0 and any(number % 1 for number in row.box):
            raise KerasxaiError(
                f"{printable(path)}: boxes must be all fractions or all pixels, got fractions in {_line_of(row)} and "
                f"pixels in {_line_of(pixels)}"
            )
    return False


def _line_of(row: Annotation) -> str:
    return row.place.rpartition(", ")[2]

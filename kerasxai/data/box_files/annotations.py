"""Boxes as they are written in a file, before they are matched with images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kerasxai.tools.errors import KerasxaiWarning
from kerasxai.tools.printable import printable

CSV, COCO, VOC, YOLO = "CSV", "COCO JSON", "Pascal VOC XML", "YOLO text"


class BoxFileWarning(KerasxaiWarning):
    """Parts of a file of boxes are not used, or are used with a limitation."""


@dataclass(frozen=True)
class Annotation:
    """One box.

    Attributes:
        place: File and line, or file and object, for messages.
        file_name: The image as the file names it, with "/" between folders.
        box: x0, y0, x1, y1, from the upper left corner of the image; x1 and y1 are one past the last pixel.
        category: Name of the object's class; None if the file has none.
        score: Confidence of a predicted box; None for drawn ones.
        size: Width and height of the image as the file states them; None if it does not.
        difficult: Whether the file calls the object hard to recognize.
    """

    place: str
    file_name: str
    box: tuple[float, float, float, float]
    category: str | None = None
    score: float | None = None
    size: tuple[int, int] | None = None
    difficult: bool = False


@dataclass(frozen=True)
class BoxFile:
    """The content of a file of boxes, or of a folder of such files.

    Attributes:
        path: The file or folder.
        kind: `CSV`, `COCO`, `VOC` or `YOLO`.
        annotations: The boxes, in the order of the file.
        file_names: All images that the file lists, also those without boxes.
        relative: Whether boxes are fractions of width and height; otherwise they are pixels.
        by_stem: Whether file names have no suffix.
        strict: Whether file names must be those of the folder of images, and boxes must lie inside of the images.
        notes: What was left out, for a warning.
    """

    path: Path
    kind: str
    annotations: Sequence[Annotation]
    file_names: frozenset[str]
    relative: bool = False
    by_stem: bool = False
    strict: bool = False
    notes: tuple[str, ...] = field(default=())


def clean_name(name: str) -> str:
    r"""Return a file name with "/" between folders and without "./" in front.

    Example:
        >>> clean_name(".\\photos\\cat.jpg ")
        'photos/cat.jpg'
    """
    return name.strip().replace("\\", "/").removeprefix("./")


def has_area(box: Sequence[float]) -> bool:
    """Return whether a box x0, y0, x1, y1 has an area."""
    x0, y0, x1, y1 = box
    return x0 < x1 and y0 < y1


def is_finite(value: object) -> bool:
    """Return whether a value that was read from JSON is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def counted(count: int, one: str, several: str | None = None) -> str:
    """Return a count with its noun.

    Example:
        >>> counted(1, "box", "boxes"), counted(3, "image")
        ('1 box', '3 images')
    """
    return f"{count} {one if count == 1 else several or one + 's'}"


def without_area(count: int) -> tuple[str, ...]:
    """Return the note about boxes without an area, which a click by accident leaves in labeling tools."""
    return (f"{counted(count, 'box', 'boxes')} without an area left out",) if count else ()


def at_line(path: Path, number: int) -> str:
    """Return a place in a text file, for messages."""
    return f"{printable(path)}, line {number}"

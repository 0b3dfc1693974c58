"""`labels.csv` in a folder of images: one row for each label of an image, or one column for each class."""

import csv
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from kerasxai.data.box_files.annotations import at_line, counted
from kerasxai.data.box_files.matching import ImageNames
from kerasxai.data.finding import find_images, no_images
from kerasxai.data.images import SUFFIXES
from kerasxai.tools.errors import KerasxaiError, KerasxaiWarning, unknown
from kerasxai.tools.files import read_text
from kerasxai.tools.printable import printable

NAME = "labels.csv"
ALIASES = {"val": "validation", "valid": "validation"}
SPLITS = ("train", "validation", "test")
_FILE_COLUMNS = ("file", "filename", "file_name", "image")
_LABEL, _SPLIT = "label", "split"
_VALUES = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "-1": -1.0, "-1.0": -1.0, "": -1.0}


class LabelTableWarning(KerasxaiWarning):
    """A file of labels, or images next to it, are not used."""


@dataclass(frozen=True)
class LabelTable:
    """The content of `labels.csv`.

    Attributes:
        class_names: One for each class.
        rows: For each image its labels `(C,)` float32: 1 present, 0 absent, -1 unknown.
        splits: For each image the split that the file or a split folder states, or "".
    """

    class_names: tuple[str, ...]
    rows: Mapping[str, NDArray[np.float32]]
    splits: Mapping[str, str]

    @property
    def has_several(self) -> bool:
        """Whether an image has several labels, none, or unknown ones."""
        return any((row == 1).sum() != 1 or (row < 0).any() for row in self.rows.values())

    def names_by_split(self, seed: int) -> dict[str, list[str]]:
        """Return the names of the images of each split.

        As of a folder without a file of labels, what is missing of validation and test is held out of the training
        images, see `hold_out`.

        Args:
            seed: Of the choice.
        """
        splits: dict[str, list[str]] = {}
        for name in sorted(self.rows):
            splits.setdefault(self.splits[name] or "train", []).append(name)
        alone = set(splits) == {"train"}
        if alone:
            splits["train"], splits["test"] = hold_out(splits["train"], self.rows, 0.1, seed)
        if "train" in splits and "validation" not in splits:
            share = 0.1 / 0.9 if alone else 0.1
            splits["train"], splits["validation"] = hold_out(splits["train"], self.rows, share, seed + 1)
        return splits


def hold_out(
    names: Sequence[str], rows: Mapping[str, NDArray[np.float32]], share: float, seed: int
) -> tuple[list[str], list[str]]:
    """Split images with several labels into a large and a small part, which has about a share of each class.

    The rarest class is divided first, so that it is divided exactly, as in Sechidis 2011, "On the Stratification of
    Multi-Label Data".

    Args:
        names: The images.
        rows: Their labels.
        share: The share of the small part.
        seed: The same seed gives the same parts.
    """
    order = [names[i] for i in np.random.default_rng([seed, len(names)]).permutation(len(names))]
    present = np.stack([rows[name] == 1 for name in order])
    # The last column is that of images without a class.
    present = np.concatenate([present, ~present.any(1, keepdims=True)], 1)
    is_small, is_open = np.zeros(len(order), np.bool_), np.ones(len(order), np.bool_)
    for c in np.argsort(present.sum(0), kind="stable"):
        own = present[:, c]
        count = max(1, round(share * own.sum())) if own.sum() > 1 else 0
        chosen = np.flatnonzero(own & is_open)[: max(0, count - int((own & is_small).sum()))]
        is_small[chosen] = True
        is_open &= ~own
    small = {order[i] for i in np.flatnonzero(is_small)}
    return sorted(set(names) - small), sorted(small)


def read_label_table(root: Path) -> LabelTable | None:
    """Read the `labels.csv` of a folder of images; None if there is none, or one without a column of files.

    Columns are `file` and either `label`, with one row for each label of an image (an empty one for an image without a
    class), or one column for each class with 1 present, 0 absent and -1 or nothing for unknown; and `split` or none.
    Files are relative to the folder, which may have folders below; without a column `split`, folders `train`,
    `validation` and `test` are the splits. Images that are not in the file are left out, with a warning.

    Args:
        root: The folder.

    Raises:
        KerasxaiError: With the line where something is wrong: a file is no image of the folder, a column or a value is
            unknown, or a row is there twice.
    """
    path = root / NAME
    if not path.is_file():
        return None
    lines = list(_lines(path))
    header = lines[0][1] if lines else []
    column = next((name for name in _FILE_COLUMNS if name in header), None)
    if column is None:
        warnings.warn(
            f"{printable(path)} is not used: it has no column {', '.join(_FILE_COLUMNS)}",
            LabelTableWarning,
            stacklevel=3,
        )
        return None
    _check_header(path, header)
    names = [found.relative_to(root).as_posix() for found in find_images(root, SUFFIXES)]
    if not names:
        raise no_images(root, SUFFIXES)
    table = _Rows(path, header, column, names)
    for place, values in lines[1:]:
        table.add(place, values)
    return table.finished()


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the rows with their place, without blank ones; columns may be separated by semicolons or tabs."""
    text = read_text(path).removeprefix("\ufeff")
    first = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), skipinitialspace=True)
    try:
        for values in reader:
            if any(value.strip() for value in values):
                yield at_line(path, reader.line_num), [value.strip() for value in values]
    except csv.Error as error:
        raise KerasxaiError(f"cannot read {at_line(path, reader.line_num + 1)}: {error}") from error


def _check_header(path: Path, header: Sequence[str]) -> None:
    place = at_line(path, 1)
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise KerasxaiError(f"{place}: expected columns of different names, got {printable(twice)!r} twice")
    blank = next((name for name in header if not name or printable(name) != name), None)
    if blank is not None:
        raise KerasxaiError(f"{place}: column names must be text without control characters, got {blank!r}")
    class_columns = [name for name in header if name not in (*_FILE_COLUMNS, _LABEL, _SPLIT)]
    if _LABEL in header and class_columns:
        raise KerasxaiError(
            f"{place}: expected the columns file, label and split, or a column for each class, got "
            f"{printable(class_columns[0])!r} next to label; remove one of them"
        )
    if _LABEL not in header and len(class_columns) < 2:
        raise KerasxaiError(
            f"{place}: expected a column label, or two or more columns of classes, got {', '.join(header)}"
        )


class _Rows:
    """The rows of a file of labels, as they are read."""

    def __init__(self, path: Path, header: Sequence[str], column: str, names: Sequence[str]) -> None:
        self.path, self.header, self.column = path, header, column
        self.names, self.images = names, ImageNames(names)
        self.classes = [name for name in header if name not in (*_FILE_COLUMNS, _LABEL, _SPLIT)]
        self.present: dict[str, list[str]] = {}
        self.values: dict[str, NDArray[np.float32]] = {}
        self.splits: dict[str, str] = {}

    def add(self, place: str, values: Sequence[str]) -> None:
        if len(values) != len(self.header):
            raise KerasxaiError(f"{place}: expected {len(self.header)} columns, got {len(values)}")
        row = dict(zip(self.header, values, strict=True))
        name = self._image(place, row[self.column])
        split = self._split(place, name, row.get(_SPLIT))
        if self.splits.setdefault(name, split) != split:
            raise KerasxaiError(
                f"{place}: expected one split of {printable(name)}, got {self.splits[name]} and {split}"
            )
        if _LABEL in row:
            self._add_label(place, name, row[_LABEL])
        elif name in self.values:
            raise KerasxaiError(f"{place}: expected one row for each image, got {printable(name)} twice")
        else:
            self.values[name] = np.array([self._value(place, c, row[c]) for c in self.classes], np.float32)

    def _add_label(self, place: str, name: str, label: str) -> None:
        labels = self.present.setdefault(name, [])
        if label in labels:
            raise KerasxaiError(
                f"{place}: expected each label of an image once, got {label!r} of {printable(name)} twice"
            )
        if printable(label) != label:
            raise KerasxaiError(f"{place}: class names must be text without control characters, got {label!r}")
        labels.append(label)

    def _image(self, place: str, name: str) -> str:
        suffix = PurePosixPath(name).suffix.lower() in SUFFIXES
        found = self.images.find(name.replace("\\", "/").removeprefix("./"), by_stem=not suffix) if name else None
        if found is None:
            message = f"{place}: {unknown('image', name, self.names, most=3)}"
            raise KerasxaiError(message)
        return found

    def _split(self, place: str, name: str, text: str | None) -> str:
        if text is None:
            first = ALIASES.get(name.split("/")[0], name.split("/")[0])
            return first if "/" in name and first in SPLITS else ""
        split = ALIASES.get(text, text)
        if split not in SPLITS:
            raise KerasxaiError(f"{place}: split must be one of {', '.join(SPLITS)}, got {text!r}")
        return split

    def _value(self, place: str, name: str, text: str) -> float:
        if text not in _VALUES:
            raise KerasxaiError(f"{place}: {printable(name)} must be 1, 0, -1 or nothing, got {text!r}")
        return _VALUES[text]

    def finished(self) -> LabelTable:
        if not self.splits:
            raise KerasxaiError(f"{printable(self.path)}: expected one or more rows, got a header alone")
        if len({split == "" for split in self.splits.values()}) > 1:
            name = next(name for name, split in self.splits.items() if split == "")
            raise KerasxaiError(
                f"{printable(self.path)}: expected all images in folders {', '.join(SPLITS)}, or none, got "
                f"{printable(name)} next to others; add a column split"
            )
        table = self._table()
        missing = [name for name in self.names if name not in self.splits]
        if missing:
            warnings.warn(
                f"{counted(len(missing), 'image')} without a row in {printable(self.path)} left out, as "
                f"{printable(missing[0])}",
                LabelTableWarning,
                stacklevel=4,
            )
        return table

    def _table(self) -> LabelTable:
        if self.values:
            return LabelTable(tuple(self.classes), self.values, self.splits)
        classes = tuple(sorted({label for labels in self.present.values() for label in labels} - {""}))
        if len(classes) < 2:
            raise KerasxaiError(f"{printable(self.path)}: expected two or more classes, got {len(classes)}")
        rows = {
            name: np.array([name_of in labels for name_of in classes], np.float32)
            for name, labels in self.present.items()
        }
        return LabelTable(classes, rows, self.splits)

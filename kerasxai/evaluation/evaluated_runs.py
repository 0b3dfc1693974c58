"""Evaluations on disk, read back for a comparison. Nothing here imports TensorFlow."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasxai.evaluation.tables import is_of_classes, name_of
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import StrPath, read_json
from kerasxai.tools.printable import printable

EVALUATION, RECORDS = "evaluation.json", "records.json"
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """One evaluation.

    Attributes:
        folder: Where it was read from.
        name: Its row in tables; unique among the compared ones.
        evaluation: The content of `evaluation.json`.
        records: The entries of `records.json`, by `key_of`.
        sha256: Of both files.
    """

    folder: Path
    name: str
    evaluation: Mapping[str, Any]
    records: Mapping[str, Record]
    sha256: str

    @property
    def chosen(self) -> Mapping[str, Any]:
        """Where the threshold is from, and the threshold."""
        return self.evaluation["chosen"]


def read_runs(paths: Iterable[StrPath], least: int = 2) -> list[Run]:
    """Read evaluations.

    Args:
        paths: Folders of `kerasxai evaluate`; of a folder without an `evaluation.json`, all evaluations below it.
        least: How many evaluations there must be, 1 or 2.

    Raises:
        KerasxaiError: A folder has no evaluation, one is damaged or of an older version, or there are too few.
    """
    folders = list(dict.fromkeys(folder for path in paths for folder in _folders(Path(path))))
    if len(folders) < least:
        raise KerasxaiError(f"expected two or more evaluations, got one, {printable(folders[0])}; give another run")
    found = [(folder, *_read(folder)) for folder in folders]
    names = _names(folders, [name_of(evaluation) for _, evaluation, _ in found])
    return [
        Run(folder, name, evaluation, _by_name(folder, records), _digest(folder))
        for name, (folder, evaluation, records) in zip(names, found, strict=True)
    ]


def evaluations_in(folder: Path) -> list[Path]:
    """Return a folder that is an evaluation of heatmaps, or else those below it, without those of classes alone."""
    own = folder / EVALUATION
    if own.is_file() and not is_of_classes(read_json(own)):
        return [folder]
    files = sorted(folder.rglob(EVALUATION)) if folder.is_dir() else []
    return [file.parent for file in files if not is_of_classes(read_json(file))]


def _folders(path: Path) -> list[Path]:
    found = evaluations_in(path)
    if not found and path.is_dir() and any(path.rglob(EVALUATION)):
        raise KerasxaiError(
            f"expected an evaluation of heatmaps in {printable(path)}, got one of classes alone; evaluate data with "
            "boxes or masks"
        )
    if not found:
        got = "a folder without one" if path.is_dir() else "no folder"
        raise KerasxaiError(
            f"expected an evaluation in {printable(path)}, got {got}; run `kerasxai evaluate MODEL --data DATA` first"
        )
    return found


def _read(folder: Path) -> tuple[Mapping[str, Any], Sequence[Record]]:
    evaluation, records = read_json(folder / EVALUATION), read_json(folder / RECORDS)
    current = (
        isinstance(evaluation, dict)
        and isinstance(evaluation.get("chosen"), dict)
        and isinstance(records, list)
        and all(isinstance(record, dict) and "name" in record for record in records)
        and all("chosen" in record for record in records if "iou" in record)
    )
    if not current:
        raise KerasxaiError(
            f"expected an evaluation of this version in {printable(folder)}, got one of an older version or a damaged "
            "one; run `kerasxai evaluate` again with another --out"
        )
    return evaluation, records


def key_of(record: Record) -> str:
    """Return the key of a record: the image's name, with the class if there are several an image.

    Example:
        >>> key_of({"name": "a.png"}), key_of({"name": "a.png", "class": "cat"})
        ('a.png', 'a.png: cat')
    """
    return f"{record['name']}: {record['class']}" if "class" in record else str(record["name"])


def _by_name(folder: Path, records: Sequence[Record]) -> dict[str, Record]:
    named: dict[str, Record] = {}
    for record in records:
        if key_of(record) in named:
            raise KerasxaiError(
                f"names of images must be unique, got {printable(key_of(record))} twice in {printable(folder)}"
            )
        named[key_of(record)] = record
    return named


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / EVALUATION).read_bytes() + (folder / RECORDS).read_bytes()).hexdigest()


def _names(folders: Sequence[Path], methods: Sequence[str]) -> list[str]:
    """Return names of rows: the method where it is enough, else with the folders that make a difference."""
    if len(set(methods)) == len(methods):
        parents = {folder.resolve().parent for folder in folders}
        if len(parents) == 1:
            return list(methods)
    parts = [folder.resolve().parts for folder in folders]
    shared = next((n for n in range(min(map(len, parts))) if len({part[n] for part in parts}) > 1), 0)
    # `evaluation_cam` below a run says no more than the method does.
    below = [[part for part in its[shared:] if not part.startswith("evaluation")] for its in parts]
    short = ["/".join(its) for its in below]
    if len(set(methods)) > 1 or len(set(short)) < len(short):
        short = [": ".join(filter(None, pair)) for pair in zip(short, methods, strict=True)]
    if len(set(short)) < len(short):
        short = ["/".join(its[shared:]) for its in parts]
    return short


def common_images(runs: Sequence[Run]) -> list[str]:
    """Return the keys of the records that all runs have, in the order of the first.

    Raises:
        KerasxaiError: No image is common to all, or an image has another class or other true boxes in one of them.
    """
    first = runs[0]
    names = [name for name in first.records if all(name in run.records for run in runs)]
    if not names:
        raise KerasxaiError(
            f"expected evaluations of the same images, got none in common between {printable(first.folder)} and "
            f"{printable(runs[-1].folder)}; evaluate them with the same --data and --split"
        )
    for run in runs[1:]:
        for name in names:
            mine, its = first.records[name], run.records[name]
            if mine["label"] != its["label"] or not _same_boxes(mine, its):
                what = "class" if mine["label"] != its["label"] else "true boxes"
                raise KerasxaiError(
                    f"expected evaluations of the same data, got another {what} of {printable(name)} in "
                    f"{printable(run.folder)} than in {printable(first.folder)}; evaluate them with the same --data "
                    "and --boxes, and images fitted alike"
                )
    return names


def _same_boxes(mine: Record, its: Record) -> bool:
    """Return whether true boxes agree, relative to the image, since models differ in their input size."""
    if ("boxes" in mine) != ("boxes" in its):
        return False
    if "boxes" not in mine:
        return True
    one, other = (np.array(record["boxes"], float) / np.tile(record["image_size"][::-1], 2) for record in (mine, its))
    # A pixel, because some protocols round boxes to pixels.
    room = 1.0 / min(*mine["image_size"], *its["image_size"])
    return one.shape == other.shape and bool(np.all(np.abs(one - other) <= 1.001 * room))


def check_protocols(runs: Sequence[Run]) -> None:
    """Refuse evaluations that measure differently.

    Raises:
        KerasxaiError: The protocols, or the IoU of a hit, differ.
    """
    for key in ("protocol", "iou_threshold", "labels"):
        # One label an image has no entry.
        values = {str(run.evaluation.get(key, "single")): run for run in runs}
        if len(values) > 1:
            listed = ", ".join(f"{value} in {printable(run.folder)}" for value, run in values.items())
            raise KerasxaiError(f"expected evaluations with the same {key}, got {listed}; evaluate again")


def threshold_rule(run: Run) -> str:
    """Return how the threshold was chosen, without the threshold where a rule chose it.

    Example:
        >>> threshold_rule(run)  # doctest: +SKIP
        'boxes of validation'
    """
    source = str(run.chosen["source"])
    return f"given, {run.chosen['threshold']:g}" if source == "given" else source

"""Thresholds that earlier evaluations of a model have chosen on boxes. Nothing here imports TensorFlow."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kerasxai.data.finding import is_own_table
from kerasxai.refinements import RefinementChoice
from kerasxai.tools.files import read_json

MATCHED = ("method", "layer", "refine", "score", "outputs", "image_size", "preprocess", "method_options")
"""The settings of an evaluation that heatmaps depend on."""


class FoundThreshold(NamedTuple):
    """A threshold, and the evaluation that has chosen it.

    Attributes:
        threshold: A share of the maximum.
        file: The file that it is from.
        settings: The settings of the evaluation.
        command: Its command line.
        refinement: The choice that it made of `refine="auto"`; None without it, or of an older version.
    """

    threshold: float
    file: Path
    settings: Mapping[str, Any]
    command: str
    refinement: RefinementChoice | None = None


def find_threshold(
    folders: Iterable[Path], model: Mapping[str, Any], settings: Mapping[str, Any]
) -> FoundThreshold | None:
    """Return the threshold that the latest evaluation of a model with the same settings has chosen on boxes.

    Args:
        folders: Folders whose `evaluation*/evaluation.json` are read, and those one folder below.
        model: Name and digest of the model, as evaluations keep them in `model`.
        settings: The settings of `MATCHED`, ready for JSON.

    Returns:
        None if there is no such evaluation.
    """
    return next((found for found in _thresholds(folders, model) if not misfits(found, settings)), None)


def latest_threshold(folders: Iterable[Path], model: Mapping[str, Any]) -> FoundThreshold | None:
    """Return the threshold that the latest evaluation of a model has chosen on boxes, whatever its settings.

    Args:
        folders: As for `find_threshold`.
        model: As for `find_threshold`.
    """
    return next(_thresholds(folders, model), None)


def misfits(found: FoundThreshold, settings: Mapping[str, Any]) -> list[str]:
    """Return the settings of `MATCHED` by which a threshold does not fit, as `find_threshold` decides."""
    return [name for name in MATCHED if found.settings.get(name) != settings.get(name)]


def _thresholds(folders: Iterable[Path], model: Mapping[str, Any]) -> Iterator[FoundThreshold]:
    """Yield the thresholds that evaluations of a model have chosen, the latest first."""
    # Of several methods, each has a folder in that of the evaluation.
    patterns = ("evaluation*/evaluation.json", "evaluation*/*/evaluation.json")
    found = (file for folder in folders for pattern in patterns for file in folder.glob(pattern))
    files = [file for file in found if is_own_table(file)]
    for file in sorted(files, key=lambda file: (-file.stat().st_mtime, str(file))):
        evaluation = read_json(file)
        kept = evaluation.get("settings") or {}
        # Thresholds of another protocol are shares of another range.
        if evaluation.get("model") == model and "tuned" in evaluation and kept.get("protocol") == "kerasxai":
            threshold = float(evaluation["tuned"]["threshold"])
            yield FoundThreshold(threshold, file, kept, evaluation.get("command", ""), evaluation.get("refinement"))

"""Thresholds that earlier evaluations of a model have chosen on boxes. Nothing here imports TensorFlow."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kerasxai.data.finding import is_own_table
from kerasxai.tools.files import read_json

MATCHED = ("method", "layer", "refine", "score", "outputs", "image_size", "preprocess", "method_options")
"""The settings of an evaluation that heatmaps depend on."""


class FoundThreshold(NamedTuple):
    """A threshold and the file that it is from."""

    threshold: float
    file: Path


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
    # Of several methods, each has a folder in that of the evaluation.
    patterns = ("evaluation*/evaluation.json", "evaluation*/*/evaluation.json")
    found = (file for folder in folders for pattern in patterns for file in folder.glob(pattern))
    files = [file for file in found if is_own_table(file)]
    for file in sorted(files, key=lambda file: (-file.stat().st_mtime, str(file))):
        evaluation = read_json(file)
        kept = evaluation.get("settings") or {}
        is_same = all(kept.get(name) == settings.get(name) for name in MATCHED)
        # Thresholds of another protocol are shares of another range.
        if is_same and evaluation.get("model") == model and "tuned" in evaluation and kept["protocol"] == "kerasxai":
            return FoundThreshold(float(evaluation["tuned"]["threshold"]), file)
    return None

"""Folders of `kerasxai train` and `kerasxai evaluate`, read for a report. Nothing here imports TensorFlow."""

import itertools
import json
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kerasxai.evaluation.evaluated_runs import EVALUATION, Run, evaluations_in, read_runs
from kerasxai.evaluation.method_rows import METHODS_FILE
from kerasxai.evaluation.tables import name_of
from kerasxai.tools.digests import model_identity
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import read_csv, read_json, read_text
from kerasxai.tools.model_settings import RUN_MODEL, is_model_name, model_path
from kerasxai.tools.printable import printable

CONFIG, HISTORY, MODEL = "config.json", "history.csv", RUN_MODEL
_LEVELS = 3


@dataclass(frozen=True)
class Training:
    """The files of `kerasxai train`.

    Attributes:
        folder: The folder.
        config: Content of `config.json`.
        choices: Content of `choices.json`; empty in runs of older versions.
        command: Content of `command.txt`, or "".
        history: Rows of `history.csv` with texts of numbers, or "" where an epoch has no such figure.
        metrics: Content of `metrics.json`; empty until the run is finished.
    """

    folder: Path
    config: Mapping[str, Any]
    choices: Mapping[str, Any]
    command: str
    history: Sequence[Mapping[str, str]]
    metrics: Mapping[str, Any]

    @property
    def has_probe(self) -> bool:
        """Whether the first row of the history is a probe; known once the training is finished."""
        return bool(self.metrics.get("plan", {}).get("probe"))


@dataclass(frozen=True)
class ReportedRun:
    """A run of a report.

    Attributes:
        name: Unique among the reported ones.
        folder: As the user gave it.
        training: None if the folder has none.
        evaluations: Those in the folder and below it.
    """

    name: str
    folder: Path
    training: Training | None
    evaluations: tuple[Run, ...]


def read_reported(paths: Sequence[str]) -> list[ReportedRun]:
    """Read the folders of a report.

    Args:
        paths: Folders of `kerasxai train`, `kerasxai evaluate` or both, or folders of several trainings.

    Raises:
        KerasxaiError: A folder has neither, it has evaluations of several models, or a file is damaged.
    """
    folders = list(dict.fromkeys(folder for path in paths for folder in _run_folders(Path(path))))
    trainings = [_training(folder) for folder in folders]
    evaluated = [folder for folder in folders if evaluations_in(folder)]
    for folder, training in zip(folders, trainings, strict=True):
        if training is None and folder not in evaluated:
            got = "a folder without both, or with figures of classes alone" if folder.is_dir() else "no folder"
            raise KerasxaiError(
                f"expected a folder of `kerasxai train` or `kerasxai evaluate`, got {printable(folder)}, {got}; "
                "give the --out of one of these commands"
            )
    evaluations = read_runs(evaluated, least=1) if evaluated else []
    names = _unique([folder.resolve() for folder in folders])
    runs = [
        ReportedRun(
            name, folder, training, tuple(one for one in evaluations if folder in (one.folder, *one.folder.parents))
        )
        for name, folder, training in zip(names, folders, trainings, strict=True)
    ]
    for run in runs:
        _check_one_model(run)
    return _renamed(runs)


def _run_folders(folder: Path) -> list[Path]:
    """Return the trainings below a folder that is not one, or else the folder."""
    if _is_training(folder) or not folder.is_dir():
        return [folder]
    return sorted(file.parent for file in folder.rglob(HISTORY) if _is_training(file.parent)) or [folder]


def _is_training(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and (folder / HISTORY).is_file()


def _check_one_model(run: ReportedRun) -> None:
    """Refuse evaluations of several models as one run: a gallery would explain all with the first."""
    known = [one.evaluation["model"] for one in run.evaluations if "model" in one.evaluation]
    other = next((number for number, model in enumerate(known) if model != known[0]), None)
    if other is not None:
        raise KerasxaiError(
            f"expected evaluations of one model in {printable(run.folder)}, got several; give the folder of each, "
            f"such as {printable(run.evaluations[0].folder)}"
        )


def _renamed(runs: list[ReportedRun]) -> list[ReportedRun]:
    """Name evaluations by their run and method where that is enough."""
    named = [
        [replace(one, name=_name(run.name if len(runs) > 1 else "", one)) for one in run.evaluations] for run in runs
    ]
    names = [one.name for its in named for one in its]
    if len(set(names)) < len(names):
        return runs
    return [replace(run, evaluations=tuple(its)) for run, its in zip(runs, named, strict=True)]


def _name(run: str, evaluation: Run) -> str:
    return ": ".join(filter(None, (run, name_of(evaluation.evaluation))))


def _unique(folders: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that differ."""
    for parts in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-parts:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _training(folder: Path) -> Training | None:
    """Return the training in a folder, or for an evaluation the training whose model was evaluated."""
    parents = itertools.islice(folder.resolve().parents, _LEVELS - 1)
    is_evaluation = any((folder / name).is_file() for name in (EVALUATION, METHODS_FILE))
    near = [folder, *(parents if is_evaluation else ())]
    found = next((one for one in near if _is_training(one)), None)
    if found is None:
        return None
    choices, command, metrics = found / "choices.json", found / "command.txt", found / "metrics.json"
    config = read_json(found / CONFIG)
    if not isinstance(config, dict) or not isinstance(config.get("data"), str):
        raise KerasxaiError(f"expected the settings of a training in {printable(found / CONFIG)}, got another content")
    return Training(
        found,
        config,
        read_json(choices) if choices.is_file() else {},
        read_text(command).strip() if command.is_file() else "",
        read_csv(found / HISTORY),
        read_json(metrics) if metrics.is_file() else {},
    )


def model_of(run: ReportedRun) -> str:
    """Return the model of a run, as for `kerasxai.models.load`.

    Raises:
        KerasxaiError: There is none, or it is not the evaluated one.
    """
    near = [] if run.training is None else [run.training.folder]
    words: list[str] = []
    for one in run.evaluations:
        near += [one.folder, *itertools.islice(one.folder.resolve().parents, _LEVELS)]
        # An evaluation of a model elsewhere names it in its command.
        given = map(model_path, _words(one))
        words += [word for word in given if is_model_name(word) or Path(word).suffix == ".keras"]
    files = [str(folder / MODEL) for folder in near if (folder / MODEL).is_file()]
    candidates = list(dict.fromkeys([*files, *(word for word in words if is_model_name(word) or Path(word).is_file())]))
    if not candidates:
        raise KerasxaiError(
            f"expected a model of the run {printable(run.folder)}, got none (no {MODEL}); finish the training, or make "
            "a report without a gallery by --images 0"
        )
    identities = [one.evaluation.get("model") for one in run.evaluations if one.evaluation.get("model")]
    if not identities:
        return candidates[0]
    for candidate in candidates:
        if model_identity(candidate) == identities[0]:
            return candidate
    raise KerasxaiError(
        f"expected the model that was evaluated in {printable(run.folder)}, got another one in "
        f"{printable(candidates[0])}; evaluate again, or make a report without a gallery by --images 0"
    )


def _words(run: Run) -> list[str]:
    try:
        return shlex.split(str(run.evaluation.get("command", "")))
    except ValueError:  # Bytes that are quoted as in bash.
        return []


def saved_by(model: str) -> str:
    """Return the version of Keras that saved a model file and when, or ""."""
    try:
        with zipfile.ZipFile(model) as archive:
            about = json.loads(archive.read("metadata.json"))
        return f"Keras {about['keras_version']}, {str(about['date_saved']).replace('@', ' ')}"
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return ""

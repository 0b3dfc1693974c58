"""The settings of written figures, so that figures of other settings are never overwritten."""

import contextlib
import hashlib
import itertools
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasxai.data.box_files.reading import digest as boxes_digest
from kerasxai.data.finding import is_own_table
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import read_json
from kerasxai.tools.folders import locked
from kerasxai.tools.input_range import name_of_range, source_of_range

_LOG = logging.getLogger(__name__)

FILES = ("evaluation.json", "records.json", "cases.png", "threshold.png")
"""The files of `kerasxai evaluate`; the first contains the settings."""


def settings_of_figures(model: keras.Model, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that figures depend on, ready for JSON: arguments, weights, and contents of files.

    Args:
        model: The evaluated model.
        given: Names and values of the arguments.
    """
    settings = {name: _plain(value) for name, value in sorted(given.items())}
    boxes = given.get("boxes_csv")
    content = None if boxes is None else boxes_digest(boxes)
    if content is not None:
        settings["boxes_sha256"] = content
    if "preprocess" in given:
        settings["preprocess"] = name_of_range(given["preprocess"])
        source = source_of_range(settings["preprocess"])
        if source is not None:
            settings["preprocess_sha256"] = hashlib.sha256(Path(source).read_bytes()).hexdigest()
    # Weights, not the path: a model file may be replaced, and a model in memory has none.
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)).tobytes())
    return settings | {"weights_sha256": digest.hexdigest()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return os.fspath(value) if isinstance(value, os.PathLike) else getattr(value, "__name__", repr(value))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the differences between two settings, for a message.

    Example:
        >>> differences({"split": "test", "limit": None}, {"split": "test", "limit": 8})
        ['limit was None, is 8']
    """
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return [
        # "boxes" and "weights" are plural, "model" and "preprocess" are not.
        name.replace("_sha256", " have changed" if name.endswith("s_sha256") else " has changed")
        if name.endswith("_sha256")
        else f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in names
    ]


@contextlib.contextmanager
def folder_of_figures(out: Path | None, settings: Mapping[str, Any], files: Sequence[str] = FILES) -> Iterator[None]:
    """Lock a folder for figures, and refuse it if it contains others.

    Args:
        out: The folder; it need not exist. None does nothing.
        settings: The settings of the figures to be written.
        files: The files to be written; the first contains the settings.

    Raises:
        KerasxaiError: The folder cannot be written to, or contains figures of other settings or foreign files.
    """
    if out is None:
        yield
        return
    with locked(out):
        problem = why_not(out, settings, files)
        if problem is not None:
            raise KerasxaiError(f"expected a folder without other figures, got {out}, {problem}; choose another --out")
        yield


def why_not(out: Path, settings: Mapping[str, Any], files: Sequence[str] = FILES) -> str | None:
    """Return why figures may not be written into a folder, or None if they may; arguments as in `folder_of_figures`."""
    main = out / files[0]
    if not is_own_table(main):
        foreign = next((name for name in files if os.path.lexists(out / name)), None)
        return None if foreign is None else f"which holds {foreign} of another origin"
    before = read_json(main).get("settings")
    if not isinstance(before, Mapping):
        return "whose figures an older version made, with settings that it did not keep"
    differing = differences(before, settings)
    return f"whose figures were made with other settings ({'; '.join(differing)})" if differing else None


def free_folder(out: Path, settings: Mapping[str, Any], files: Sequence[str] = FILES) -> Path:
    """Return the first of `out`, `out-2`, `out-3`, ... without figures of other settings."""
    folders = itertools.chain([out], (out.with_name(f"{out.name}-{number}") for number in itertools.count(2)))
    return next(folder for folder in folders if why_not(folder, settings, files) is None)


def keep_former(paths: Sequence[Path]) -> None:
    """Rename files or folders that are about to be replaced; all get the same free number.

    Args:
        paths: They need not exist.
    """
    if not any(path.exists() for path in paths):
        return
    number = next(n for n in itertools.count(1) if not any(os.path.lexists(_former(path, n)) for path in paths))
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            path.replace(_former(path, number))
    _LOG.info("%s was made with other settings; it is kept as %s", paths[0], _former(paths[0], number))


def _former(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number}{path.suffix}")

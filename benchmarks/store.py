"""Stored results: one JSON file for each part in `benchmarks/results/`, each table with what it was measured on."""

import dataclasses
import datetime
import importlib.metadata
import os
import platform
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.tables import Cell, Figure, Ratio, Table
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import read_json, write_json

RESULTS = Path(__file__).with_name("results")
VERSIONS = {"kerasxai": "kerasxai", "tensorflow": "TensorFlow", "keras": "Keras", "numpy": "NumPy"}
"""The names of packages whose versions are always stored, as they are shown."""
# Instructions that decide how fast matrices are multiplied, as Linux spells them.
INSTRUCTIONS = {"avx2": "AVX2", "avx512f": "AVX512", "avx512_bf16": "AVX512 BF16", "amx_bf16": "AMX BF16"}


@dataclasses.dataclass(frozen=True)
class Conditions:
    """When, with what and on what a table was measured.

    Attributes:
        date: As 2026-11-30.
        command: The command that makes the table. Empty if there is none any more.
        versions: Versions of packages and of Python, by name. Versions that are not known are left out.
        machine: Architecture, instructions, number of cores; no names of hosts and no paths. Empty if not known.
        onednn: Whether TensorFlow computed with oneDNN; None if the table does not depend on it.
    """

    date: str
    command: str
    versions: Mapping[str, str]
    machine: str
    onednn: bool | None = None

    def sentence(self) -> str:
        """Return the conditions as one line."""
        date = datetime.date.fromisoformat(self.date)
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        onednn = "" if self.onednn is None else f", oneDNN {'on' if self.onednn else 'off'}"
        command = f"`{self.command}`" if self.command else ""
        known = [f"{date.day} {date:%B %Y}", versions, f"{self.machine}{onednn}", command]
        return "; ".join(filter(None, known))


@dataclasses.dataclass(frozen=True)
class Stored:
    """A table with the conditions that it was measured in."""

    table: Table
    conditions: Conditions


def current_conditions(arguments: Sequence[str], packages: Sequence[str] = ()) -> Conditions:
    """Return the conditions of this process.

    Args:
        arguments: Those of `python -m benchmarks`, the part first.
        packages: Further packages whose versions matter, left out if they are not installed.
    """
    versions = {}
    for name in (*VERSIONS, *packages):
        try:
            versions[VERSIONS.get(name, name)] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    versions["Python"] = platform.python_version()
    # Folders of this machine mean nothing on another.
    words = [Path(word).name if os.sep in word else word for word in arguments]
    command = shlex.join(["python", "-m", "benchmarks", *words])
    return Conditions(datetime.date.today().isoformat(), command, versions, machine(), onednn_in_use())


def machine() -> str:
    """Return architecture, instructions that matter, and the number of cores."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        flags = set()
    instructions = [name for flag, name in INSTRUCTIONS.items() if flag in flags]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cpu = " ".join([platform.machine(), *(["with", ", ".join(instructions)] if instructions else [])])
    return f"{cpu}, {cores} {'core' if cores == 1 else 'cores'}"


def onednn_in_use() -> bool | None:
    """Return whether TensorFlow computes with oneDNN; None if this process has not imported TensorFlow."""
    if "tensorflow" not in sys.modules:
        return None
    from kerasxai.engine.keras_internals import uses_onednn

    return uses_onednn()


def write(part: str, new: Stored, folder: Path | None = None) -> Path:
    """Store a table, in place of the one with its key; the other tables of the part stay."""
    kept = stored(part, folder)
    keys = [one.table.key for one in kept]
    if new.table.key in keys:
        kept[keys.index(new.table.key)] = new
    else:
        kept.append(new)
    return write_json(_path(part, folder), {"tables": [_encoded(one) for one in kept]})


def stored(part: str, folder: Path | None = None) -> list[Stored]:
    """Return the stored tables of a part, in the order in which they were first measured."""
    path = _path(part, folder)
    if not path.exists():
        return []
    try:
        return [_decoded(one) for one in read_json(path)["tables"]]
    except (KeyError, TypeError) as error:
        raise KerasxaiError(
            f"{path.name}: expected stored tables, got a damaged file ({error!r}); delete it"
        ) from error


def stored_table(part: str, key: str, folder: Path | None = None) -> Stored:
    """Return one stored table."""
    for one in stored(part, folder):
        if one.table.key == key:
            return one
    raise KerasxaiError(f"expected a table {key!r} in results/{part}.json, got none; run python -m benchmarks {part}")


def stored_parts(folder: Path | None = None) -> Iterator[str]:
    """Yield the names of all parts with stored results."""
    yield from sorted(path.stem for path in (folder or RESULTS).glob("*.json"))


def _path(part: str, folder: Path | None) -> Path:
    return (folder or RESULTS) / f"{part}.json"


# Any: a JSON value.
def _encoded(one: Stored) -> dict[str, Any]:
    table = dataclasses.asdict(one.table) | {"rows": [[_encoded_cell(cell) for cell in row] for row in one.table.rows]}
    return table | {"conditions": dataclasses.asdict(one.conditions)}


def _encoded_cell(cell: Cell) -> Any:
    return dataclasses.asdict(cell) if isinstance(cell, Figure | Ratio) else cell


def _decoded(value: dict[str, Any]) -> Stored:
    rows = tuple(tuple(_decoded_cell(cell) for cell in row) for row in value["rows"])
    table = Table(value["key"], value["title"], tuple(value["columns"]), rows, tuple(value["notes"]))
    return Stored(table, Conditions(**value["conditions"]))


def _decoded_cell(value: Any) -> Cell:
    if not isinstance(value, dict):
        return value
    return Ratio(Figure(**value["cpu"]), Figure(**value["wall"])) if "cpu" in value else Figure(**value)

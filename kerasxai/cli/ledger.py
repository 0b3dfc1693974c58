"""The record of files that a command has written, by which it resumes after an interruption and overwrites nothing.

Each image has a line in a journal before and after its files are written, because a process may be killed at any
moment. The tables for people (`explanations.json`, `boxes.json`) are rewritten from the journal now and then. Once all
images are done, the journal is removed: the tables contain the same.
"""

import contextlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from kerasxai.cli.record_tables import JSON, Group, Table, numbered
from kerasxai.data.finding import folded, is_own_table, key_of
from kerasxai.evaluation.saved_results import differences
from kerasxai.tools.commands import command_line
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import cannot, json_text, open_text, path_of, text_of

_LONGEST_NAME = 255
_PAUSE = 2.0
_SHARE = 20.0
"""Tables are rewritten after `_PAUSE` seconds, and not before `_SHARE` times as long as it took the last time."""

Stamp = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds, by which a changed image is recognized."""


def stamp_of(path: Path) -> Stamp:
    """Return the stamp of an image; a changed image has another one."""
    try:
        status = path.stat()
    except OSError:
        return (-1, -1)
    return (status.st_size, status.st_mtime_ns)


class Ledger:
    """The records of one command in one folder, which has to be locked.

    Nothing is written before the first `begin`, so that a mistake leaves nothing behind.

    Args:
        folder: It need not exist.
        table: How records are written.
        settings: Everything but the images that the results depend on.

    Raises:
        KerasxaiError: The folder has a file of a table's name that kerasxai has not written.
    """

    def __init__(self, folder: Path, table: Table, settings: JSON) -> None:
        self.folder = folder
        self.table = table
        self.skipped: list[dict[str, str]] = []
        self.keys: list[str] = []
        self.own = Group(json.loads(json_text(settings)), command_line())
        self._groups = [self.own]
        self._files_of: Callable[[str], list[str]] = lambda stem: [stem]
        self._file: IO[str] | None = None
        self._gave_up = False
        self._written = time.monotonic() - _PAUSE
        self._took = 0.0
        self._load_tables()
        self._load_journal()

    def refuse_other_settings(self) -> None:
        """Refuse a folder whose current results have other settings.

        Raises:
            KerasxaiError: There are results of other settings under the names of this call.
        """
        for group in self._groups[1:]:
            if not group.number:
                before = group.settings or {}
                differing = "; ".join(differences(before, self.own.settings or {})) if before else "an older version"
                command = f"made by `{group.command}` " if group.command else ""
                raise KerasxaiError(
                    f"expected a new folder or one of the same settings, got {text_of(self.folder)}, {command}"
                    f"({differing}); choose another --out, or repeat the former settings"
                )

    @property
    def _journal(self) -> Path:
        return self.folder / self.table.journal

    def _group(self, settings: JSON | None) -> Group:
        for group in self._groups:
            if group.settings == settings and settings is not None:
                return group
        self._groups.append(Group(settings))
        return self._groups[-1]

    def _load_tables(self) -> None:
        main = self.folder / self.table.files[0]
        if not is_own_table(main) and not self._journal.exists():
            for name in self.table.files:
                if os.path.lexists(self.folder / name):
                    raise KerasxaiError(
                        f"expected a folder without a foreign {name}, got {text_of(self.folder)}; choose another --out"
                    )
        for number in itertools.count():
            path = self.folder / numbered(main.name, number)
            if number and not path.exists():
                return
            if is_own_table(path):
                try:
                    found = self.table.read(path)
                except (KeyError, TypeError, AttributeError, ValueError) as error:
                    raise KerasxaiError(
                        f"expected a table of kerasxai in {text_of(path)}, got a damaged one; move it, or choose "
                        "another --out"
                    ) from error
                group = self._group(found.settings)
                group.records = found.records | group.records
                group.stems = found.stems | group.stems
                group.command = group.command or found.command
                group.refinement = group.refinement or found.refinement
                # The same settings twice: the process ended between writing one table and removing the other.
                group.number = number if group.number is None else group.number

    def _load_journal(self) -> None:
        if not self._journal.exists():
            return
        group = self.own
        with open_text(self._journal) as lines:
            for text in lines:
                # The last line of a process that was killed may be cut off.
                with contextlib.suppress(json.JSONDecodeError, KeyError, TypeError, AttributeError):
                    group = self._add_line(json.loads(text), group)

    def _add_line(self, line: JSON, group: Group) -> Group:
        """Add a line of the journal, and return the group of the next line."""
        if "settings" in line:
            group = self._group(line["settings"])
            group.command, group.unsaved = group.command or line["command"], True
            # The last one: without records a choice is made again.
            group.refinement = line.get("refinement") or group.refinement
        elif "record" in line:
            group.add(line["record"])
        else:
            group.stems.setdefault(line["key"], path_of(line["stem"]))
        return group

    def plan(self, paths: list[Path], files_of: Callable[[str], list[str]]) -> list[str]:
        """Choose the names of all results before any is written; return the stem of each image.

        An image keeps its former stem. Names of existing files are never chosen, whether inputs, results of other
        images or other settings, or anything else; case makes no difference, as on many disks.

        Args:
            paths: The images.
            files_of: Returns the files of a stem, relative to the folder.
        """
        self._files_of = files_of
        self.keys = _distinct(map(key_of, paths))
        taken = set(self._names_on_disk())
        for group in self._groups:
            taken |= {folded(name) for stem in group.stems.values() for name in files_of(stem)}
        room = _LONGEST_NAME - max(len(Path(name).name) for name in files_of(""))
        for key, path in zip(self.keys, paths, strict=True):
            stem = self.own.stems.get(key, "")
            if not stem or Path(stem).name != stem:
                names = (stem for stem in _candidates(path.stem, room))
                stem = next(stem for stem in names if taken.isdisjoint(map(folded, files_of(stem))))
                taken |= {folded(name) for name in files_of(stem)}
                self.own.stems[key] = stem
        return [self.own.stems[key] for key in self.keys]

    def _names_on_disk(self) -> Iterator[str]:
        for folder, prefix in ((self.folder, ""), (self.folder / "masks", "masks/")):
            with contextlib.suppress(OSError):
                for path in folder.iterdir():
                    yield folded(prefix + path.name)

    def done(self, number: int, path: Path) -> JSON | None:
        """Return the record of an image if it is done: unchanged since, and with all its files."""
        line = self.own.records.get(self.keys[number])
        if line is None:
            return None
        record: JSON = json.loads(line)
        source = record["source"]
        if stamp_of(path) != (source["size"], source["modified"]):
            return None
        files = self._files_of(self.own.stems[self.keys[number]])
        return record if all((self.folder / name).is_file() for name in files) else None

    def record(self, number: int) -> JSON | None:
        """Return the record of an image that was done, now or earlier."""
        line = self.own.records.get(self.keys[number])
        return None if line is None else json.loads(line)

    def begin(self, number: int) -> None:
        """Record that an image's files are about to be written."""
        key = self.keys[number]
        stem = self.own.stems[key]
        self._append({"key": key, "stem": text_of(stem), "files": [text_of(name) for name in self._files_of(stem)]})

    def add(self, number: int, stamp: Stamp, record: JSON) -> None:
        """Add an image's record, after its files are written.

        Args:
            number: Position of the image.
            stamp: Stamp of the image when it was read.
            record: Its record in the tables.
        """
        key = self.keys[number]
        source = {"key": key, "stem": text_of(self.own.stems[key]), "size": stamp[0], "modified": stamp[1]}
        record = {**record, "source": source}
        self._append({"record": record})
        self.own.add(record)

    def skip(self, number: int, path: Path, reason: str) -> None:
        """Record that an image could not be read or explained."""
        self.own.records.pop(self.keys[number], None)
        self.skipped.append({"image": text_of(path), "reason": reason})

    def give_up(self) -> None:
        """Write tables with the skipped images even if no image was done."""
        self._gave_up = True
        if self._file is None:
            self._file = self._opened()

    def _append(self, line: JSON) -> None:
        text = json_text(line, self.table.journal)
        try:
            if self._file is None:
                self._file = self._opened()
            self._file.write(text + "\n")
            self._file.flush()
        except OSError as error:
            raise cannot("write", self._journal, error) from error

    def _opened(self) -> IO[str]:
        self._make_room()
        self.folder.mkdir(parents=True, exist_ok=True)
        file = open_text(self._journal, "a")
        # A line that a killed process left unfinished must not spoil the next one.
        own = {name: getattr(self.own, name) for name in ("settings", "command", "refinement")}
        file.write("\n" + json_text(own) + "\n")
        self.own.unsaved = True
        return file

    def _make_room(self) -> None:
        """Rename tables of other settings, and write tables of records that only the journal has."""
        used = {group.number for group in self._groups}
        free = (number for number in itertools.count(1) if number not in used and not self._is_there(number))
        for group in self._groups[1:]:
            before, group.number = group.number, group.number or next(free)
            if before == 0:
                for name in self.table.files:
                    with contextlib.suppress(FileNotFoundError):
                        (self.folder / name).replace(self.folder / numbered(name, group.number))
                name = self.table.files[0]
                print(f"{name} was made with other settings; it is kept as {numbered(name, group.number)}")
            if group.unsaved:
                self.table.write(self.folder, group.number, group, group.records, [])
                group.unsaved = False
        if len(self._groups) > 1 and not self.own.unsaved:
            self._journal.unlink(missing_ok=True)

    def _is_there(self, number: int) -> bool:
        return any(os.path.lexists(self.folder / numbered(name, number)) for name in self.table.files)

    def save(self, last: bool = False) -> None:
        """Write the tables if it is time to.

        Args:
            last: All images are done: write in any case, and remove the journal.
        """
        begun = time.monotonic()
        if not last and not self.own.records and not self._gave_up:
            return
        if not last and begun - self._written < max(_PAUSE, _SHARE * self._took):
            return
        if self._file is None and not (last and (self.skipped or self.own.unsaved or self.own.number != 0)):
            return
        if self._file is None:
            self._file = self._opened()
        current = set(self.keys)
        # An image of an earlier call keeps its record as long as its file is unchanged.
        earlier = [key for key in self.own.records if key not in current and self._is_unchanged(key)]
        self.own.command = command_line()
        keys = [key for key in self.keys if key in self.own.records] + earlier
        self.table.write(self.folder, 0, self.own, keys, self.skipped)
        if self.own.number:
            for name in self.table.files:
                (self.folder / numbered(name, self.own.number)).unlink(missing_ok=True)
        self.own.number = 0
        self._written = time.monotonic()
        self._took = self._written - begun
        if last:
            self._file.close()
            self._journal.unlink(missing_ok=True)

    def _is_unchanged(self, key: str) -> bool:
        source = json.loads(self.own.records[key])["source"]
        return stamp_of(Path(path_of(key.partition("\0")[0]))) == (source["size"], source["modified"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.save(last=True)
            return
        self._written = -float("inf")
        with contextlib.suppress(KerasxaiError):
            self.save()
        self.close()

    def close(self) -> None:
        """Close the journal, which stays."""
        if self._file is not None:
            self._file.close()


def _distinct(keys: Iterable[str]) -> list[str]:
    """Make keys unique: an image that is given twice is two images."""
    counts: dict[str, int] = {}
    found = []
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
        found.append(key if counts[key] == 1 else f"{key}\0{counts[key]}")
    return found


def _candidates(stem: str, room: int) -> Iterator[str]:
    for number in itertools.count(1):
        end = f"-{number}" if number > 1 else ""
        begin = stem
        while len(os.fsencode(begin + end)) > room:
            begin = begin[:-1]
        yield begin + end

"""Finding images in folders, but not what kerasxai itself has written there."""

import json
import os
import stat
import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import open_text, read_json, text_of
from kerasxai.tools.folders import LOCK, is_locked_here

_FIXED = {
    "evaluation.json": ("cases.png", "threshold.png"),
    "boxes.json": ("sheet.png",),
    "benchmark.json": ("thresholds.png", "sheet.png"),
}
"""The pictures with fixed names that belong to a table."""
_TABLES = {
    "config.json": {"backbone", "epochs", "seed"},
    "evaluation.json": {"command", "method"},
    "benchmark.json": {"command", "rows"},
    "inspection.json": {"command", "model"},
    "explanations.json": {"command", "images"},
    "boxes.json": {"info", "annotations"},
}
"""The files by which a folder of results is known, and keys that they always hold."""
JOURNALS = (".kerasxai-explain.jsonl", ".kerasxai-localize.jsonl")
"""Where a command keeps what it has written as long as it is not done, see `kerasxai.cli.ledger`."""
BOXES = "boxes of kerasxai localize"
"""How the description in COCO files begins that kerasxai writes, which other tools write too."""


def find_images(root: Path, suffixes: Collection[str], leave_out: Path | None = None) -> Iterator[Path]:
    """Yields the images in a folder and those below it, in the order of their names.

    Links to folders are followed, each folder is read once. Hidden files are left out, and so are folders that hold
    results of kerasxai, and single files in `root` that kerasxai has written there.

    Args:
        root: The folder.
        suffixes: Of images, in lower case.
        leave_out: A folder below `root` that is not read.

    Example:
        >>> list(find_images(Path("photos"), {".jpg", ".png"}))  # doctest: +SKIP
        [PosixPath('photos/cat.jpg')]
    """
    out = None if leave_out is None else leave_out.resolve()
    own = written_names(root)
    yield from _below(root, "", suffixes, out, own, set())


def _below(
    folder: Path, prefix: str, suffixes: Collection[str], out: Path | None, own: set[str], seen: set[tuple[int, int]]
) -> Iterator[Path]:
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise KerasxaiError(f"cannot read the folder {folder}: {error.strerror}") from error
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        # A link that leads nowhere, or round in a circle, is neither a folder nor a file.
        mode = _mode(path)
        if stat.S_ISDIR(mode):
            if path.resolve() != out and not holds_results(path):
                yield from _below(path, f"{prefix}{entry.name}/", suffixes, out, own, seen)
        elif stat.S_ISREG(mode) and path.suffix.lower() in suffixes and folded(prefix + entry.name) not in own:
            yield path


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def holds_results(folder: Path) -> bool:
    """Returns whether a folder is the output folder of a command: of one that runs, or of one that has run.

    Args:
        folder: An existing folder.

    Example:
        >>> holds_results(Path("runs/gap"))
        False
    """
    if is_locked_here(folder) or any((folder / name).exists() for name in (LOCK, *JOURNALS)):
        return True
    return any(is_own_table(folder / name) for name in _TABLES)


def is_own_table(path: Path) -> bool:
    """Returns whether a file with the name of a table of results is one that kerasxai has written."""
    if not path.is_file():
        return False
    try:
        content = read_json(path)
    except KerasxaiError:
        return False
    name = _plain(path)
    if not isinstance(content, dict) or not _TABLES[name] <= content.keys():
        return False
    info = content.get("info")
    return name != "boxes.json" or (isinstance(info, dict) and str(info.get("description", "")).startswith(BOXES))


def _plain(path: Path) -> str:
    """Returns the name of a table without the number that a former one has: explanations-1.json."""
    stem, _, number = path.stem.rpartition("-")
    return f"{stem}{path.suffix}" if number.isdigit() else path.name


def folded(name: str) -> str:
    """Returns a file's name so that two are equal if any file system takes them for one.

    Example:
        >>> folded("Cat.JPG") == folded("cat.jpg")
        True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def written_names(folder: Path) -> set[str]:
    """Returns the pictures in a folder that kerasxai has written there, relative to it and as `folded` returns them.

    Args:
        folder: It need not exist.
    """
    names: set[str] = set()
    for pattern in ("explanations*.json", "boxes*.json", "inspection.json", "evaluation*.json", "benchmark.json"):
        for path in folder.glob(pattern):
            if _plain(path) in _TABLES and is_own_table(path):
                names |= set(_FIXED.get(_plain(path), ())) | set(_names_in(read_json(path)))
    for name in JOURNALS:
        if (folder / name).is_file():
            names |= set(_names_in_journal(folder / name)) | {"sheet.png"}
    return {folded(name) for name in names}


def _names_in(content: dict[str, Any]) -> Iterator[str]:
    images = content.get("images")
    for entry in (content, *(images if isinstance(images, list) else ())):
        for holder in (entry, entry.get("kerasxai")) if isinstance(entry, dict) else ():
            names = holder.get("files") if isinstance(holder, dict) else None
            yield from (name for name in (names if isinstance(names, list) else ()) if isinstance(name, str))


def _names_in_journal(path: Path) -> Iterator[str]:
    with open_text(path) as lines:
        for line in lines:
            try:
                content = json.loads(line)
            except json.JSONDecodeError:
                continue  # The last line of a process that was killed may be cut off.
            if isinstance(content, dict):
                yield from _names_in(content)


def key_of(path: Path) -> str:
    """Returns what an image is known by, wherever a command is called from: its absolute path.

    Example:
        >>> key_of(Path("/photos/../cat.jpg"))
        '/cat.jpg'
    """
    return text_of(path.parent.resolve() / path.name)

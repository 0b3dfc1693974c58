"""Finding images in folders, except pictures that kerasxai has written there."""

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
from kerasxai.tools.printable import printable

_FIXED = {
    "evaluation.json": ("cases.png", "threshold.png"),
    "boxes.json": ("sheet.png",),
    "benchmark.json": ("thresholds.png", "sheet.png"),
    "comparison.json": ("images.png",),
}
"""The pictures with fixed names that belong to a table."""
_TABLES = {
    "config.json": {"backbone", "epochs", "seed"},
    "evaluation.json": {"command", "method"},
    "benchmark.json": {"command", "rows"},
    "comparison.json": {"command", "differences"},
    "methods.json": {"command", "methods"},
    "audit.json": {"command", "methods", "sanity"},
    "inspection.json": {"command", "model"},
    "explanations.json": {"command", "images"},
    "boxes.json": {"info", "annotations"},
}
"""The files by which a folder of results is recognized, and keys that they always have."""
JOURNALS = (".kerasxai-explain.jsonl", ".kerasxai-localize.jsonl")
"""Journals of commands that have not finished, see `kerasxai.cli.ledger`."""
BOXES = "boxes of kerasxai localize"
"""The description in COCO files of kerasxai, which distinguishes them from those of other tools."""


def find_images(root: Path, suffixes: Collection[str], leave_out: Path | None = None) -> Iterator[Path]:
    """Yield the images in a folder and those below it, in the order of their names.

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
    folder: Path, prefix: str, suffixes: Collection[str], out: Path | None, own: set[str], visited: set[tuple[int, int]]
) -> Iterator[Path]:
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise KerasxaiError(f"cannot read the folder {folder}: {error.strerror}") from error
    if (status.st_dev, status.st_ino) in visited:
        return
    visited.add((status.st_dev, status.st_ino))
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        # A broken or circular link is neither a folder nor a file.
        mode = _mode(path)
        if stat.S_ISDIR(mode):
            if path.resolve() != out and not holds_results(path):
                yield from _below(path, f"{prefix}{entry.name}/", suffixes, out, own, visited)
        elif stat.S_ISREG(mode) and path.suffix.lower() in suffixes and folded(prefix + entry.name) not in own:
            yield path


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def holds_results(folder: Path) -> bool:
    """Return whether a folder is the output folder of a command that runs or has run.

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
    """Return whether a file with the name of a table of results is one that kerasxai has written."""
    if not path.is_file():
        return False
    try:
        content = read_json(path)
    except KerasxaiError:
        return False
    name = _unnumbered(path)
    if not isinstance(content, dict) or not _TABLES[name] <= content.keys():
        return False
    info = content.get("info")
    return name != "boxes.json" or (isinstance(info, dict) and str(info.get("description", "")).startswith(BOXES))


def _unnumbered(path: Path) -> str:
    """Return the name of a table without the number that a former one has: explanations-1.json."""
    stem, _, number = path.stem.rpartition("-")
    return f"{stem}{path.suffix}" if number.isdigit() else path.name


def no_images(folder: Path, suffixes: Collection[str]) -> KerasxaiError:
    """Return the error for a folder without images."""
    return KerasxaiError(f"expected images ({', '.join(sorted(suffixes))}) in the folder {printable(folder)}, got none")


def folded(name: str) -> str:
    """Return a file's name in a form that is equal for names that some file system does not distinguish.

    Example:
        >>> folded("Cat.JPG") == folded("cat.jpg")
        True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def written_names(folder: Path) -> set[str]:
    """Return the pictures in a folder that kerasxai has written there, relative to it and as `folded` returns them.

    Args:
        folder: It need not exist.
    """
    names: set[str] = set()
    for pattern in (
        "explanations*.json",
        "boxes*.json",
        "inspection.json",
        "evaluation*.json",
        "benchmark.json",
        "comparison.json",
    ):
        for path in folder.glob(pattern):
            if _unnumbered(path) in _TABLES and is_own_table(path):
                names |= set(_FIXED.get(_unnumbered(path), ())) | set(_names_in(read_json(path)))
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
    """Return the identity of an image, independent of the current directory: its absolute path.

    Example:
        >>> key_of(Path("/photos/../cat.jpg"))
        '/cat.jpg'
    """
    return text_of(path.parent.resolve() / path.name)

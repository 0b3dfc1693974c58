"""Reading a file or a folder of boxes in whichever format it has."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from kerasxai.data.box_files.annotations import BoxFile
from kerasxai.data.box_files.coco import is_coco, read_coco
from kerasxai.data.box_files.csv_rows import is_number, read_csv
from kerasxai.data.box_files.voc import read_voc
from kerasxai.data.box_files.yolo import LIST_NAMES, read_yolo
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import StrPath, read_json, read_text
from kerasxai.tools.printable import printable

BOXES_HELP = (
    "boxes of the images, for measuring only: CSV by file name, COCO JSON, Pascal VOC XML or YOLO text (a folder of "
    "files for the latter two), what `kerasxai localize` writes, or wsolevaluation's localization.txt"
)
_SUFFIXES = (".json", ".txt", ".xml", ".yaml", ".yml")


def read_box_file(path: StrPath) -> BoxFile:
    """Read boxes of any supported format, which is recognized by the content.

    Args:
        path: A CSV file, COCO JSON, a Pascal VOC XML file, a YOLO text file, or a folder: one with many XML or text
            files, also in folders below, one with COCO JSON, or the results of `kerasxai localize`.

    Returns:
        The boxes with file names, categories and scores as the file has them.

    Raises:
        KerasxaiError: The file cannot be read, is of another format, or contains something wrong.

    Example:
        >>> read_box_file("annotations/").kind  # doctest: +SKIP
        'Pascal VOC XML'
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    text = _text(path)
    start = text.lstrip()[:1]
    if start in ("{", "["):
        return read_coco(path, {path: _json(path, text)})
    if start == "<":
        return read_voc(path, [path])
    if path.suffix.lower() in (".yaml", ".yml"):
        raise KerasxaiError(f"expected a file or a folder of boxes, got {printable(path)}; give the folder of labels")
    if _is_yolo(text):
        return read_yolo(path, [path])
    return read_csv(path, text)


def digest(path: StrPath) -> str | None:
    """Return the SHA-256 of a file, or of the box files in a folder; None if there is nothing.

    Args:
        path: What `read_box_file` takes.
    """
    path = Path(path)
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    if not path.is_dir():
        return None
    content = hashlib.sha256()
    for file in (file for suffix in _SUFFIXES for file in _files(path, suffix)):
        content.update(file.relative_to(path).as_posix().encode("utf-8", "surrogateescape") + b"\0")
        content.update(hashlib.sha256(file.read_bytes()).digest())
    return content.hexdigest()


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise KerasxaiError(f"expected a file or a folder of boxes, got {printable(path)}, which is no regular file")
    try:
        text = read_text(path)
    except KerasxaiError as error:
        reason = str(error).rpartition(": ")[2]
        raise KerasxaiError(f"cannot read the boxes in {printable(path)}: {reason}") from error
    if "\0" in text:
        raise KerasxaiError(f"cannot read the boxes in {printable(path)}: it is not UTF-8; save it as CSV UTF-8")
    return text


def _json(path: Path, text: str) -> object:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise KerasxaiError(f"cannot read the boxes in {printable(path)}: no valid JSON: {error}") from error


def _is_yolo(text: str) -> bool:
    """Return whether the first line that is not blank consists of five or more numbers with spaces between them."""
    words = next((line.split() for line in text.splitlines() if line.strip()), [])
    return len(words) >= 5 and all(map(is_number, words))


def _files(folder: Path, suffix: str) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob(f"*{suffix}")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _labels(files: Iterable[Path]) -> list[Path]:
    """Return text files but lists of class names, notes and lists of images, which do not begin with a number."""
    return [
        file
        for file in files
        if file.name not in LIST_NAMES and ((words := read_text(file).split()) == [] or is_number(words[0]))
    ]


def _read_folder(folder: Path) -> BoxFile:
    own = folder / "boxes.json"
    documents = [own] if own.is_file() else _files(folder, ".json")
    coco = {file: content for file in documents if is_coco(content := read_json(file))}
    markup, labels = _files(folder, ".xml"), _labels(_files(folder, ".txt"))
    kinds = {"COCO JSON": coco, "Pascal VOC XML": markup, "YOLO text": labels}
    found = [f"{len(files)} of {kind}" for kind, files in kinds.items() if files]
    if len(found) != 1:
        raise KerasxaiError(
            f"expected a folder with box files of one format (COCO JSON, Pascal VOC XML, YOLO text) in "
            f"{printable(folder)}, got {' and '.join(found) or 'none'}; give the file or the folder itself"
        )
    if coco:
        return read_coco(folder, coco)
    return read_voc(folder, markup) if markup else read_yolo(folder, labels)

"""The one place that opens, reads and writes files of text: always UTF-8, whole or not at all, no name lost.

Names of files may hold bytes that are not UTF-8. Python carries them as lone surrogates; `errors="surrogateescape"`
writes them back as the bytes that they were.
"""

import contextlib
import csv
import itertools
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from kerasxai.tools.errors import KerasxaiError

StrPath = str | os.PathLike[str]

_NUMBERS = itertools.count()
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@contextlib.contextmanager
def atomic_path(path: StrPath) -> Iterator[Path]:
    """Give a temporary path in the folder of `path` and renames it to `path` when the block ends well.

    The temporary name keeps the suffix, because many writers (Keras, Pillow, NumPy) choose the format by it. Missing
    parent folders are made. If the block or the rename fails, the temporary file is removed and `path` is as before.

    Args:
        path: The file to write.

    Raises:
        KerasxaiError: The disk is full, or the folder cannot be written to.

    Example:
        >>> with atomic_path("map.txt") as temporary:
        ...     _ = temporary.write_text("done")
    """
    path = Path(path)
    # Short, so that a name that the file system just takes has a temporary one too; numbered, because of threads.
    temporary = path.with_name(f".tmp-{os.getpid()}-{next(_NUMBERS)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise cannot("write", path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def cannot(do: str, path: StrPath, error: Exception) -> KerasxaiError:
    """Return the error for a file or folder that the system refuses.

    Args:
        do: "read" or "write".
        path: The file or folder.
        error: What the system raised.

    Example:
        >>> str(cannot("write", "map.txt", OSError("disk full")))
        'cannot write map.txt: disk full'
    """
    return KerasxaiError(f"cannot {do} {os.fspath(path)}: {getattr(error, 'strerror', None) or error}")


def open_text(path: StrPath, mode: Literal["r", "w", "a", "x"] = "r") -> IO[str]:
    r"""Open a file of text as UTF-8, whatever the locale says; line ends stay as they are.

    Args:
        path: The file.
        mode: As for `open`.

    Raises:
        KerasxaiError: The file cannot be opened.

    Example:
        >>> with open_text("names.txt", "w") as file:
        ...     _ = file.write("über.jpg\n")
    """
    try:
        return Path(path).open(mode, encoding="utf-8", errors="surrogateescape", newline="")
    except (OSError, ValueError) as error:
        raise cannot("read" if mode == "r" else "write", path, error) from error


def read_text(path: StrPath) -> str:
    """Return the text of a file; a byte order mark is dropped.

    Raises:
        KerasxaiError: The file cannot be read.

    Example:
        >>> _ = write_text("name.txt", "über.jpg")
        >>> read_text("name.txt")
        'über.jpg'
    """
    with open_text(path) as file:
        try:
            return file.read().removeprefix("\ufeff")
        except OSError as error:
            raise cannot("read", path, error) from error


def write_text(path: StrPath, text: str) -> Path:
    """Write a file of text, whole or not at all.

    Returns:
        The path.

    Raises:
        KerasxaiError: The file cannot be written.

    Example:
        >>> write_text("name.txt", "cat.jpg").name
        'name.txt'
    """
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def read_json(path: StrPath) -> Any:
    """Return the content of a JSON file.

    Raises:
        KerasxaiError: The file cannot be read, or holds no JSON.

    Example:
        >>> _ = write_json("a.json", {"images": 3})
        >>> read_json("a.json")
        {'images': 3}
    """
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise KerasxaiError(f"expected JSON in {os.fspath(path)}, got a damaged file ({error}); delete it") from error


def write_json(path: StrPath, value: Any) -> Path:
    """Write a JSON file that every reader takes: no NaN, no infinity, indented by 2, whole or not at all.

    Args:
        path: The file.
        value: What `json` can write.

    Returns:
        The path.

    Raises:
        KerasxaiError: A number is not finite (the message says where), or the file cannot be written.

    Example:
        >>> read_json(write_json("a.json", {"images": 3}))
        {'images': 3}
    """
    return write_text(path, json_text(value, os.fspath(path), indent=2) + "\n")


def json_text(value: Any, name: str = "JSON", indent: int | None = None) -> str:
    """Return a value as JSON, without NaN and infinity.

    Args:
        value: What `json` can write.
        name: Of the file, for the message.
        indent: Spaces of each level; None writes one line.

    Raises:
        KerasxaiError: A number is not finite; the message says where.

    Example:
        >>> json_text({"loss": 0.5})
        '{"loss": 0.5}'
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        where, number = next(not_finite(value), ("", math.nan))
        raise KerasxaiError(f"{name}: {where} must be a finite number, got {number}") from None


def not_finite(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield where a nested value holds NaN or infinity, and what stands there.

    Example:
        >>> list(not_finite({"runs": [{"loss": float("inf")}]}))
        [('runs[0].loss', inf)]
    """
    if isinstance(value, float) and not math.isfinite(value):
        yield path, value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from not_finite(one, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield from not_finite(one, f"{path}[{number}]")


def null_for_nan(value: Any) -> Any:
    """Return a nested value with None for every number that is not finite, for figures that may be undefined.

    Example:
        >>> null_for_nan({"loss": [0.5, float("nan")]})
        {'loss': [0.5, None]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: null_for_nan(one) for key, one in value.items()}
    return [null_for_nan(one) for one in value] if isinstance(value, list | tuple) else value


def csv_cell(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula: such text gets an apostrophe in front.

    Example:
        >>> csv_cell("=cmd.jpg"), csv_cell(-3)
        ("'=cmd.jpg", -3)
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) and not _is_number(value) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def write_csv(path: StrPath, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> Path:
    """Write a table with a line of headings, whole or not at all; cells are written as `csv_cell` returns them.

    Args:
        path: The file.
        columns: The headings.
        rows: The cells of each row; they may be made as they are written.

    Returns:
        The path.

    Raises:
        KerasxaiError: The file cannot be written.

    Example:
        >>> read_csv(write_csv("a.csv", ["image", "x"], [["a.jpg", 3]]))
        [{'image': 'a.jpg', 'x': '3'}]
    """
    path = Path(path)
    with atomic_path(path) as temporary, open_text(temporary, "w") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(map(csv_cell, row) for row in rows)
    return path


def read_csv(path: StrPath) -> list[dict[str, str]]:
    """Return the rows of a table by its headings.

    Raises:
        KerasxaiError: The file cannot be read.

    Example:
        >>> _ = write_csv("a.csv", ["image", "x"], [["a.jpg", 3]])
        >>> read_csv("a.csv")
        [{'image': 'a.jpg', 'x': '3'}]
    """
    try:
        with open_text(path) as file:
            return list(csv.DictReader(file))
    except (csv.Error, OSError) as error:
        raise cannot("read", path, error) from error


def text_of(path: StrPath) -> str:
    """Return a path as text that is the same in every locale: its bytes read as UTF-8.

    Example:
        >>> text_of("photos/cat.jpg")
        'photos/cat.jpg'
    """
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def path_of(text: str) -> str:
    """Return the path that `text_of` made a text of, as this process's locale has it.

    Example:
        >>> path_of(text_of("photos/über.jpg"))
        'photos/über.jpg'
    """
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))

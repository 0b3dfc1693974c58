"""Text files: always UTF-8, written atomically.

File names may contain bytes that are not UTF-8. Python represents them as lone surrogates;
`errors="surrogateescape"` writes them back as the original bytes.
"""

import contextlib
import csv
import functools
import hashlib
import itertools
import json
import math
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from kerasxai.tools.errors import KerasxaiError

StrPath = str | os.PathLike[str]

_NUMBERS = itertools.count()
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@contextlib.contextmanager
def atomic_path(path: StrPath) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, and rename it to `path` if the block succeeds.

    The temporary name keeps the suffix, because many writers (Keras, Pillow, NumPy) choose the format by it. Missing
    parent folders are created. If the block or the rename fails, the temporary file is removed and `path` is unchanged.

    Args:
        path: The file to write.

    Raises:
        KerasxaiError: The disk is full, or the folder cannot be written to.

    Example:
        >>> with atomic_path("map.txt") as temporary:
        ...     _ = temporary.write_text("done")
    """
    path = Path(path)
    # Short, because `path` may have the longest name that the file system allows; numbered, because of threads.
    temporary = path.with_name(f"{temporary_prefix()}{os.getpid()}-{next(_NUMBERS)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise cannot("write", path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@functools.cache
def temporary_prefix() -> str:
    """Return how the names of the temporary files of this machine begin, before the number of the process."""
    # A process of another machine, or container, that shares the folder may have the same number.
    return f".tmp-{hashlib.sha256(os.fsencode(socket.gethostname())).hexdigest()[:8]}-"


def cannot(do: str, path: StrPath, error: Exception) -> KerasxaiError:
    """Return the error for a file or folder that cannot be read or written.

    Args:
        do: "read" or "write".
        path: The file or folder.
        error: The exception.

    Example:
        >>> str(cannot("write", "map.txt", OSError("disk full")))
        'cannot write map.txt: disk full'
    """
    return KerasxaiError(f"cannot {do} {os.fspath(path)}: {getattr(error, 'strerror', None) or error}")


def open_text(path: StrPath, mode: Literal["r", "w", "a", "x"] = "r") -> IO[str]:
    r"""Open a text file as UTF-8 in every locale, without translating line ends.

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
    """Read a text file, without a byte order mark.

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
    """Write a text file atomically.

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


# Any: the caller knows the structure of the file.
def read_json(path: StrPath) -> Any:
    """Read a JSON file.

    Raises:
        KerasxaiError: The file cannot be read, or is not JSON.

    Example:
        >>> _ = write_json("a.json", {"images": 3})
        >>> read_json("a.json")
        {'images': 3}
    """
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise KerasxaiError(f"expected JSON in {os.fspath(path)}, got a damaged file ({error}); delete it") from error


def write_json(path: StrPath, value: object) -> Path:
    """Write a strictly standard JSON file atomically: without NaN and infinity, indented by 2.

    Args:
        path: The file.
        value: Any value that `json` can write.

    Returns:
        The path.

    Raises:
        KerasxaiError: A number is not finite, or the file cannot be written.

    Example:
        >>> read_json(write_json("a.json", {"images": 3}))
        {'images': 3}
    """
    return write_text(path, json_text(value, os.fspath(path), indent=2) + "\n")


def json_text(value: object, name: str = "JSON", indent: int | None = None) -> str:
    """Return a value as JSON text, without NaN and infinity.

    Args:
        value: Any value that `json` can write.
        name: Name of the file, for the error message.
        indent: Spaces per level; None: one line.

    Raises:
        KerasxaiError: A number is not finite.

    Example:
        >>> json_text({"loss": 0.5})
        '{"loss": 0.5}'
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        where, number = next(not_finite(value), ("", math.nan))
        raise KerasxaiError(f"{name}: {where} must be a finite number, got {number}") from None


def not_finite(value: object, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield the path and the value of each NaN or infinity in a nested value.

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


# Any: the value has the structure of the argument.
def null_for_nan(value: object) -> Any:
    """Replace NaN and infinity in a nested value by None, for figures that may be undefined.

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
    """Prefix text that a spreadsheet would read as a formula with an apostrophe.

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
    """Write a table with headings as CSV, atomically, with cells as returned by `csv_cell`.

    Args:
        path: The file.
        columns: The headings.
        rows: The cells of each row; may be a generator.

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
    """Read the rows of a CSV file as dicts by its headings.

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
    """Return a path as text that does not depend on the locale: its bytes read as UTF-8.

    Example:
        >>> text_of("photos/cat.jpg")
        'photos/cat.jpg'
    """
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def path_of(text: str) -> str:
    """Return the path of a text from `text_of`, in the encoding of the current locale.

    Example:
        >>> path_of(text_of("photos/über.jpg"))
        'photos/über.jpg'
    """
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))

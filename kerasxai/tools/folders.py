"""Folders that commands write to: whether they can be written, and that only one process does so at a time."""

import contextlib
import errno
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import StrPath, cannot

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".kerasxai-lock"
_GRACE = 10.0
"""Seconds after which a lock without a process's number is taken for the leftover of a crash."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP}
"""What file systems answer that have no locks, such as some that come over a network."""
_held: dict[Path, tuple[int, int]] = {}
"""The folders that this process has locked, each with the thread and how often."""


def check_output_folder(folder: StrPath) -> None:
    """Raise an error if a folder cannot be made or written to; leaves nothing behind.

    Args:
        folder: It need not exist.

    Raises:
        KerasxaiError: The folder, or one above it, is a file or must not be written to.

    Example:
        >>> check_output_folder("out/maps")
    """
    made = _make(Path(folder))
    try:
        # Permission bits do not tell all: file systems are mounted read-only, shares have rules of their own.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        raise cannot("write", folder, error) from error
    finally:
        _remove(made)


def _make(folder: Path) -> list[Path]:
    """Make a folder and those above it; returns those that were missing, the deepest first."""
    try:
        missing = []
        for path in (folder, *folder.absolute().parents):
            if path.exists():
                break
            missing.append(path)
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise cannot("write", folder, error) from error
    return missing


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


@contextlib.contextmanager
def locked(folder: StrPath) -> Iterator[None]:
    """Keep other processes, and other threads, from writing to a folder while the block runs.

    The folder is made if it is missing; one that the block leaves empty is removed again. A process that dies leaves no
    lock behind, however it dies. The same thread may lock a folder again within the block.

    Args:
        folder: It need not exist.

    Raises:
        KerasxaiError: Another process or thread writes to the folder, or it cannot be written to.

    Example:
        >>> with locked("out"):
        ...     pass
    """
    folder = Path(folder)
    made = _make(folder)
    try:
        key, thread = folder.resolve(), threading.get_ident()
        owner, times = _held.get(key, (thread, 0))
        handle = None if times and owner == thread else _take(folder / LOCK)
        _held[key] = (thread, times + 1)
        try:
            yield
        finally:
            if times:
                _held[key] = (thread, times)
            else:
                del _held[key]
            if handle is not None:
                _release(handle, folder / LOCK)
    finally:
        _remove(made)


def is_locked_here(folder: StrPath) -> bool:
    """Return whether this process writes to a folder at the moment, see `locked`.

    Example:
        >>> with locked("out"):
        ...     is_locked_here("out")
        True
    """
    return bool(_held) and Path(folder).resolve() in _held


def _take(path: Path) -> int:
    try:
        while True:
            handle = _take_once(path)
            # Whoever held the lock removes the file before letting go: what was locked then is no longer there.
            with contextlib.suppress(FileNotFoundError):
                if handle is not None and os.path.samestat(os.fstat(handle), path.stat()):
                    os.ftruncate(handle, 0)
                    os.write(handle, f"{os.getpid()} {socket.gethostname()}\n".encode())
                    return handle
            if handle is not None:
                os.close(handle)
    except OSError as error:
        raise cannot("write", path.parent, error) from error


def _take_once(path: Path) -> int | None:
    """Return the locked file, or None if a stale lock was removed and all has to be tried again."""
    if fcntl is None:
        return _create(path)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if error.errno in _NO_LOCKS:
            return _create(path)
        raise _refused(path) from None
    return handle


def _create(path: Path) -> int | None:
    """Take a lock where the system has none: by making a file that must not be there."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        if not _is_stale(path):
            raise _refused(path) from None
        try:
            path.unlink(missing_ok=True)
        except PermissionError:
            raise _refused(path) from None
        return None


def _is_stale(path: Path) -> bool:
    try:
        words, age = path.read_bytes().decode(errors="replace").split(), time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return True
    if len(words) != 2 or not words[0].isdigit():
        return age > _GRACE
    return words[1] == socket.gethostname() and not _is_alive(int(words[0]))


def _is_alive(process: int) -> bool:
    if os.name == "nt":
        # A signal 0 would end the process there; an open file cannot be removed, though, so that the attempt tells.
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _refused(path: Path) -> KerasxaiError:
    words: list[str] = []
    with contextlib.suppress(OSError):
        words = path.read_bytes().decode(errors="replace").split()
    process = f"process {words[0]}" if words else "another process"
    return KerasxaiError(f"{process} is writing to {path.parent}; wait until it has finished, or choose another --out")


def _release(handle: int, path: Path) -> None:
    with contextlib.suppress(OSError):
        if os.name == "nt":
            os.close(handle)
        path.unlink(missing_ok=True)
        if os.name != "nt":
            os.close(handle)

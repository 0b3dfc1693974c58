"""Output folders: checks for write access, and locks against concurrent writers."""

import contextlib
import errno
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import StrPath, cannot, temporary_prefix

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".kerasxai-lock"
# Seconds after which a lock file without a process number is considered left over from a crash.
_GRACE = 10.0
# Errors of file systems without locks, such as some network file systems.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP}
# The rest of the names of `kerasxai.tools.files.atomic_path`, from the number of the process on.
_TEMPORARY = re.compile(r"(\d+)-\d+(\..*)?", re.DOTALL)
# The folders locked by this process, with the thread and the number of nested locks.
_locked: dict[Path, tuple[int, int]] = {}


class LockedError(KerasxaiError):
    """Another process or thread writes to the folder."""


def check_output_folder(folder: StrPath) -> None:
    """Check that a folder can be created and written to, leaving no trace.

    Args:
        folder: A folder, which need not exist.

    Raises:
        KerasxaiError: The folder or a parent is a file, or is not writable.

    Example:
        >>> check_output_folder("out/maps")
    """
    made = _make(Path(folder))
    try:
        # A trial, because permission bits are not reliable: read-only mounts and network shares have other rules.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        raise cannot("write", folder, error) from error
    finally:
        _remove(made)


def _make(folder: Path) -> list[Path]:
    """Create a folder and its parents, and return those that were missing, the deepest first."""
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


def _remove_temporary(folder: Path) -> None:
    """Remove the temporary files of killed processes of this machine, which may be as large as a model."""
    prefix = temporary_prefix()
    for path in folder.glob(f"{prefix}*"):
        match = _TEMPORARY.fullmatch(path.name.removeprefix(prefix))
        # Callbacks write without a lock, so the files of a living process stay.
        if match and not _is_alive(int(match[1])):
            with contextlib.suppress(OSError):
                path.unlink()


@contextlib.contextmanager
def locked(folder: StrPath) -> Iterator[None]:
    """Lock a folder against other processes and threads while the block runs.

    A missing folder is created, and removed again if the block leaves it empty. The operating system releases the lock
    of a process that is killed; temporary files that it left in the folder are removed. The same thread may lock a
    folder again within the block.

    Args:
        folder: A folder, which need not exist.

    Raises:
        KerasxaiError: Another process or thread has locked the folder, or it cannot be written to.

    Example:
        >>> with locked("out"):
        ...     pass
    """
    folder = Path(folder)
    made = _make(folder)
    try:
        key, thread = folder.resolve(), threading.get_ident()
        owner, times = _locked.get(key, (thread, 0))
        handle = None
        if not times or owner != thread:
            handle = _take(folder / LOCK)
            # The locks of another thread, which has released them in the meantime.
            times = 0
            _remove_temporary(folder)
        _locked[key] = (thread, times + 1)
        try:
            yield
        finally:
            if times:
                _locked[key] = (thread, times)
            else:
                del _locked[key]
            if handle is not None:
                _release(handle, folder / LOCK)
    finally:
        _remove(made)


def is_locked_here(folder: StrPath) -> bool:
    """Return whether this process has locked a folder, see `locked`.

    Example:
        >>> with locked("out"):
        ...     is_locked_here("out")
        True
    """
    return bool(_locked) and Path(folder).resolve() in _locked


def _take(path: Path) -> int:
    try:
        while True:
            handle = _take_once(path)
            # The previous owner removes the file before releasing it, so the file just locked may be gone.
            with contextlib.suppress(FileNotFoundError):
                if handle is not None and os.path.samestat(os.fstat(handle), path.stat()):
                    os.ftruncate(handle, 0)
                    os.write(handle, f"{os.getpid()} {socket.gethostname()}\n".encode())
                    return handle
            if handle is not None:
                os.close(handle)
    except FileNotFoundError:
        # Another process has released its lock, and removed the folder that this left empty, at this moment.
        raise LockedError(f"cannot write {path.parent}: another process has just removed it; try again") from None
    except OSError as error:
        raise cannot("write", path.parent, error) from error


def _take_once(path: Path) -> int | None:
    """Return the descriptor of the locked file, or None if a stale lock was removed and the caller must try again."""
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
    """Lock by exclusive creation of a file, for systems without file locks."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        try:
            if not _is_stale(path):
                raise _refused(path) from None
        except FileNotFoundError:
            # Released at this moment: not to be removed, because another process may have created it again.
            return None
        try:
            path.unlink(missing_ok=True)
        except PermissionError:
            raise _refused(path) from None
        return None


def _is_stale(path: Path) -> bool:
    words, age = path.read_bytes().decode(errors="replace").split(), time.time() - path.stat().st_mtime
    if len(words) != 2 or not words[0].isdigit():
        return age > _GRACE
    return words[1] == socket.gethostname() and not _is_alive(int(words[0]))


def _is_alive(process: int) -> bool:
    if os.name == "nt":
        # Signal 0 would kill the process on Windows. Removing the file fails there while it is open, which is enough.
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _refused(path: Path) -> LockedError:
    words: list[str] = []
    with contextlib.suppress(OSError):
        words = path.read_bytes().decode(errors="replace").split()
    process = f"process {words[0]}" if words else "another process"
    return LockedError(
        f"cannot write {path.parent}: {process} is writing to it; wait until it has finished, or choose another --out"
    )


def _release(handle: int, path: Path) -> None:
    with contextlib.suppress(OSError):
        if os.name == "nt":
            os.close(handle)
        path.unlink(missing_ok=True)
        if os.name != "nt":
            os.close(handle)

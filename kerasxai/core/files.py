"""Writing files so that nobody ever sees half of one."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from kerasxai.core.errors import KerasxaiError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path beside `path` and renames it to `path` when the block ends well.

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
    temporary = path.with_name(f".{path.stem}.tmp-{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise KerasxaiError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)

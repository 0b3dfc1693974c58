"""Commands that are killed, and folders of trainings as a kill would have left them."""

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from kerasxai.tools.folders import LOCK
from kerasxai.training.run_folder import RunFolder


@contextlib.contextmanager
def copied(rows: int, to: Path, row_is_written: bool = True) -> Iterator[None]:
    """Copy the folder of the run that is trained in a block when it has so many rows.

    Continuing the copy is continuing a run that was killed at this moment, without training its first epochs again.

    Args:
        rows: How many rows the history has then.
        to: A folder that does not exist.
        row_is_written: Whether the last row is in the file already; its checkpoint is there in any case.
    """
    write = RunFolder._write_rows

    def copying(self: RunFolder) -> None:
        if len(self.rows) == rows and not row_is_written:
            shutil.copytree(self.path, to, ignore=shutil.ignore_patterns(LOCK))
        write(self)
        if len(self.rows) == rows and row_is_written:
            shutil.copytree(self.path, to, ignore=shutil.ignore_patterns(LOCK))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "_write_rows", copying)
        yield
    assert to.exists(), "the run never had so many rows"


@contextlib.contextmanager
def killed(rows: int, row_is_written: bool) -> Iterator[None]:
    """End the run that is trained in a block when it has so many rows, as a kill would.

    Args:
        rows: How many rows the history has then.
        row_is_written: Whether the last row is in the file already; its checkpoint is there in any case.
    """
    write = RunFolder._write_rows

    def ending(self: RunFolder) -> None:
        if len(self.rows) < rows or row_is_written:
            write(self)
        if len(self.rows) == rows:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "_write_rows", ending)
        yield


def kill_in_a_shard(words: Sequence[str], out: Path) -> None:
    """Run a command, and kill it at a random moment after the beginning of the first shard.

    Args:
        words: The command, without the name of the program.
        out: The folder of the shards.
    """
    # Leaving the block waits for the process, also after an error.
    with subprocess.Popen([sys.executable, "-m", "kerasxai", *words], stdout=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 120
            while not _has_shards(out) and time.monotonic() < until:
                time.sleep(0.005)
            time.sleep(float(np.random.default_rng().uniform(0, 0.6)))
        finally:
            process.send_signal(signal.SIGKILL)


def _has_shards(out: Path) -> bool:
    # A folder that is locked before the first shard is removed again while it is empty.
    with contextlib.suppress(FileNotFoundError):
        return any(out.glob("*shard-*"))
    return False

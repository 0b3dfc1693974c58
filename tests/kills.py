"""Folders of trainings as a kill would have left them."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

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

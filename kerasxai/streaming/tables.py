"""Tables of rows as Parquet files, written and read piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from kerasxai.tools.extras import import_extra
from kerasxai.tools.files import atomic_path

if TYPE_CHECKING:
    import pyarrow

_ROWS = 8192
"""Rows in memory before they are written."""
Row = dict[str, Any]


def import_pyarrow(module: str = "pyarrow") -> ModuleType:
    """Import pyarrow, or a module of it.

    Raises:
        KerasxaiError: It is not installed.
    """
    return import_extra(module, "parquet", "write Parquet")


class RowWriter:
    """Writes rows to a Parquet file.

    Args:
        path: The file.
        schema: The columns; a row without one of them has null there.
    """

    def __init__(self, path: Path, schema: pyarrow.Schema) -> None:
        self._schema = schema
        self._rows: list[Row] = []
        self._writer = import_pyarrow("pyarrow.parquet").ParquetWriter(path, schema, compression="zstd")

    def add(self, rows: Iterable[Row]) -> None:
        """Add rows."""
        self._rows += rows
        if len(self._rows) >= _ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(import_pyarrow().RecordBatch.from_pylist(self._rows, schema=self._schema))
            self._rows = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._flush()
        self._writer.close()


def read_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Yield the rows of a Parquet file.

    Args:
        path: The file.
        columns: The columns to read; None for all.
    """
    with import_pyarrow("pyarrow.parquet").ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS, columns=columns):
            yield from batch.to_pylist()


def join_tables(paths: Sequence[Path], out: Path) -> None:
    """Write the rows of several Parquet files of the same columns to one, atomically."""
    parquet = import_pyarrow("pyarrow.parquet")
    with atomic_path(out) as temporary, parquet.ParquetWriter(temporary, parquet.read_schema(paths[0])) as writer:
        for path in paths:
            with parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(_ROWS):
                    writer.write_batch(batch)

"""Embeddings of a data set by a layer, in memory or streamed to a file."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.features.capture import Capture, LayerName
from kerasxai.features.stream import Batch, Data
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import atomic_path, open_text

POOLS = ("mean", "max", "flatten")
_NO_LABEL = -1


@dataclass
class Embeddings:
    """One vector for each image.

    Attributes:
        vectors: `(N, D)` float32; memory-mapped if they are in a file.
        path: The file, None if the vectors are in memory.
        index: Names and labels of the images, None if they are in the index file.
    """

    vectors: NDArray[np.float32]
    path: Path | None = None
    index: tuple[list[str], list[int]] | None = None

    @cached_property
    def _rows(self) -> tuple[list[str], NDArray[np.int64]]:
        if self.index is None:
            assert self.path is not None
            names, labels = _read_index(index_path(self.path))
        else:
            names, labels = self.index
        if len(names) != len(self.vectors):
            raise KerasxaiError(f"expected {len(self.vectors)} names in the index of {self.path}, got {len(names)}")
        return names, np.asarray(labels, np.int64)

    @property
    def names(self) -> list[str]:
        """The names of the `N` images, read from the index file at the first access."""
        return self._rows[0]

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """The labels `(N,)`, None if the data have none."""
        labels = self._rows[1]
        return None if (labels == _NO_LABEL).any() else labels


def embed(
    model: keras.Model,
    data: Data,
    layer: LayerName = None,
    *,
    pool: str = "mean",
    path: str | os.PathLike[str] | None = None,
    batch_size: int = 32,
) -> Embeddings:
    """Embed each image of a data set by the output of a layer.

    With `path`, each batch is written to the disk at once, so memory does not grow with the data. Without, all vectors
    are kept in memory.

    Args:
        model: Any Keras model.
        data: As for `kerasxai.features.stream.batches`: an array, a dataset, a generator; read once.
        layer: A path, name or layer; None: the last feature map.
        pool: How to make a vector of a map: the `"mean"` or the `"max"` over positions, or `"flatten"`.
        path: A `.npy` file; names and labels are written to `PATH.tsv`. Files are written atomically.
        batch_size: Number of images per call of the model. Results do not depend on it, up to rounding (a relative
            1e-6), because other batch sizes may use other kernels.

    Raises:
        KerasxaiError: The layer or `pool` is unknown, or the file cannot be written.

    Example:
        >>> embeddings = embed(model, kerasxai.data.load("shapes"), path="shapes.npy")
        >>> embeddings.vectors.shape, embeddings.names[0]
        ((4800, 1280), 'train_00000')
    """
    if pool not in POOLS:
        raise unknown("pool", pool, POOLS)
    capture = Capture(model, layer, lambda output: pooled(output, pool))
    if path is None:
        return embed_with(capture, data, batch_size)
    path = Path(path)
    if path.suffix != ".npy":
        raise KerasxaiError(f"expected a path that ends in .npy, got {path}")
    with atomic_path(path) as temporary, atomic_path(index_path(path)) as temporary_index:
        rows, names = temporary.open("w+b"), open_text(temporary_index, "w")
        with rows, names:
            _write(capture, data, batch_size, rows, names)
    return load_embeddings(path)


def load_embeddings(path: str | os.PathLike[str]) -> Embeddings:
    """Open embeddings written by `embed`; vectors and names are read when they are used.

    Raises:
        KerasxaiError: The file does not exist, or does not hold vectors.
    """
    path = Path(path)
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise KerasxaiError(f"cannot read embeddings from {path}: {error}") from error
    if vectors.ndim != 2:
        raise KerasxaiError(f"expected vectors (N, D) in {path}, got shape {vectors.shape}")
    if not index_path(path).is_file():
        raise KerasxaiError(f"cannot read the index of names {index_path(path)}: there is no such file")
    return Embeddings(vectors, path)


def index_path(path: Path) -> Path:
    """Return the path of the index of names of a file of vectors."""
    return path.with_name(path.name + ".tsv")


def pooled(output: tf.Tensor, pool: str) -> tf.Tensor:
    """Pool the output of a layer to one vector for each image, `(B, D)` float32; see `embed`."""
    output = tf.cast(output, tf.float32)
    axes = list(range(1, output.shape.rank - 1))
    if pool == "flatten" or not axes:
        return tf.reshape(output, (tf.shape(output)[0], -1)) if axes else output
    return (tf.reduce_mean if pool == "mean" else tf.reduce_max)(output, axes)


def embed_with(capture: Capture, data: Data, batch_size: int) -> Embeddings:
    """Embed in memory by an existing trace, whose outputs are vectors."""
    names: list[str] = []
    labels: list[int] = []
    parts = []
    for batch, vectors in capture.over(data, batch_size):
        parts.append(vectors.numpy())
        names += batch["name"]
        labels += _labels(batch, len(parts[-1]))
    return Embeddings(np.concatenate(parts), None, (names, labels))


def _write(capture: Capture, data: Data, batch_size: int, rows: IO[bytes], names: IO[str]) -> None:
    count = width = 0
    for batch, vectors in capture.over(data, batch_size):
        found = np.ascontiguousarray(vectors.numpy(), "<f4")
        if not count:
            # A placeholder: the number of rows is not known yet.
            width = found.shape[1]
            _header(rows, 0, width)
        rows.write(found.tobytes())
        count += len(found)
        for name, label in zip(batch["name"], _labels(batch, len(found)), strict=True):
            names.write(f"{_escaped(name)}\t{label}\n")
    # NumPy pads its header, so that a longer number of rows fits.
    rows.seek(0)
    _header(rows, count, width)


def _header(file: IO[bytes], count: int, width: int) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
    np.lib.format.write_array_header_1_0(file, header)


def _labels(batch: Batch, count: int) -> list[int]:
    return batch["label"].tolist() if "label" in batch else [_NO_LABEL] * count


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _read_index(path: Path) -> tuple[list[str], list[int]]:
    names, labels = [], []
    with _readable(path) as lines:
        for line in lines:
            name, _, label = line.rstrip("\n").rpartition("\t")
            names.append(_unescaped(name))
            labels.append(int(label))
    return names, labels


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[IO[str]]:
    try:
        with open_text(path) as file:
            yield file
    except (OSError, ValueError) as error:
        raise KerasxaiError(f"cannot read the index of names {path}: {error}") from error


def _unescaped(name: str) -> str:
    # Escaped backslashes first, by a character that no file name contains.
    return name.replace("\\\\", "\0").replace("\\t", "\t").replace("\\n", "\n").replace("\\r", "\r").replace("\0", "\\")

"""Embeddings: what a layer gives for each image of a data set, as one matrix, streamed to a file."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.features.capture import Capture
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import atomic_path, open_text

POOLS = ("mean", "max", "flatten")
_NO_LABEL = -1


@dataclass
class Embeddings:
    """One vector an image.

    Attributes:
        vectors: `(N, D)` float32; of a file an array mapped to it.
        path: The file, None where the vectors are in memory.
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
            raise KerasxaiError(f"the index of {self.path} names {len(names)} images, the file has {len(self.vectors)}")
        return names, np.asarray(labels, np.int64)

    @property
    def names(self) -> list[str]:
        """The images' names, `N` of them; read from the index when first asked for."""
        return self._rows[0]

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """The images' labels `(N,)`, None where the data had none."""
        labels = self._rows[1]
        return None if (labels == _NO_LABEL).any() else labels


def embed(
    model: Any,
    data: Any,
    layer: Any = None,
    *,
    pool: str = "mean",
    path: str | os.PathLike[str] | None = None,
    batch_size: int = 32,
) -> Embeddings:
    """Return what a layer gives for each image of a data set.

    With `path` each batch goes to the disk as soon as it is there, so that 100,000 images need no more memory than
    1,000; without, all vectors are held, and nothing else.

    Args:
        model: Any Keras model.
        data: As for `kerasxai.features.stream.batches`: an array, a dataset, a generator; read once.
        layer: A path, name or layer; None takes the last feature map.
        pool: What becomes of the places of a map: their `"mean"`, their `"max"`, or `"flatten"`, all of them.
        path: A `.npy` file; beside it `PATH.tsv` is written with name and label of each row. A file is there only
            when all of it is.
        batch_size: How many images are sent through the model at once. The vectors do not hang on it, to within what
            the kernels of another batch size round differently (a relative 1e-6).

    Raises:
        KerasxaiError: There is no such layer, an unknown `pool`, or the disk does not take it.

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
        raise KerasxaiError(f"expected a path that ends in .npy, came {path}")
    with atomic_path(path) as temporary, atomic_path(index_path(path)) as temporary_index:
        rows, names = temporary.open("w+b"), open_text(temporary_index, "w")
        with rows, names:
            _write(capture, data, batch_size, rows, names)
    return load_embeddings(path)


def load_embeddings(path: str | os.PathLike[str]) -> Embeddings:
    """Return what `embed` wrote; vectors and names are read when they are used.

    Raises:
        KerasxaiError: There is no such file, or it is none of vectors.
    """
    path = Path(path)
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise KerasxaiError(f"cannot read embeddings from {path}: {error}") from error
    if vectors.ndim != 2:
        raise KerasxaiError(f"expected vectors (N, D) in {path}, came shape {vectors.shape}")
    if not index_path(path).is_file():
        raise KerasxaiError(f"the index of names is missing: there is no {index_path(path)}")
    return Embeddings(vectors, path)


def index_path(path: Path) -> Path:
    """Return where the names of a file of vectors stand."""
    return path.with_name(path.name + ".tsv")


def pooled(output: Any, pool: str) -> Any:
    """Return one vector an image, `(B, D)` float32, of a traced layer's output; see `embed`."""
    output = tf.cast(output, tf.float32)
    axes = list(range(1, output.shape.rank - 1))
    if pool == "flatten" or not axes:
        return tf.reshape(output, (tf.shape(output)[0], -1)) if axes else output
    return (tf.reduce_mean if pool == "mean" else tf.reduce_max)(output, axes)


def embed_with(capture: Capture, data: Any, batch_size: int) -> Embeddings:
    """Embed in memory with a trace that is there already, whose outputs are vectors."""
    names: list[str] = []
    labels: list[int] = []
    parts = []
    for batch, vectors in capture.over(data, batch_size):
        parts.append(vectors.numpy())
        names += batch["name"]
        labels += _labels(batch, len(parts[-1]))
    return Embeddings(np.concatenate(parts), None, (names, labels))


def _write(capture: Capture, data: Any, batch_size: int, rows: IO[bytes], names: IO[str]) -> None:
    count = width = 0
    for batch, vectors in capture.over(data, batch_size):
        found = np.ascontiguousarray(vectors.numpy(), "<f4")
        if not count:
            width = found.shape[1]
            _header(rows, 0, width)
        rows.write(found.tobytes())
        count += len(found)
        for name, label in zip(batch["name"], _labels(batch, len(found)), strict=True):
            names.write(f"{_on_one_line(name)}\t{label}\n")
    # How many rows there are is known only now; NumPy's header has room for a longer number.
    rows.seek(0)
    _header(rows, count, width)


def _header(file: IO[bytes], count: int, width: int) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
    np.lib.format.write_array_header_1_0(file, header)


def _labels(batch: dict[str, Any], count: int) -> list[int]:
    return batch["label"].tolist() if "label" in batch else [_NO_LABEL] * count


def _on_one_line(name: str) -> str:
    return name.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _read_index(path: Path) -> tuple[list[str], list[int]]:
    names, labels = [], []
    with _readable(path) as lines:
        for line in lines:
            name, _, label = line.rstrip("\n").rpartition("\t")
            names.append(_as_it_was(name))
            labels.append(int(label))
    return names, labels


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[IO[str]]:
    try:
        with open_text(path) as file:
            yield file
    except (OSError, ValueError) as error:
        raise KerasxaiError(f"cannot read the index of names {path}: {error}") from error


def _as_it_was(name: str) -> str:
    return name.replace("\\\\", "\0").replace("\\t", "\t").replace("\\n", "\n").replace("\\r", "\r").replace("\0", "\\")

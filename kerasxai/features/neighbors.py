"""Nearest neighbors of images by their embeddings."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.neighbors import NearestNeighbors

from kerasxai.features.embedding import Embeddings
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import atomic_path

METRICS = ("cosine", "euclidean", "manhattan")


@dataclass(frozen=True)
class Neighbors:
    """The nearest images of each query, nearest first.

    Attributes:
        indices: `(Q, k)` int64: rows of the index.
        distances: `(Q, k)` float64.
        names: `[Q][k]`.
        labels: `(Q, k)` int64, None if the index has no labels.
    """

    indices: NDArray[np.int64]
    distances: NDArray[np.float64]
    names: list[list[str]]
    labels: NDArray[np.int64] | None


class NeighborIndex:
    """An index of embeddings for exact nearest neighbor search by scikit-learn.

    Args:
        embeddings: The result of `kerasxai.features.embed`, or vectors `(N, D)`.
        names: One for each vector; None: those of the embeddings, or numbers.
        labels: One for each vector; None: those of the embeddings, if any.
        metric: `"cosine"`, `"euclidean"` or `"manhattan"`.

    Raises:
        KerasxaiError: The metric is unknown, or shapes or numbers of names or labels do not fit.

    Example:
        >>> index = NeighborIndex(embed(model, train, layer="backbone/top_activation"))
        >>> index.save("index.npz")
        >>> NeighborIndex.load("index.npz").query(embed(model, images, layer="backbone/top_activation"), k=5).names[0]
        ['train_00017', ...]
    """

    def __init__(
        self,
        embeddings: Embeddings | ArrayLike,
        names: Sequence[str] | None = None,
        labels: ArrayLike | None = None,
        metric: str = "cosine",
    ) -> None:
        if metric not in METRICS:
            raise unknown("metric", metric, METRICS)
        if isinstance(embeddings, Embeddings):
            names = embeddings.names if names is None else names
            labels = embeddings.labels if labels is None else labels
        self.vectors = _vectors(embeddings)
        self.metric = metric
        self.names = [str(i) for i in range(len(self.vectors))] if names is None else [str(name) for name in names]
        self.labels = None if labels is None else np.asarray(labels, np.int64)
        for what, given in (("name", self.names), ("label", self.labels)):
            if given is not None and len(given) != len(self.vectors):
                raise KerasxaiError(f"expected one {what} for each of {len(self.vectors)} vectors, got {len(given)}")
        self._search = NearestNeighbors(metric=metric).fit(self.vectors)

    def __len__(self) -> int:
        return len(self.vectors)

    def query(self, vectors: Embeddings | ArrayLike, k: int = 8) -> Neighbors:
        """Find the `k` nearest images of each of `Q` vectors, or all images if there are fewer.

        Args:
            vectors: `(Q, D)`, embedded by the same layer of the same model, or `Embeddings`.
            k: Number of neighbors.

        Raises:
            KerasxaiError: The vectors differ in length from those of the index.
        """
        queries = _vectors(vectors)
        if queries.shape[1] != self.vectors.shape[1]:
            raise KerasxaiError(
                f"expected vectors of length {self.vectors.shape[1]} as in the index, got {queries.shape[1]}; embed "
                "them by the layer and model of the index, not by another layer or model"
            )
        distances, indices = self._search.kneighbors(queries, min(_positive(k), len(self)))
        return self._named(distances, indices)

    def neighbors_of(self, rows: ArrayLike | None = None, k: int = 8) -> Neighbors:
        """Find the `k` nearest other images of images of the index, also if some are identical.

        Args:
            rows: Rows of the images in the index; None: all.
            k: Number of neighbors.
        """
        chosen = np.arange(len(self)) if rows is None else np.atleast_1d(np.asarray(rows, np.int64))
        most = min(_positive(k), len(self) - 1)
        if most < 1:
            raise KerasxaiError("expected an index of several images, got one image, which has no neighbors")
        distances, indices = self._search.kneighbors(self.vectors[chosen], most + 1)
        own = indices == chosen[:, None]
        # Among many identical images, the image itself may be missing from its list; then the farthest is dropped.
        own[~own.any(1), -1] = True
        return self._named(distances[~own].reshape(-1, most), indices[~own].reshape(-1, most))

    def precision_at(self, k: int | Sequence[int] = (1, 5, 10)) -> dict[int, float]:
        """Compute precision at k: the fraction of the `k` nearest other images of the same class, averaged over images.

        Args:
            k: One or several numbers of neighbors, each less than the number of images.

        Returns:
            The precision in [0, 1] by `k`.

        Raises:
            KerasxaiError: The index has no labels, or too few images.
        """
        if self.labels is None:
            raise KerasxaiError("expected an index with labels, got one without; give labels=")
        counts = [k] if isinstance(k, int) else list(k)
        if not counts or min(counts) < 1 or max(counts) >= len(self):
            raise KerasxaiError(f"k must be from 1 to {len(self) - 1}, got {k}")
        found = self.neighbors_of(k=max(counts)).labels
        assert found is not None
        right = found == self.labels[:, None]
        return {count: float(right[:, :count].mean()) for count in counts}

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write vectors, names, labels and metric to an `.npz` file and return its path."""
        path = Path(path)
        if path.suffix != ".npz":
            raise KerasxaiError(f"expected a path that ends in .npz, got {path}")
        arrays: dict[str, Any] = {
            "vectors": self.vectors,
            "names": np.array(self.names, np.str_),
            "metric": self.metric,
        }
        if self.labels is not None:
            arrays["labels"] = self.labels
        with atomic_path(path) as temporary:
            np.savez(temporary, **arrays)
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "NeighborIndex":
        """Read an index written by `save`.

        Raises:
            KerasxaiError: The file does not exist, or is not an index.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                labels = file.get("labels")
                return cls(file["vectors"], file["names"].tolist(), labels, str(file["metric"]))
        except (OSError, ValueError, KeyError) as error:
            raise KerasxaiError(f"cannot read an index from {os.fspath(path)}: {error}") from error

    def _named(self, distances: NDArray, indices: NDArray) -> Neighbors:
        names = [[self.names[i] for i in row] for row in indices]
        labels = None if self.labels is None else self.labels[indices]
        return Neighbors(indices.astype(np.int64), distances, names, labels)


def _vectors(given: Embeddings | ArrayLike) -> NDArray[np.float32]:
    vectors = np.asarray(given.vectors if isinstance(given, Embeddings) else given, np.float32)
    if vectors.ndim != 2 or 0 in vectors.shape:
        raise KerasxaiError(f"expected vectors (N, D), got shape {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise KerasxaiError("expected finite vectors, got NaN or infinity")
    return vectors


def _positive(k: int) -> int:
    if k < 1:
        raise KerasxaiError(f"k must be 1 or more, got {k}")
    return k

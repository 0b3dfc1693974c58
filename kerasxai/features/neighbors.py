"""Nearest neighbors among embedded images."""

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
        labels: `(Q, k)` int64, None where the index has none.
    """

    indices: NDArray[np.int64]
    distances: NDArray[np.float64]
    names: list[list[str]]
    labels: NDArray[np.int64] | None


class NeighborIndex:
    """Finds the images whose embeddings lie nearest, by scikit-learn's exact search.

    Args:
        embeddings: What `kerasxai.features.embed` returns, or vectors `(N, D)`.
        names: One for each vector; None takes those of the embeddings, or numbers.
        labels: One for each vector; None takes those of the embeddings, if any.
        metric: `"cosine"`, `"euclidean"` or `"manhattan"`.

    Raises:
        KerasxaiError: An unknown metric, vectors of another shape, or not one name and label for each.

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
                raise KerasxaiError(f"expected one {what} for each of {len(self.vectors)} vectors, came {len(given)}")
        self._search = NearestNeighbors(metric=metric).fit(self.vectors)

    def __len__(self) -> int:
        return len(self.vectors)

    def query(self, vectors: Embeddings | ArrayLike, k: int = 8) -> Neighbors:
        """Find the `k` nearest of each of `Q` vectors; all there are if there are fewer.

        Args:
            vectors: `(Q, D)`, embedded by the same layer of the same model, or `Embeddings`.
            k: How many.

        Raises:
            KerasxaiError: The vectors have another length than the index's.
        """
        wanted = _vectors(vectors)
        if wanted.shape[1] != self.vectors.shape[1]:
            raise KerasxaiError(
                f"expected vectors of length {self.vectors.shape[1]} as in the index, came {wanted.shape[1]}: "
                "was another layer or model used?"
            )
        distances, indices = self._search.kneighbors(wanted, min(_positive(k), len(self)))
        return self._named(distances, indices)

    def neighbors_of(self, rows: ArrayLike | None = None, k: int = 8) -> Neighbors:
        """Find the `k` nearest others of the index's own images, itself left out, also where it has twins.

        Args:
            rows: Which of its images; None: all.
            k: How many.
        """
        chosen = np.arange(len(self)) if rows is None else np.atleast_1d(np.asarray(rows, np.int64))
        most = min(_positive(k), len(self) - 1)
        if most < 1:
            raise KerasxaiError("the index holds one image, which has no neighbors")
        distances, indices = self._search.kneighbors(self.vectors[chosen], most + 1)
        own = indices == chosen[:, None]
        # Among many twins the image itself may not be in its own list; then the farthest is dropped.
        own[~own.any(1), -1] = True
        return self._named(distances[~own].reshape(-1, most), indices[~own].reshape(-1, most))

    def precision_at(self, k: int | Sequence[int] = (1, 5, 10)) -> dict[int, float]:
        """Measure retrieval: the share of an image's `k` nearest others that are of its class, averaged over images.

        Args:
            k: How many neighbors, or several such numbers, each less than the number of images.

        Returns:
            `k` to a share in [0, 1].

        Raises:
            KerasxaiError: The index has no labels, or too few images.
        """
        if self.labels is None:
            raise KerasxaiError("precision needs labels, and the index has none")
        counts = [k] if isinstance(k, int) else list(k)
        if not counts or min(counts) < 1 or max(counts) >= len(self):
            raise KerasxaiError(f"k must be of 1 to {len(self) - 1}, came {k}")
        found = self.neighbors_of(k=max(counts)).labels
        assert found is not None
        right = found == self.labels[:, None]
        return {count: float(right[:, :count].mean()) for count in counts}

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write vectors, names, labels and metric to an `.npz` file, and returns its path."""
        path = Path(path)
        if path.suffix != ".npz":
            raise KerasxaiError(f"expected a path that ends in .npz, came {path}")
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
        """Read an index that `save` wrote.

        Raises:
            KerasxaiError: There is no such file, or it is none of these.
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
        raise KerasxaiError(f"expected vectors (N, D), came shape {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise KerasxaiError("the vectors have entries that are not finite")
    return vectors


def _positive(k: int) -> int:
    if k < 1:
        raise KerasxaiError(f"k must be 1 or more, not {k}")
    return k

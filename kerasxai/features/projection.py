"""Projections of embeddings to two dimensions, with their trustworthiness."""

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from threadpoolctl import threadpool_limits

from kerasxai.features.embedding import Embeddings
from kerasxai.tools.errors import KerasxaiError, unknown

PROJECTIONS = ("pca", "tsne", "umap")
# Principal components before t-SNE.
_FIRST = 50
# Points of which trustworthiness is measured.
_MOST = 2000
# Points below which t-SNE is faster on a single thread.
_FEW = 1000


@dataclass(frozen=True)
class Projection:
    """Points in the plane.

    Attributes:
        points: `(N, 2)` float32.
        method: The method of projection.
        trustworthiness: In [0, 1]: how far nearest neighbors in the plane are neighbors of the original vectors (Venna
            and Kaski 2001); 1 if all are, about 0.5 for random points.
        neighbors: Number of neighbors for trustworthiness.
        measured: Number of points for trustworthiness, at most a random 2,000, because its cost is quadratic.
        explained: The explained variance ratio for `"pca"`, else None.
    """

    points: NDArray[np.float32]
    method: str
    trustworthiness: float
    neighbors: int
    measured: int
    explained: float | None = None


def project(
    vectors: Embeddings | ArrayLike, method: str = "pca", *, seed: int = 0, neighbors: int = 10, **options: Any
) -> Projection:
    """Project vectors to the plane.

    Args:
        vectors: `(N, D)`, at least 4, or `Embeddings`.
        method: `"pca"`; `"tsne"`, of the first 50 principal components as its authors recommend; `"umap"`, which
            requires umap-learn.
        seed: Random seed.
        neighbors: Number of neighbors for trustworthiness, less than half of the vectors.
        **options: Options of scikit-learn's `PCA` or `TSNE`, or of `umap.UMAP`, such as `perplexity=20`.

    Raises:
        KerasxaiError: The method is unknown, there are too few vectors, or UMAP is not installed.

    Example:
        >>> found = project(embed(model, images), "tsne")
        >>> found.points.shape, found.trustworthiness
        ((500, 2), 0.97)
    """
    if method not in PROJECTIONS:
        raise unknown("projection", method, PROJECTIONS)
    matrix = np.asarray(vectors.vectors if isinstance(vectors, Embeddings) else vectors, np.float32)
    if matrix.ndim != 2 or len(matrix) < 4 or matrix.shape[1] < 2:
        raise KerasxaiError(f"expected at least 4 vectors (N, D) to project, got shape {matrix.shape}")
    explained = None
    if method == "pca":
        pca = PCA(**{"n_components": 2, "random_state": seed, "svd_solver": "full"} | options)
        points, explained = pca.fit_transform(matrix), float(pca.explained_variance_ratio_.sum())
    elif method == "tsne":
        points = _tsne(matrix, seed, options)
    else:
        points = _umap(matrix, seed, options)
    chosen = np.random.default_rng(seed).permutation(len(matrix))[:_MOST]
    near = max(1, min(neighbors, (len(chosen) - 1) // 2))
    trust = float(trustworthiness(matrix[chosen], points[chosen], n_neighbors=near))
    return Projection(points.astype(np.float32), method, trust, near, len(chosen), explained)


def _tsne(matrix: NDArray, seed: int, options: dict[str, Any]) -> NDArray:
    first = min(_FIRST, *matrix.shape)
    if matrix.shape[1] > _FIRST:
        matrix = PCA(first, random_state=seed).fit_transform(matrix)
    # t-SNE needs about three times as many points as its perplexity.
    perplexity = min(30.0, max(1.0, (len(matrix) - 1) / 3))
    settings = {"perplexity": perplexity, "init": "pca", "learning_rate": "auto", "random_state": seed} | options
    # With few points, steps are so short that threads spend their time waiting for each other.
    with threadpool_limits(1 if len(matrix) < _FEW else None):
        return TSNE(**settings).fit_transform(matrix)


def _umap(matrix: NDArray, seed: int, options: dict[str, Any]) -> NDArray:
    if importlib.util.find_spec("umap") is None:
        raise KerasxaiError(
            "cannot project by umap: it is not installed; install it with: pip install umap-learn, or use pca or tsne"
        )
    umap = importlib.import_module("umap")
    return np.asarray(
        umap.UMAP(**{"n_neighbors": min(15, len(matrix) - 1), "random_state": seed} | options).fit_transform(matrix)
    )

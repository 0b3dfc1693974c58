"""A few images that represent a split, for pictures and for quick figures."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def rarest_class(labels: NDArray) -> NDArray[np.int64]:
    """Return one class for each image, of several the one that fewest images have; -1 for none.

    Args:
        labels: `(N,)` classes, which are returned, or `(N, C)` of all classes: 1 present, 0 absent, -1 unknown.

    Example:
        >>> rarest_class(np.array([[1, 1], [1, 0], [0, -1]])).tolist()
        [1, 0, -1]
    """
    if labels.ndim == 1:
        return labels.astype(np.int64)
    present = labels == 1
    images = np.where(present, present.sum(0), np.inf)
    return np.where(present.any(1), images.argmin(1), -1)


def spread_over_classes(labels: ArrayLike, count: int, seed: int = 0) -> NDArray[np.int64]:
    """Choose images at random, as evenly over the classes as possible.

    Args:
        labels: `(N,)` classes, or `(N, C)` of all classes, of which the rarest counts.
        count: How many; all, if there are fewer.
        seed: The same seed chooses the same images.

    Returns:
        Positions, `(count,)` int64, in ascending order.

    Example:
        >>> positions = spread_over_classes([0, 0, 0, 0, 1], 2)
        >>> positions.tolist()[1]
        4
    """
    classes = rarest_class(np.asarray(labels))
    generator = np.random.default_rng([seed, 2])
    chance, turn = generator.random(len(classes)), np.zeros(len(classes), np.int64)
    # The first of every class, then the second of every class, and so on; within a round at random.
    for label in np.unique(classes):
        own = np.flatnonzero(classes == label)
        turn[own[np.argsort(chance[own])]] = np.arange(len(own))
    return np.sort(np.lexsort((chance, turn))[:count])


def spread_over_positions(total: int, count: int, seed: int = 0) -> NDArray[np.int64]:
    """Choose positions at random, one from each of equal parts of a sequence.

    Of images that are sorted by class, each class keeps its share, so that figures of those that are chosen estimate
    the figures of all; as many of each class would estimate those of balanced classes.

    Args:
        total: The length of the sequence.
        count: How many; all, if there are fewer.
        seed: The same seed chooses the same positions.

    Returns:
        `(count,)` int64, in ascending order.

    Example:
        >>> (spread_over_positions(100, 4) // 25).tolist()
        [0, 1, 2, 3]
    """
    count = min(count, total)
    edges = np.arange(count + 1) * total // max(count, 1)
    return np.random.default_rng([seed, 3]).integers(edges[:-1], edges[1:])

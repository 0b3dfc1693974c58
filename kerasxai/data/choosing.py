"""A few images that represent the classes of a split, for pictures."""

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

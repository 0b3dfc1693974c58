"""Weak labels: a share of the labels, wrong labels, and pseudo-labels."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.tools.errors import KerasxaiError

NO_LABEL = -1
Labels = NDArray[np.int64]


def keep_share(labels: ArrayLike, fraction: float, seed: int) -> Labels:
    """Keep a share of the labels, balanced over the classes, and remove the others.

    Args:
        labels: `(N,)` class numbers.
        fraction: The share to keep, in (0, 1]; at least one label of each class is kept.
        seed: The same seed keeps the same labels.

    Returns:
        `(N,)` int64 with -1 for removed labels.

    Example:
        >>> np.bincount(keep_share([0, 0, 0, 0, 1, 1], 0.5, seed=0) + 1).tolist()
        [2, 2, 2]
    """
    array = np.asarray(labels, np.int64)
    if not 0 < fraction <= 1:
        raise KerasxaiError(f"label_fraction must be in (0, 1], got {fraction}")
    # A generator for each purpose, so that the same labels are kept with and without noise.
    generator = np.random.default_rng([seed, 1])
    classes = np.unique(array)
    count = max(len(classes), round(fraction * len(array)))
    # Take the first of every class, then the second of every class, and so on; random within a round.
    chance = generator.random(len(array))
    turn = np.zeros(len(array), np.int64)
    for label in classes:
        own = np.flatnonzero(array == label)
        turn[own[np.argsort(chance[own])]] = np.arange(len(own))
    kept = np.lexsort((chance, turn))[:count]
    given = np.full(len(array), NO_LABEL)
    given[kept] = array[kept]
    return given


def corrupt(labels: ArrayLike, share: float, classes: int, seed: int) -> Labels:
    """Replace a share of the labels by another class, each with the same probability (symmetric noise).

    Args:
        labels: `(N,)` class numbers; -1 for no label.
        share: The share to replace, in [0, 1).
        classes: Number of classes.
        seed: The same seed gives the same labels.

    Returns:
        `(N,)` int64.

    Example:
        >>> (corrupt(np.zeros(10), 0.2, 4, seed=0) != 0).sum()
        np.int64(2)
    """
    if not 0 <= share < 1:
        raise KerasxaiError(f"label_noise must be in [0, 1), got {share}")
    given = np.array(labels, np.int64)
    generator = np.random.default_rng([seed, 2])
    known = np.flatnonzero(given >= 0)
    chosen = generator.choice(known, round(share * len(known)), replace=False)
    given[chosen] = (given[chosen] + generator.integers(1, classes, len(chosen))) % classes
    return given


def pseudo_labels(labels: ArrayLike, probabilities: ArrayLike, confidence: float) -> Labels:
    """Label images without a label with a confidently predicted class.

    Args:
        labels: `(N,)` class numbers; -1 for no label.
        probabilities: `(N, C)`, predictions for the same images.
        confidence: Minimum of the highest probability, in (0, 1].

    Returns:
        `(N,)` int64: the labels, and for confident images without a label the predicted class.

    Example:
        >>> pseudo_labels([1, -1, -1], [[0.9, 0.1], [0.95, 0.05], [0.5, 0.5]], 0.9).tolist()
        [1, 0, -1]
    """
    given, predicted = np.asarray(labels, np.int64), np.asarray(probabilities)
    confident = predicted.max(axis=1) >= confidence
    return np.where((given < 0) & confident, predicted.argmax(axis=1), given)


def describe(true: ArrayLike, given: ArrayLike, pseudo: ArrayLike | None) -> dict[str, Any]:
    """Count the labels of each kind, and how many are correct.

    Args:
        true: `(N,)` labels of the data.
        given: `(N,)` labels of the first phases.
        pseudo: `(N,)` labels of the last phase, or None if there are no pseudo-labels.

    Returns:
        `images`, `labeled`, `wrong` among those; with pseudo-labels also `pseudo` and `pseudo_right`.
    """
    known, first = np.asarray(true), np.asarray(given)
    labeled = first >= 0
    counts = {
        "images": len(known),
        "labeled": int(labeled.sum()),
        "wrong": int((labeled & (first != known)).sum()),
    }
    if pseudo is not None:
        then = np.asarray(pseudo)
        taken = ~labeled & (then >= 0)
        counts |= {"pseudo": int(taken.sum()), "pseudo_right": int((taken & (then == known)).sum())}
    return counts

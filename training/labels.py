"""Weak labels: a part of them alone, some of them wrong, and what a model itself says of the rest."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.tools.errors import KerasxaiError

NO_LABEL = -1
Labels = NDArray[np.int64]


def keep_share(labels: ArrayLike, fraction: float, seed: int) -> Labels:
    """Keeps a share of the labels, as evenly over the classes as there are images, and takes the others away.

    Args:
        labels: `(N,)` class numbers.
        fraction: The share that is kept, in (0, 1]; at least one label of each class is.
        seed: The same seed keeps the same labels.

    Returns:
        `(N,)` int64 with -1 where the label was taken away.

    Example:
        >>> np.bincount(keep_share([0, 0, 0, 0, 1, 1], 0.5, seed=0) + 1).tolist()
        [2, 2, 2]
    """
    array = np.asarray(labels, np.int64)
    if not 0 < fraction <= 1:
        raise KerasxaiError(f"the share of labels must be in (0, 1], came {fraction}")
    generator = np.random.default_rng([seed, 1])
    classes = np.unique(array)
    count = max(len(classes), round(fraction * len(array)))
    # The first of every class, then the second of every class, and so on; within a round by chance.
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
    """Gives a share of the labeled images the label of another class, each other class alike (symmetric noise).

    Args:
        labels: `(N,)` class numbers; -1 stands for no label.
        share: Of the labels that there are, in [0, 1).
        classes: How many classes there are.
        seed: The same seed corrupts the same labels in the same way.

    Returns:
        `(N,)` int64.

    Example:
        >>> (corrupt(np.zeros(10), 0.2, 4, seed=0) != 0).sum()
        np.int64(2)
    """
    if not 0 <= share < 1:
        raise KerasxaiError(f"the share of wrong labels must be in [0, 1), came {share}")
    given = np.array(labels, np.int64)
    generator = np.random.default_rng([seed, 2])
    known = np.flatnonzero(given >= 0)
    chosen = generator.choice(known, round(share * len(known)), replace=False)
    given[chosen] = (given[chosen] + generator.integers(1, classes, len(chosen))) % classes
    return given


def pseudo_labels(labels: ArrayLike, probabilities: ArrayLike, confidence: float) -> Labels:
    """Gives images without a label the class that a model is sure of.

    Args:
        labels: `(N,)` class numbers; -1 stands for no label.
        probabilities: `(N, C)`, what the model says of the same images.
        confidence: How high the highest probability must be, in (0, 1].

    Returns:
        `(N,)` int64: the labels, and where there was none the class of the highest probability if that is high enough.

    Example:
        >>> pseudo_labels([1, -1, -1], [[0.9, 0.1], [0.95, 0.05], [0.5, 0.5]], 0.9).tolist()
        [1, 0, -1]
    """
    given, said = np.asarray(labels, np.int64), np.asarray(probabilities)
    sure = said.max(axis=1) >= confidence
    return np.where((given < 0) & sure, said.argmax(axis=1), given)


def describe(true: ArrayLike, given: ArrayLike, pseudo: ArrayLike | None) -> dict[str, Any]:
    """Counts labels, for people.

    Args:
        true: `(N,)` what the data says.
        given: `(N,)` what training was given first.
        pseudo: `(N,)` what it was given afterwards, or None where it was given nothing more.

    Returns:
        `images`, `labeled`, `wrong` among those; with pseudo-labels `pseudo` and `pseudo_right`, counts too.
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

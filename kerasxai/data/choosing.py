"""A few images of a split that stand for its classes, for pictures."""

import itertools

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from kerasxai.data.folder import ALIASES, FolderSource
from kerasxai.data.loading import StrPath, load, open_source

# Reading the labels of a data set of TFDS reads its images too.
_MOST_READ = 4096


def spread_over_classes(labels: ArrayLike, count: int, seed: int = 0) -> NDArray[np.int64]:
    """Returns the positions of images chosen by chance, as evenly over the classes as there are images.

    Args:
        labels: `(N,)` classes.
        count: How many; all, where there are fewer.
        seed: The same seed chooses the same images.

    Returns:
        `(count,)` int64, rising.

    Example:
        >>> positions = spread_over_classes([0, 0, 0, 0, 1], 2)
        >>> positions.tolist()[1]
        4
    """
    classes = np.asarray(labels, np.int64)
    generator = np.random.default_rng([seed, 2])
    chance, turn = generator.random(len(classes)), np.zeros(len(classes), np.int64)
    # The first of every class, then the second of every class, and so on; within a round by chance.
    for label in np.unique(classes):
        own = np.flatnonzero(classes == label)
        turn[own[np.argsort(chance[own])]] = np.arange(len(own))
    return np.sort(np.lexsort((chance, turn))[:count])


def examples(
    name_or_path: StrPath,
    split: str,
    image_size: int | None,
    count: int,
    *,
    seed: int = 0,
    data_dir: StrPath | None = None,
    boxes_csv: StrPath | None = None,
) -> list[dict[str, NDArray]]:
    """Returns images of a split with what belongs to them, chosen by `spread_over_classes`.

    Of a data set of TFDS, they are chosen among the first 4,096.

    Args:
        name_or_path: As for `kerasxai.data.load`.
        split: As for `kerasxai.data.load`.
        image_size: As for `kerasxai.data.load`.
        count: How many.
        seed: The same seed chooses the same images.
        data_dir: As for `kerasxai.data.load`.
        boxes_csv: As for `kerasxai.data.load`.

    Example:
        >>> [int(sample["label"]) for sample in examples("shapes", "validation", 96, 8)]
        [0, 1, 2, 3, 4, 5, 6, 7]
    """
    samples = load(name_or_path, split, image_size, data_dir=data_dir, boxes_csv=boxes_csv)
    chosen = spread_over_classes(_labels(name_or_path, split, data_dir), count, seed)
    last = int(chosen[-1]) + 1 if len(chosen) else 0
    wanted = set(chosen.tolist())
    numbered = enumerate(itertools.islice(samples.as_numpy_iterator(), last))
    return [sample for number, sample in numbered if number in wanted]


def _labels(name_or_path: StrPath, split: str, data_dir: StrPath | None) -> list[int]:
    source = open_source(name_or_path, data_dir=data_dir, boxes_csv=None, split_seed=0)
    split = ALIASES.get(split, split)
    if isinstance(source, FolderSource) and split in source.splits:
        return [source.class_names.index(file.class_name) for file in source.splits[split]]
    samples = source.samples(split, annotations=False)
    labels = samples.map(lambda sample: sample["label"], num_parallel_calls=tf.data.AUTOTUNE).take(_MOST_READ)
    return [int(label) for label in labels.as_numpy_iterator()]

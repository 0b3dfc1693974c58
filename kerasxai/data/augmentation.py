"""Augmentations of whole batches that make a classifier use more of an object: Hide-and-Seek, CutMix and mixup.

Each takes `(images, labels, seed, *, num_classes, ...)` and is a function of these only, so that a resumed run gets the
same batches.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import real, whole

Augmentation = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""From images, labels and a seed of shape (2,) to images and labels."""

IMAGENET_COLOR = (123.68, 116.779, 103.939)
"""The mean color of ImageNet's training images, RGB in [0, 255]."""


def augmented(pairs: tf.data.Dataset, augmentation: Augmentation, seed: int) -> tf.data.Dataset:
    """Augment each batch of a data set at random, differently in each pass.

    Args:
        pairs: Batches of images and labels, as `training_pairs` returns them.
        augmentation: Takes images, labels and a seed of shape (2,), and returns images and labels.
        seed: Determines all batches of all passes.

    Returns:
        The augmented batches.

    Example:
        >>> pairs = augmented(training_pairs("shapes"), partial(cutmix, num_classes=8), seed=0)
    """
    numbers = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)
    return (
        tf.data.Dataset.zip((pairs, numbers))
        .map(lambda pair, number: augmentation(pair[0], pair[1], number), num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


def hide_and_seek(
    images: tf.Tensor,
    labels: tf.Tensor,
    seed: tf.Tensor,
    *,
    num_classes: int,
    grids: Sequence[int] = (0, 16, 32, 44, 56),
    probability: float = 0.5,
    color: Sequence[float] = IMAGENET_COLOR,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Hide cells of a grid at random, so that a network cannot rely on one part of an object.

    Singh and Lee 2017, arXiv:1704.04232; for training only. Hidden cells get ImageNet's mean color (the paper: that of
    the training images), which a preprocessing that subtracts the mean turns into zeros. The grids are those of the
    authors' code, for images of 224 pixels; `grids=[4]` is that of Choe et al. 2020 (arXiv:2001.07437).

    Args:
        images: `(B, h, w, 3)` float, RGB in [0, 255].
        labels: Returned unchanged.
        seed: `(2,)` int64; the same seed gives the same result.
        num_classes: Not used.
        grids: Sizes of a cell in pixels, one drawn for each image; 0 hides nothing.
        probability: The probability that a cell is hidden, in (0, 1).
        color: Color of hidden cells.

    Returns:
        Images of the same shape and type, and the labels.

    Raises:
        KerasxaiError: An option is out of range.

    Example:
        >>> images, labels = hide_and_seek(images, labels, [1, 2], num_classes=8, grids=[16])
    """
    probability = real("probability", probability, 0, 1)
    sizes = [whole("grids", size, least=0) for size in (grids if isinstance(grids, Sequence) else (grids,))]
    if not sizes:
        raise KerasxaiError(f"grids must be one or more sizes of cells, got {grids!r}")
    if len(color) != 3:
        raise KerasxaiError(f"color must be three channels, got {color!r}")
    seed = tf.cast(seed, tf.int64)
    count, height, width = tf.unstack(tf.shape(images)[:3])
    drawn = tf.random.stateless_uniform((count,), seed, 0, len(sizes), tf.int32)
    cell = tf.gather(tf.constant(sizes, tf.int32), drawn)[:, None]
    # Numbers are drawn for the finest grid; a coarser cell uses the first numbers of them, so that shapes are static.
    smallest = min((size for size in sizes if size), default=1)
    cells = tf.random.stateless_uniform((count, -(-height // smallest), -(-width // smallest)), seed + 1)
    rows, columns = (tf.range(length)[None] // tf.maximum(cell, smallest) for length in (height, width))
    chances = tf.gather(tf.gather(cells, rows, batch_dims=1), columns, axis=2, batch_dims=1)
    covered = (chances < probability) & (cell > 0)[:, None]
    return tf.where(covered[..., None], tf.cast(tf.constant(color), images.dtype), images), labels


def cutmix(
    images: tf.Tensor,
    labels: tf.Tensor,
    seed: tf.Tensor,
    *,
    num_classes: int,
    beta: float = 1.0,
    probability: float = 1.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Paste a box of one image into another, and mix their labels by the area.

    Yun et al. 2019, arXiv:1905.04899; for training only. As in the authors' code, a batch has one box and one pairing,
    and the shares of the labels are those of the box clipped at the border of the images.

    Args:
        images: `(B, h, w, 3)` float.
        labels: `(B,)` class numbers, or `(B, num_classes)` shares; of several labels an image -1 for unknown ones, and
            a class that is unknown in either image is unknown.
        seed: `(2,)` int64; the same seed gives the same result.
        num_classes: Number of classes.
        beta: The share of the own image is drawn from Beta(beta, beta).
        probability: The probability that a batch is mixed, in (0, 1].

    Returns:
        Images of the same shape and type, and labels `(B, num_classes)` float32: `share` of the own class and
        `1 - share` of the other, so that the cross-entropy is `share * CE(own) + (1 - share) * CE(other)`.

    Raises:
        KerasxaiError: An option is out of range.

    Example:
        >>> images, shares = cutmix(images, labels, [1, 2], num_classes=8)
    """
    beta = real("beta", beta, above=0)
    if not 0 < real("probability", probability) <= 1:
        raise KerasxaiError(f"probability must be above 0 and at most 1, got {probability!r}")
    seed = tf.cast(seed, tf.int64)
    shares = tf.cast(labels, tf.float32) if labels.shape.rank == 2 else tf.one_hot(labels, num_classes)
    count, height, width = tf.unstack(tf.shape(images)[:3])
    # Beta(b, b) is the share of one Gamma(b) in the sum of two.
    gammas = tf.random.stateless_gamma((2,), seed, alpha=beta)
    side = tf.sqrt(gammas[1] / tf.reduce_sum(gammas))
    draws = tf.random.stateless_uniform((3,), seed + 1)

    def covered(length: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
        half = tf.cast(tf.cast(length, tf.float32) * side, tf.int32) // 2
        middle = tf.cast(draw * tf.cast(length, tf.float32), tf.int32)
        positions = tf.range(length)
        return (positions >= middle - half) & (positions < middle + half)

    box = covered(height, draws[0])[:, None] & covered(width, draws[1])[None]
    box &= draws[2] < probability
    other = tf.argsort(tf.random.stateless_uniform((count,), seed + 2))
    share = 1 - tf.reduce_mean(tf.cast(box, tf.float32))
    mixed = tf.where(box[..., None], tf.gather(images, other), images)
    return mixed, _mixed_labels(shares, tf.gather(shares, other), share)


def mixup(
    images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, *, num_classes: int, alpha: float = 0.2
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blend each image with another one of the batch, and their labels alike.

    Zhang 2018, arXiv:1710.09412; for training only. Chang 2020, arXiv:2008.01201, trains class activation maps by it,
    because the shares of two blended images cannot be read off their most discriminative parts alone; the two
    regularizers of that paper are left out. As in Zhang's code, a batch has one share and one pairing.

    Args:
        images: `(B, h, w, 3)` float.
        labels: As for `cutmix`.
        seed: `(2,)` int64; the same seed gives the same result.
        num_classes: Number of classes.
        alpha: The share of the own image is drawn from Beta(alpha, alpha), in which small values mix little.

    Returns:
        Images of the same shape and type, and labels `(B, num_classes)` float32, as for `cutmix`.

    Raises:
        KerasxaiError: An option is out of range.

    Example:
        >>> images, shares = mixup(images, labels, [1, 2], num_classes=8)
    """
    alpha = real("alpha", alpha, above=0)
    seed = tf.cast(seed, tf.int64)
    shares = tf.cast(labels, tf.float32) if labels.shape.rank == 2 else tf.one_hot(labels, num_classes)
    # In float64, because both Gammas of a small alpha may be 0 in float32.
    gammas = tf.random.stateless_gamma((2,), seed, alpha=tf.constant(alpha, tf.float64), dtype=tf.float64)
    share = tf.cast(tf.math.divide_no_nan(gammas[0], tf.reduce_sum(gammas)), tf.float32)
    other = tf.argsort(tf.random.stateless_uniform((tf.shape(images)[0],), seed + 1))
    weight = tf.cast(share, images.dtype)
    mixed = weight * images + (1 - weight) * tf.gather(images, other)
    return mixed, _mixed_labels(shares, tf.gather(shares, other), share)


def _mixed_labels(own: tf.Tensor, other: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Return the labels of mixed images; a class that is unknown (-1) in either is unknown."""
    unknown = (own < 0) | ((other < 0) & (share < 1))
    return tf.where(unknown, -1.0, share * own + (1 - share) * other)

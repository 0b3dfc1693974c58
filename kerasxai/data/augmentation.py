"""Augmentations of whole batches that make a classifier look at more of an object: Hide-and-Seek and CutMix.

Each takes `(images, labels, seed, *, num_classes, ...)` and is a function of these alone, so that a run that goes on
sees what it would have seen.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import real, whole

IMAGENET_COLOR = (123.68, 116.779, 103.939)
"""The mean color of ImageNet's training images, RGB in [0, 255]."""


def augmented(pairs: tf.data.Dataset, augmentation: Callable[..., Any], seed: int) -> tf.data.Dataset:
    """Changes each batch of a data set at random, in each pass anew.

    Args:
        pairs: Batches of images and labels, as `training_pairs` gives them.
        augmentation: Takes images, labels and a seed of shape (2,), and returns images and labels.
        seed: What all of it follows from.

    Returns:
        Batches as the augmentation makes them.

    Example:
        >>> pairs = augmented(training_pairs("shapes"), partial(cutmix, num_classes=8), seed=0)
    """
    numbers = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)
    return (
        tf.data.Dataset.zip((pairs, numbers))
        .map(lambda pair, number: augmentation(*pair, number), num_parallel_calls=tf.data.AUTOTUNE)
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
    """Hides cells of a grid at random, so that a network cannot rely on one part of an object.

    Singh and Lee 2017, arXiv:1704.04232. For training alone. Hidden places take ImageNet's mean color, as theirs take
    that of the training images; behind a preprocessing that subtracts the mean they are zeros. The grids are those of
    the authors' code, made for images of 224 pixels; `grids=[4]` is that of Choe et al. 2020 (arXiv:2001.07437).

    Args:
        images: `(B, h, w, 3)` float, RGB in [0, 255].
        labels: Passed on.
        seed: `(2,)` int64; the same seed gives the same result.
        num_classes: Not used.
        grids: Sides of a cell in pixels, one drawn for each image; 0 hides nothing.
        probability: That a cell is hidden, in (0, 1).
        color: What hidden places show.

    Returns:
        Images of the same shape and type, and the labels.

    Raises:
        KerasxaiError: An option is out of range.

    Example:
        >>> images, labels = hide_and_seek(images, labels, [1, 2], num_classes=8, grids=[16])
    """
    probability = real("probability", probability, 0, 1)
    sides = [whole("grids", side, least=0) for side in (grids if isinstance(grids, Sequence) else (grids,))]
    if not sides or len(color) != 3:
        raise KerasxaiError(f"grids must name cells and color three channels; got {grids!r} and {color!r}")
    seed = tf.cast(seed, tf.int64)
    count, height, width = tf.unstack(tf.shape(images)[:3])
    drawn = tf.random.stateless_uniform((count,), seed, 0, len(sides), tf.int32)
    cell = tf.gather(tf.constant(sides, tf.int32), drawn)[:, None]
    smallest = min((side for side in sides if side), default=1)
    cells = tf.random.stateless_uniform((count, -(-height // smallest), -(-width // smallest)), seed + 1)
    rows, columns = (tf.range(length)[None] // tf.maximum(cell, smallest) for length in (height, width))
    chances = tf.gather(tf.gather(cells, rows, batch_dims=1), columns, axis=2, batch_dims=1)
    hidden = (chances < probability) & (cell > 0)[:, None]
    return tf.where(hidden[..., None], tf.cast(tf.constant(color), images.dtype), images), labels


def cutmix(
    images: tf.Tensor,
    labels: tf.Tensor,
    seed: tf.Tensor,
    *,
    num_classes: int,
    beta: float = 1.0,
    probability: float = 1.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Puts a box of one image into another and mixes their labels by the area.

    Yun et al. 2019, arXiv:1905.04899. As in the authors' code one box and one pairing serve a batch, and the share of
    the labels is counted after the box was clipped at the images' rim. For training alone.

    Args:
        images: `(B, h, w, 3)` float.
        labels: `(B,)` class numbers, or `(B, num_classes)` shares.
        seed: `(2,)` int64; the same seed gives the same result.
        num_classes: Number of classes.
        beta: Of the beta distribution Beta(beta, beta) that the share of the own image is drawn from.
        probability: That a batch is mixed at all, in (0, 1].

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
        raise KerasxaiError(f"probability must be above 0 and at most 1, not {probability!r}")
    seed = tf.cast(seed, tf.int64)
    shares = tf.cast(labels, tf.float32) if labels.shape.rank == 2 else tf.one_hot(labels, num_classes)
    count, height, width = tf.unstack(tf.shape(images)[:3])
    gammas = tf.random.stateless_gamma((2,), seed, alpha=beta)
    side = tf.sqrt(gammas[1] / tf.reduce_sum(gammas))
    draws = tf.random.stateless_uniform((3,), seed + 1)

    def span(length: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
        half = tf.cast(tf.cast(length, tf.float32) * side, tf.int32) // 2
        middle = tf.cast(draw * tf.cast(length, tf.float32), tf.int32)
        places = tf.range(length)
        return (places >= middle - half) & (places < middle + half)

    box = span(height, draws[0])[:, None] & span(width, draws[1])[None]
    box &= draws[2] < probability
    other = tf.argsort(tf.random.stateless_uniform((count,), seed + 2))
    share = 1 - tf.reduce_mean(tf.cast(box, tf.float32))
    mixed = tf.where(box[..., None], tf.gather(images, other), images)
    return mixed, share * shares + (1 - share) * tf.gather(shares, other)

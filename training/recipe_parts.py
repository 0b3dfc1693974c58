"""What the recipe of a run puts into the data and into the backbone."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from kerasxai.tools.lazy import resolve
from kerasxai.training.config import TrainConfig
from kerasxai.training.recipes import recipe_of, share_options


def augmentation(config: TrainConfig, num_classes: int) -> Callable[..., Any] | None:
    """Returns what a recipe does to batches of images, labels and a seed, or None; an option out of range is told."""
    row = recipe_of(config.recipe) if config.recipe else None
    if row is None or row.augmentation is None:
        return None
    options, _ = share_options(config.recipe, config.head, config.recipe_options)
    change = partial(resolve(row.augmentation), num_classes=num_classes, **options)
    # Tried on one image here, because a mistake inside a data set would be told in the words of TensorFlow.
    change(tf.zeros((1, 8, 8, 3)), tf.zeros((1,), tf.int64), tf.zeros((2,), tf.int64))
    return change


def has_soft_labels(config: TrainConfig) -> bool:
    """Whether labels are rows of shares, one a class, and not class numbers."""
    return config.recipe is not None and recipe_of(config.recipe).soft_labels


def insertion(config: TrainConfig) -> Callable[[keras.Model], Any] | None:
    """Returns what a recipe puts into the backbone."""
    row = recipe_of(config.recipe) if config.recipe else None
    if row is None or row.layers is None:
        return None
    options, _ = share_options(config.recipe, config.head, config.recipe_options)
    return partial(resolve(row.layers), seed=config.seed, **options)


def one_hot(images: tf.Tensor, labels: tf.Tensor, num_classes: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the images, and the labels as rows of shares."""
    return images, tf.one_hot(labels, num_classes)

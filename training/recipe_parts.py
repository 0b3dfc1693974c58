"""The parts of a recipe: its augmentation, and its layers in the backbone."""

from collections.abc import Callable
from functools import partial

import keras
import tensorflow as tf

from kerasxai.tools.lazy import resolve
from kerasxai.training.config import TrainConfig
from kerasxai.training.recipes import recipe_of, share_options


def augmentation(config: TrainConfig, num_classes: int) -> Callable[..., tuple[tf.Tensor, tf.Tensor]] | None:
    """Return the augmentation of a recipe for batches of images, labels and a seed, or None.

    Raises:
        KerasxaiError: An option is out of range.
    """
    row = recipe_of(config.recipe) if config.recipe else None
    if row is None or row.augmentation is None:
        return None
    options, _ = share_options(config.recipe, config.head, config.recipe_options)
    change = partial(resolve(row.augmentation), num_classes=num_classes, **options)
    # Called once here, because an error inside a data set would be one of TensorFlow, without our message.
    labels = tf.zeros((1, num_classes)) if config.labels == "multi" else tf.zeros((1,), tf.int64)
    change(tf.zeros((1, 8, 8, 3)), labels, tf.zeros((2,), tf.int64))
    return change


def has_soft_labels(config: TrainConfig) -> bool:
    """Return whether labels are rows of shares, one for each class, instead of class numbers."""
    return config.recipe is not None and recipe_of(config.recipe).soft_labels


def insertion(config: TrainConfig) -> Callable[[keras.Model], dict[str, keras.Layer]] | None:
    """Return the function that says which layers a recipe inserts into the backbone, or None."""
    row = recipe_of(config.recipe) if config.recipe else None
    if row is None or row.layers is None:
        return None
    options, _ = share_options(config.recipe, config.head, config.recipe_options)
    return partial(resolve(row.layers), seed=config.seed, **options)


def one_hot(images: tf.Tensor, labels: tf.Tensor, num_classes: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the images, and the labels as rows of shares."""
    return images, tf.one_hot(labels, num_classes)


def smoothed(images: tf.Tensor, labels: tf.Tensor, num_classes: int, share: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the images, and the labels as rows of shares, of which a share is spread over all classes.

    Labels are smoothed here and not in the loss, so that the validation loss is that of the labels themselves.
    """
    rows = tf.one_hot(labels, num_classes) if len(labels.shape) == 1 else labels
    return images, rows * (1 - share) + share / num_classes

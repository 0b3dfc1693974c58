"""The augmentation of a run: the choice by the number of images, functions of the user, and the contact sheet."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai import data, viz
from kerasxai.data.image_augmentation import stored_pixels
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.lazy import imported_function
from kerasxai.training.config import TrainConfig
from kerasxai.training.recipe_parts import augmentation

BatchAugmentation = Callable[..., tuple[tf.Tensor, tf.Tensor]]
FEW_IMAGES = 5000
"""Up to so many training images `auto` is "light", which was measured on 300 photographs; above it only mirrors."""
CACHE_BYTES = 2**30
"""Resized training images are kept in memory up to this size."""
_SHEET_IMAGES, _SHEET_VIEWS = 6, 6


def chosen_augmentation(config: TrainConfig, info: data.DatasetInfo) -> tuple[str, str]:
    """Return the augmentation of a run, a name in `AUGMENTATIONS` or MODULE:FUNCTION, and the reason.

    Raises:
        KerasxaiError: The name is unknown, or `resize` is combined with an augmentation that crops.
    """
    chosen = config.augment
    if chosen != "auto":
        if ":" not in chosen and chosen not in data.AUGMENTATIONS:
            raise unknown("augmentation", chosen, ["auto", *data.AUGMENTATIONS, "module:function"])
        if config.resize is not None and chosen in ("light", "strong"):
            raise KerasxaiError(f"augment must be none or flip with resize, which crops as well, got {chosen!r}")
        return chosen, "as given"
    if config.resize is not None:
        return "flip", "resize crops the images"
    if info.augment is not None:
        return info.augment, f"recommended for {info.name}"
    count = info.splits["train"]
    return ("light" if count <= FEW_IMAGES else "flip"), f"{count} training images"


def pair_settings(config: TrainConfig, info: data.DatasetInfo) -> data.PairSettings:
    """Return how training images are prepared, with settings that are resolved."""
    size = config.image_size
    assert size is not None
    # A function of the user receives batches of resized images.
    chosen = "none" if ":" in config.augment else config.augment
    settings = data.PairSettings(
        image_size=size,
        augment="none" if config.resize is not None else chosen,
        flip=config.resize is not None and chosen == "flip",
        resize=config.resize,
        seed=config.seed,
        fit=config.fit,
    )
    return _cached(settings, info.splits["train"])


def _cached(settings: data.PairSettings, images: int) -> data.PairSettings:
    """Return settings that cache the images before the augmentation if they fit into memory at a useful size."""
    height, width = settings.height_and_width
    pixels = height * width if settings.resize is None else settings.resize**2
    fitting = CACHE_BYTES // (3 * max(images, 1))
    if settings.augmentation is None:
        return replace(settings, cache=pixels <= fitting)
    finest = stored_pixels(settings.augmentation, (height, width))
    # As fine as fits into memory, but not coarser than the input: larger sets are decoded in every epoch.
    cache = pixels <= fitting
    return replace(settings, cache=cache, stored_pixels=min(finest, fitting) if cache else finest)


def user_augmentation(config: TrainConfig, num_classes: int, size: tuple[int, int]) -> BatchAugmentation | None:
    """Return the function of `--augment MODULE:FUNCTION` for batches of images, labels and a seed, or None.

    Args:
        config: The settings.
        num_classes: Passed on if the function has a parameter of this name.
        size: Height and width of the images.

    Raises:
        KerasxaiError: It cannot be imported or called, or does not return images and labels of the same shape.
    """
    if ":" not in config.augment:
        return None
    function = imported_function(config.augment, "augment")
    if "num_classes" in inspect.signature(function).parameters:
        function = partial(function, num_classes=num_classes)
    images, labels = tf.zeros((2, *size, 3)), tf.zeros((2,), tf.int64)
    if config.labels == "multi":
        labels = tf.zeros((2, num_classes))
    try:
        found = function(images, labels, tf.zeros((2,), tf.int64))
        shapes = [tuple(np.shape(one)) for one in found]
    except Exception as error:
        reason = " ".join(str(error).split())
        raise KerasxaiError(
            f"cannot augment images with {config.augment}: {type(error).__name__}: {reason}; expected a function of "
            "images (B, h, w, 3), labels (B,), or (B, C) of several, and a seed (2,) that returns images and labels"
        ) from error
    if shapes != [tuple(images.shape), tuple(labels.shape)]:
        raise KerasxaiError(
            f"expected images {tuple(images.shape)} and labels {tuple(labels.shape)} from {config.augment}, got "
            f"{shapes}"
        )
    return function


def check_augmentation(config: TrainConfig, info: data.DatasetInfo) -> None:
    """Refuse functions and options that cannot augment a batch, before anything is written."""
    pair_settings(config, info)
    user_augmentation(config, info.num_classes, _size(config))
    augmentation(config, info.num_classes)


def augmented_batches(pairs: tf.data.Dataset, config: TrainConfig, info: data.DatasetInfo) -> tf.data.Dataset:
    """Apply the augmentations of whole batches, that of the user and that of the recipe, to endless batches."""
    size = _size(config)
    # Another seed than that of the order, or the augmentation would depend on the order.
    for function, seed in (
        (user_augmentation(config, info.num_classes, size), config.seed + 2),
        (augmentation(config, info.num_classes), config.seed + 1),
    ):
        if function is not None:
            pairs = data.augmented(pairs, function, seed)
    return (
        pairs.map(lambda images, labels: (tf.ensure_shape(images, (None, *size, 3)), labels))
        if ":" in config.augment
        else pairs
    )


def _size(config: TrainConfig) -> tuple[int, int]:
    size = config.image_size
    assert size is not None
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def augmentation_sheet(config: TrainConfig, dataset: data.ImageDataset) -> NDArray[np.uint8]:
    """Draw training images without augmentation, and as in several passes of the training.

    Boxes and masks are not read.

    Args:
        config: The settings, resolved.
        dataset: The data.

    Returns:
        A sheet `(H, W, 3)` uint8.
    """
    settings = replace(pair_settings(config, dataset.info), batch_size=_SHEET_IMAGES, shuffle=False, cache=True)
    plain = replace(settings, cache=False, augment="none", flip=False, resize=None, stored_pixels=None)

    def views(chosen: data.PairSettings, passes: int) -> list[tf.Tensor]:
        pairs = dataset.training_pairs("train", chosen, count=_SHEET_IMAGES).repeat(passes)
        if chosen is settings:
            pairs = augmented_batches(pairs, config, dataset.info)
        return [images for images, _ in pairs.take(passes)]

    columns = [*views(plain, 1), *views(settings, _SHEET_VIEWS)]
    rows = [
        [np.clip(np.rint(column[i]), 0, 255).astype(np.uint8) for column in columns] for i in range(len(columns[0]))
    ]
    return viz.grid(
        rows,
        column_labels=["evaluation", *(f"training {number + 1}" for number in range(_SHEET_VIEWS))],
        title=f"augmentation: {config.augment}",
        note="each row is one training image: first without augmentation, then as in passes of the training",
        cell_size=160,
    )

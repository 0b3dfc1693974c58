"""Training with several labels an image: checks of settings, losses, metrics, smoothing, and drawn images."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.training.config import BALANCED, TrainConfig
from kerasxai.training.losses import DEFAULT_LOSS, MULTI_LABEL_LOSSES

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from kerasxai import data

MEAN_AVERAGE_PRECISION = "val_mean_average_precision"
_SINGLE_MONITORS = ("val_calibrated_loss", "val_accuracy", "val_balanced_accuracy")


def is_multi(config: TrainConfig) -> bool:
    """Return whether a run trains with several labels an image; the settings must be resolved."""
    return config.labels == "multi"


def check_labels(config: TrainConfig) -> None:
    """Refuse settings that do not fit the number of labels an image.

    Raises:
        KerasxaiError: See above.
    """
    if not is_multi(config):
        _check_single(config)
        return
    for name, value, neutral, remedy in (
        ("label_fraction", config.label_fraction, 1, "write -1 for unknown labels into the data"),
        ("label_noise", config.label_noise, 0, "change the labels of the data"),
        ("class_weights", config.class_weights, "none", "use positive_weights"),
    ):
        if value != neutral:
            raise KerasxaiError(f"{name} must be {neutral!r} with several labels an image, got {value!r}; {remedy}")
    if config.loss != DEFAULT_LOSS and config.loss not in MULTI_LABEL_LOSSES:
        raise unknown("loss for several labels an image", config.loss, MULTI_LABEL_LOSSES)
    if config.monitor in _SINGLE_MONITORS:
        raise KerasxaiError(
            f"monitor must be val_loss or {MEAN_AVERAGE_PRECISION} with several labels an image, got {config.monitor!r}"
        )


def _check_single(config: TrainConfig) -> None:
    weights = config.positive_weights
    if weights != "none":
        raise KerasxaiError(
            f"positive_weights must be 'none' with one label an image, got {weights!r}; use class_weights"
        )
    if config.loss in MULTI_LABEL_LOSSES:
        raise KerasxaiError(
            f"expected a loss for one label an image, got {config.loss!r}; choose another loss, or labels='multi'"
        )
    if config.monitor == MEAN_AVERAGE_PRECISION:
        raise KerasxaiError(f"monitor must be another one with one label an image, got {config.monitor!r}")


def positive_weights_of(config: TrainConfig, dataset: "data.ImageDataset") -> NDArray[np.float32] | None:
    """Return the weight of the label 1 of each class, `(C,)`; None for 1.

    Args:
        config: The settings, resolved.
        dataset: The data; its labels are read if weights are balanced.
    """
    if not is_multi(config) or config.positive_weights != BALANCED:
        return None
    from kerasxai.models.multi_label_losses import balanced_positive_weights

    return balanced_positive_weights(dataset.labels("train"))


def multi_label_loss(
    name: str, options: Mapping[str, Any], positive_weights: NDArray[np.float32] | None
) -> "keras.losses.Loss":
    """Return a loss for several labels an image.

    Args:
        name: A name in MULTI_LABEL_LOSSES, or the default loss, which is binary cross-entropy here.
        options: Of its class.
        positive_weights: `(C,)`, or None.

    Raises:
        KerasxaiError: An option is unknown or out of range.
    """
    from kerasxai import models

    row = MULTI_LABEL_LOSSES["binary_crossentropy" if name == DEFAULT_LOSS else name]
    weights = None if positive_weights is None else positive_weights.tolist()
    try:
        return getattr(models, row.numbers)(positive_weights=weights, **options)
    except TypeError as error:
        raise KerasxaiError(f"cannot make the loss {row.name} with {dict(options)}: {error}") from error


def smoothed_labels(images: "tf.Tensor", labels: "tf.Tensor", share: float) -> "tuple[tf.Tensor, tf.Tensor]":
    """Return the images, and labels of which a share is replaced by 1/2; unknown ones (-1) stay."""
    import tensorflow as tf

    return images, tf.where(labels < 0, labels, labels * (1 - share) + share / 2)


def drawn_samples(samples: list[dict[str, NDArray]], count: int) -> list[dict[str, NDArray]]:
    """Return samples with one `label` for each present class of each image, at most `count`; images without one stay.

    Args:
        samples: With `labels`.
        count: Maximum number of samples.
    """
    rows = [
        {"image": sample["image"], "label": np.array(number, np.int64)}
        for sample in samples
        for number in (np.flatnonzero(sample["labels"] == 1) if (sample["labels"] == 1).any() else [0])
    ]
    return rows[:count]

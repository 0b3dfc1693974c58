"""The images and labels of a training run."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai import data
from kerasxai.callbacks.log_sinks import LogSinks
from kerasxai.engine.images.image_input import Size
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.printable import printable
from kerasxai.training.augment import augmented_batches, pair_settings
from kerasxai.training.class_balance import balanced_weights, with_weights
from kerasxai.training.config import TrainConfig
from kerasxai.training.distributed import Workers
from kerasxai.training.drawing import Drawing
from kerasxai.training.labels import Labels
from kerasxai.training.multi_label import is_multi, smoothed_labels
from kerasxai.training.plan import Plan, rows_of_shares
from kerasxai.training.recipe_parts import one_hot, smoothed
from kerasxai.training.run_folder import RunFolder
from kerasxai.training.weak_labels import RunLabels


@dataclass(frozen=True)
class Run:
    """What all phases of a run have in common.

    Attributes:
        config: The settings.
        plan: What follows from them.
        folder: Completed epochs and checkpoints.
        dataset: The data.
        labels: Weak labels, or None for the labels of the data.
        drawing: Heatmaps and measurements of each epoch.
        verbose: As for `keras.Model.fit`.
        positive_weights: The weight of the label 1 of each class, with several labels an image; None: 1.
        sinks: Where figures and sheets are logged; None: nowhere.
        workers: The processes that train together, or None for this one.
        final_size_given: Whether the user chose the size of the images of the finished model.
    """

    config: TrainConfig
    plan: Plan
    folder: RunFolder
    dataset: data.ImageDataset
    labels: RunLabels | None
    drawing: Drawing
    verbose: int | str
    positive_weights: NDArray[np.float32] | None = None
    sinks: LogSinks | None = None
    workers: Workers | None = None
    final_size_given: bool = False

    @property
    def size(self) -> Size:
        """Side of the images, or height and width."""
        size = self.config.image_size
        assert size is not None, "the settings are resolved"
        return size

    @property
    def steps(self) -> int:
        """Steps of an epoch: as many as with all labels, so that runs with fewer labels train as long."""
        return -(-self.dataset.info.splits["train"] // self.plan.batch_size)


def check_images(config: TrainConfig, info: data.DatasetInfo, splits: Iterable[str]) -> None:
    """Refuse splits without images."""
    for split in splits:
        if not info.splits[split]:
            raise KerasxaiError(
                f"expected images to train and to validate on, got none for {split} in {printable(config.data)}; of a "
                "folder a tenth of each class is held out to validate and a tenth to test, at least one image where "
                "a class has two: give some class three images, or a validation folder"
            )


def check_monitor(plan: Plan, info: data.DatasetInfo, drawing: Drawing) -> None:
    """Refuse a localization figure as monitor where none is measured.

    Raises:
        KerasxaiError: The data have no boxes, or no validation image is measured.
    """
    if plan.monitor.endswith("_loc") and not (info.has_boxes and drawing.measured != 0):
        raise KerasxaiError(
            f"expected validation images with boxes for the monitor {plan.monitor}, got "
            f"{'data without boxes' if not info.has_boxes else 'localize_images of 0'}; choose another monitor"
        )


def training_data(run: Run, given: Labels | None) -> tf.data.Dataset:
    """Return endless batches of training images and labels.

    Args:
        run: The run.
        given: Weak labels, or None for the labels of the data.
    """
    config, info = run.config, run.dataset.info
    # With weak labels batches are made after repeating: a few labeled images then still fill each batch.
    settings = replace(pair_settings(config, info), batch_size=run.plan.batch_size if given is None else None)
    pairs = run.dataset.training_pairs("train", settings, labels=given).repeat()
    if given is not None:
        pairs = pairs.batch(run.plan.batch_size).prefetch(tf.data.AUTOTUNE)
    pairs = augmented_batches(pairs, config, info)
    smoothing = run.plan.label_smoothing
    if smoothing and is_multi(config):
        pairs = pairs.map(partial(smoothed_labels, share=smoothing))
    elif smoothing:
        pairs = pairs.map(partial(smoothed, num_classes=info.num_classes, share=smoothing))
    if config.class_weights == "balanced":
        labels = run.dataset.labels("train") if given is None else given
        pairs = with_weights(pairs, balanced_weights(labels, info.num_classes))
    return pairs


def validation_data(run: Run) -> tf.data.Dataset:
    """Return the validation images and labels; they are never augmented, and their labels are never weakened."""
    settings = data.PairSettings(run.size, run.plan.batch_size, seed=run.config.seed, fit=run.config.fit)
    validation = run.dataset.training_pairs("validation", settings)
    if rows_of_shares(run.config, run.plan):
        # The loss of mixed labels takes rows of shares.
        validation = validation.map(partial(one_hot, num_classes=run.dataset.info.num_classes))
    return validation

"""Checks that a model and a data set fit together, made before anything is measured."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai import data, models
from kerasxai.engine.images.image_input import ImageInput
from kerasxai.tools.errors import KerasxaiError, KerasxaiWarning
from kerasxai.tools.model_settings import is_model_name
from kerasxai.tools.printable import printable

_SPLIT_WORDS = {"train": "training", "validation": "validation", "test": "test"}


def has_objects(info: data.DatasetInfo) -> bool:
    """Return whether heatmaps can be measured: by boxes or, with several labels an image, by class masks as well."""
    return info.has_boxes or (info.multi_label and info.has_class_masks)


def check_boxes(info: data.DatasetInfo) -> None:
    """Refuse data without boxes; with several labels an image, class masks serve as well.

    Raises:
        KerasxaiError: The data have no boxes.
    """
    if has_objects(info):
        return
    if info.multi_label:
        raise KerasxaiError(
            f"expected data with boxes or class masks, got {info.name}, which has neither; for a folder give --boxes "
            "FILE or --class-masks FOLDER"
        )
    raise KerasxaiError(
        f"expected data with boxes, got {info.name}, which has no boxes; for a folder give --boxes FILE"
    )


def split_line(info: data.DatasetInfo) -> str:
    """Return the number of images of each split, and how a folder was split.

    Example:
        >>> split_line(kerasxai.data.open("shapes").info)
        '2000 / 400 / 400 images for training, validation and test'
    """
    known = {name: word for name, word in _SPLIT_WORDS.items() if name in info.splits}
    counts = " / ".join(str(info.splits[name]) for name in known)
    *words, last = known.values()
    line = f"{counts} images for {' and '.join(filter(None, [', '.join(words), last]))}"
    return line + (f", {info.drawn_split}" if info.drawn_split else "")


def drawn_split_note(info: data.DatasetInfo, split: str, model: str) -> str | None:
    """Return a note that a measured split may have images of the training, or None.

    A run of `kerasxai train` draws the split that `kerasxai evaluate` draws again; of other models nothing is known.

    Args:
        info: The data.
        split: The measured split.
        model: The model file, or a name.
    """
    of_a_run = (Path(model).parent / "config.json").exists() and (Path(model).parent / "history.csv").exists()
    if not info.drawn_split or split == "train" or is_model_name(model) or of_a_run:
        return None
    return f"{split} is {info.drawn_split}; it may have images that the model was trained on"


class MissingClassesWarning(KerasxaiWarning):
    """The measured images are the first of a split that is sorted by class."""


def warn_of_missing_classes(info: data.DatasetInfo, split: str, labels: NDArray[np.int64]) -> None:
    """Warn if the first images of a split have fewer classes than as many images in random order would have.

    Args:
        info: The data.
        split: The measured split.
        labels: `(N,)` classes of the measured images.
    """
    present, most = len(np.unique(labels[labels >= 0])), min(info.num_classes, len(labels))
    if present >= most or (2 * present >= most and len(labels) < 3 * info.num_classes):
        return
    measured = f"the first {len(labels)} of {info.splits[split]} images of {split}"
    warnings.warn(
        f"{measured} have {present} of {info.num_classes} classes, so that figures and thresholds are those of these "
        "classes; measure all images, or a folder with some of each class",
        MissingClassesWarning,
        stacklevel=3,
    )


def check_splits(info: data.DatasetInfo, splits: Iterable[str]) -> None:
    """Refuse data without one of the splits.

    Raises:
        KerasxaiError: There is no such split.
    """
    for name in splits:
        if name not in info.splits:
            raise KerasxaiError(f"expected a split of {info.name} ({', '.join(info.splits)}), got {name!r}")


def check_classes(info: data.DatasetInfo, model: keras.Model, taken: ImageInput, remedy: str = "") -> None:
    """Refuse a model with other classes than the data.

    Args:
        info: The data.
        model: The model.
        taken: Converts images to the input of the model.
        remedy: What to do where the number of classes differs, for the message.

    Raises:
        KerasxaiError: The number of classes differs, or a class of the data has another number in the model.
    """
    if getattr(model, "outputs", None):
        classes = model.outputs[0].shape[-1]
    else:
        # A subclassed model and one without an input layer have no known output shape before they are called.
        image = np.zeros((1, *taken.size, taken.channels), np.float32)
        classes = np.shape(model.predict_on_batch(taken.taken(image)))[-1]
    classes = max(2, classes)  # A single unit separates two classes.
    if classes != info.num_classes:
        raise KerasxaiError(
            f"expected a model with the {info.num_classes} classes of {info.name}, got {classes} classes"
            + (f"; {remedy}" if remedy else "")
        )
    # The number of classes may agree by chance: names, where the model has them, must not be in another order.
    names = models.class_names(model)
    if names is None:
        return
    for number, (here, there) in enumerate(zip(info.class_names, names, strict=True)):
        if here != there and here in names and there in info.class_names:
            raise KerasxaiError(
                f"classes of the data must have the model's numbers, got class {number} {printable(here)!r} in "
                f"{printable(info.name)}, which is {printable(there)!r} in the model; rename the folders or train again"
            )

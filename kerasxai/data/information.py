"""What is known about a data set, and the interface of its sources."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.printable import printable

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
    from numpy.typing import NDArray


_MOST_LISTED = 20

READINGS = ("auto", "single", "multi")
"""Readings of the labels of a data set."""
LABELS_HELP = (
    "labels of an image: single, one class; multi, all classes; auto: multi where the data have several and no class "
    "of the whole image"
)
CLASS_MASKS_HELP = (
    "folder of PNG masks of class numbers, joined by file name, for measuring only: 0 background, n the n-th class, "
    "255 ignored, as in VOC's SegmentationClass"
)


@dataclass(frozen=True)
class DatasetInfo:
    """What is known about an opened data set.

    Attributes:
        name: As the user gave it.
        class_names: One for each class, in the order of the labels.
        splits: From each split's name to its number of samples.
        has_boxes: Whether samples have `boxes`.
        has_masks: Whether samples have `mask`.
        has_parts: Whether samples have `part_mask`.
        feature_stride: The stride of the feature map that suits the size of the objects, at 224 pixels.
        image_size: The side at which the images are meant to be used; None for any.
        summary: One line.
        citation: The publication.
        augment: The augmentation of training images that suits the data set, a name in `kerasxai.data.AUGMENTATIONS`;
            None for any.
        multi_label: Whether samples have `labels` of all classes instead of one `label`.
        has_class_masks: Whether samples have `class_mask`.
        drawn_split: How validation or test images were drawn at random; "" if all splits are given.
    """

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, int]
    has_boxes: bool
    has_masks: bool
    has_parts: bool = False
    feature_stride: int = 32
    image_size: int | None = None
    summary: str = ""
    citation: str = ""
    augment: str | None = None
    multi_label: bool = False
    has_class_masks: bool = False
    drawn_split: str = ""

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)


Part: TypeAlias = tuple[int, int] | list[int]
"""Some samples of a split: the first one and the one after the last, or rising positions where a source reads these."""


class Source(Protocol):
    """Read the samples of a data set.

    Attributes:
        is_sorted: Whether splits are in the order of their classes, and any positions can be read.
    """

    is_sorted: bool

    @property
    def info(self) -> DatasetInfo:
        """What is known about the data set."""
        ...

    def samples(
        self, split: str, annotations: bool, mix: int | None = None, part: Part | None = None
    ) -> "tf.data.Dataset":
        """Return the samples of a split as dicts; `index` numbers them in their unshuffled order.

        Args:
            split: The name of a split.
            annotations: Whether boxes and masks are read; if not, they are not even decoded.
            mix: A seed to shuffle with before images are read, for sources where that costs nothing.
            part: The samples that are read; None reads all. Positions only if `is_sorted`.
        """
        ...

    def labels(self, split: str, most: int | None = None) -> "NDArray[np.int64] | NDArray[np.float32]":
        """Return the labels of a split, in the order of the samples: `(N,)` class numbers, or `(N, C)` of all classes.

        Args:
            split: The name of a split.
            most: Read at most so many images, for sources that must read images to know their labels.
        """
        ...

    def unreadable(self, split: str) -> dict[Path, str]:
        """Return the image files of a split that cannot be read, and why."""
        ...


def check_reading(labels: str) -> str:
    """Return the name of a reading of labels.

    Raises:
        KerasxaiError: It is not in `READINGS`.
    """
    if labels not in READINGS:
        raise unknown("reading of labels", labels, READINGS)
    return labels


def check_readable(source: Source, splits: Iterable[str]) -> None:
    """Check that all images of some splits can be read.

    Raises:
        KerasxaiError: Images are corrupt; the message names them.
    """
    refuse_unreadable({path: problem for split in splits for path, problem in source.unreadable(split).items()})


def refuse_unreadable(broken: Mapping[Path, str]) -> None:
    """Refuse images that cannot be read.

    Args:
        broken: Why each of them cannot.

    Raises:
        KerasxaiError: There are some; the message names them.
    """
    if broken:
        named = [f"{printable(path)} ({' '.join(problem.split())})" for path, problem in broken.items()]
        more = f"; and {len(named) - _MOST_LISTED} more" if len(named) > _MOST_LISTED else ""
        raise KerasxaiError(
            f"expected images that can be read, got {len(named)} corrupt; remove or replace them: "
            f"{'; '.join(named[:_MOST_LISTED])}{more}"
        )

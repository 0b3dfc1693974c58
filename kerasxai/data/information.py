"""What a data set is, and what a source of samples must offer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class DatasetInfo:
    """What is known about a data set once it is opened.

    Attributes:
        name: As it was asked for.
        class_names: One for each class, in the order of the labels.
        splits: From each split's name to its number of samples.
        has_boxes: Whether samples carry `boxes`.
        has_masks: Whether samples carry `mask`.
        has_parts: Whether samples carry `part_mask`.
        feature_stride: The stride of the feature map that suits the size of the objects, at 224 pixels.
        image_size: The side at which it is meant to be looked at; None: whatever suits the network.
        summary: One line.
        citation: Where it comes from.
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

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)


class Source(Protocol):
    """Where samples come from."""

    @property
    def info(self) -> DatasetInfo:
        """What the data set is."""
        ...

    def samples(self, split: str, annotations: bool, mix: int | None = None) -> Any:
        """Returns the samples of a split as a `tf.data.Dataset` of dicts; `index` counts them in their own order.

        Args:
            split: The name of a split.
            annotations: Whether boxes and masks are read; if not, they are not even decoded.
            mix: A seed to mix the order with before images are read, where that can be had for nothing.
        """
        ...

"""The size of the images, chosen by the backbone, the images and the objects where none is given."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasxai import data
from kerasxai.engine.images.image_input import Size
from kerasxai.tools.printable import percent

SCALE = 10 / 7
"""Of the size that a backbone was made for: 320 pixels for one of 224."""
LARGEST_SCALE = 2.0
POSITIONS = 3.0
"""Positions of the last map that an object of median size should span along a side."""
FEWEST_POSITIONS = 1.5
"""With fewer even on the largest images, the last stride is removed."""
MANY_IMAGES = 20_000
"""From so many training images the time of larger images counts more than finer maps."""
_STRIDE = 32
_MEASURED = 200


@dataclass(frozen=True)
class InputSize:
    """The size of the images of a run.

    Attributes:
        image_size: Side of the square, or height and width.
        output_stride: The stride of the map of the head; None for that of the backbone.
        reason: Why, for the log.
        larger: The size to try after a training with random crops; None for no other one.
    """

    image_size: Size
    output_stride: int | None
    reason: str
    larger: int | None = None


@dataclass(frozen=True)
class ImageFacts:
    """What is known about the images of a data set.

    Attributes:
        train_images: Number of training images.
        image_side: The median of the shorter side of validation images, in pixels; None if not measured.
        object_side: The median side of an object as a share of the image, the square root of the share of its area;
            None without boxes.
    """

    train_images: int
    image_side: float | None = None
    object_side: float | None = None


def choose_size(side: int, facts: ImageFacts) -> InputSize:
    """Choose the side of square images, and the stride of the map, for a backbone.

    A map of more positions localizes better: in docs/training.md, frozen features of EfficientNet-Lite0 localize 0.31
    of the objects at 224 pixels and 0.50 at 320. So images are larger than the backbone was made for, and larger still
    where objects are small.

    Args:
        side: The side that the backbone was made for.
        facts: What is known about the images.

    Example:
        >>> choose_size(224, ImageFacts(300, 1000.0, 0.4)).image_size
        320
    """
    if facts.train_images > MANY_IMAGES:
        return InputSize(side, None, f"the size of the backbone, for {facts.train_images} training images")
    if facts.image_side is not None and facts.image_side <= side:
        return InputSize(side, None, f"the size of the backbone, for images of {facts.image_side:.0f} pixels")
    usual, largest = _multiple(SCALE * side), _multiple(LARGEST_SCALE * side)
    if facts.object_side is None:
        why = f"larger than {side}, the size of the backbone, for maps of more positions"
        return InputSize(usual, None, why, _larger(usual, largest))
    needed = POSITIONS * _STRIDE / max(facts.object_side, 1e-6)
    size = min(max(usual, _multiple(needed)), largest)
    larger = _larger(size, largest)
    objects = f"objects on validation images have a median side of {percent(facts.object_side)} of the image"
    if facts.object_side * size / _STRIDE < FEWEST_POSITIONS:
        why = f"{objects}, less than {FEWEST_POSITIONS:g} positions of stride {_STRIDE}"
        return InputSize(size, _STRIDE // 2, why, larger)
    return InputSize(size, None, objects, larger)


def _larger(size: int, largest: int) -> int | None:
    """Return the size to try after training: random crops enlarge objects, so a network expects larger images."""
    found = min(_multiple(SCALE * size), largest)
    return found if found > size else None


def _multiple(length: float) -> int:
    """Round to a multiple of the stride of usual backbones."""
    return _STRIDE * max(1, round(length / _STRIDE))


def measure_images(dataset: data.ImageDataset) -> ImageFacts:
    """Measure validation images and their objects; training images and their boxes are not read."""
    samples = dataset.samples("validation", None, with_annotations=dataset.info.has_boxes, part=_MEASURED)
    shorter, objects = [], []
    for sample in samples.as_numpy_iterator():
        shorter.append(min(sample["image"].shape[:2]))
        objects += list(_object_lengths(sample))
    return ImageFacts(
        dataset.info.splits["train"],
        float(np.median(shorter)) if shorter else None,
        float(np.median(objects)) if objects else None,
    )


def _object_lengths(sample: dict[str, Any]) -> Iterator[float]:
    for x0, y0, x1, y1 in sample.get("boxes", ()):
        if x1 > x0 and y1 > y0:
            yield float(np.sqrt((x1 - x0) * (y1 - y0)))

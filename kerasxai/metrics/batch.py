"""One batch of heatmaps with the annotations of its images, prepared once for all metrics."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.metrics.base import Metric
from kerasxai.metrics.box_protocol import BoxProtocol
from kerasxai.metrics.inputs import (
    Heatmaps,
    ImageSize,
    checked_boxes,
    checked_count,
    checked_heatmaps,
    checked_labels,
    checked_masks,
    ranks,
    size_for,
)
from kerasxai.metrics.protocols import KERASXAI
from kerasxai.tools.errors import KerasxaiError

# Annotations exceed the image by a pixel or two; more than that are pixels, not fractions.
_HIGHEST_FRACTION = 1.1


@dataclass(frozen=True)
class Truth:
    """The annotations of a batch of images.

    Attributes:
        labels: `(B,)` true classes.
        boxes: For each image `(k, 4)` x0, y0, x1, y1; an image without a box counts for accuracy alone.
        masks: `(B, H, W)` with 1 object, 0 background, 255 ignore.
        parts: Such masks of parts of the object, by name.
        relative: Whether boxes are fractions of width and height; otherwise they are pixels.
    """

    labels: ArrayLike
    boxes: Sequence[ArrayLike]
    masks: ArrayLike | None = None
    parts: Mapping[str, ArrayLike] = field(default_factory=dict)
    relative: bool = True


@dataclass(frozen=True)
class BatchMeasure:
    """Heatmaps, predictions and annotations of one batch, checked and in pixels.

    Several metrics need the boxes of the same heatmaps at the same thresholds, which is the expensive step; they are
    found at the first request and cached.

    Attributes:
        maps: The heatmaps, `(h, w)` each.
        sizes: For each image its `(H, W)`.
        labels: `(B,)` true classes.
        predicted: `(B,)` predicted classes.
        ranks: `(B,)` rank of the true class among the scores, 0 for the highest.
        boxes: For each image the true boxes `(k, 4)` in pixels.
        masks: `(B, H, W)` uint8 by name: `"object"` and the parts, if given.
    """

    maps: list[NDArray[np.float64]]
    sizes: list[tuple[int, int]]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    ranks: NDArray[np.int64]
    boxes: list[NDArray[np.float64]]
    masks: dict[str, NDArray[np.uint8]]
    _found: list[tuple[BoxProtocol, NDArray[np.float64], list[NDArray[np.int64]]]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    @classmethod
    def of(
        cls,
        heatmaps: Heatmaps,
        scores: ArrayLike,
        truth: Truth,
        image_size: ImageSize = None,
        protocol: BoxProtocol = KERASXAI,
    ) -> Self:
        """Check a batch.

        Args:
            heatmaps: `(B, h, w)` or a list of `(h, w)`, of the true classes, not normalized.
            scores: `(B, classes)` logits or probabilities.
            truth: The annotations.
            image_size: One side or (height, width); None for the protocol's default.
            protocol: Decides about the default size and about boxes without area.

        Raises:
            KerasxaiError: Shapes or numbers do not fit.
        """
        maps = checked_heatmaps(heatmaps)
        positions = ranks(scores, truth.labels, len(maps))
        checked_count("boxes", truth.boxes, len(maps))
        masks = named_masks(truth.masks, truth.parts, len(maps))
        sizes = [size_for(heatmap, image_size, protocol) for heatmap in maps]
        boxes = [
            checked_boxes(to_pixels(box, size) if truth.relative else box, size, protocol)
            for box, size in zip(truth.boxes, sizes, strict=True)
        ]
        predicted = np.argmax(np.asarray(scores), axis=1)
        return cls(maps, sizes, checked_labels(truth.labels, len(maps)), predicted, positions, boxes, masks)

    def update(self, metrics: Iterable[Metric]) -> None:
        """Update metrics with this batch."""
        for metric in metrics:
            metric.count_batch(self)

    def largest_boxes(self, protocol: BoxProtocol, thresholds: NDArray[np.float64]) -> list[NDArray[np.int64]]:
        """Return for each image the box of the largest component, `(T, 4)`; `(0, 4)` for images without a true box."""
        for known, grid, boxes in self._found:
            # The boxes at a threshold do not depend on the other thresholds of the sweep.
            if known is protocol and np.isin(thresholds, grid).all():
                return [one[np.searchsorted(grid, thresholds)] if len(one) else one for one in boxes]
        found = [
            protocol.largest_boxes(heatmap, thresholds, size) if len(truth) else np.zeros((0, 4), np.int64)
            for heatmap, size, truth in zip(self.maps, self.sizes, self.boxes, strict=True)
        ]
        self._found.append((protocol, thresholds, found))
        return found

    def ious(self, protocol: BoxProtocol, thresholds: NDArray[np.float64], every: bool = False) -> NDArray[np.float64]:
        """Return `(B, T)` best IoUs with any true box; NaN for images without one.

        Args:
            protocol: How boxes are found and compared.
            thresholds: `(T,)` rising, in [0, 1).
            every: Compare the boxes of all components, not of the largest alone.
        """
        ious = np.full((len(self.maps), len(thresholds)), np.nan)
        found = None if every else self.largest_boxes(protocol, thresholds)
        for index, box in enumerate(self.boxes):
            # The batch may have been checked for another protocol, which has other rules for boxes without area.
            truth = protocol.true_boxes(box)
            if not len(truth):
                continue
            if found is None:
                ious[index] = protocol.best_ious(self.maps[index], truth, thresholds, self.sizes[index], every)
            else:
                ious[index] = protocol.iou(found[index], truth).max(axis=1)
        return ious


def named_masks(masks: ArrayLike | None, parts: Mapping[str, ArrayLike], images: int) -> dict[str, NDArray[np.uint8]]:
    """Return the masks `(B, H, W)` of the object, as `"object"`, and of its parts, checked.

    Raises:
        KerasxaiError: They do not fit the number of images or one another.
    """
    given = ({} if masks is None else {"object": masks}) | dict(parts)
    checked = {name: checked_masks(mask, images) for name, mask in given.items()}
    if len({mask.shape for mask in checked.values()}) > 1:
        raise KerasxaiError(f"masks must have one size, got {', '.join(str(m.shape) for m in checked.values())}")
    return checked


class PixelBoxesError(KerasxaiError):
    """Boxes that should be fractions of width and height are not, most often because they are pixels.

    Args:
        boxes: The boxes of one image.
        argument: The argument by which a function takes pixels, such as `relative=False`.
    """

    def __init__(self, boxes: NDArray[np.float64], argument: str | None = None) -> None:
        self.boxes, self._argument = boxes, argument
        remedy = "if these are pixels, divide x by the width and y by the height of the image"
        super().__init__(
            f"expected boxes x0, y0, x1, y1 as fractions of width and height, from 0 to 1, got {boxes.tolist()}; "
            f"{remedy}{f', or give {argument}' if argument else ''}; those of a file may be "
            "boxes of an image of another size"
        )

    def __reduce__(self) -> tuple[type["PixelBoxesError"], tuple[NDArray[np.float64], str | None]]:
        # Of the arguments, not of the message, for errors that come from another process.
        return type(self), (self.boxes, self._argument)


def to_pixels(boxes: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return one image's boxes, fractions of width and height, in pixels.

    Raises:
        PixelBoxesError: They are not fractions.
    """
    array = np.asarray(boxes, np.float64)
    if not array.size:
        return array
    if array.max() > _HIGHEST_FRACTION:
        raise PixelBoxesError(array)
    array = array * [size[1], size[0], size[1], size[0]] if array.shape[-1] == 4 else array
    # Fractions are often float32: whole pixels that were divided by the side come back as whole pixels.
    whole = np.rint(array)
    return np.where(np.abs(array - whole) < 1e-3, whole, array)

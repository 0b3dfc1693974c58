"""Checks of the arguments of metrics, made before anything is counted."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.localization import checked_heatmap
from kerasxai.metrics.box_protocol import BoxProtocol
from kerasxai.tools.errors import KerasxaiError

OBJECT, BACKGROUND, IGNORE = 1, 0, 255
Heatmaps = ArrayLike | Sequence[ArrayLike]
ImageSize = int | Sequence[int] | None


def checked_heatmaps(heatmaps: Heatmaps) -> list[NDArray[np.float64]]:
    """Return heatmaps `(B, h, w)`, or a list of `(h, w)` of any sizes, as a list of float64 arrays."""
    if isinstance(heatmaps, np.ndarray) and heatmaps.ndim != 3:
        raise KerasxaiError(f"expected heatmaps of shape (B, h, w), got {heatmaps.shape}")
    try:
        return [checked_heatmap(heatmap) for heatmap in heatmaps]  # type: ignore[union-attr]
    except TypeError:
        raise KerasxaiError(f"expected heatmaps of shape (B, h, w), got {type(heatmaps).__name__}") from None


def checked_size(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Return `(H, W)` from one side or both."""
    size = tuple(np.atleast_1d(np.asarray(image_size)).tolist())
    size = size * 2 if len(size) == 1 else size
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise KerasxaiError(f"image_size must be one side or (height, width) in pixels, got {image_size!r}")
    return size[0], size[1]


def size_for(
    heatmap: NDArray[np.float64], image_size: int | Sequence[int] | None, protocol: BoxProtocol
) -> tuple[int, int]:
    """Return the image's `(H, W)`: as given, or the protocol's default, or the heatmap's own size."""
    if image_size is not None:
        return checked_size(image_size)
    return protocol.default_size or (heatmap.shape[0], heatmap.shape[1])


def checked_count(name: str, values: Sequence | NDArray, images: int) -> None:
    """Check that there is one entry for each image."""
    if np.ndim(values) == 0 if isinstance(values, np.ndarray) else not hasattr(values, "__len__"):
        raise KerasxaiError(f"{name} must have one entry for each of {images} heatmaps, got {values!r}")
    if len(values) != images:
        raise KerasxaiError(f"{name} must have one entry for each of {images} heatmaps, got {len(values)}")


def checked_boxes(boxes: ArrayLike, size: tuple[int, int], protocol: BoxProtocol) -> NDArray[np.float64]:
    """Return the true boxes of one image without rows of zeros, which mean "no box" in data sets and padding.

    Args:
        boxes: `(K, 4)` x0, y0, x1, y1 in pixels of `size`; K may be 0.
        size: `(H, W)` of the image.
        protocol: Decides about fractions and about boxes without area.

    Raises:
        KerasxaiError: The shape is wrong, or the numbers cannot be such boxes.
    """
    array = np.asarray(boxes, np.float64)
    if array.size == 0 and array.ndim <= 2:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise KerasxaiError(f"expected boxes of shape (K, 4) for each image, got {array.shape}")
    if not np.isfinite(array).all() or (array[:, 2:] < array[:, :2]).any():
        raise KerasxaiError(f"boxes must be finite x0, y0, x1, y1 with x0 <= x1 and y0 <= y1, got {array.tolist()}")
    if array.max() <= 1 and (array % 1).any():
        raise KerasxaiError(f"expected boxes in pixels, got fractions: {array.tolist()}; multiply by width and height")
    # Annotations stick out of the image by a pixel or two; ten percent is another image's size.
    limits = np.array([size[1], size[0]])
    slack = 0.1 * limits + 1
    if (array[:, :2] < -slack).any() or (array[:, 2:] > limits + slack).any():
        raise KerasxaiError(
            f"expected boxes in pixels of an image {size[0]}x{size[1]}, got {array.tolist()}; give image_size"
        )
    return protocol.true_boxes(array)


def checked_masks(masks: ArrayLike, images: int) -> NDArray[np.uint8]:
    """Return masks `(B, H, W)` as uint8 with 1 object, 0 background, 255 ignore."""
    array = np.asarray(masks)
    if array.ndim != 3 or len(array) != images or 0 in array.shape[1:]:
        raise KerasxaiError(f"expected masks of shape ({images}, H, W), got {array.shape}")
    strange = array[~np.isin(array, (OBJECT, BACKGROUND, IGNORE))]
    if strange.size:
        raise KerasxaiError(f"masks must be 1 for object, 0 for background, 255 for ignored, got {strange.ravel()[0]}")
    return array.astype(np.uint8)


def checked_thresholds(thresholds: ArrayLike) -> NDArray[np.float64]:
    """Return thresholds as a rising array in [0, 1)."""
    values = np.asarray(thresholds, np.float64)
    if values.ndim != 1 or not len(values) or not (values >= 0).all() or not (values < 1).all():
        raise KerasxaiError(f"thresholds must be a list of numbers in [0, 1), got {thresholds!r}")
    if not (np.diff(values) > 0).all():
        raise KerasxaiError(f"thresholds must be rising, got {thresholds!r}")
    return values


def checked_labels(labels: ArrayLike, images: int, classes: int | None = None) -> NDArray[np.int64]:
    """Return labels `(B,)` as int64, in the range of the classes."""
    array = np.asarray(labels)
    if array.shape != (images,) or array.dtype.kind not in "iu":
        raise KerasxaiError(f"expected {images} labels that are integers, got {array.dtype} {array.shape}")
    if images and (array.min() < 0 or (classes is not None and array.max() >= classes)):
        raise KerasxaiError(
            f"labels must be classes from 0 to {'...' if classes is None else classes - 1}, got {array}"
        )
    return array.astype(np.int64)


def ranks(scores: ArrayLike, labels: ArrayLike, images: int) -> NDArray[np.int64]:
    """Return each true class's rank among the scores, 0 for the highest; of equal scores the lower class comes first.

    A row with a NaN has no order: its true class is put last, beyond every k.

    Args:
        scores: `(B, C)` logits or probabilities.
        labels: `(B,)` true classes.
        images: B.
    """
    array = np.asarray(scores, np.float64)
    if array.ndim != 2 or len(array) != images or not array.shape[1]:
        raise KerasxaiError(f"expected scores of shape ({images}, classes), got {array.shape}")
    classes = checked_labels(labels, images, array.shape[1])
    own = array[np.arange(images), classes][:, None]
    before = (array > own) | ((array == own) & (np.arange(array.shape[1]) < classes[:, None]))
    return np.where(np.isnan(array).any(axis=1), np.iinfo(np.int64).max, before.sum(axis=1))


def painted(boxes: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a mask `(H, W)` with 1 in every box: edges rounded to whole pixels, at least one pixel wide."""
    mask = np.zeros(size, np.uint8)
    for x0, y0, x1, y1 in np.rint(boxes).astype(int).tolist():
        x0, y0 = min(max(x0, 0), size[1] - 1), min(max(y0, 0), size[0] - 1)
        mask[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = OBJECT
    return mask

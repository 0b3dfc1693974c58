"""Series and volumes as pictures: a line a channel, and slices side by side, with their heatmaps in the same places."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from kerasxai.tools.errors import KerasxaiError
from kerasxai.viz.pixels import Picture, check_finite, numbers_of, to_picture

# Okabe and Ito's palette without its yellow, which is not seen on white.
_LINES = ((0, 0, 0), (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0))
_FINER = 3


def series_picture(series: ArrayLike, size: tuple[int, int] = (160, 480)) -> Picture:
    """Draws a series as lines from edge to edge, so that a heatmap laid over the picture lies over its steps.

    Args:
        series: `(T,)` or `(T, C)`, one line a channel, each stretched to the picture's height.
        size: Height and width of the picture.

    Returns:
        `(H, W, 3)` uint8.

    Raises:
        KerasxaiError: The shape is wrong.

    Example:
        >>> series_picture(np.sin(np.arange(50)), (40, 100)).shape
        (40, 100, 3)
    """
    values = numbers_of(series, "a series").astype(np.float32)
    check_finite(values, "a series")
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or 0 in values.shape:
        raise KerasxaiError(f"expected one series (steps, channels), got shape {np.shape(series)}")
    height, width = (side * _FINER for side in size)
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    x = (np.arange(len(values)) + 0.5) * (width / len(values))
    for channel, line in enumerate(values.T):
        low, span = line.min(), np.ptp(line)
        y = height * (0.95 - 0.9 * ((line - low) / span if span > 0 else np.full_like(line, 0.5)))
        points = np.stack([x, y], -1).ravel().tolist()
        color = _LINES[channel % len(_LINES)]
        if len(values) == 1:
            points = [0.0, points[1], float(width), points[1]]
        pen.line(points, fill=color, width=2 * _FINER, joint="curve")
    return np.asarray(sheet.resize((size[1], size[0]), Image.Resampling.LANCZOS))


def slices(volume: ArrayLike, count: int = 9) -> NDArray:
    """Lays slices of a volume side by side, evenly spread along its first side; of a heatmap in the same places.

    Args:
        volume: `(D, H, W)` or `(D, H, W, C)`.
        count: How many slices at most.

    Returns:
        `(rows H, columns W)` or the same with channels, of the volume's type; free places are 0.

    Raises:
        KerasxaiError: The shape is wrong.

    Example:
        >>> slices(np.zeros((20, 8, 10)), count=4).shape
        (16, 20)
    """
    array = np.asarray(volume)
    if array.ndim not in (3, 4) or 0 in array.shape or count < 1:
        raise KerasxaiError(f"expected one volume (depth, height, width, channels), got shape {array.shape}")
    taken = array[np.unique(np.rint(np.linspace(0, len(array) - 1, min(count, len(array)))).astype(int))]
    columns = math.ceil(math.sqrt(len(taken)))
    rows = math.ceil(len(taken) / columns)
    filled = np.concatenate([taken, np.zeros((rows * columns - len(taken), *taken.shape[1:]), taken.dtype)])
    lines = filled.reshape(rows, columns, *taken.shape[1:])
    return np.concatenate([np.concatenate(list(line), axis=1) for line in lines], axis=0)


def flat_map(heatmap: ArrayLike) -> NDArray:
    """Returns a heatmap as it lies over `flat_picture`: `(T,)` as one row, `(D, H, W)` as slices, `(H, W)` as it is."""
    array = np.asarray(heatmap)
    return array[None] if array.ndim == 1 else slices(array) if array.ndim == 3 else array


def flat_picture(sample: ArrayLike, sides: int) -> Picture:
    """Returns what a heatmap of one, two or three sides is drawn over.

    Args:
        sample: An image `(H, W, 3)`, a series `(T, C)` or a volume `(D, H, W, C)`. Of other than one, three or four
            channels of an image or volume the mean is drawn, from its lowest to its highest value.
        sides: How many sides the heatmap has.

    Returns:
        `(H, W, 3)` uint8.
    """
    if sides == 1:
        return series_picture(sample)
    array = numbers_of(sample, "a sample")
    array = slices(array) if sides == 3 else array
    if array.ndim == 3 and array.shape[-1] not in (0, 1, 3, 4):
        check_finite(array, "an image")
        mean = array.mean(-1, dtype=np.float32)
        array = (mean - mean.min()) * (255 / (np.ptp(mean) or 1))
    return to_picture(array)

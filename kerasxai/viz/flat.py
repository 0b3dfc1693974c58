"""Series and volumes as flat pictures: one line per channel, or slices side by side, with heatmaps to match."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw
from skimage.util import montage

from kerasxai.tools.errors import KerasxaiError
from kerasxai.viz.pixels import Picture, check_finite, numbers_of, to_picture

# Okabe and Ito's palette without yellow, which is invisible on white.
_LINES = ((0, 0, 0), (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0))
# Pillow draws lines without antialiasing: they are drawn at this multiple of the size and averaged.
_SUPERSAMPLING = 3


def series_picture(series: ArrayLike, size: tuple[int, int] = (160, 480)) -> Picture:
    """Draw a time series as lines across the full width, aligned with a heatmap of its steps.

    Args:
        series: `(T,)` or `(T, C)`; one line per channel, each stretched to the height of the picture.
        size: Height and width of the picture.

    Returns:
        `(H, W, 3)` uint8.

    Raises:
        KerasxaiError: The series has another shape, or a value is NaN or infinite.

    Example:
        >>> series_picture(np.sin(np.arange(50)), (40, 100)).shape
        (40, 100, 3)
    """
    values = numbers_of(series, "a series").astype(np.float32)
    check_finite(values, "a series")
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or 0 in values.shape:
        raise KerasxaiError(f"expected one series (steps, channels), got shape {np.shape(series)}")
    height, width = (length * _SUPERSAMPLING for length in size)
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    # Each step is as wide as its column of the heatmap, and its point is at the center of that column.
    x = (np.arange(len(values)) + 0.5) * (width / len(values))
    for channel, line in enumerate(values.T):
        low, span = line.min(), np.ptp(line)
        y = height * (0.95 - 0.9 * ((line - low) / span if span > 0 else np.full_like(line, 0.5)))
        points = np.stack([x, y], -1).ravel().tolist()
        color = _LINES[channel % len(_LINES)]
        # A line needs two points: a single step is drawn across the whole picture.
        if len(values) == 1:
            points = [0.0, points[1], float(width), points[1]]
        pen.line(points, fill=color, width=2 * _SUPERSAMPLING, joint="curve")
    return np.asarray(sheet.resize((size[1], size[0]), Image.Resampling.LANCZOS))


def slices(volume: ArrayLike, count: int = 9) -> NDArray:
    """Arrange evenly spaced slices of a volume side by side; a volume and its heatmap get the same arrangement.

    Args:
        volume: `(D, H, W)` or `(D, H, W, C)`.
        count: Maximum number of slices along the depth.

    Returns:
        `(rows * H, columns * W)` or `(rows * H, columns * W, C)` in the dtype of the volume; empty cells are 0.

    Raises:
        KerasxaiError: The volume has another shape.

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
    if array.ndim == 3:
        return montage(taken, 0, grid_shape=(rows, columns))
    return montage(taken, [0] * taken.shape[-1], grid_shape=(rows, columns), channel_axis=-1)


def flat_map(heatmap: ArrayLike) -> NDArray:
    """Return a heatmap as a plane that fits `flat_picture`: `(T,)` as one row, `(D, H, W)` as slices."""
    array = np.asarray(heatmap)
    return array[None] if array.ndim == 1 else slices(array) if array.ndim == 3 else array


def flat_picture(sample: ArrayLike, rank: int) -> Picture:
    """Return the picture of a sample over which its heatmap is drawn.

    Args:
        sample: An image `(H, W, 3)`, a series `(T, C)` or a volume `(D, H, W, C)`. Images and volumes with other than
            one, three or four channels are drawn as the channel mean, stretched from its lowest to its highest value.
        rank: The number of axes of the heatmap: 1, 2 or 3.

    Returns:
        `(H, W, 3)` uint8.
    """
    if rank == 1:
        return series_picture(sample)
    array = numbers_of(sample, "a sample")
    array = slices(array) if rank == 3 else array
    if array.ndim == 3 and array.shape[-1] not in (0, 1, 3, 4):
        check_finite(array, "an image")
        mean = array.mean(-1, dtype=np.float32)
        array = (mean - mean.min()) * (255 / (np.ptp(mean) or 1))
    return to_picture(array)

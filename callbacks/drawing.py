"""The sheet of one epoch and the timeline of all."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kerasxai.callbacks.map_files import Images, MapFiles, Maps
from kerasxai.tools.errors import KerasxaiError
from kerasxai.viz import (
    grid,
    map_legend,
    overlay,
    save_png,
    series_picture,
    slices,
    timeline,
    to_picture,
)
from kerasxai.viz.overlays import visible_maximum
from kerasxai.viz.pixels import numbers_of, to_bytes
from kerasxai.viz.words import with_remark

_MOST_COLUMNS = 10
_SHEET_COLUMNS = 4
_CAPTION_LINES = 4
"""For the remark on a map without color, and the true class below it."""
T = TypeVar("T")


def pictures_of(images: NDArray) -> NDArray[np.uint8]:
    """Convert images to pictures, for drawing only.

    Values in [0, 255], [0, 1] and [-1, 1] are recognized as by `kerasxai.viz.to_picture`, for all images together;
    other ranges, such as those of standardized images, are stretched from the lowest to the highest value. Images of
    neither one nor three channels are drawn as the mean of their channels.

    Args:
        images: `(N, H, W, C)`, series `(N, T, C)` or volumes `(N, D, H, W, C)`.

    Returns:
        `(N, H, W, 3)` uint8.
    """
    if images.ndim == 3:
        return np.stack([series_picture(one) for one in images])
    images = np.stack([slices(one) for one in images]) if images.ndim == 5 else images
    values = numbers_of(images, "images")
    values = values if values.shape[-1] in (1, 3) else values.mean(axis=-1, keepdims=True, dtype=np.float32)
    return np.stack([to_picture(image) for image in to_bytes(values, warn=False)])


def draw_map(images: Images, maps: Maps, index: int, signed: bool) -> NDArray[np.uint8]:
    """Draw one map over its image, scaled by its highest values."""
    heatmap = maps.heatmaps[index]
    return overlay(images.pictures[index], heatmap, signed=signed, maximum=visible_maximum(heatmap))


def caption(images: Images, maps: Maps, index: int) -> str:
    """Return the explained class and its score, as `cat: 3.14`, and whether the map is empty."""
    # Adding zero turns -0.0 into 0.0.
    score = round(float(maps.scores[index]), 2) + 0.0
    text = f"{images.name_of(int(maps.targets[index]))}: {score:.2f}"
    return with_remark(text, maps.heatmaps[index])


def draw_sheet(images: Images, maps: Maps, title: str, note: str = "") -> NDArray[np.uint8]:
    """Draw the maps of one epoch, captioned with the explained class, its score, and the true class if different."""
    count, signed = len(images.pictures), maps.signed
    columns = min(_SHEET_COLUMNS, count)
    cells = [draw_map(images, maps, i, signed) for i in range(count)]
    texts = [caption(images, maps, i) for i in range(count)]
    for i, label in enumerate(images.labels.tolist()):
        if label not in (-1, maps.targets[i]):
            texts[i] += f"\ntrue: {images.name_of(label)}"
    return grid(
        _in_rows(cells, columns),
        captions=_in_rows(texts, columns),
        title=title,
        note=note,
        legend=map_legend(signed=signed),
        caption_lines=_CAPTION_LINES,
    )


def draw_timeline(
    log_dir: str | os.PathLike[str],
    method: str = "gradcam",
    most_columns: int = _MOST_COLUMNS,
    kept: int | None = None,
) -> Path:
    """Draw the timeline of a training from the files of `ExplanationCallback`, also of a training that was killed.

    One row an image, one column an epoch, the state before training first if it was drawn. Each map is scaled by its
    highest values: a timeline shows where the evidence is, not how much there is.

    Args:
        log_dir: The callback's `log_dir`.
        method: One of its methods.
        most_columns: Maximum number of columns; of more epochs, evenly spaced ones are drawn.
        kept: The epoch whose weights are kept, counted from 1; it is named, and drawn even if it is not one of those
            evenly spaced, with `most_columns` of 3 or more.

    Returns:
        The path of the picture, `log_dir/heatmaps/METHOD/timeline.png`.

    Raises:
        KerasxaiError: The folder contains no maps of the method.

    Example:
        >>> draw_timeline("runs/first", "gradcam")
        PosixPath('runs/first/heatmaps/gradcam/timeline.png')
    """
    files = MapFiles(log_dir)
    images = files.load_images()
    epochs = files.epochs(method, images.identity)
    if not epochs:
        raise KerasxaiError(
            f"expected maps of the images in {files.folder / 'maps'}, got none in {files.maps(method, 0).parent}"
        )
    numbers, signed = list(epochs), any(epochs.values())
    # A sheet is drawn row by row, so each epoch is needed once for each image.
    load = lru_cache(maxsize=most_columns)(lambda column: files.load(method, numbers[column]))

    def cell(index: int, column: int) -> NDArray[np.uint8]:
        return draw_map(images, load(column), index, signed)

    def text(index: int, column: int) -> str:
        return caption(images, load(column), index)

    indices, labels = range(len(images.pictures)), images.labels.tolist()
    picture = timeline(
        [_Lazy(len(numbers), partial(cell, i)) for i in indices],
        [_named(epoch, kept) for epoch in numbers],
        row_labels=[images.name_of(label) if label >= 0 else str(i + 1) for i, label in enumerate(labels)],
        captions=[_Lazy(len(numbers), partial(text, i)) for i in indices],
        originals=list(images.pictures),
        title=f"{method} through training",
        most_columns=most_columns,
        legend=map_legend(signed=signed),
        caption_lines=_CAPTION_LINES,
    )
    return save_png(files.timeline(method), picture)


def _named(epoch: int, kept: int | None) -> int | str:
    if epoch == 0:
        return "before training"
    return f"epoch {epoch}, kept" if epoch == kept else epoch


def _in_rows(items: Sequence[T], columns: int) -> Sequence[Sequence[T]]:
    return [items[start : start + columns] for start in range(0, len(items), columns)]


class _Lazy(Sequence[T]):
    """A sequence that makes an item when it is accessed, because a timeline draws few of many epochs."""

    def __init__(self, count: int, make: Callable[[int], T]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        return self._make(index)

    def __iter__(self) -> Iterator[T]:
        # The default would go on until an IndexError.
        return map(self._make, range(self._count))

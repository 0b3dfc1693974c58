"""Patches of a data set that activate the channels of a layer most, found in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, Unpack

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.features.capture import Capture, LayerName, chosen_channels, map_of
from kerasxai.features.fields import ReceptiveField, receptive_field
from kerasxai.features.stream import Batch, Data
from kerasxai.tools.deprecation import warn_deprecated
from kerasxai.tools.errors import KerasxaiError


class CropOptions(TypedDict, total=False):
    """Options of the crops of `top_patches`.

    Attributes:
        crops: Whether to keep the pixels, by default True.
        gates: Whether factors that see the whole image, as in squeeze and excitation, count for the receptive field, so
            that the crops are whole images; see `receptive_field`. By default False.
    """

    crops: bool
    gates: bool


@dataclass(frozen=True)
class Patches:
    """The strongest patches of each channel, strongest first.

    Attributes:
        layer: The path of the layer.
        channels: `(C,)` int64.
        values: `(C, k)` float32: the activation; NaN if the data have fewer than `k` patches.
        images: `(C, k)` int64: the index of the image in the data; -1 if there is none.
        positions: `(C, k, 2)` int64: row and column in the map; -1 if there is none.
        boxes: `(C, k, 4)` int64: the receptive field of the unit within the image, (x0, y0, x1, y1), x1 and y1
            exclusive.
        names: `[C][k]`: the name of the image, "" if there is none.
        crops: `[C][k]`: `(h, w, 3)` in the dtype of the images, cropped to `boxes`; None if there is none, or without
            crops.
        field: The receptive field of the layer.
    """

    layer: str
    channels: NDArray[np.int64]
    values: NDArray[np.float32]
    images: NDArray[np.int64]
    positions: NDArray[np.int64]
    boxes: NDArray[np.int64]
    names: list[list[str]]
    crops: list[list[NDArray | None]]
    field: ReceptiveField

    # Hidden from type checkers, for which any attribute would exist.
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NDArray[np.int64]:
            if name == "places":
                warn_deprecated("Patches.places", "Patches.positions")
                return self.positions
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def top_patches(
    model: keras.Model,
    data: Data,
    layer: LayerName = None,
    k: int = 9,
    *,
    channels: Sequence[int] | None = None,
    repeat: bool = False,
    batch_size: int = 32,
    **options: Unpack[CropOptions],
) -> Patches:
    """Find the patches that activate each channel of a layer most, in one pass over a data set.

    Memory does not grow with the data: `k` values, positions and crops are kept for each channel. Ties, which are
    frequent with bounded activations such as ReLU6, go to the image with the higher channel mean, then to the first
    image; within an image to the first position from the top left.

    Args:
        model: Any Keras model.
        data: As for `kerasxai.features.stream.batches`: an array, a dataset, a generator; images of one size.
        layer: A path, name or layer with a map; None: the last feature map.
        k: Number of patches per channel.
        channels: The channels; None: all, whose crops take `channels * k` receptive fields of memory.
        repeat: Whether an image may have several patches for one channel.
        batch_size: Number of images per call of the model.
        **options: `crops` and `gates`, see `CropOptions`.

    Raises:
        KerasxaiError: There is no such layer or channel, its output is not a map, or its receptive field cannot be
            computed.

    Example:
        >>> found = top_patches(model, kerasxai.data.load("shapes"), "backbone/block4b_add", channels=[3, 17])
        >>> found.values.shape, found.names[0][0]
        ((2, 9), 'train_00042')
    """
    if k < 1:
        raise KerasxaiError(f"k must be 1 or more, got {k}")
    capture = Capture(model, layer, lambda output: _strongest(map_of(output), channels, k if repeat else 1))
    best: _Best | None = None
    done = 0
    for batch, (values, positions, means) in capture.over(data, batch_size):
        if best is None:
            chosen = np.arange(values.shape[1]) if channels is None else np.asarray(channels)
            best = _start(capture, np.shape(batch["image"])[1:3], chosen.astype(np.int64), k, **options)
        best.merge(values.numpy(), positions.numpy(), means.numpy(), batch, done)
        done += len(batch["image"])
    assert best is not None
    return best.result()


def _start(
    capture: Capture,
    image_size: tuple[int, int],
    channels: NDArray[np.int64],
    k: int,
    crops: bool = True,
    gates: bool = False,
) -> "_Best":
    field = receptive_field(capture.model, capture.path, image_size, gates)
    return _Best(channels, k, field, crops)


def _strongest(maps: tf.Tensor, channels: Sequence[int] | None, count: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the strongest values of each channel and image `(B, C, n)`, their flat positions, and means `(B, C)`."""
    maps = chosen_channels(maps, channels)
    flat = tf.reshape(tf.transpose(maps, (0, 3, 1, 2)), (-1, maps.shape[-1], maps.shape[1] * maps.shape[2]))
    # top_k sorts NaN first.
    flat = tf.where(tf.math.is_nan(flat), -np.inf, flat)
    values, positions = tf.math.top_k(flat, min(count, flat.shape[-1]))
    return values, positions, tf.reduce_mean(maps, (1, 2))


class _Best:
    """The best patches so far, strongest first: arrays of one row per channel, and lists of names and crops."""

    def __init__(self, channels: NDArray[np.int64], k: int, field: ReceptiveField, crops: bool) -> None:
        self.channels, self.k, self.field, self.keep_crops = channels, k, field, crops
        count = len(channels)
        self.values = np.full((count, k), -np.inf, np.float32)
        self.means = np.full((count, k), -np.inf, np.float32)
        self.images = np.full((count, k), -1, np.int64)
        # Flat positions, row * width + column.
        self.positions = np.full((count, k), -1, np.int64)
        self.names = [[""] * k for _ in range(count)]
        self.crops: list[list[NDArray | None]] = [[None] * k for _ in range(count)]

    def merge(self, values: NDArray, positions: NDArray, means: NDArray, batch: Batch, done: int) -> None:
        """Merge the candidates `(B, C, n)` of a batch that begins at image number `done`."""
        per_image = values.shape[2]
        new_values = np.moveaxis(values, 1, 0).reshape(len(self.channels), -1)
        new_positions = np.moveaxis(positions, 1, 0).reshape(len(self.channels), -1)
        new_means = np.nan_to_num(means.T, nan=-np.inf).repeat(per_image, axis=1)
        weakest, weakest_mean = self.values[:, -1:], self.means[:, -1:]
        better = (new_values > weakest) | ((new_values == weakest) & (new_means > weakest_mean))
        # Only channels with a candidate better than their weakest patch: ever fewer in the course of the data.
        for row in np.flatnonzero(better.any(1)):
            joined = np.concatenate([self.values[row], new_values[row]])
            joined_means = np.concatenate([self.means[row], new_means[row]])
            # The sort is stable and earlier patches come first, so of equals the first in the data stays.
            order = np.lexsort((-joined_means, -joined))[: self.k]
            images, flat = self.images[row].copy(), self.positions[row].copy()
            names, crops = self.names[row], self.crops[row]
            self.values[row], self.means[row] = joined[order], joined_means[order]
            self.names[row], self.crops[row] = [], []
            for rank, chosen in enumerate(order):
                if chosen < self.k:
                    self.images[row, rank], self.positions[row, rank] = images[chosen], flat[chosen]
                    self.names[row].append(names[chosen])
                    self.crops[row].append(crops[chosen])
                else:
                    image, position = (chosen - self.k) // per_image, new_positions[row, chosen - self.k]
                    self.images[row, rank], self.positions[row, rank] = done + image, position
                    self.names[row].append(batch["name"][image])
                    self.crops[row].append(self._crop(batch["image"][image], position))

    def result(self) -> Patches:
        found = self.images >= 0
        rows, columns = np.divmod(self.positions, self.field.map_size[1])
        boxes = [[self._box(flat) if flat >= 0 else (0, 0, 0, 0) for flat in row] for row in self.positions]
        return Patches(
            layer=self.field.layer,
            channels=self.channels,
            values=np.where(found, self.values, np.nan),
            images=self.images,
            positions=np.where(found[..., None], np.stack([rows, columns], -1), -1),
            boxes=np.array(boxes, np.int64),
            names=self.names,
            crops=self.crops,
            field=self.field,
        )

    def _box(self, flat: int) -> tuple[int, int, int, int]:
        return self.field.box(*divmod(int(flat), self.field.map_size[1]))

    def _crop(self, image: NDArray, flat: int) -> NDArray | None:
        if not self.keep_crops:
            return None
        x0, y0, x1, y1 = self._box(flat)
        # A copy, because a view would keep the whole batch in memory.
        return np.array(image[y0:y1, x0:x1])

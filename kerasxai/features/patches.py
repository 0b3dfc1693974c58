"""The patches of a data set that excite the channels of a layer most, found in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.features.capture import Capture, chosen_channels, map_of
from kerasxai.features.fields import ReceptiveField, receptive_field
from kerasxai.features.stream import Batch
from kerasxai.tools.errors import KerasxaiError


@dataclass(frozen=True)
class Patches:
    """The strongest patches of each channel, strongest first.

    Attributes:
        layer: The layer's path.
        channels: `(C,)` int64.
        values: `(C, k)` float32: the channel's value there; NaN where the data had fewer than `k` patches.
        images: `(C, k)` int64: the image's place in the data, from 0; -1 where there is none.
        places: `(C, k, 2)` int64: row and column in the layer's map; -1 where there is none.
        boxes: `(C, k, 4)` int64: the pixels that the unit sees, (x0, y0, x1, y1), x1 and y1 exclusive, within the
            image.
        names: `[C][k]`: the image's name, "" where there is none.
        crops: `[C][k]`: `(h, w, 3)` in the images' own dtype, cut by `boxes`; None where there is none, or where
            crops were not asked for.
        field: The receptive field that cut them.
    """

    layer: str
    channels: NDArray[np.int64]
    values: NDArray[np.float32]
    images: NDArray[np.int64]
    places: NDArray[np.int64]
    boxes: NDArray[np.int64]
    names: list[list[str]]
    crops: list[list[NDArray | None]]
    field: ReceptiveField


def top_patches(
    model: Any,
    data: Any,
    layer: Any = None,
    k: int = 9,
    *,
    channels: Sequence[int] | None = None,
    repeat: bool = False,
    crops: bool = True,
    gates: bool = False,
    batch_size: int = 32,
) -> Patches:
    """Find the patches that excite each channel of a layer most, in one pass over a data set.

    What is held does not grow with the data: of each channel `k` values, places and crops. Of equal values, which
    bounded activations such as ReLU6 give often, the one wins in whose image the channel's mean is higher, then the
    first in the data; within an image the first from the top left.

    Args:
        model: Any Keras model.
        data: As for `kerasxai.features.stream.batches`: an array, a dataset, a generator; images of one size.
        layer: A path, name or layer that gives a map; None takes the last feature map.
        k: How many patches of each channel.
        channels: Which channels; None: all, of which the crops take `channels * k` receptive fields of memory.
        repeat: Whether one image may give several patches of one channel.
        crops: Whether the pixels are kept.
        gates: Whether factors that see the whole image, as squeeze and excitation makes them, count as seen; then a
            crop is the whole image. See `receptive_field`.
        batch_size: How many images are sent through the model at once.

    Raises:
        KerasxaiError: There is no such layer or channel, it gives no map, or its receptive field cannot be read.

    Example:
        >>> found = top_patches(model, kerasxai.data.load("shapes"), "backbone/block4b_add", channels=[3, 17])
        >>> found.values.shape, found.names[0][0]
        ((2, 9), 'train_00042')
    """
    if k < 1:
        raise KerasxaiError(f"k must be 1 or more, not {k}")
    capture = Capture(model, layer, lambda output: _strongest(map_of(output), channels, k if repeat else 1))
    best: _Best | None = None
    done = 0
    for batch, (values, places, means) in capture.over(data, batch_size):
        if best is None:
            height, width = np.shape(batch["image"])[1:3]
            field = receptive_field(model, capture.path, (height, width), gates)
            chosen = np.arange(values.shape[1]) if channels is None else np.asarray(channels)
            best = _Best(chosen.astype(np.int64), k, field, crops)
        best.merge(values.numpy(), places.numpy(), means.numpy(), batch, done)
        done += len(batch["image"])
    assert best is not None and capture.path is not None
    return best.finished(capture.path)


def _strongest(maps: Any, channels: Sequence[int] | None, count: int) -> tuple[Any, Any, Any]:
    """Return the strongest values of each channel in each image, `(B, C, n)`, their places, and means `(B, C)`."""
    maps = chosen_channels(maps, channels)
    flat = tf.reshape(tf.transpose(maps, (0, 3, 1, 2)), (-1, maps.shape[-1], maps.shape[1] * maps.shape[2]))
    # What is not a number would stand first in every list.
    flat = tf.where(tf.math.is_nan(flat), -np.inf, flat)
    values, places = tf.math.top_k(flat, min(count, flat.shape[-1]))
    return values, places, tf.reduce_mean(maps, (1, 2))


class _Best:
    """The best patches so far: small arrays, and the crops beside them."""

    def __init__(self, channels: NDArray[np.int64], k: int, field: ReceptiveField, crops: bool) -> None:
        self.channels, self.k, self.field, self.keep_crops = channels, k, field, crops
        count = len(channels)
        self.values = np.full((count, k), -np.inf, np.float32)
        self.means = np.full((count, k), -np.inf, np.float32)
        self.images = np.full((count, k), -1, np.int64)
        self.places = np.full((count, k), -1, np.int64)
        self.names = [[""] * k for _ in range(count)]
        self.crops: list[list[NDArray | None]] = [[None] * k for _ in range(count)]

    def merge(self, values: NDArray, places: NDArray, means: NDArray, batch: Batch, done: int) -> None:
        """Take the candidates `(B, C, n)` of one batch, whose first image is number `done`."""
        per_image = values.shape[2]
        new_values = np.moveaxis(values, 1, 0).reshape(len(self.channels), -1)
        new_places = np.moveaxis(places, 1, 0).reshape(len(self.channels), -1)
        new_means = np.nan_to_num(means.T, nan=-np.inf).repeat(per_image, axis=1)
        weakest, weakest_mean = self.values[:, -1:], self.means[:, -1:]
        better = (new_values > weakest) | ((new_values == weakest) & (new_means > weakest_mean))
        # Only channels with something stronger than their weakest are looked at: fewer and fewer as the data go on.
        for row in np.flatnonzero(better.any(1)):
            joined = np.concatenate([self.values[row], new_values[row]])
            joined_means = np.concatenate([self.means[row], new_means[row]])
            # The sort is stable, and what came before stands first, so that of equals the first in the data stays.
            order = np.lexsort((-joined_means, -joined))[: self.k]
            before = (self.images[row].copy(), self.places[row].copy(), self.names[row], self.crops[row])
            self.values[row], self.means[row] = joined[order], joined_means[order]
            self.names[row], self.crops[row] = [], []
            for rank, chosen in enumerate(order):
                if chosen < self.k:
                    self.images[row, rank], self.places[row, rank] = before[0][chosen], before[1][chosen]
                    self.names[row].append(before[2][chosen])
                    self.crops[row].append(before[3][chosen])
                else:
                    image, place = (chosen - self.k) // per_image, new_places[row, chosen - self.k]
                    self.images[row, rank], self.places[row, rank] = done + image, place
                    self.names[row].append(batch["name"][image])
                    self.crops[row].append(self._crop(batch["image"][image], place))

    def finished(self, layer: str) -> Patches:
        found = self.images >= 0
        width = self.field.map_size[1]
        places = np.where(found[..., None], np.stack([self.places // width, self.places % width], -1), -1)
        boxes = np.array([[self._box(place) if place >= 0 else (0, 0, 0, 0) for place in row] for row in self.places])
        values = np.where(found, self.values, np.nan)
        return Patches(
            layer,
            self.channels,
            values,
            self.images,
            places,
            boxes.astype(np.int64),
            self.names,
            self.crops,
            self.field,
        )

    def _box(self, place: int) -> tuple[int, int, int, int]:
        return self.field.box(*divmod(int(place), self.field.map_size[1]))

    def _crop(self, image: Any, place: int) -> NDArray | None:
        if not self.keep_crops:
            return None
        x0, y0, x1, y1 = self._box(place)
        # A copy, since a view would hold on to the whole batch.
        return np.array(image[y0:y1, x0:x1])

"""Units of a layer: their maps, their quantiles over a data set, and the concepts that they detect."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, Unpack

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.features.capture import Capture, LayerName, chosen_channels, map_of
from kerasxai.features.stream import Batch, Data, check_rereadable
from kerasxai.tools.deprecation import warn_deprecated
from kerasxai.tools.errors import KerasxaiError

_IGNORED = 255
# Channels that are resized at once, which bounds the memory for the maps of large masks.
_CHANNELS = 128


class QuantileOptions(TypedDict, total=False):
    """Options of the quantile of `dissect`, as for `activation_quantiles`.

    Attributes:
        quantile: In (0, 1). By default 0.995, which keeps the strongest 0.5 % of all positions of each unit.
        sample: Number of positions kept, 16384 by default; see `QuantileSample` for the accuracy.
        seed: Seed of the sample, 0 by default.
    """

    quantile: float
    sample: int
    seed: int


def activations(
    model: keras.Model,
    images: Data,
    layer: LayerName = None,
    channels: Sequence[int] | None = None,
    batch_size: int = 32,
) -> NDArray[np.float32]:
    """Return the maps of the channels of a layer.

    Args:
        model: Any Keras model.
        images: As for `kerasxai.features.stream.batches`: an array, a dataset, a list.
        layer: A path, name or layer; None: the last feature map.
        channels: The channels to return; None: all.
        batch_size: Number of images per call of the model.

    Returns:
        `(N, h, w, K)` float32; `(N, 1, 1, K)` for a dense layer.

    Raises:
        KerasxaiError: There is no such layer or channel, or the output of the layer is not a map.

    Example:
        >>> activations(model, images, "backbone/block4b_add", channels=[3, 17]).shape
        (8, 14, 14, 2)
    """
    capture = Capture(model, layer, _map_of(channels))
    return np.concatenate([maps.numpy() for _, maps in capture.over(images, batch_size)])


def select_channels(
    model: keras.Model, data: Data, layer: LayerName = None, count: int = 8, *, top: int = 9, batch_size: int = 32
) -> NDArray[np.int64]:
    """Return the most selective channels of a layer.

    The selectivity of a channel is the difference between its mean over its `top` strongest images and over all images,
    where an image counts with the mean over its positions. Maxima are not used, because bounded activations such as
    ReLU6 reach the bound in almost every channel.

    Args:
        model: Any Keras model.
        data: As for `kerasxai.features.stream.batches`; read once.
        layer: A path, name or layer; None: the last feature map.
        count: Number of channels.
        top: Number of strongest images.
        batch_size: Number of images per call of the model.

    Returns:
        `(count,)` int64, the most selective channel first, or all channels if there are fewer.

    Example:
        >>> select_channels(model, images, "backbone/block4b_add", count=2).shape
        (2,)
    """
    capture = Capture(model, layer, lambda output: tf.reduce_mean(map_of(output), (1, 2)))
    strongest: NDArray[np.float32] | None = None
    total, images = np.zeros(1), 0
    for _, means in capture.over(data, batch_size):
        # NaN and infinity would rank as the strongest.
        values = np.nan_to_num(means.numpy(), nan=0.0, posinf=0.0, neginf=0.0)
        total, images = total + values.sum(0, dtype=np.float64), images + len(values)
        kept = values if strongest is None else np.concatenate([strongest, values])
        strongest = -np.sort(-kept, axis=0)[:top]
    assert strongest is not None
    return np.argsort(total / images - strongest.mean(0), kind="stable")[:count].astype(np.int64)


class QuantileSample:
    """Quantiles of each channel over any number of positions, from a uniform sample in bounded memory.

    Each position draws a random number, and the `size` positions with the lowest numbers are kept. Quantiles are exact
    up to `size` positions, and those of `size` positions drawn without replacement beyond. The fraction of all values
    above the estimated quantile q then has mean 1 - q and standard deviation sqrt(q (1 - q) / size): 0.5 % +- 0.055 %
    for q = 0.995 and 16,384 positions. The result does not depend on the batch size.

    Args:
        size: Number of positions kept.
        seed: Seed of the draw.

    Attributes:
        count: Number of positions so far.

    Example:
        >>> sample = QuantileSample()
        >>> sample.update(np.arange(1000.0)[:, None])
        >>> sample.quantile(0.5)
        array([499.5], dtype=float32)
    """

    def __init__(self, size: int = 16384, seed: int = 0) -> None:
        self.size = size
        self.count = 0
        self._random = np.random.default_rng(seed)
        self._keys = np.zeros(0)
        self._values: NDArray[np.float32] = np.zeros((0, 0), np.float32)

    def update(self, values: NDArray) -> None:
        """Add the values of positions, `(n, K)`."""
        keys = self._random.random(len(values))
        self.count += len(values)
        # Most positions are dropped here, before anything is copied.
        if len(self._keys) == self.size:
            near = keys < self._keys.max()
            keys, values = keys[near], values[near]
        if not len(keys):
            return
        self._keys = np.concatenate([self._keys, keys])
        self._values = np.concatenate([self._values, values]) if self._values.size else np.array(values, np.float32)
        if len(self._keys) > self.size:
            kept = np.argpartition(self._keys, self.size - 1)[: self.size]
            self._keys, self._values = self._keys[kept], self._values[kept]

    def quantile(self, share: float) -> NDArray[np.float32]:
        """Return the quantile `(K,)` of each channel.

        If it equals the maximum of a channel, as for a saturated ReLU6, no value would exceed it; the next lower value
        is returned instead.
        """
        if not self.count:
            raise KerasxaiError("expected values to take a quantile of, got none")
        found = np.quantile(self._values, share, axis=0).astype(np.float32)
        highest = self._values.max(0)
        tied = (found >= highest) & (self._values.min(0) < highest)
        columns = self._values[:, tied]
        found[tied] = np.where(columns < highest[tied], columns, -np.inf).max(0)
        return found

    # Hidden from type checkers, for which any attribute would exist.
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> int:
            if name == "seen":
                warn_deprecated("QuantileSample.seen", "QuantileSample.count")
                return self.count
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def activation_quantiles(
    model: keras.Model,
    data: Data,
    layer: LayerName = None,
    quantile: float = 0.995,
    *,
    channels: Sequence[int] | None = None,
    batch_size: int = 32,
    sample: int = 16384,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Return the value that each channel exceeds at a fraction `1 - quantile` of all positions of a data set.

    A channel that is saturated at a larger fraction of positions exceeds it wherever it is saturated.

    Args:
        model: Any Keras model.
        data: As for `kerasxai.features.stream.batches`; read once.
        layer: A path, name or layer; None: the last feature map.
        quantile: In (0, 1).
        channels: The channels to return; None: all.
        batch_size: Number of images per call of the model.
        sample: Number of positions kept; see `QuantileSample` for the accuracy.
        seed: Seed of the sample.

    Returns:
        `(K,)` float32.

    Example:
        >>> maps = activations(model, images, layer)
        >>> attended = maps > activation_quantiles(model, dataset, layer)
    """
    return _quantiles(Capture(model, layer, _map_of(channels)), data, batch_size, quantile, sample, seed)


@dataclass(frozen=True)
class Dissection:
    """Agreement of the units of a layer with concepts.

    Attributes:
        layer: The path of the layer.
        ious: `(K, C)` float32: intersection over union of unit and concept over all images. NaN for concepts that do
            not occur.
        thresholds: `(K,)` float32: a unit is active where its map exceeds the threshold.
        concepts: The names of the `C` concepts.
        channels: `(K,)` int64: the channel of each row.
    """

    layer: str
    ious: NDArray[np.float32]
    thresholds: NDArray[np.float32]
    concepts: tuple[str, ...]
    channels: NDArray[np.int64]

    def best(self, count: int = 10) -> list[tuple[int, str, float]]:
        """Return the channels that match any concept best, as (channel, concept, IoU), the best first."""
        known = np.nan_to_num(self.ious, nan=-1.0)
        concept = known.argmax(1)
        order = np.argsort(-known.max(1), kind="stable")[:count]
        return [(int(self.channels[i]), self.concepts[concept[i]], float(known[i, concept[i]])) for i in order]


def dissect(
    model: keras.Model,
    data: Data,
    layer: LayerName = None,
    *,
    concepts: Sequence[str],
    masks: str = "mask",
    channels: Sequence[int] | None = None,
    batch_size: int = 32,
    **options: Unpack[QuantileOptions],
) -> Dissection:
    """Measure which classes or parts the units of a layer detect, on data with masks.

    The map of each unit is resized to the mask and thresholded at its own quantile over the data set; intersections and
    unions with each concept are summed over all images (Bau et al., Network Dissection, CVPR 2017). Differences from
    the paper: thresholds are estimated from a sample of positions, and concepts are the classes or parts of the data.

    Args:
        model: Any Keras model.
        data: As for `kerasxai.features.stream.batches`, with masks `(h, w)`; read twice.
        layer: A path, name or layer; None: the last feature map.
        concepts: For `masks="mask"` the class names: a class is present where the mask is 1 in images of its label.
            For other masks the names of the values 1, 2, ...: `["head", "body", "tail"]` for the parts of `shapes`.
        masks: The field of the masks. Pixels of value 255 are ignored; values without a concept are background.
        channels: The channels to measure; None: all.
        batch_size: Number of images per call of the model.
        **options: `quantile`, `sample` and `seed`, as for `activation_quantiles`.

    Raises:
        KerasxaiError: The data have no masks, or no labels if classes are the concepts, or are a generator.

    Example:
        >>> parts = ["head", "body", "tail"]
        >>> found = dissect(model, shapes, "backbone/block4b_add", concepts=parts, masks="part_mask")
        >>> found.best(1)
        [(17, 'head', 0.21)]
    """
    check_rereadable(data, "dissect")
    capture = Capture(model, layer, _map_of(channels))
    thresholds = _quantiles(capture, data, batch_size, **options)
    count = len(concepts)
    both, active = np.zeros((len(thresholds), count)), np.zeros((len(thresholds), 1))
    present = np.zeros(count)
    for batch, maps in capture.over(data, batch_size):
        for one, concept in zip(maps, _concept_maps(batch, masks, count), strict=True):
            known = (concept >= 0).ravel()
            # One column per concept and per unit, so that all intersections are one matrix product.
            shown = np.equal.outer(concept.ravel()[known], np.arange(1, count + 1)).astype(np.float32)
            on = _active(one, thresholds, concept.shape)[known]
            both += on.T @ shown
            active += on.sum(0)[:, None]
            present += shown.sum(0)
    union = active + present - both
    ious = np.where(present > 0, both / np.maximum(union, 1), np.nan).astype(np.float32)
    chosen = np.arange(len(thresholds)) if channels is None else np.asarray(channels)
    assert capture.path is not None
    return Dissection(capture.path, ious, thresholds, tuple(concepts), chosen.astype(np.int64))


def _map_of(channels: Sequence[int] | None) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda output: chosen_channels(map_of(output), channels)


def _quantiles(
    capture: Capture, data: Data, batch_size: int, quantile: float = 0.995, sample: int = 16384, seed: int = 0
) -> NDArray[np.float32]:
    if not 0 < quantile < 1:
        raise KerasxaiError(f"quantile must be between 0 and 1, got {quantile}")
    values = QuantileSample(sample, seed)
    for _, maps in capture.over(data, batch_size):
        values.update(maps.numpy().reshape(-1, maps.shape[-1]))
    return values.quantile(quantile)


def _active(maps: tf.Tensor, thresholds: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return 1 where a unit is active in one image, else 0, at the size of the mask, `(h * w, K)`."""
    parts = []
    for first in range(0, len(thresholds), _CHANNELS):
        chunk = slice(first, first + _CHANNELS)
        resized = tf.image.resize(maps[..., chunk], size)
        parts.append(tf.reshape(tf.cast(resized > thresholds[chunk], tf.float32), (size[0] * size[1], -1)).numpy())
    return np.concatenate(parts, -1)


def _concept_maps(batch: Batch, masks: str, count: int) -> list[NDArray[np.int64]]:
    """Return the number of the concept at each pixel of each image: from 1, 0 for background, -1 for ignored pixels."""
    if masks not in batch:
        raise KerasxaiError(f"expected data with {masks!r}, got samples of {', '.join(batch)}")
    found = [np.asarray(mask, np.int64) for mask in batch[masks]]
    found = [np.where(mask == _IGNORED, -1, mask) for mask in found]
    if masks != "mask":
        return found
    if "label" not in batch:
        raise KerasxaiError(f"expected data with 'label', to compare units with classes, got {', '.join(batch)}")
    if batch["label"].max() >= count:
        raise KerasxaiError(f"expected labels below the number of concepts, {count}, got {batch['label'].max()}")
    return [
        np.where(mask == 1, label + 1, np.minimum(mask, 0)) for mask, label in zip(found, batch["label"], strict=True)
    ]

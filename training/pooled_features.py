"""Pooled features of the frozen backbone, computed once and kept in the folder of the run while it is unfinished."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.tools.files import atomic_path
from kerasxai.tools.progress import Bar

_SAVE_SECONDS = 30.0


@dataclass(frozen=True)
class PooledFeatures:
    """The mean features of images.

    Attributes:
        means: `(N, K)` float32, the mean of each channel over the positions of each image.
        labels: `(N,)` int64; of several labels an image `(N, C)` float32.
        center: `(K,)` float64, the mean over all positions of all images.
        covariance: `(K, K)` float64, over the same; zeros if not computed.
    """

    means: NDArray[np.float32]
    labels: NDArray[np.int64] | NDArray[np.float32]
    center: NDArray[np.float64]
    covariance: NDArray[np.float64]


def pooled_features(
    backbone: keras.Model,
    pairs: tf.data.Dataset,
    count: int,
    path: Path,
    *,
    with_covariance: bool = False,
    progress: bool = True,
) -> PooledFeatures:
    """Compute the pooled features of images, or read those that a stopped run has already computed.

    Maps exist for one batch at a time. Unfinished results are saved every half a minute, and a continued computation
    gives the same result bit by bit.

    Args:
        backbone: From images to a feature map.
        pairs: Batches of images and labels, in the same order every time.
        count: The number of images.
        path: The `.npz` file to write to.
        with_covariance: Whether to compute the covariance of the channels over positions.
        progress: Whether to show a progress bar.
    """
    moments = _Moments(backbone, with_covariance)
    state = _read(path) or _empty(count, backbone.output_shape[-1], pairs.element_spec[1])
    batches: Iterator[Any] = iter(pairs.skip(int(state["batches"])))
    if int(state["images"]) < count:
        left = count - int(state["images"])
        with Bar(left, "computing the features of the frozen backbone", None if progress else False) as bar:
            _compute(moments, batches, state, path, bar)
    positions = max(float(state["positions"]), 1.0)
    center = state["sum"] / positions
    covariance = state["products"] / positions - np.outer(center, center) * with_covariance
    done = int(state["images"])
    return PooledFeatures(state["means"][:done], state["labels"][:done], center, covariance)


def _compute(moments: "_Moments", batches: Iterable[Any], state: dict[str, NDArray], path: Path, bar: Bar) -> None:
    saved, pause = time.monotonic(), _SAVE_SECONDS
    for images, labels in batches:
        means, sums, products, positions = moments(images)
        start = int(state["images"])
        state["means"][start : start + len(means)] = means
        state["labels"][start : start + len(means)] = labels
        state["sum"] += sums
        state["products"] += products
        state["positions"] += int(positions)
        state["images"] += len(means)
        state["batches"] += 1
        bar.advance(len(means))
        begun = time.monotonic()
        if begun - saved > pause:
            _write(path, state)
            saved = time.monotonic()
            # Of many images the file is large: writing takes a tenth of the time at most.
            pause = max(_SAVE_SECONDS, 10 * (saved - begun))
    _write(path, state)


class _Moments:
    """The means over positions of each image, and sums over all positions, of a backbone's map."""

    def __init__(self, backbone: keras.Model, with_products: bool) -> None:
        self.backbone = backbone
        self.with_products = with_products
        self._graph = tf.function(self._moments, reduce_retracing=True)

    def __call__(self, images: tf.Tensor) -> tuple[NDArray, NDArray, NDArray, int]:
        means, sums, products, positions = self._graph(images)
        return means.numpy(), sums.numpy(), products.numpy(), int(positions)

    def _moments(self, images: tf.Tensor) -> tuple[tf.Tensor, ...]:
        maps = tf.cast(self.backbone(images, training=False), tf.float32)
        means = tf.reduce_mean(maps, (1, 2))
        rows = tf.reshape(maps, (-1, maps.shape[-1]))
        # In float32 within a batch, in float64 over batches: the sums of many batches would lose digits.
        products = tf.matmul(rows, rows, transpose_a=True) if self.with_products else tf.zeros(())
        return means, tf.reduce_sum(rows, 0), products, tf.shape(rows)[0]


def _empty(count: int, channels: int, labels: tf.TensorSpec) -> dict[str, NDArray]:
    return {
        "means": np.zeros((count, channels), np.float32),
        "labels": np.zeros((count, *labels.shape[1:]), labels.dtype.as_numpy_dtype),
        "sum": np.zeros(channels),
        "products": np.zeros((channels, channels)),
        "positions": np.array(0, np.int64),
        "images": np.array(0, np.int64),
        "batches": np.array(0, np.int64),
    }


def _read(path: Path) -> dict[str, NDArray] | None:
    if not path.exists():
        return None
    with np.load(path) as file:
        return {name: file[name].copy() for name in file.files}


def _write(path: Path, state: dict[str, NDArray]) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **state)

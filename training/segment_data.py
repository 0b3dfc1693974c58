"""The images and label maps that a segmenter is trained on."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai import data
from kerasxai.metrics.inputs import IGNORE
from kerasxai.segmentation import read_label_map
from kerasxai.training.augment import CACHE_BYTES
from kerasxai.training.segment_config import SegmentConfig

_SHUFFLE_BUFFER = 1024
_BACKGROUND_COLOR = 117.0
"""The color around an image that was made smaller, the mean of ImageNet."""
_JITTER = data.ImageAugmentation(flip=False, brightness=0.3, contrast=0.3, saturation=0.3)


def with_files(images: tf.data.Dataset, files: Sequence[Path]) -> tf.data.Dataset:
    """Return pairs of image and label map `(H, W)`, read from PNG files in the order of the images.

    Args:
        images: Samples with `image` `(H, W, 3)`; nothing else of them is used.
        files: One for each image.
    """

    def pair(sample: dict[str, tf.Tensor], name: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mask = tf.numpy_function(lambda path: read_label_map(path.decode()), [name], tf.uint8, stateful=False)
        return sample["image"], tf.ensure_shape(mask, sample["image"].shape[:2])

    names = tf.data.Dataset.from_tensor_slices([str(file) for file in files])
    return tf.data.Dataset.zip((images.take(len(files)), names)).map(pair, num_parallel_calls=tf.data.AUTOTUNE)


def with_true_masks(samples: tf.data.Dataset, count: int) -> tf.data.Dataset:
    """Return pairs of image and true label map, for the upper bound alone."""
    return samples.take(count).map(lambda sample: (sample["image"], sample["class_mask"]))


def augmented_pairs(pairs: tf.data.Dataset, count: int, config: SegmentConfig) -> tf.data.Dataset:
    """Return endless batches of augmented images and label maps, a function of the arguments.

    Args:
        pairs: Image `(H, W, 3)` and label map `(H, W)`, both uint8.
        count: The number of pairs.
        config: The scales, the seed and the batch size.
    """
    height, width = pairs.element_spec[0].shape[:2]
    if 4 * count * height * width <= CACHE_BYTES:
        pairs = pairs.cache()
    pairs = pairs.shuffle(min(count, _SHUFFLE_BUFFER), seed=config.seed, reshuffle_each_iteration=True).repeat()
    # Each pair draws from its own seed, so that the result does not depend on which thread comes first.
    seeds = tf.data.Dataset.random(seed=config.seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)

    def change(pair: tuple[tf.Tensor, tf.Tensor], seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return augment_pair(*pair, seed, smallest=config.smallest, largest=config.largest)

    pairs = tf.data.Dataset.zip((pairs, seeds)).map(change, num_parallel_calls=tf.data.AUTOTUNE)
    return pairs.batch(config.batch_size).prefetch(tf.data.AUTOTUNE)


def augment_pair(
    image: tf.Tensor, label_map: tf.Tensor, seed: tf.Tensor, *, smallest: float, largest: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Scale, crop, mirror and recolor an image at random, and its label map with it.

    Args:
        image: `(H, W, 3)` RGB in [0, 255].
        label_map: `(H, W)` uint8.
        seed: `(2,)` integers; the same seed gives the same result.
        smallest: The smallest factor of the scale; what a smaller image leaves free is ignored, 255.
        largest: The largest one; of a larger image a part is cut out.

    Returns:
        `(H, W, 3)` float32 and `(H, W)` uint8.
    """
    size = image.shape[:2]
    draws = tf.random.stateless_uniform((4,), tf.cast(seed, tf.int64))
    scale = tf.exp(math.log(smallest) + (math.log(largest) - math.log(smallest)) * draws[0])
    # Top and left in the fitted image; negative where the scaled image is smaller.
    top, left = tf.unstack((1 - 1 / scale) * draws[1:3])
    edges = tf.stack([top, left, top + 1 / scale, left + 1 / scale])
    edges = tf.where(draws[3] < 0.5, tf.gather(edges, [0, 3, 2, 1]), edges)
    image = _JITTER(_cut(image, edges, size, "bilinear", _BACKGROUND_COLOR), tf.cast(seed, tf.int64) + 1, tuple(size))
    return image, tf.cast(_cut(label_map[..., None], edges, size, "nearest", IGNORE)[..., 0], tf.uint8)


def _cut(image: tf.Tensor, edges: tf.Tensor, size: tf.TensorShape, method: str, fill: float) -> tf.Tensor:
    """Return the rectangle between relative edges, resized; mirrored if the right edge is first."""
    # Positions count from pixel center to pixel center there: the edges of the pixels are half a pixel beyond.
    extent = tf.constant([size[0], size[1]], tf.float32)
    pixel = edges[2:] - edges[:2]
    first = edges[:2] * extent + 0.5 * pixel - 0.5
    last = edges[2:] * extent - 0.5 * pixel - 0.5
    box = tf.concat([first, last], 0) / tf.tile(extent - 1, [2])
    return tf.image.crop_and_resize(tf.cast(image[None], tf.float32), box[None], [0], size, method, fill)[0]


def fixed_pairs(pairs: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Return batches of images and label maps without augmentation, to validate on."""
    return (
        pairs.map(lambda image, mask: (tf.cast(image, tf.float32), mask)).batch(batch_size).prefetch(tf.data.AUTOTUNE)
    )


def positive_classes(labels: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the classes of an image that are known to be present, from labels `(C,)` of 1, 0 and -1 (unknown).

    Example:
        >>> positive_classes(np.array([0.0, 1.0, -1.0])).tolist()
        [1]
    """
    return np.flatnonzero(np.asarray(labels) == 1).astype(np.int64)

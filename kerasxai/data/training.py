"""`training_pairs`: images and labels alone, as `fit` takes them; boxes and masks do not get this far."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from kerasxai.data.folder import ALIASES
from kerasxai.data.loading import StrPath, open_source, resize_sample, shape_sample
from kerasxai.tools.errors import KerasxaiError

_SHUFFLED = 4096


def augment(image: tf.Tensor, seed: tf.Tensor, *, flip: bool, crop: float, size: int | None = None) -> tf.Tensor:
    """Mirrors and crops an image at random.

    Args:
        image: `(h, w, 3)`.
        seed: `(2,)` int64; the same seed gives the same result.
        flip: Whether to mirror left and right with probability 1/2.
        crop: The shortest side of the random crop, as a share of the image's side; 1 crops nothing. The crop is as
            tall as wide and is brought back to the image's size.
        size: The side of a square that is cut out at random before all else, pixel by pixel; None cuts nothing.

    Returns:
        `(h, w, 3)`, or `(size, size, 3)`, float32.
    """
    image = tf.cast(image, tf.float32)
    if size is not None:
        image = tf.image.stateless_random_crop(image, (size, size, 3), seed + 2)
    if flip:
        image = tf.image.stateless_random_flip_left_right(image, seed)
    if crop < 1.0:
        draws = tf.random.stateless_uniform((3,), seed + 1)
        share = crop + (1.0 - crop) * draws[0]
        top, left = (1.0 - share) * draws[1], (1.0 - share) * draws[2]
        box = tf.stack([top, left, top + share, left + share])[None]
        # crop_and_resize puts the first and the last sample on the edge pixels' centers; no antialiasing is needed,
        # since a crop is only ever enlarged.
        image = tf.image.crop_and_resize(image[None], box, [0], tf.shape(image)[:2])[0]
    return image


def training_pairs(
    name_or_path: StrPath,
    split: str = "train",
    image_size: int = 224,
    batch_size: int | None = 32,
    *,
    data_dir: StrPath | None = None,
    shuffle: bool | None = None,
    flip: bool = False,
    crop: float = 1.0,
    resize: int | None = None,
    cache: bool = False,
    drop_remainder: bool = False,
    seed: int = 0,
    split_seed: int = 0,
    labels: ArrayLike | None = None,
) -> tf.data.Dataset:
    """Reads a split of a data set as pairs of image and label for `model.fit`.

    Nothing else is in it: boxes and masks are not decoded, so that nothing in training can read them. (Where the
    class labels are those of several objects in an image, the boxes are read to find the largest object, and dropped.)
    The pairs are a function of the arguments, also the order and the augmentation of each pass over the data.

    Args:
        name_or_path: As for `kerasxai.data.load`.
        split: As for `kerasxai.data.load`.
        image_size: Side of the square images that come out.
        batch_size: Number of images in a batch; None for single pairs.
        data_dir: As for `kerasxai.data.load`.
        shuffle: Whether to mix the order, anew in each pass; None mixes the split "train" alone.
        flip: Whether to mirror images at random.
        crop: The shortest side of random square crops as a share of the image's side; 1 crops nothing.
        resize: Side of the square that images are resized to, from which one of `image_size` is cut at random; None
            resizes to `image_size` and cuts nothing. The literature on CUB and ImageNet takes 256 and 224.
        cache: Whether to keep the resized images in memory after the first pass.
        drop_remainder: Whether to leave out the last, smaller batch.
        seed: Seed of the order and of the augmentation.
        split_seed: As for `kerasxai.data.load`.
        labels: `(N,)` integers that stand in for the data's own labels, in the order of the split's samples (that of
            `read_labels`); samples with a label below 0 are left out. None takes the data's own.

    Returns:
        A `tf.data.Dataset` of `(image, label)`: `(B, image_size, image_size, 3)` float32 in [0, 255] and `(B,)` int64.

    Raises:
        KerasxaiError: As for `kerasxai.data.load`, or `crop` is not in (0, 1], or `resize` is below `image_size`.

    Example:
        >>> images, labels = next(iter(training_pairs("shapes", batch_size=8)))
        >>> images.shape, labels.shape
        (TensorShape([8, 224, 224, 3]), TensorShape([8]))
    """
    if not 0.0 < crop <= 1.0:
        raise KerasxaiError(f"crop is the shortest side of random crops as a share in (0, 1]; came {crop}")
    if resize is not None and resize < image_size:
        raise KerasxaiError(f"no square of {image_size} can be cut from images resized to {resize}")
    stored, cut = (image_size, None) if resize is None or resize == image_size else (resize, image_size)
    shuffle = split == "train" if shuffle is None else shuffle
    source = open_source(name_or_path, data_dir=data_dir, boxes_csv=None, split_seed=split_seed)
    dataset = source.samples(ALIASES.get(split, split), annotations=False, mix=seed if shuffle else None)
    if labels is not None:
        dataset = _relabel(dataset, labels, source.info.splits.get(ALIASES.get(split, split)))

    def pair(sample: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        sized = shape_sample(resize_sample({key: sample[key] for key in ("image", "label")}, stored), stored)
        return sized["image"], sized["label"]

    dataset = dataset.map(pair, num_parallel_calls=tf.data.AUTOTUNE)
    if cache:
        dataset = dataset.cache()
    if shuffle:
        dataset = dataset.shuffle(_SHUFFLED, seed=seed, reshuffle_each_iteration=True)
    if flip or crop < 1.0 or cut is not None:
        # Each sample draws from its own seed, so that the result does not depend on which thread comes first.
        numbers = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)
        dataset = tf.data.Dataset.zip((dataset, numbers)).map(
            lambda sample, number: (augment(sample[0], number, flip=flip, crop=crop, size=cut), sample[1]),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    else:
        dataset = dataset.map(lambda image, label: (tf.cast(image, tf.float32), label))
    if batch_size is not None:
        dataset = dataset.batch(batch_size, drop_remainder=drop_remainder)
    return dataset.prefetch(tf.data.AUTOTUNE)


def _relabel(dataset: tf.data.Dataset, labels: ArrayLike, count: int | None) -> tf.data.Dataset:
    given = np.asarray(labels, np.int64)
    if given.ndim != 1 or (count is not None and len(given) != count):
        raise KerasxaiError(f"labels want one number for each of {count} samples, came shape {given.shape}")
    if not (given >= 0).any():
        raise KerasxaiError("labels leave out every sample; at least one must be 0 or more")
    table = tf.constant(given)
    dataset = dataset.map(lambda sample: {**sample, "label": tf.gather(table, sample["index"])})
    return dataset.filter(lambda sample: sample["label"] >= 0)

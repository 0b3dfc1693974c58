"""Pairs of image and label, as `fit` takes them; boxes and masks do not get this far."""

from collections.abc import Container
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from kerasxai.data.batching import Sample, height_and_width, resize_sample, set_shapes
from kerasxai.data.image_augmentation import AUGMENTATIONS, ImageAugmentation, shrunk, stored_pixels
from kerasxai.engine.images.fit import FITS
from kerasxai.engine.images.image_input import Size
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.settings import COUNT, POSITIVE_SHARE, Limits, check_settings, setting

_SHUFFLE_BUFFER = 4096
_IMAGES, _AUGMENTATION = "images", "augmentation"

Pair = tuple[tf.Tensor, tf.Tensor]


@dataclass(frozen=True)
class PairSettings:
    """How images and labels are prepared for `model.fit`.

    Attributes:
        image_size: Side of the square images, or height and width.
        batch_size: Number of images in a batch; None for single pairs.
        shuffle: Whether to shuffle, differently in each pass; None shuffles the split "train" only.
        flip: Whether to mirror images at random.
        crop: The shortest side of random square crops as a share of the image's side; 1 crops nothing.
        resize: Side of the square that images are resized to, from which one of `image_size` is cut at random; None
            resizes to `image_size` and cuts nothing. The literature on CUB and ImageNet uses 256 and 224.
        cache: Whether to keep the resized images in memory after the first pass.
        drop_remainder: Whether to drop the last, smaller batch.
        seed: Seed of the order and of the augmentation.
        augment: A name in `kerasxai.data.AUGMENTATIONS`, or an `ImageAugmentation`; instead of `flip`, `crop` and
            `resize`.
        fit: How images of another aspect ratio are fitted to the input: `"stretch"`, `"crop"` or `"pad"`.
        stored_pixels: To how many pixels images are shrunk, and cached, before `augment` cuts crops from them; None:
            so many that no crop is enlarged.

    Raises:
        KerasxaiError: A setting is out of range, `resize` is below `image_size`, or `augment` is combined with `flip`,
            `crop` or `resize`.

    Example:
        >>> PairSettings(flip=True, resize=256).image_size
        224
    """

    image_size: Size = setting("side of the square images, or height and width", _IMAGES, 224, limits=COUNT)
    batch_size: int | None = setting("images in a batch", _IMAGES, 32, limits=COUNT)
    shuffle: bool | None = None
    flip: bool = False
    crop: float = setting("shortest side of random crops", _AUGMENTATION, 1.0, limits=POSITIVE_SHARE)
    resize: int | None = setting("side before a square is cut out at random", _AUGMENTATION, None, limits=COUNT)
    cache: bool = False
    drop_remainder: bool = False
    seed: int = 0
    augment: str | ImageAugmentation = "none"
    fit: str = setting("how images are fitted to the input", _IMAGES, "stretch", choices=FITS)
    stored_pixels: int | None = setting(
        "pixels of images before they are augmented", _AUGMENTATION, None, limits=Limits(least=1)
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if isinstance(self.augment, str) and self.augment not in AUGMENTATIONS:
            raise unknown("augmentation", self.augment, AUGMENTATIONS)
        if self.augment != "none" and (self.flip or self.crop < 1 or self.resize is not None):
            raise KerasxaiError("expected either augment, or flip, crop and resize, got both; omit one of them")
        if self.resize is None:
            return
        if not isinstance(self.image_size, int):
            raise KerasxaiError(f"image_size must be one side with resize, got {self.image_size}")
        if self.resize < self.image_size:
            raise KerasxaiError(f"resize must be {self.image_size} or more, the image_size, got {self.resize}")

    @property
    def cut(self) -> int | None:
        """Side of the square that is cut out of larger images; None if none is."""
        return None if self.resize in (None, self.image_size) else self.height_and_width[0]

    @property
    def height_and_width(self) -> tuple[int, int]:
        """Height and width of the images."""
        return height_and_width(self.image_size)

    @property
    def mirrors(self) -> bool:
        """Whether images are mirrored and not changed otherwise by `augment`."""
        return self.flip or self.augment == "flip"

    @property
    def augmentation(self) -> ImageAugmentation | None:
        """The augmentation that takes images of any size; None if images are resized before."""
        if isinstance(self.augment, str):
            return None if self.augment == "flip" else AUGMENTATIONS[self.augment]
        return self.augment


def augment(image: tf.Tensor, seed: tf.Tensor, *, flip: bool, crop: float, size: int | None = None) -> tf.Tensor:
    """Mirror and crop an image at random.

    Args:
        image: `(h, w, 3)`.
        seed: `(2,)` int64; the same seed gives the same result.
        flip: Whether to mirror left and right with probability 1/2.
        crop: The shortest side of the random crop, as a share of the image's side; 1 crops nothing. The crop is square
            and is resized to the image's size.
        size: The side of a square that is cut out at random first, pixel by pixel; None cuts nothing.

    Returns:
        `(h, w, 3)`, or `(size, size, 3)`, float32.
    """
    image = tf.cast(image, tf.float32)
    # Three seeds, so that place, mirroring and crop are drawn independently.
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


def label_key(sample: Container[str]) -> str:
    """Return the key of the labels of a sample: `"labels"` of all classes, or `"label"`."""
    return "labels" if "labels" in sample else "label"


def pairs_of(samples: tf.data.Dataset, settings: PairSettings, shuffle: bool) -> tf.data.Dataset:
    """Prepare samples of `image` and `label`, or `labels`, as pairs for `model.fit`."""
    stored, augmentation = settings.resize or settings.image_size, settings.augmentation

    label = label_key(samples.element_spec)

    def pair(sample: Sample) -> Pair:
        if augmentation is not None:
            most = settings.stored_pixels or stored_pixels(augmentation, settings.height_and_width)
            return shrunk(sample["image"], most), sample[label]
        # No other key of the sample is passed on, whatever the source read.
        sized = resize_sample({key: sample[key] for key in ("image", label)}, stored, settings.fit)
        sized = set_shapes(sized, stored)
        return sized["image"], sized[label]

    pairs = samples.map(pair, num_parallel_calls=tf.data.AUTOTUNE)
    if settings.cache:
        # Before shuffling and augmentation, which must differ in each pass.
        pairs = pairs.cache()
    if shuffle:
        pairs = pairs.shuffle(_SHUFFLE_BUFFER, seed=settings.seed, reshuffle_each_iteration=True)
    pairs = _augmented(pairs, settings)
    if settings.batch_size is not None:
        pairs = pairs.batch(settings.batch_size, drop_remainder=settings.drop_remainder)
    return pairs.prefetch(tf.data.AUTOTUNE)


def _augmented(pairs: tf.data.Dataset, settings: PairSettings) -> tf.data.Dataset:
    """Convert images to float, augmented if the settings say so."""
    augmentation = settings.augmentation
    if augmentation is None and not (settings.mirrors or settings.crop < 1.0 or settings.cut is not None):
        return pairs.map(lambda image, label: (tf.cast(image, tf.float32), label))

    def change(pair: Pair, seed: tf.Tensor) -> Pair:
        if augmentation is not None:
            image = augmentation(pair[0], seed, settings.height_and_width, settings.fit)
            return tf.ensure_shape(image, (*settings.height_and_width, 3)), pair[1]
        return augment(pair[0], seed, flip=settings.mirrors, crop=settings.crop, size=settings.cut), pair[1]

    # Each sample draws from its own seed, so that the result does not depend on which thread comes first.
    seeds = tf.data.Dataset.random(seed=settings.seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)
    return tf.data.Dataset.zip((pairs, seeds)).map(change, num_parallel_calls=tf.data.AUTOTUNE)


def relabel(samples: tf.data.Dataset, labels: ArrayLike, count: int | None) -> tf.data.Dataset:
    """Replace the labels of samples, and drop samples without a label of 0 or more.

    Args:
        samples: With `index`.
        labels: `(N,)` integers, or of samples with labels of all classes `(N, C)`, in the order of the indices.
        count: The number of samples, if known.

    Raises:
        KerasxaiError: There is not one label for each sample, or no label of 0 or more.
    """
    key = label_key(samples.element_spec)
    spec = samples.element_spec[key]
    table = np.asarray(labels, spec.dtype.as_numpy_dtype)
    if (
        table.ndim != 1 + spec.shape.rank
        or table.shape[1:] != tuple(spec.shape)
        or (count is not None and len(table) != count)
    ):
        raise KerasxaiError(f"expected one label for each of {count} samples, got shape {table.shape}")
    if not (table >= 0).any():
        raise KerasxaiError("expected a label of 0 or more, got labels that leave out every sample")
    lookup = tf.constant(table)
    samples = samples.map(lambda sample: {**sample, key: tf.gather(lookup, sample["index"])})
    return samples.filter(lambda sample: tf.reduce_any(sample[key] >= 0))

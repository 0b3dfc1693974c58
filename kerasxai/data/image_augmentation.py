"""Augmentation of single training images: random resized crops, mirroring and color jitter.

Keras' preprocessing layers (`RandomFlip`, `RandomColorJitter`, `RandAugment`) draw from a state of their own, which
parallel reading advances in any order and a continued run cannot restore. Everything here is a function of an image
and a seed.
"""

import math
from dataclasses import dataclass

import tensorflow as tf

from kerasxai.engine.images.fit import cut, input_region, padding_of
from kerasxai.tools.settings import POSITIVE_SHARE, Limits, check_settings, setting

_GROUP = "augmentation"
_JITTER = Limits(least=0, below=1)
_RATIO = 4 / 3
_DRAWS = 9


@dataclass(frozen=True)
class ImageAugmentation:
    """Random resized crops, mirroring and color jitter of training images.

    The crop of Szegedy et al. (2015, arXiv:1409.4842), as in torchvision's `RandomResizedCrop`: a rectangle whose share
    of the area is drawn uniformly from `[min_area, 1]`, and its aspect ratio from 3/4 to 4/3 of that of the input. It
    is cut from the image at a finer resolution and resized with antialiasing. A rectangle that is too long is clipped
    at the border, where torchvision draws again.

    Attributes:
        min_area: The smallest share of the area of a crop; 1 crops nothing.
        flip: Whether to mirror left and right with probability 1/2.
        brightness: The factor of all values is drawn from `[1 - brightness, 1 + brightness]`.
        contrast: The same for the distance from the mean of each channel.
        saturation: The same for the saturation in HSV.
        hue: The largest shift of the hue, as a share of the color circle, in [0, 0.5].

    Raises:
        KerasxaiError: A number is out of range.

    Example:
        >>> augmentation = ImageAugmentation(min_area=0.5, brightness=0.2)
        >>> augmentation(np.zeros((60, 80, 3), np.uint8), [1, 2], (32, 32)).shape
        TensorShape([32, 32, 3])
    """

    min_area: float = setting("smallest share of the area of a crop", _GROUP, 1.0, limits=POSITIVE_SHARE)
    flip: bool = True
    brightness: float = setting("largest relative change of the brightness", _GROUP, 0.0, limits=_JITTER)
    contrast: float = setting("largest relative change of the contrast", _GROUP, 0.0, limits=_JITTER)
    saturation: float = setting("largest relative change of the saturation", _GROUP, 0.0, limits=_JITTER)
    hue: float = setting("largest shift of the hue", _GROUP, 0.0, limits=Limits(least=0, most=0.5))

    def __post_init__(self) -> None:
        check_settings(self)

    def __call__(
        self, image: tf.Tensor, seed: tf.Tensor, image_size: tuple[int, int], fit: str = "stretch"
    ) -> tf.Tensor:
        """Augment one image.

        Args:
            image: `(h, w, 3)` RGB in [0, 255], of any size.
            seed: `(2,)` integers; the same seed gives the same result.
            image_size: Height and width of the result.
            fit: How the whole image would be fitted to the input: `"stretch"`, `"crop"` or `"pad"`. Crops are shares of
                the fitted image; under `"crop"` they may lie anywhere in the image.

        Returns:
            `(*image_size, 3)` float32 in [0, 255].
        """
        draws = tf.random.stateless_uniform((_DRAWS,), tf.cast(seed, tf.int64))
        image = self._cropped(tf.convert_to_tensor(image), draws[:4], image_size, fit)
        if self.flip:
            image = tf.where(draws[4] < 0.5, image[:, ::-1], image)
        return self._jittered(image, draws[5:])

    def _cropped(self, image: tf.Tensor, draws: tf.Tensor, size: tuple[int, int], fit: str) -> tf.Tensor:
        shape = tf.shape(image)[:2]
        whole = input_region(shape, size, fit)
        area = self.min_area + (1 - self.min_area) * draws[0]
        # No distortion without a crop.
        stretch = tf.exp((2 * draws[1] - 1) * math.log(_RATIO)) if self.min_area < 1 else tf.ones(())
        lengths = []
        for length, factor in ((whole.height, 1 / stretch), (whole.width, stretch)):
            side = tf.cast(tf.round(tf.cast(length, tf.float32) * tf.sqrt(area * factor)), tf.int32)
            lengths.append(tf.clip_by_value(side, 1, length))
        starts = [
            _start(start, length, side, extent, draw)
            for start, length, side, extent, draw in zip(
                whole[:2], whole[2:], lengths, tf.unstack(shape), tf.unstack(draws[2:]), strict=True
            )
        ]
        crop = cut(image, type(whole)(*starts, *lengths), padding_of(3))
        return tf.image.resize(crop, size, method="bilinear", antialias=True)

    def _jittered(self, image: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        if not (self.brightness or self.contrast or self.saturation or self.hue):
            return image
        signed = 2 * draws - 1
        image = image / 255.0
        if self.brightness:
            image = tf.clip_by_value(image * (1 + self.brightness * signed[0]), 0.0, 1.0)
        if self.contrast:
            image = tf.clip_by_value(tf.image.adjust_contrast(image, 1 + self.contrast * signed[1]), 0.0, 1.0)
        if self.saturation:
            image = tf.image.adjust_saturation(image, 1 + self.saturation * signed[2])
        if self.hue:
            image = tf.image.adjust_hue(image, self.hue * signed[3])
        return tf.clip_by_value(255.0 * image, 0.0, 255.0)


def _start(start: tf.Tensor, length: tf.Tensor, side: tf.Tensor, extent: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
    """Draw where a crop begins on one axis: in the fitted image, or anywhere in the image where that is larger.

    In padding the middle of the crop still lies in the image, so that no crop shows padding alone.
    """
    first = tf.maximum(tf.minimum(start, 0), -(side // 2))
    last = tf.minimum(tf.maximum(start + length, extent) - side, extent - side // 2)
    span = tf.cast(tf.maximum(last - first, 0) + 1, tf.float32)
    return first + tf.minimum(tf.cast(draw * span, tf.int32), tf.maximum(last - first, 0))


AUGMENTATIONS: dict[str, ImageAugmentation | None] = {
    "none": None,
    "flip": ImageAugmentation(),
    "light": ImageAugmentation(min_area=0.35, brightness=0.3, contrast=0.3, saturation=0.3),
    "strong": ImageAugmentation(min_area=0.15, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.05),
}
"""Augmentations of training images by name."""


def stored_pixels(augmentation: ImageAugmentation, image_size: tuple[int, int]) -> int:
    """Return the number of pixels of an image of which the smallest crop has as many as the input."""
    return math.ceil(image_size[0] * image_size[1] / augmentation.min_area)


def shrunk(image: tf.Tensor, most_pixels: int) -> tf.Tensor:
    """Return an image with at most so many pixels, its proportions kept; smaller images are unchanged.

    Args:
        image: `(h, w, 3)` uint8.
        most_pixels: Number of pixels.
    """
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    factor = tf.minimum(tf.sqrt(most_pixels / tf.reduce_prod(size)), 1.0)
    smaller = tf.maximum(tf.cast(tf.floor(size * factor), tf.int32), 1)

    def resized() -> tf.Tensor:
        found = tf.image.resize(image, smaller, method="bilinear", antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(found), 0.0, 255.0), tf.uint8)

    return tf.cond(factor < 1.0, resized, lambda: image)

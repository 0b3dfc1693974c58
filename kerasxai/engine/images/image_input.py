"""The images that a model takes: size, channels, data format and value range; and the conversion to these."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.engine.images.fit import checked_fit, fit_image, unfit_map
from kerasxai.engine.layers import input_names, input_specs, walk
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.input_range import RANGES, Preprocess, preprocessed, preprocessing

CHANNELS = (1, 3, 4)
_DEFAULT_SIDE = 224
# The weights of red, green and blue in Pillow's conversion to gray (ITU-R 601-2).
_LUMA = (0.299, 0.587, 0.114)

Size = int | tuple[int, int]
"""Side of a square, or height and width."""


@dataclass(frozen=True)
class ImageInput:
    """The images that a model takes.

    Attributes:
        size: Height and width.
        channels: 1 for gray, 3 for RGB, 4 for RGBA.
        channels_first: Whether batches are `(N, C, H, W)`.
        preprocess: Converts images `(N, H, W, C)` in [0, 255] to the range of the model.
        fit: How images of another aspect ratio are fitted: `"stretch"`, `"crop"` or `"pad"`.
    """

    size: tuple[int, int]
    channels: int = 3
    channels_first: bool = False
    preprocess: Preprocess = RANGES["0,255"]
    fit: str = "stretch"

    def batch(self, images: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Returns images `(h, w, 1 | 3 | 4)` in [0, 255], of any sizes, as one batch that the model takes."""
        return self.taken(np.stack([self.resized(image) for image in images]))

    def resized(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Returns an image `(h, w, 1 | 3 | 4)` as `(H, W, channels)`, still in [0, 255]."""
        return np.asarray(fit_image(self.colored(image), self.size, self.fit))

    def restored(self, heatmap: NDArray[np.floating], image_size: tuple[int, int]) -> NDArray[np.float32]:
        """Returns a heatmap `(H, W)` of the model's input as one of the original image, `image_size` height and width.

        What a crop cut off has the value 0.
        """
        if heatmap.shape != self.size:
            heatmap = tf.image.resize(heatmap[..., None], self.size, antialias=True)[..., 0].numpy()
        return unfit_map(heatmap, image_size, self.fit)

    def taken(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Returns a batch `(N, H, W, 1 | 3 | 4)` in [0, 255] as the model takes it."""
        made = preprocessed(
            self.preprocess, images if images.shape[-1] == self.channels else np.asarray(self.colored(images))
        )
        return np.ascontiguousarray(np.moveaxis(made, -1, 1)) if self.channels_first else made

    def colored(self, images: tf.Tensor | NDArray[Any]) -> tf.Tensor:
        """Returns images `(..., 1 | 3 | 4)` in [0, 255] with as many channels as the model takes.

        Gray is the luma of RGB; a new alpha channel is 255; an alpha channel that the model does not take is dropped.
        """
        images = tf.convert_to_tensor(images)
        channels = images.shape[-1]
        if channels not in CHANNELS:
            raise KerasxaiError(f"expected images of 1, 3 or 4 channels, got {channels}")
        if channels == self.channels:
            return images
        color = images[..., :3] if channels == 4 else images
        if self.channels == 1 and channels > 1:
            return tf.cast(tf.round(tf.tensordot(tf.cast(color, tf.float32), _LUMA, 1)), images.dtype)[..., None]
        if self.channels > 1 and channels == 1:
            color = tf.repeat(color, 3, axis=-1)
        if self.channels == 4:
            color = tf.concat([color, 255 * tf.ones_like(color[..., :1])], -1)
        return color


def image_input(
    model: keras.Model,
    size: Size | None = None,
    preprocess: str | Preprocess | None = None,
    fit: str | None = None,
) -> ImageInput:
    """Returns the images that a model takes, read from its input spec and layers.

    Args:
        model: Any Keras model.
        size: Side of the square, or height and width, for a model that takes any; must equal a fixed size. None takes
            the size that a subclassed model was built with, else 224.
        preprocess: The conversion of pixels in [0, 255]; see `kerasxai.tools.input_range.preprocessing`.
        fit: How images of another aspect ratio are fitted; None as the model was trained, which models from
            `build_classifier` know, else `"stretch"`.

    Raises:
        KerasxaiError: The model takes no single image of 1, 3 or 4 channels, or not of this size.

    Example:
        >>> image_input(keras.Sequential([keras.Input((48, 64, 1)), keras.layers.Flatten()])).size
        (48, 64)
    """
    function = preprocessing(preprocess)
    shape, is_fixed = _input_shape(model)
    if shape is None:
        shape = (None, None, 3)
    first = takes_channels_first(model, (None, *shape))
    height, width, channels = (*shape[1:], shape[0]) if first else shape
    if channels is not None and channels not in CHANNELS:
        raise KerasxaiError(
            f"expected a model that takes images of 1, 3 or 4 channels, got one that takes (H, W, C) = {_form(shape)}"
        )
    given = _size((height, width), size, is_fixed)
    return ImageInput(given, channels or 3, first, function, checked_fit(fit or _trained_fit(model)))


def _trained_fit(model: keras.Model) -> str:
    """Returns the fit that a model was saved with, `"stretch"` for others."""
    found = (getattr(layer, "input_fit", None) for layer in reversed(getattr(model, "layers", [])))
    return next((fit for fit in found if isinstance(fit, str)), "stretch")


def image_side(model: keras.Model, size: Size | None) -> tuple[int, int]:
    """Returns the height and width that a model takes; see `image_input`."""
    return image_input(model, size).size


def takes_channels_first(model: object, shape: tuple[int | None, ...]) -> bool:
    """Returns whether a model works with channels first and inputs of a shape are `(N, C, *spatial)`."""
    if len(shape) < 3 or shape[1] not in CHANNELS or shape[-1] in CHANNELS:
        return False
    return any(_is_channels_first(layer) for _, layer in walk(model))


def _is_channels_first(layer: keras.Layer) -> bool:
    # Models converted from other frameworks permute their images first and then work with channels last.
    permutes = isinstance(layer, keras.layers.Permute) and tuple(layer.dims) == (2, 3, 1)
    return permutes or getattr(layer, "data_format", None) == "channels_first"


def _input_shape(model: keras.Model) -> tuple[tuple[int | None, ...] | None, bool]:
    """Returns the shape of one image, or None if the model has none, and whether images must have it."""
    specs = input_specs(model)
    if specs is None:
        config: dict[str, Any] = (model.get_build_config() if hasattr(model, "get_build_config") else None) or {}
        built = config.get("input_shape")
        # A subclassed model remembers the shape of its first call, and may take others.
        return (tuple(built[1:]) if isinstance(built, (list, tuple)) and len(built) == 4 else None), False
    if not isinstance(specs, tf.TensorSpec):
        inputs = ", ".join(input_names(model)) or f"{len(tf.nest.flatten(specs))} inputs"
        raise KerasxaiError(
            f"expected a model that takes images alone, got one of several inputs ({inputs}); use "
            "kerasxai.Explainer in Python with image_input="
        )
    if specs.shape.rank != 4:
        raise KerasxaiError(
            f"expected a model that takes images (H, W, C), got one that takes {_form(specs.shape[1:])}"
        )
    return tuple(specs.shape[1:]), True


def _size(known: tuple[int | None, int | None], given: Size | None, is_fixed: bool) -> tuple[int, int]:
    if given is None:
        default = next((side for side in known if side is not None), _DEFAULT_SIDE)
        return known[0] or default, known[1] or default
    height, width = (given, given) if isinstance(given, int) else given
    if is_fixed and any(side not in (None, new) for side, new in zip(known, (height, width), strict=True)):
        raise KerasxaiError(
            f"image_size must be that of the model, which takes images of {_form(known)} pixels (height x width), got "
            f"{height} x {width}; omit the image size"
        )
    return height, width


def _form(shape: Iterable[int | None]) -> str:
    return " x ".join("any" if side is None else str(side) for side in shape)

"""What a model takes for an image: size, channels and their place, range; and images made so."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.engine.layers import input_names, input_specs, walk
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.input_range import RANGES, Preprocess, preprocessed, preprocessing

CHANNELS = (1, 3, 4)
_DEFAULT_SIDE = 224
# What Pillow's conversion to grey weighs red, green and blue with (ITU-R 601-2).
_LUMA = (0.299, 0.587, 0.114)

Size = int | tuple[int, int]


@dataclass(frozen=True)
class ImageInput:
    """What a model takes for an image.

    Attributes:
        size: Height and width.
        channels: 1 for grey, 3 for RGB, 4 for RGBA.
        channels_first: Whether batches are `(N, C, H, W)`.
        preprocess: Makes what the model takes of images `(N, H, W, C)` in [0, 255].
    """

    size: tuple[int, int]
    channels: int = 3
    channels_first: bool = False
    preprocess: Preprocess = RANGES["0,255"]

    def batch(self, images: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Returns images `(h, w, 1 | 3 | 4)` in [0, 255], of any sizes, as one batch that the model takes."""
        return self.taken(np.stack([self.resized(image) for image in images]))

    def resized(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Returns an image `(h, w, 1 | 3 | 4)` as `(H, W, channels)`, still in [0, 255]."""
        return np.asarray(tf.image.resize(self.colored(image), self.size, antialias=True))

    def taken(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Returns a batch `(N, H, W, 1 | 3 | 4)` in [0, 255] as the model takes it."""
        made = preprocessed(self.preprocess, np.asarray(self.colored(images)))
        return np.ascontiguousarray(np.moveaxis(made, -1, 1)) if self.channels_first else made

    def colored(self, images: Any) -> Any:
        """Returns images `(..., 1 | 3 | 4)` in [0, 255] with as many channels as the model takes, a tensor.

        Grey is the luma of RGB; a new alpha channel is 255; an alpha channel that the model does not take is left out.
        """
        images = tf.convert_to_tensor(images)
        have = images.shape[-1]
        if have not in CHANNELS:
            raise KerasxaiError(f"expected images of 1, 3 or 4 channels, got {have}")
        if have == self.channels:
            return images
        color = images[..., :3] if have == 4 else images
        if self.channels == 1 and have > 1:
            return tf.cast(tf.round(tf.tensordot(tf.cast(color, tf.float32), _LUMA, 1)), images.dtype)[..., None]
        if self.channels > 1 and have == 1:
            color = tf.repeat(color, 3, axis=-1)
        if self.channels == 4:
            color = tf.concat([color, 255 * tf.ones_like(color[..., :1])], -1)
        return color


def image_input(model: Any, size: Size | None = None, preprocess: str | Preprocess | None = None) -> ImageInput:
    """Reads off a model what it takes for an image.

    Args:
        model: Any Keras model.
        size: Side of the square, or height and width, for a model that takes any; it must agree with one of fixed size.
            None: what a subclassed model was built with, else 224.
        preprocess: What becomes of pixels in [0, 255]; see `kerasxai.tools.input_range.preprocessing`.

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
    return ImageInput(given, channels or 3, first, function)


def image_side(model: Any, size: Size | None) -> tuple[int, int]:
    """Returns the height and width that a model takes; see `image_input`."""
    return image_input(model, size).size


def takes_channels_first(model: Any, shape: tuple[int | None, ...]) -> bool:
    """Tells whether inputs of a shape `(N, ...)` are `(N, C, *sides)`, for a model that works with channels first."""
    if len(shape) < 3 or shape[1] not in CHANNELS or shape[-1] in CHANNELS:
        return False
    return any(_is_turned(layer) for _, layer in walk(model))


def _is_turned(layer: Any) -> bool:
    # Models that were converted from other frameworks turn their images with a layer of their own.
    turns = isinstance(layer, keras.layers.Permute) and tuple(layer.dims) == (2, 3, 1)
    return turns or getattr(layer, "data_format", None) == "channels_first"


def _input_shape(model: Any) -> tuple[tuple[int | None, ...] | None, bool]:
    """Returns the shape of one image, or None where the model does not say it, and whether it must be of that shape."""
    specs = input_specs(model)
    if specs is None:
        config: dict[str, Any] = (model.get_build_config() if hasattr(model, "get_build_config") else None) or {}
        built = config.get("input_shape")
        # A subclassed model keeps the shape that it was first called with, and may take others.
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
        usual = next((side for side in known if side is not None), _DEFAULT_SIDE)
        return known[0] or usual, known[1] or usual
    height, width = (given, given) if isinstance(given, int) else given
    if is_fixed and any(side not in (None, want) for side, want in zip(known, (height, width), strict=True)):
        raise KerasxaiError(
            f"the model takes images of {_form(known)} pixels (height x width), got {height} x {width}; leave the "
            "image size out"
        )
    return height, width


def _form(shape: Any) -> str:
    return " x ".join("any" if side is None else str(side) for side in shape)

"""What methods share that change the image and look at the score."""

import numbers
from typing import Any

import numpy as np
import tensorflow as tf

from kerasxai.engine.function_model import FunctionModel
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import choice

FILLS = ("black", "mean", "gray")


def explained_quantity(view: Any, explain: str | None, default: str = "logit") -> str:
    """Returns `"logit"` or `"probability"`: what the user asked for, or else what the method explains by default.

    A score of the user's own, and the outputs of a plain function, are explained as they are.

    Raises:
        KerasxaiError: Another name, or a wish beside a score of one's own.
    """
    if explain is None:
        return "logit" if view.score is not None or isinstance(view, FunctionModel) else default
    if view.score is not None:
        raise KerasxaiError("explain= chooses between logit and probability and means nothing beside score=")
    return choice("explain", explain, ("logit", "probability"))


def seen_through(masks: Any, images: Any) -> Any:
    """Returns one image `(1, *sides, C)` times each of the masks `(n, *sides)`, `(n, *sides, C)`."""
    return _as_images(_laid_over(masks, images) * tf.reshape(images, (1, -1)), images)


def seen_where(seen: Any, images: Any, hidden: Any) -> Any:
    """Returns one image `(1, *sides, C)` where it is seen, for each of `(n, *sides)` bool, and elsewhere `hidden`.

    Args:
        seen: `(n, *sides)`.
        images: `(1, *sides, C)`.
        hidden: Broadcasts to `(1, *sides, C)`.
    """
    pixels = (tf.reshape(x, (1, -1)) for x in (images, tf.broadcast_to(hidden, tf.shape(images))))
    return _as_images(tf.where(_laid_over(seen, images), *pixels), images)


def _laid_over(masks: Any, images: Any) -> Any:
    """Returns masks `(n, *sides)` as `(n, pixels * C)`; broadcast along more than one axis they took twice as long."""
    return tf.reshape(tf.repeat(masks, images.shape[-1], axis=-1), (tf.shape(masks)[0], -1))


def _as_images(flat: Any, images: Any) -> Any:
    open_sides = tf.shape(images)
    sides = [open_sides[axis] if side is None else side for axis, side in enumerate(images.shape)]
    return tf.reshape(flat, (-1, *sides[1:]))


def fill_values(fill: Any, images: np.ndarray, mean: np.ndarray | None = None) -> np.ndarray:
    """Returns what hidden pixels are filled with, `(B, 1, 1, C)` or `(B, H, W, C)` float32.

    Args:
        fill: `"black"` (0), `"mean"` (each image's mean color), `"gray"` (the middle between each image's smallest and
            largest value; nothing is guessed about the range of pixels), a number, or an array that broadcasts to
            `(H, W, C)`: a color `(C,)`, a picture `(H, W, C)`.
        images: `(B, H, W, C)`, or with one or three sides; tokens `(B, T)` are filled with a number.
        mean: What `"mean"` stands for where it is not the mean color of the image.

    Raises:
        KerasxaiError: Another name, or an array that does not fit.
    """
    if images.ndim == 2:
        return np.full((len(images), 1), _token(fill), np.float32)
    places = tuple(range(1, images.ndim - 1))
    color = (*[1] * len(places), images.shape[-1])
    if isinstance(fill, str):
        choice("fill", fill, FILLS)
        if fill == "mean":
            values = images.mean(places, keepdims=True, dtype=np.float64) if mean is None else mean
        else:
            axes = (*places, images.ndim - 1)
            ends = images.min(axes, keepdims=True) / 2 + images.max(axes, keepdims=True) / 2
            values = np.broadcast_to(ends * (fill == "gray"), (len(images), *color))
        return np.asarray(values, np.float32)
    try:
        values = np.asarray(fill, np.float32)
        shape = images.shape[1:] if values.ndim > 1 else color
        values = np.broadcast_to(values, (len(images), *shape))
    except (TypeError, ValueError):
        values = np.asarray(np.nan)
    if not np.isfinite(values).all():
        raise KerasxaiError(
            f"fill must be one of {', '.join(FILLS)}, a number, a color ({images.shape[-1]},) or a picture "
            f"{tuple(images.shape[1:])} of finite numbers"
        )
    return values


def _token(fill: Any) -> float:
    if fill == "black":
        return 0
    if isinstance(fill, numbers.Integral):
        return int(fill)
    raise KerasxaiError(f"fill must be the number of a token, which stands where tokens are hidden, not {fill!r}")

"""Masks and fill values, which all perturbation methods share."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import choice

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.score_model import ScoreModel

Fill: TypeAlias = "str | float | NDArray[Any] | Sequence[float]"
"""The fill of hidden pixels; see `fill_values`."""

FILLS = ("black", "mean", "gray")
SAMPLINGS = ("random", "paired")


def explained_quantity(model: ScoreModel, explain: str | None, default: str = "logit") -> str:
    """Returns `"logit"` or `"probability"`: the user's choice, or the default of the method.

    A custom score, and the outputs of a plain function, are explained unchanged.

    Raises:
        KerasxaiError: Another name, or a choice together with a custom score.
    """
    if explain is None:
        return default if model.score is None and model.has_graph else "logit"
    if model.score is not None:
        raise KerasxaiError(f"expected score= or explain=, got both ({explain!r}); omit explain=")
    return choice("value of explain", explain, ("logit", "probability"))


def masked_images(masks: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Returns one image `(1, *shape, C)` times each of the masks `(n, *shape)`, `(n, *shape, C)`."""
    return _as_images(_over_colors(masks, images) * tf.reshape(images, (1, -1)), images)


def scores_under(forward: Forward, batch: Samples, masks: tf.Tensor, explain: str) -> tf.Tensor:
    """Returns the scores `(n,)` of one image times each of the masks `(n, *shape)`."""
    return forward(batch.repeat(tf.shape(masks)[0], masked_images(masks, batch.images))).explained(explain)


def visible_images(visible: tf.Tensor, images: tf.Tensor, fill: tf.Tensor) -> tf.Tensor:
    """Returns one image with all but its visible pixels filled, once for each mask.

    Args:
        visible: `(n, *shape)` bool.
        images: `(1, *shape, C)`.
        fill: Broadcasts to `(1, *shape, C)`.
    """
    pixels = (tf.reshape(x, (1, -1)) for x in (images, tf.broadcast_to(fill, tf.shape(images))))
    return _as_images(tf.where(_over_colors(visible, images), *pixels), images)


def _over_colors(masks: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Returns masks `(n, *shape)` as `(n, pixels * C)`; broadcasting along more than one axis took twice as long."""
    return tf.reshape(tf.repeat(masks, images.shape[-1], axis=-1), (tf.shape(masks)[0], -1))


def _as_images(flat: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    dynamic = tf.shape(images)
    shape = [dynamic[axis] if side is None else side for axis, side in enumerate(images.shape)]
    return tf.reshape(flat, (-1, *shape[1:]))


def fill_values(fill: Fill, images: NDArray[Any], mean: NDArray[Any] | None = None) -> NDArray[np.float32]:
    """Returns the fill of hidden pixels, `(B, 1, 1, C)` or `(B, H, W, C)` float32.

    Args:
        fill: `"black"` (0), `"mean"` (each image's mean color), `"gray"` (the middle of each image's own range, since
            the range of pixels is unknown), a number, or an array that broadcasts to
            `(H, W, C)`: a color `(C,)`, a picture `(H, W, C)`.
        images: `(B, H, W, C)`, or with one or three axes; tokens `(B, T)` are filled with a number.
        mean: The fill for `"mean"`, by default the mean color of the image.

    Raises:
        KerasxaiError: Another name, or an array that does not fit.
    """
    if images.ndim == 2:
        return np.full((len(images), 1), _token(fill), np.float32)
    positions = tuple(range(1, images.ndim - 1))
    color = (*[1] * len(positions), images.shape[-1])
    if isinstance(fill, str):
        choice("fill", fill, FILLS)
        if fill == "mean":
            values = images.mean(positions, keepdims=True, dtype=np.float64) if mean is None else mean
        else:
            axes = (*positions, images.ndim - 1)
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
            f"{tuple(images.shape[1:])} of finite numbers, got {fill!r:.60}"
        )
    return values


def _token(fill: Fill) -> int:
    if fill == "black":
        return 0
    if isinstance(fill, numbers.Integral):
        return int(fill)
    raise KerasxaiError(f"fill must be the number of a token, got {fill!r:.60}")

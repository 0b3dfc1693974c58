"""Baselines in place of removed pixels, and the query that scores copies with some regions removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from kerasxai.methods.perturbation import fill_values, visible_images
from kerasxai.tools.options import choice

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward
    from kerasxai.engine.samples import Samples

FIXED_BASELINES = ("black", "mean", "blur")
BASELINES = (*FIXED_BASELINES, "inpainted")
"""Names of what replaces removed pixels.

`"black"`: 0 in the input range of the model, after `preprocess=` (so for `"imagenet"` the mean color). `"mean"`: the
mean color of the image. `"blur"`: the image under a Gaussian whose sigma is a twentieth of the shorter side (11 pixels
at 224), with repeated border pixels. `"inpainted"`: colors of the visible pixels, carried inward by push-pull
interpolation (Gortler et al. 1996); where nothing is visible, the mean color.
"""
BLUR_SIGMA = 1 / 20
"""The standard deviation of `"blur"` as a share of the shorter side."""


@dataclass(frozen=True)
class Fill:
    """What replaces removed pixels of a batch.

    Attributes:
        values: `(B, 1, 1, C)` or `(B, H, W, C)` float32.
        inpaint: Whether visible pixels are interpolated, and `values` are only for copies without any.
    """

    values: NDArray[np.float32]
    inpaint: bool = False

    @classmethod
    def of(cls, baseline: str, images: NDArray[Any]) -> Fill:
        """Return the fill of images `(B, H, W, C)` for the name of a baseline."""
        if baseline == "blur":
            return cls(np.stack([blurred(image) for image in images]))
        name = "mean" if baseline == "inpainted" else baseline
        return cls(fill_values(name, images), inpaint=baseline == "inpainted")


def checked_baseline(baseline: object, known: tuple[str, ...] = BASELINES) -> str:
    """Check the name of a baseline."""
    return choice("baseline", baseline, known)


def blurred(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return an image `(H, W, C)` under the Gaussian of `"blur"`."""
    sigma = BLUR_SIGMA * min(image.shape[:2])
    return gaussian_filter(np.asarray(image, np.float32), (sigma, sigma, 0), mode="nearest")


def copies_scores(
    forward: Forward,
    batch: Samples,
    regions: tf.Tensor,
    fill: tf.Tensor,
    visible: tf.Tensor,
    count: tf.Tensor,
    *,
    explain: str,
    inpaint: bool,
) -> dict[str, tf.Tensor]:
    """Query: the scores `(n,)` of copies of one image with only some regions visible.

    Args:
        forward: Runs the model.
        batch: One image `(1, H, W, C)`.
        regions: `(1, H, W)` int32, from 0 to d - 1.
        fill: See `Fill.values`, of this image.
        visible: `(n * d,)` bool, row by row.
        count: `(1,)` int32, n.
        explain: `"logit"` or `"probability"`.
        inpaint: See `Fill`.
    """
    rows = tf.reshape(visible, tf.stack((count[0], -1)))
    shown = tf.gather(rows, regions[0], axis=1)
    images = inpainted(shown, batch.images, fill) if inpaint else visible_images(shown, batch.images, fill)
    return {"copies": forward(batch.repeat(count[0], images)).explained(explain)}


def inpainted(visible: tf.Tensor, images: tf.Tensor, fill: tf.Tensor) -> tf.Tensor:
    """Return one image for each mask, its invisible pixels filled by push-pull interpolation.

    Push: colors are averaged over ever coarser cells of 2 x 2, each color weighted by how much of its cell is known.
    Pull: what is unknown of a cell comes from the coarser level, enlarged bilinearly.

    Args:
        visible: `(n, H, W)` bool.
        images: `(1, H, W, C)`.
        fill: `(1, 1, 1, C)`, the color where no pixel is visible.
    """
    weights = tf.cast(visible, tf.float32)[..., None]
    colors = weights * images
    levels = []
    while max(colors.shape[1:3]) > 1:
        levels.append((colors, weights))
        total = _summed(weights)
        colors = tf.math.divide_no_nan(_summed(colors * weights), total)
        weights = tf.minimum(total, 1.0)
    colors = weights * colors + (1 - weights) * fill
    for finer, known in reversed(levels):
        colors = known * finer + (1 - known) * tf.image.resize(colors, finer.shape[1:3])
    # Known pixels stay the same to the bit.
    return tf.where(visible[..., None], images, colors)


def _summed(values: tf.Tensor) -> tf.Tensor:
    """Return sums over cells of 2 x 2; a last odd row or column makes cells of its own."""
    height, width = values.shape[1:3]
    even = tf.pad(values, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    return 4 * tf.nn.avg_pool2d(even, 2, 2, "VALID")

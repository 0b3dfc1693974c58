"""Integrated gradients: the share of each pixel in the rise of the score from a baseline image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from kerasxai.engine.images.integer_images import check_takes_floats, resolve_floats
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import choice, whole

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.traced_model import TracedModel

Baseline: TypeAlias = "str | float | NDArray[Any]"
"""See `integrated_gradients`."""

BASELINES = ("black", "mean", "blurred", "random")
QUADRATURES = ("trapezoid", "gauss_legendre")


def mean_gradients(
    forward: Forward, batch: Samples, baselines: tf.Tensor, fractions: tf.Tensor, weights: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Query: the weighted sum of the gradients `(B, H, W, C)` at fractions `(n,)` of the path to the images."""
    images = batch.images
    count, shape = tf.shape(fractions)[0], tf.shape(images)
    fractions = tf.reshape(fractions, [-1] + [1] * images.shape.rank)
    path = baselines + fractions * (images - baselines)
    fp = forward(batch.tile(count, tf.reshape(path, (-1, *images.shape[1:]))), as_floats=True)
    gradients = tf.reshape(fp.gradient(fp.images), tf.concat([[count], shape], 0))
    return {"gradients": tf.tensordot(weights, gradients, 1)}


def quadrature_points(quadrature: str, steps: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns `steps` points of [0, 1] and their weights, which add up to 1, both float32.

    Args:
        quadrature: `"trapezoid"`, evenly spaced with both ends, or `"gauss_legendre"`, without them.
        steps: How many, 2 or more.
    """
    if quadrature == "trapezoid":
        points = np.linspace(0, 1, steps)
        weights = np.full(steps, 1 / (steps - 1))
        weights[[0, -1]] /= 2
    else:
        points, weights = (values / 2 for values in np.polynomial.legendre.leggauss(steps))
        points = points + 0.5
    return points.astype(np.float32), weights.astype(np.float32)


def baseline_images(
    baseline: Baseline, images: NDArray[Any], indices: NDArray[np.int64] | None, seed: int
) -> NDArray[np.float32]:
    """Returns the baseline of each image, `(B, H, W, C)` float32.

    Args:
        baseline: See `integrated_gradients`.
        images: `(B, H, W, C)`.
        indices: `(B,)`, which images of the call these are, for a baseline with one picture for each; None for all.
        seed: For `"random"`.

    Raises:
        KerasxaiError: Another name, or an array that does not fit.
    """
    if isinstance(baseline, str):
        choice("baseline", baseline, BASELINES)
        if baseline == "blurred":
            shape = images.shape[1:-1]
            return gaussian_filter(images, (0, *[min(shape) / 10] * len(shape), 0))
        low, high = (end(tuple(range(1, images.ndim)), keepdims=True) for end in (images.min, images.max))
        values = {
            "black": np.zeros(1),
            "mean": images.mean(tuple(range(1, images.ndim - 1)), keepdims=True, dtype=np.float64),
            "random": low + (high - low) * np.random.default_rng(seed).uniform(size=images.shape[1:]),
        }[baseline]
    else:
        values = np.asarray(baseline)
        values = values[indices] if values.ndim == images.ndim and indices is not None else values
    try:
        return np.broadcast_to(values.astype(np.float32), images.shape)
    except ValueError:
        raise KerasxaiError(
            f"baseline must be one of {', '.join(BASELINES)}, a number, a color ({images.shape[-1]},), a picture "
            f"{images.shape[1:]}, or such a picture for each image, got an array of shape {np.shape(baseline)}"
        ) from None


def integrated_gradients(
    model: TracedModel,
    batch: Samples,
    *,
    baseline: Baseline = "black",
    steps: int = 50,
    quadrature: str = "trapezoid",
    seed: int = 0,
) -> tf.Tensor:
    """Integrated gradients: `sum over colors of (x - x0) * mean over alpha of dS/dx at x0 + alpha (x - x0)`, signed.

    The maps add up to `S(x) - S(x0)`, except for the error of a finite number of steps, which is in the notes.

    Args:
        baseline: `x0`: `"black"` (all 0), `"mean"` (each image's mean color), `"blurred"` (a Gaussian of a tenth of the
            shorter side), `"random"` (evenly distributed over each image's range), a number, or an array: a color
            `(C,)`, a picture `(H, W, C)`, a picture for each image `(N, H, W, C)`.
        steps: How many gradients are taken, 2 or more.
        quadrature: The positions on the path: `"trapezoid"`, or `"gauss_legendre"`, which needs fewer steps for a
            smooth model.
        seed: Of the random baseline, which is the same for all images except for their range.

    Returns:
        Maps `(B, H, W)` float32, signed. The notes keep `completeness_error` `(B,)`, `sum(map) - (S(x) - S(x0))`, and
        `baseline_scores` `(B,)`, `S(x0)`.

    Raises:
        KerasxaiError: An option out of range.

    Example:
        >>> explain = kerasxai.Explainer(model, "integrated_gradients", baseline="blurred", steps=100)
        >>> explain(images).notes["completeness_error"]

    Paper: Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks", arXiv:1703.01365, which sums at the
    right ends of the steps; both quadratures here are more exact.
    """
    choice("quadrature", quadrature, QUADRATURES)
    points, weights = quadrature_points(quadrature, whole("steps", steps, 2))
    baselines = tf.constant(baseline_images(baseline, batch.images.numpy(), batch.indices, whole("seed", seed, 0)))
    check_takes_floats(model, batch)
    clean = resolve_floats(model, batch)
    batch = batch.with_targets(clean.targets)
    starts = resolve_floats(model, batch.with_images(baselines)).scores
    images_per_pass = max(1, model.effective_batch_size // len(batch))
    total = tf.zeros_like(batch.images)
    for part in model.chunks(steps, len(batch), images_per_pass):
        total += model.evaluate(mean_gradients, batch, baselines, points[part], weights[part]).gradients
    maps = tf.reduce_sum((batch.images - baselines) * total, -1)
    model.record(
        completeness_error=tf.reduce_sum(maps, range(1, maps.shape.rank)) - (clean.scores - starts),
        baseline_scores=starts,
    )
    return maps

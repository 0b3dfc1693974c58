"""Integrated gradients: how the score's rise from a baseline image is shared among the pixels."""

from typing import Any

import numpy as np
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from kerasxai.engine.images.integer_images import check_behind_cast, resolved
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import choice, whole

BASELINES = ("black", "mean", "blurred", "random")
QUADRATURES = ("trapezoid", "gauss_legendre")


def mean_gradients(run: Any, images: Any, targets: Any, baselines: Any, fractions: Any, weights: Any) -> dict[str, Any]:
    """Asks for the weighted sum of the gradients `(B, H, W, C)` at some fractions `(n,)` of the way to the images."""
    count, shape = tf.shape(fractions)[0], tf.shape(images)
    fractions = tf.reshape(fractions, [-1] + [1] * images.shape.rank)
    on_the_way = baselines + fractions * (images - baselines)
    seen = run(tf.reshape(on_the_way, (-1, *images.shape[1:])), tf.tile(targets, [count]), behind_cast=True)
    gradients = tf.reshape(seen.gradient(seen.images), tf.concat([[count], shape], 0))
    return {"gradients": tf.tensordot(weights, gradients, 1)}


def quadrature_points(quadrature: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
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


def baseline_images(baseline: Any, images: np.ndarray, rows: Any, seed: int) -> np.ndarray:
    """Returns the images that integrated gradients start from, `(B, H, W, C)` float32.

    Args:
        baseline: See `integrated_gradients`.
        images: `(B, H, W, C)`.
        rows: Which of all the call's images these are, for a baseline that has a picture for each.
        seed: For `"random"`.

    Raises:
        KerasxaiError: Another name, or an array that does not fit.
    """
    if isinstance(baseline, str):
        choice("baseline", baseline, BASELINES)
        if baseline == "blurred":
            sides = images.shape[1:-1]
            return gaussian_filter(images, (0, *[min(sides) / 10] * len(sides), 0))
        low, high = (end(tuple(range(1, images.ndim)), keepdims=True) for end in (images.min, images.max))
        values = {
            "black": np.zeros(1),
            "mean": images.mean(tuple(range(1, images.ndim - 1)), keepdims=True, dtype=np.float64),
            "random": low + (high - low) * np.random.default_rng(seed).uniform(size=images.shape[1:]),
        }[baseline]
    else:
        values = np.asarray(baseline)
        values = values[rows] if values.ndim == images.ndim else values
    try:
        return np.broadcast_to(values.astype(np.float32), images.shape)
    except ValueError:
        raise KerasxaiError(
            f"baseline must be one of {', '.join(BASELINES)}, a number, a color ({images.shape[-1]},), a picture "
            f"{images.shape[1:]}, or such a picture for each image, not an array of shape {np.shape(baseline)}"
        ) from None


def integrated_gradients(
    view: Any,
    images: Any,
    targets: Any,
    *,
    baseline: Any = "black",
    steps: int = 50,
    quadrature: str = "trapezoid",
    seed: int = 0,
) -> Any:
    """Integrated gradients: `sum over colors of (x - x0) * mean over alpha of dS/dx at x0 + alpha (x - x0)`, signed.

    The maps add up to `S(x) - S(x0)`, but for the error of a finite number of steps, which the notes tell.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.
        baseline: `x0`: `"black"` (all 0), `"mean"` (each image's mean color), `"blurred"` (a Gaussian of a tenth of the
            shorter side), `"random"` (evenly distributed over each image's range), a number, or an array: a color
            `(C,)`, a picture `(H, W, C)`, a picture for each image `(N, H, W, C)`.
        steps: How many gradients are taken, 2 or more.
        quadrature: Where on the way: `"trapezoid"` or `"gauss_legendre"`, which needs fewer steps where the model is
            smooth.
        seed: For the random baseline, which is the same for all images but for their range.

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
    baselines = tf.constant(baseline_images(baseline, images.numpy(), view.rows, whole("seed", seed, 0)))
    check_behind_cast(view, images, targets)
    clean = resolved(view, images, targets)
    starts = resolved(view, baselines, clean.targets).scores
    together = max(1, view.effective_batch_size // len(images))
    total = tf.zeros_like(images)
    for part in view.chunks(steps, len(images), together):
        asked = (images, clean.targets, baselines, points[part], weights[part])
        total += view.evaluate(mean_gradients, *asked).gradients
    maps = tf.reduce_sum((images - baselines) * total, -1)
    view.note(
        completeness_error=tf.reduce_sum(maps, range(1, maps.shape.rank)) - (clean.scores - starts),
        baseline_scores=starts,
    )
    return maps

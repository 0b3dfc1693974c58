"""LIME: a linear model of the score, fitted to which superpixels are visible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.metrics import pairwise_distances

from kerasxai.methods.perturbation import Fill, explained_quantity, fill_values
from kerasxai.methods.superpixels import Segmentation, mean_colors, partial_scores, superpixels_of, top_superpixels
from kerasxai.tools.options import real, whole

if TYPE_CHECKING:
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.score_model import ScoreModel


def lime(
    model: ScoreModel,
    batch: Samples,
    *,
    samples: int = 1000,
    segmentation: Segmentation = "slic",
    segments: int = 50,
    fill: Fill = "mean",
    kernel_width: float = 0.25,
    alpha: float = 1.0,
    top: int = 5,
    seed: int = 0,
    explain: str | None = None,
) -> tf.Tensor:
    """LIME: the weights of a ridge regression of the score on the visible superpixels, signed.

    Each superpixel is visible with probability 1/2 in each sample; in the first sample all are. A sample z counts
    `sqrt(exp(-d^2 / kernel_width^2))`, where d is the cosine distance of z to the vector of ones.

    Args:
        samples: How many perturbed versions of each image are scored, 2 or more.
        segmentation: `"slic"`, `"quickshift"`, or labels `(H, W)` for all images or `(N, H, W)` for each of the call.
        segments: The approximate number of superpixels of SLIC; unused by quickshift and labels.
        fill: The pixels of a hidden superpixel: `"mean"` (its mean color), `"black"`, `"gray"`, a number, a color
            `(C,)` or a picture `(H, W, C)`.
        kernel_width: How fast samples lose weight with their distance.
        alpha: Strength of the ridge.
        top: How many superpixels the mask in the notes holds at most.
        seed: Sample i of d superpixels is the same for the same seed, in every batch.
        explain: `"logit"` for the score, see `Explainer`; None takes the probability of the class, as the paper, or a
            custom score, or what a plain function returns.

    Returns:
        Maps `(B, H, W)` at image size, float32, signed: each pixel has the weight of its superpixel. The notes keep
        `superpixels` `(B, H, W)`, `superpixel_weights` (a list of `(d,)`), `intercept` `(B,)`, `r2` `(B,)` of the fit
        under the samples' weights, and `top_mask` `(B, H, W)`, the largest positive weights.

    Raises:
        KerasxaiError: An option out of range, or labels that do not fit.

    Example:
        >>> explanation = kerasxai.Explainer(model, "lime", samples=500, segments=80)(images)
        >>> explanation.notes["r2"], explanation.notes["top_mask"].shape
        (array([0.71, 0.64]), (2, 224, 224))

    Paper: Ribeiro et al. 2016, "Why Should I Trust You?", arXiv:1602.04938; kernel, ridge and hidden superpixels as in
    the authors' `lime` package, which cuts by quickshift; SLIC is the default here because it is ten times faster and
    its number of superpixels can be chosen.
    """
    explain = explained_quantity(model, explain, "probability")
    samples, top, seed = whole("samples", samples, 2), whole("top", top, 1), whole("seed", seed, 0)
    kernel_width, alpha = real("kernel_width", kernel_width, 0), real("alpha", alpha, 0)
    pixels = batch.images.numpy()
    batch = batch.with_targets(model.resolve(batch, explain).targets)
    regions = superpixels_of(model, batch, segmentation, segments)
    fits = []
    for b, region in enumerate(regions):
        one = slice(b, b + 1)
        fills = fill_values(fill, pixels[one], mean_colors(pixels[b], region)[None])
        coalitions = random_coalitions(samples, int(region.max()) + 1, seed)
        scores = partial_scores(model, batch.take(one), region, fills, coalitions, explain)
        fits.append(local_fit(coalitions, scores, kernel_width, alpha))
    weights, intercepts, r2 = zip(*fits, strict=True)
    model.record(
        superpixels=np.stack(regions),
        superpixel_weights=list(weights),
        intercept=np.array(intercepts),
        r2=np.array(r2),
        top_mask=np.stack([top_superpixels(w, region, top) for w, region in zip(weights, regions, strict=True)]),
    )
    maps = np.stack([w[region] for w, region in zip(weights, regions, strict=True)])
    return tf.convert_to_tensor(maps, tf.float32)


def random_coalitions(samples: int, count: int, seed: int) -> NDArray[np.int8]:
    """Returns `(samples, count)` int8, 1 for a visible superpixel; the first row is all ones."""
    coalitions = np.random.default_rng([seed, count]).integers(0, 2, (samples, count), np.int8)
    coalitions[0] = 1
    return coalitions


def local_fit(
    coalitions: NDArray[np.int8], scores: NDArray[np.float64], kernel_width: float, alpha: float
) -> tuple[NDArray[np.float64], float, float]:
    """Returns weights `(d,)`, intercept and R2 of LIME's weighted ridge of scores `(n,)` on coalitions `(n, d)`."""
    distances = pairwise_distances(coalitions, np.ones((1, coalitions.shape[1])), metric="cosine")[:, 0]
    importance = np.sqrt(np.exp(-(distances**2) / kernel_width**2))
    ridge = Ridge(alpha=alpha).fit(coalitions, scores, importance)
    return ridge.coef_, float(ridge.intercept_), float(ridge.score(coalitions, scores, importance))

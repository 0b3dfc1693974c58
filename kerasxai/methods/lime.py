"""LIME: a linear model of what the classifier does when superpixels are hidden."""

from typing import Any

import numpy as np
import tensorflow as tf
from sklearn.linear_model import Ridge
from sklearn.metrics import pairwise_distances

from kerasxai.methods.perturbation import explained_quantity, fill_values
from kerasxai.methods.superpixels import mean_colors, partial_scores, superpixels_of, top_superpixels
from kerasxai.tools.options import real, whole


def lime(
    view: Any,
    images: Any,
    targets: Any,
    *,
    samples: int = 1000,
    segmentation: Any = "slic",
    segments: int = 50,
    fill: Any = "mean",
    kernel_width: float = 0.25,
    alpha: float = 1.0,
    top: int = 5,
    seed: int = 0,
    explain: str | None = None,
) -> Any:
    """LIME: the weights of a ridge regression of the score on which superpixels are seen, signed.

    Each superpixel is seen with probability 1/2 in each sample, and in the first sample all are. A sample z counts
    `sqrt(exp(-d^2 / kernel_width^2))`, where d is the cosine distance of z to the vector of ones.

    Args:
        view: The model or function, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.
        samples: How many versions of each image are looked at, 2 or more.
        segmentation: `"slic"`, `"quickshift"`, or labels `(H, W)` for all images or `(N, H, W)` for each of the call.
        segments: About how many superpixels SLIC makes; nothing to quickshift or labels.
        fill: What is seen in a hidden superpixel: `"mean"` (its mean color), `"black"`, `"gray"`, a number, a color
            `(C,)` or a picture `(H, W, C)`.
        kernel_width: How fast samples lose weight with their distance.
        alpha: Strength of the ridge.
        top: How many superpixels the mask in the notes holds at most.
        seed: Sample i of d superpixels is the same for the same seed, in every batch.
        explain: `"logit"` or `"probability"` of the class; None takes the probability, as the paper, or the score that
            the user gave, or what a plain function returns.

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
    explain = explained_quantity(view, explain, "probability")
    samples, top, seed = whole("samples", samples, 2), whole("top", top, 1), whole("seed", seed, 0)
    kernel_width, alpha = real("kernel_width", kernel_width, 0), real("alpha", alpha, 0)
    pixels = images.numpy()
    clean = view.resolve(images, targets, explain)
    regions = superpixels_of(view, pixels, segmentation, segments)
    fits = []
    for b, region in enumerate(regions):
        one = slice(b, b + 1)
        hidden = fill_values(fill, pixels[one], mean_colors(pixels[b], region)[None])
        seen = random_coalitions(samples, int(region.max()) + 1, seed)
        scores = partial_scores(view, images[one], clean.targets[one], region, hidden, seen, explain)
        fits.append(local_fit(seen, scores, kernel_width, alpha))
    weights, intercepts, r2 = zip(*fits, strict=True)
    view.note(
        superpixels=np.stack(regions),
        superpixel_weights=list(weights),
        intercept=np.array(intercepts),
        r2=np.array(r2),
        top_mask=np.stack([top_superpixels(w, region, top) for w, region in zip(weights, regions, strict=True)]),
    )
    maps = np.stack([w[region] for w, region in zip(weights, regions, strict=True)])
    return tf.convert_to_tensor(maps, tf.float32)


def random_coalitions(samples: int, count: int, seed: int) -> np.ndarray:
    """Returns `(samples, count)` int8, 1 where a superpixel is seen; the first row is all ones."""
    seen = np.random.default_rng([seed, count]).integers(0, 2, (samples, count), np.int8)
    seen[0] = 1
    return seen


def local_fit(
    seen: np.ndarray, scores: np.ndarray, kernel_width: float, alpha: float
) -> tuple[np.ndarray, float, float]:
    """Returns weights `(d,)`, intercept and R2 of LIME's weighted ridge of scores `(n,)` on coalitions `(n, d)`."""
    distances = pairwise_distances(seen, np.ones((1, seen.shape[1])), metric="cosine")[:, 0]
    importance = np.sqrt(np.exp(-(distances**2) / kernel_width**2))
    ridge = Ridge(alpha=alpha).fit(seen, scores, importance)
    return ridge.coef_, float(ridge.intercept_), float(ridge.score(seen, scores, importance))

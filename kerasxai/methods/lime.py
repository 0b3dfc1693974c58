"""LIME: a linear model of the score, fitted to which superpixels are visible."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.methods.local_fits import CONTROL_VARIATES, LocalFit, controlled_fit, local_fit
from kerasxai.methods.orthogonal import orthogonal_coalitions
from kerasxai.methods.perturbation import SAMPLINGS, Fill, explained_quantity, fill_values
from kerasxai.methods.rounds import AUTO, Drawn, check_enough, precision_of
from kerasxai.methods.superpixels import (
    HiddenSuperpixels,
    Segmentation,
    mean_colors,
    superpixels_of,
    top_superpixels,
)
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import choice, real, whole

if TYPE_CHECKING:
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.score_model import ScoreModel

_ROUND = 100
_ORTHOGONAL = "orthogonal"


def lime(
    model: ScoreModel,
    batch: Samples,
    *,
    samples: int | str = 1000,
    segmentation: Segmentation = "slic",
    segments: int = 50,
    fill: Fill = "mean",
    kernel_width: float = 0.25,
    alpha: float = 1.0,
    top: int = 5,
    seed: int = 0,
    explain: str | None = None,
    until: float = 0.05,
    max_samples: int = 8000,
    sampling: str = "random",
    control_variate: str = "none",
) -> tf.Tensor:
    """LIME: the weights of a ridge regression of the score on the visible superpixels, signed.

    Each superpixel is visible with probability 1/2 in each sample; in the first sample all are. A sample z counts
    `sqrt(exp(-d^2 / kernel_width^2))`, where d is the cosine distance of z to the vector of ones.

    Args:
        samples: How many perturbed versions of each image are scored, 2 or more. `"auto"` draws rounds of 100, for each
            image by itself, until the map is as exact as `until` says.
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
        until: For `"auto"`: the standard error at which drawing stops, as a share of the range of the map. It is the
            root mean square over the pixels, from the covariance of the weights (`FittedSamples.covariance`).
        max_samples: For `"auto"`: the most samples, in whole rounds. A warning is logged if they do not suffice.
        sampling: `"random"`; or `"paired"`: after the first, each second sample is the complement of the one before; or
            `"orthogonal"`: in pairs, and within each block of samples, at least two for each superpixel, the visibility
            of one superpixel is uncorrelated with that of any other, so that fewer samples suffice
            (`kerasxai.methods.orthogonal`). All three estimate the same weights.
        control_variate: `"none"`, or `"logistic"`: a logistic regression predicts the scores from the visible
            superpixels, and the drawn samples only estimate the weights of what it leaves, so that fewer suffice. For
            probabilities only, and not with `"auto"`.

    Returns:
        Maps `(B, H, W)` at image size, float32, signed: each pixel has the weight of its superpixel. The notes keep
        `superpixels` `(B, H, W)`, `superpixel_weights` (a list of `(d,)`), `intercept` `(B,)`, `r2` `(B,)` of the fit
        under the samples' weights, and `top_mask` `(B, H, W)`, the largest positive weights; with `"auto"` also
        `samples_used` `(B,)` and `standard_error` `(B,)`, a share of the range. The map is that of so many samples.

    Raises:
        KerasxaiError: An option out of range, labels that do not fit, or a control variate for scores that are no
            probabilities.

    Example:
        >>> explanation = kerasxai.Explainer(model, "lime", samples=500, segments=80)(images)
        >>> explanation.notes["r2"], explanation.notes["top_mask"].shape
        (array([0.71, 0.64]), (2, 224, 224))

    Paper: Ribeiro et al. 2016, "Why Should I Trust You?", arXiv:1602.04938; kernel, ridge and hidden superpixels as in
    the authors' `lime` package, which cuts by quickshift; SLIC is the default here because it is ten times faster and
    its number of superpixels can be chosen. `"orthogonal"` draws from the designs of Plackett and Burman 1946, "The
    Design of Optimum Multifactorial Experiments", doi:10.1093/biomet/33.4.305, with the complement of each row.
    """
    explain = explained_quantity(model, explain, "probability")
    top, seed = whole("top", top, 1), whole("seed", seed, 0)
    kernel_width, alpha = real("kernel_width", kernel_width, 0), real("alpha", alpha, 0)
    choice("sampling", sampling, (*SAMPLINGS, _ORTHOGONAL))
    controlled = choice("control_variate", control_variate, CONTROL_VARIATES) != "none"
    if samples == AUTO and controlled:
        raise KerasxaiError(f"control_variate must be none with samples='auto', got {control_variate}")
    precision = precision_of("max_samples", until, max_samples, _ROUND, _ROUND)
    drawn = None if samples != AUTO else Drawn()
    most = precision.most if samples == AUTO else whole("samples", samples, 2)
    pixels = batch.images.numpy()
    batch = batch.with_targets(model.resolve(batch, explain).targets)
    regions = superpixels_of(model, batch, segmentation, segments)
    fit = LocalFit(kernel_width, alpha, 1 if sampling == "random" else 2)
    fitted = controlled_fit if controlled else local_fit
    fits = []
    for b, region in enumerate(regions):
        one, count = slice(b, b + 1), int(region.max()) + 1
        fills = fill_values(fill, pixels[one], mean_colors(pixels[b], region)[None])
        image = HiddenSuperpixels(model, batch.take(one), region, fills, explain)
        coalitions = _coalitions(sampling, most, count, seed)
        if drawn is None:
            scores = image.scores(coalitions)
        else:
            check_enough(precision, count)
            error = functools.partial(fit.error, image, coalitions)
            scores, left = image.scores_until(coalitions, precision, error)
            drawn.add(len(scores), left)
        fits.append(fitted(coalitions[: len(scores)], scores, kernel_width, alpha))
    if drawn is not None:
        drawn.record(model, precision, batch.first_index)
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


def _coalitions(sampling: str, samples: int, count: int, seed: int) -> NDArray[np.int8]:
    if sampling == _ORTHOGONAL:
        return orthogonal_coalitions(samples, count, seed)
    return random_coalitions(samples, count, seed, sampling == "paired")


def random_coalitions(samples: int, count: int, seed: int, paired: bool = False) -> NDArray[np.int8]:
    """Returns `(samples, count)` int8, 1 for a visible superpixel; the first row is all ones.

    If they are paired, each row with an even index but the first is the complement of the one before.
    """
    coalitions = np.random.default_rng([seed, count]).integers(0, 2, (samples, count), np.int8)
    if paired:
        coalitions[2::2] = 1 - coalitions[1 : samples - 1 : 2]
    coalitions[0] = 1
    return coalitions

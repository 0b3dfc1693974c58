"""KernelSHAP: the Shapley values of superpixels."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.methods.perturbation import Fill, explained_quantity, fill_values
from kerasxai.methods.superpixels import Segmentation, mean_colors, partial_scores, superpixels_of, top_superpixels
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import whole

if TYPE_CHECKING:
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.score_model import ScoreModel


def kernelshap(
    model: ScoreModel,
    batch: Samples,
    *,
    samples: int = 1000,
    segmentation: Segmentation = "slic",
    segments: int = 50,
    fill: Fill = "mean",
    top: int = 5,
    seed: int = 0,
    explain: str | None = None,
) -> tf.Tensor:
    """KernelSHAP: the weights phi that make `S(x0) + sum_j phi_j z_j` fit `S(x with only z visible)` best, signed.

    A coalition z of k of d superpixels counts `(d - 1) / (C(d, k) k (d - k))`, and the weights are constrained to
    `sum_j phi_j = S(x) - S(x0)`, where x0 has all superpixels hidden. Where all `2^d - 2` coalitions fit into `samples`
    they are enumerated, and the weights are the Shapley values themselves. Otherwise the sizes that count most
    (1 and d - 1, then 2 and d - 2, ...) are enumerated as far as the samples go, and the rest is drawn in pairs of a
    coalition and its complement.

    Args:
        samples: The most perturbed versions of each image that are scored, besides x and x0; at least twice as many as
            superpixels.
        segmentation: `"slic"`, `"quickshift"`, or labels `(H, W)` for all images or `(N, H, W)` for each of the call.
        segments: The approximate number of superpixels of SLIC; unused by quickshift and labels.
        fill: The pixels of a hidden superpixel: `"mean"` (its mean color), `"black"`, `"gray"`, a number, a color
            `(C,)` or a picture `(H, W, C)`.
        top: How many superpixels the mask in the notes holds at most.
        seed: The same seed draws the same coalitions, in every batch.
        explain: `"logit"`, the default: the score, see `Explainer`; or `"probability"` of the class.

    Returns:
        Maps `(B, H, W)` at image size, float32, signed: each pixel has the weight of its superpixel. The notes keep
        `superpixels` `(B, H, W)`, `superpixel_weights` (a list of `(d,)`), `baseline_scores` `(B,)`, that is `S(x0)`,
        `exact` `(B,)` bool, whether everything was enumerated, and `top_mask` `(B, H, W)`.

    Raises:
        KerasxaiError: An option out of range, labels that do not fit, or fewer samples than the superpixels need.

    Example:
        >>> explanation = kerasxai.Explainer(model, "kernelshap", segments=10, samples=1024)(images)
        >>> explanation.notes["exact"]
        array([ True])

    Paper: Lundberg and Lee 2017, "A Unified Approach to Interpreting Model Predictions", arXiv:1705.07874. No penalty
    on the number of weights, as in the theorem.
    """
    explain = explained_quantity(model, explain)
    samples, top, seed = whole("samples", samples, 2), whole("top", top, 1), whole("seed", seed, 0)
    pixels = batch.images.numpy()
    batch = batch.with_targets(model.resolve(batch, explain).targets)
    regions = superpixels_of(model, batch, segmentation, segments)
    weights, baselines, exact = [], [], []
    for b, region in enumerate(regions):
        one, count = slice(b, b + 1), int(region.max()) + 1
        fills = fill_values(fill, pixels[one], mean_colors(pixels[b], region)[None])
        drawn, importance = coalitions(count, samples, seed)
        ends = np.repeat([[0], [1]], count, axis=1).astype(np.int8)
        scores = partial_scores(model, batch.take(one), region, fills, np.concatenate([ends, drawn]), explain)
        weights.append(constrained_fit(drawn, scores[2:] - scores[0], importance, scores[1] - scores[0]))
        baselines.append(scores[0])
        exact.append(len(drawn) == 2**count - 2)
    model.record(
        superpixels=np.stack(regions),
        superpixel_weights=weights,
        baseline_scores=np.array(baselines, np.float32),
        exact=np.array(exact),
        top_mask=np.stack([top_superpixels(w, region, top) for w, region in zip(weights, regions, strict=True)]),
    )
    maps = np.stack([w[region] for w, region in zip(weights, regions, strict=True)])
    return tf.convert_to_tensor(maps, tf.float32)


def coalitions(count: int, samples: int, seed: int) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Returns coalitions `(n, count)` int8, neither empty nor full, and the weight of each, `(n,)`.

    Sizes are taken in pairs k and count - k, from 1 upwards, and enumerated while their share of the remaining samples,
    by the Shapley kernel, is at least the number of their coalitions. The remaining samples are drawn. Sizes 1 and
    count - 1 are always enumerated, so that the weights are determined.

    Raises:
        KerasxaiError: There are fewer samples than the weights need.
    """
    if 2**count - 2 > samples and samples < 2 * count:
        raise KerasxaiError(f"samples must be {2 * count} or more for {count} superpixels, got {samples}")
    kernel = {k: (count - 1) / (k * (count - k)) for k in range(1, count)}
    rows: list[NDArray[np.bool_]] = []
    importance: list[float] = []
    for k in range(1, count // 2 + 1):
        sizes = sorted({k, count - k})
        share = sum(kernel[size] for size in sizes) / sum(kernel.values())
        left = samples - len(rows)
        total = sum(math.comb(count, size) for size in sizes)
        fair = left if k == 1 or 2**count - 2 <= samples else left * share
        if total > fair:
            break
        for size in sizes:
            members = [np.array(chosen) for chosen in itertools.combinations(range(count), size)]
            rows += [np.isin(np.arange(count), chosen) for chosen in members]
            importance += [kernel[size] / len(members)] * len(members)
            del kernel[size]
    drawn = (samples - len(rows)) // 2 * 2 if kernel else 0
    rows += _drawn_in_pairs(count, drawn, kernel, seed)
    importance += [sum(kernel.values()) / drawn] * drawn if drawn else []
    return np.array(rows, np.int8).reshape(-1, count), np.array(importance)


def _drawn_in_pairs(count: int, drawn: int, kernel: dict[int, float], seed: int) -> list[NDArray[np.bool_]]:
    generator = np.random.default_rng([seed, count])
    rows = []
    for _ in range(drawn // 2):
        size = generator.choice(list(kernel), p=np.array(list(kernel.values())) / sum(kernel.values()))
        row = generator.permutation(count) < size
        rows += [row, ~row]
    return rows


def constrained_fit(
    visible: NDArray[np.int8], gains: NDArray[np.float64], importance: NDArray[np.float64], total: float
) -> NDArray[np.float64]:
    """Returns the weights `(d,)` of least squares under the constraint that they sum to `total`.

    Args:
        visible: Coalitions `(n, d)`.
        gains: `S(z) - S(x0)` of each, `(n,)`.
        importance: The weight of each, `(n,)`.
        total: `S(x) - S(x0)`.
    """
    root = np.sqrt(importance)
    z = visible.astype(np.float64)
    # The constraint eliminates the last weight.
    left = z[:, :-1] - z[:, -1:]
    first = np.linalg.lstsq(left * root[:, None], (gains - z[:, -1] * total) * root, rcond=None)[0]
    return np.append(first, total - first.sum())

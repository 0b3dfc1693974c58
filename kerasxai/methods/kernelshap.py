"""KernelSHAP: the Shapley values of superpixels."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.methods.perturbation import SAMPLINGS, Fill, explained_quantity, fill_values
from kerasxai.methods.rounds import AUTO, Drawn, FittedSamples, check_enough, precision_of
from kerasxai.methods.superpixels import (
    HiddenSuperpixels,
    Segmentation,
    mean_colors,
    superpixels_of,
    top_superpixels,
)
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import choice, whole

if TYPE_CHECKING:
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.score_model import ScoreModel

_ROUND = 100


def kernelshap(
    model: ScoreModel,
    batch: Samples,
    *,
    samples: int | str = 1000,
    segmentation: Segmentation = "slic",
    segments: int = 50,
    fill: Fill = "mean",
    top: int = 5,
    seed: int = 0,
    sampling: str = "paired",
    explain: str | None = None,
    until: float = 0.05,
    max_samples: int = 8000,
) -> tf.Tensor:
    """KernelSHAP: the weights phi that make `S(x0) + sum_j phi_j z_j` fit `S(x with only z visible)` best, signed.

    A coalition z of k of d superpixels counts `(d - 1) / (C(d, k) k (d - k))`, and the weights are constrained to
    `sum_j phi_j = S(x) - S(x0)`, where x0 has all superpixels hidden. Where all `2^d - 2` coalitions fit into `samples`
    they are enumerated, and the weights are the Shapley values themselves. Otherwise the sizes that count most
    (1 and d - 1, then 2 and d - 2, ...) are enumerated as far as the samples go, and the rest is drawn in pairs of a
    coalition and its complement.

    Args:
        samples: The most perturbed versions of each image that are scored, besides x and x0; at least twice as many as
            superpixels. `"auto"` enumerates all coalitions if there are 200 or fewer, else those of size 1 and d - 1,
            and draws the rest in rounds of 100, for each image by itself, until the map is as exact as `until` says.
        segmentation: `"slic"`, `"quickshift"`, or labels `(H, W)` for all images or `(N, H, W)` for each of the call.
        segments: The approximate number of superpixels of SLIC; unused by quickshift and labels.
        fill: The pixels of a hidden superpixel: `"mean"` (its mean color), `"black"`, `"gray"`, a number, a color
            `(C,)` or a picture `(H, W, C)`.
        top: How many superpixels the mask in the notes holds at most.
        seed: The same seed draws the same coalitions, in every batch.
        sampling: `"paired"`, as above; or `"random"`: unless all coalitions fit, each is drawn by itself and none is
            enumerated; for comparison, because it takes several times as many. Not with `"auto"`.
        explain: `"logit"`, the default: the score, see `Explainer`; or `"probability"` of the class.
        until: For `"auto"`: the standard error at which drawing stops, as a share of the range of the map. It is the
            root mean square over the pixels, from the covariance of the weights (`FittedSamples.covariance`).
        max_samples: For `"auto"`: the most samples, with x and x0, in whole rounds. A warning is logged if they do not
            suffice.

    Returns:
        Maps `(B, H, W)` at image size, float32, signed: each pixel has the weight of its superpixel. The notes keep
        `superpixels` `(B, H, W)`, `superpixel_weights` (a list of `(d,)`), `baseline_scores` `(B,)`, that is `S(x0)`,
        `exact` `(B,)` bool, whether everything was enumerated, and `top_mask` `(B, H, W)`; with `"auto"` also
        `samples_used` `(B,)`, with x and x0, and `standard_error` `(B,)`, a share of the range.

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
    top, seed = whole("top", top, 1), whole("seed", seed, 0)
    paired = choice("sampling", sampling, SAMPLINGS) == "paired"
    if samples == AUTO and not paired:
        raise KerasxaiError("sampling must be paired with samples='auto', got random")
    precision = precision_of("max_samples", until, max_samples, _ROUND, _ROUND)
    drawn = None if samples != AUTO else Drawn()
    most = _ROUND * 2 if samples == AUTO else whole("samples", samples, 2)
    pixels = batch.images.numpy()
    batch = batch.with_targets(model.resolve(batch, explain).targets)
    regions = superpixels_of(model, batch, segmentation, segments)
    weights, baselines, exact = [], [], []
    for b, region in enumerate(regions):
        one, count = slice(b, b + 1), int(region.max()) + 1
        fills = fill_values(fill, pixels[one], mean_colors(pixels[b], region)[None])
        image = HiddenSuperpixels(model, batch.take(one), region, fills, explain)
        if drawn is None or 2**count - 2 <= most:
            game, error = Game.with_samples(count, most, seed, paired), 0.0
            scores = image.scores(game.visible)
        else:
            check_enough(precision, count)
            game = Game.in_rounds(count, precision.most, seed)
            scores, error = image.scores_until(game.visible, precision, functools.partial(game.error, image))
        if drawn is not None:
            drawn.add(len(scores), error)
        weights.append(game.shapley_values(scores))
        baselines.append(scores[0])
        exact.append(len(scores) == 2**count)
    if drawn is not None:
        drawn.record(model, precision, batch.first_index)
    model.record(
        superpixels=np.stack(regions),
        superpixel_weights=weights,
        baseline_scores=np.array(baselines, np.float32),
        exact=np.array(exact),
        top_mask=np.stack([top_superpixels(w, region, top) for w, region in zip(weights, regions, strict=True)]),
    )
    maps = np.stack([w[region] for w, region in zip(weights, regions, strict=True)])
    return tf.convert_to_tensor(maps, tf.float32)


@dataclass(frozen=True)
class Game:
    """The coalitions of one image: first none and all of d superpixels, then enumerated ones, then drawn pairs.

    Attributes:
        visible: `(n, d)` int8.
        importance: The weight in the fit of each of the enumerated coalitions after the first two.
        drawn_importance: The sum of the weights of the drawn ones.
    """

    visible: NDArray[np.int8]
    importance: NDArray[np.float64]
    drawn_importance: float

    @classmethod
    def with_samples(cls, count: int, samples: int, seed: int, paired: bool = True) -> Game:
        """Returns the game of a fixed number of samples; see `coalitions` and `drawn_one_by_one`."""
        visible, importance = (coalitions if paired else drawn_one_by_one)(count, samples, seed)
        return cls(np.concatenate([_ends(count), visible]), importance, 0.0)

    @classmethod
    def in_rounds(cls, count: int, most: int, seed: int) -> Game:
        """Returns the game of a growing number of samples, at most so many, of which any even number may be used."""
        enumerated, importance = coalitions(count, 2 * count, seed)
        kernel = {k: _kernel(count, k) for k in range(2, count - 1)}
        drawn = _drawn_in_pairs(count, most - 2 - len(enumerated), kernel, seed)
        visible = np.concatenate([_ends(count), enumerated, np.array(drawn, np.int8)])
        return cls(visible, importance, sum(kernel.values()))

    def weights_of(self, count: int) -> NDArray[np.float64]:
        """Returns the weight in the fit of each of the first samples but two, `(count - 2,)`."""
        drawn = count - 2 - len(self.importance)
        return np.append(self.importance, np.full(drawn, self.drawn_importance / max(drawn, 1)))

    def shapley_values(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the weights `(d,)` from the scores of the first samples."""
        visible, importance = self.visible[2 : len(scores)], self.weights_of(len(scores))
        return constrained_fit(visible, scores[2:] - scores[0], importance, scores[1] - scores[0])

    def error(self, image: HiddenSuperpixels, scores: NDArray[np.float64]) -> float:
        """Returns the standard error of the map from the first samples, as a share of its range."""
        values = self.shapley_values(scores)
        visible = self.visible[2 : len(scores)].astype(np.float64)
        residuals = scores[2:] - scores[0] - visible @ values
        # As in the fit, the last weight follows from the others.
        design = visible[:, :-1] - visible[:, -1:]
        fit = FittedSamples(design, self.weights_of(len(scores)), residuals, len(self.importance), 2)
        covariance = fit.covariance()
        if covariance is not None:
            all_but_last = np.append(np.eye(len(values) - 1), -np.ones((1, len(values) - 1)), 0)
            covariance = all_but_last @ covariance @ all_but_last.T
        return image.error_of(values, covariance)


def _ends(count: int) -> NDArray[np.int8]:
    return np.repeat([[0], [1]], count, axis=1).astype(np.int8)


def _kernel(count: int, size: int) -> float:
    """Returns the weight of all coalitions of a size together in the Shapley kernel."""
    return (count - 1) / (size * (count - size))


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
    kernel = {k: _kernel(count, k) for k in range(1, count)}
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


def drawn_one_by_one(count: int, samples: int, seed: int) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Returns coalitions as `coalitions` does, each drawn by itself by the Shapley kernel, unless all of them fit.

    Raises:
        KerasxaiError: There are fewer samples than the weights need.
    """
    if 2**count - 2 <= samples or samples < 2 * count:
        return coalitions(count, samples, seed)
    generator = np.random.default_rng([seed, count])
    kernel = np.array([_kernel(count, k) for k in range(1, count)])
    sizes = generator.choice(np.arange(1, count), samples, p=kernel / kernel.sum())
    rows = [generator.permutation(count) < size for size in sizes]
    return np.array(rows, np.int8), np.full(samples, kernel.sum() / samples)


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

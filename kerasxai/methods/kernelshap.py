"""KernelSHAP: the Shapley values of superpixels."""

import itertools
import math
from typing import Any

import numpy as np
import tensorflow as tf

from kerasxai.methods.perturbation import explained_quantity, fill_values
from kerasxai.methods.superpixels import mean_colors, partial_scores, superpixels_of, top_superpixels
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import whole


def kernelshap(
    view: Any,
    images: Any,
    targets: Any,
    *,
    samples: int = 1000,
    segmentation: Any = "slic",
    segments: int = 50,
    fill: Any = "mean",
    top: int = 5,
    seed: int = 0,
    explain: str | None = None,
) -> Any:
    """KernelSHAP: the weights phi that make `S(x0) + sum_j phi_j z_j` fit `S(x seen through z)` best, signed.

    A coalition z of k of d superpixels counts `(d - 1) / (C(d, k) k (d - k))`, and the weights are constrained to
    `sum_j phi_j = S(x) - S(x0)`, where x0 has all superpixels hidden. Where all `2^d - 2` coalitions fit into `samples`
    they are enumerated, and the weights are the Shapley values themselves. Otherwise the sizes that count most
    (1 and d - 1, then 2 and d - 2, ...) are enumerated as far as the samples go, and the rest is drawn in pairs of a
    coalition and its complement.

    Args:
        view: The model or function, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.
        samples: The most versions of each image that are looked at, beside x and x0; at least twice as many as
            superpixels.
        segmentation: `"slic"`, `"quickshift"`, or labels `(H, W)` for all images or `(N, H, W)` for each of the call.
        segments: About how many superpixels SLIC makes; nothing to quickshift or labels.
        fill: What is seen in a hidden superpixel: `"mean"` (its mean color), `"black"`, `"gray"`, a number, a color
            `(C,)` or a picture `(H, W, C)`.
        top: How many superpixels the mask in the notes holds at most.
        seed: The same seed draws the same coalitions, in every batch.
        explain: `"logit"` or `"probability"` of the class; None takes the logit, or the score that the user gave.

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
    explain = explained_quantity(view, explain)
    samples, top, seed = whole("samples", samples, 2), whole("top", top, 1), whole("seed", seed, 0)
    pixels = images.numpy()
    clean = view.resolve(images, targets, explain)
    regions = superpixels_of(view, pixels, segmentation, segments)
    weights, baselines, exact = [], [], []
    for b, region in enumerate(regions):
        one, count = slice(b, b + 1), int(region.max()) + 1
        hidden = fill_values(fill, pixels[one], mean_colors(pixels[b], region)[None])
        seen, importance = coalitions(count, samples, seed)
        ends = np.repeat([[0], [1]], count, axis=1).astype(np.int8)
        scores = partial_scores(
            view, images[one], clean.targets[one], region, hidden, np.concatenate([ends, seen]), explain
        )
        weights.append(constrained_fit(seen, scores[2:] - scores[0], importance, scores[1] - scores[0]))
        baselines.append(scores[0])
        exact.append(len(seen) == 2**count - 2)
    view.note(
        superpixels=np.stack(regions),
        superpixel_weights=weights,
        baseline_scores=np.array(baselines, np.float32),
        exact=np.array(exact),
        top_mask=np.stack([top_superpixels(w, region, top) for w, region in zip(weights, regions, strict=True)]),
    )
    maps = np.stack([w[region] for w, region in zip(weights, regions, strict=True)])
    return tf.convert_to_tensor(maps, tf.float32)


def coalitions(count: int, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns coalitions `(n, count)` int8, neither empty nor full, and how much each counts, `(n,)`.

    Sizes are taken in pairs k and count - k from the outside inwards and enumerated while at least as many samples are
    left for them, by their share of the Shapley kernel, as they have coalitions. What is left is drawn. Sizes 1 and
    count - 1 are always enumerated, so that the weights are determined.

    Raises:
        KerasxaiError: There are fewer samples than the weights need.
    """
    if 2**count - 2 > samples and samples < 2 * count:
        raise KerasxaiError(f"samples must be {2 * count} or more for {count} superpixels, not {samples}")
    kernel = {k: (count - 1) / (k * (count - k)) for k in range(1, count)}
    rows: list[np.ndarray] = []
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


def _drawn_in_pairs(count: int, drawn: int, kernel: dict[int, float], seed: int) -> list[np.ndarray]:
    generator = np.random.default_rng([seed, count])
    rows = []
    for _ in range(drawn // 2):
        size = generator.choice(list(kernel), p=np.array(list(kernel.values())) / sum(kernel.values()))
        row = generator.permutation(count) < size
        rows += [row, ~row]
    return rows


def constrained_fit(seen: np.ndarray, gains: np.ndarray, importance: np.ndarray, total: float) -> np.ndarray:
    """Returns the weights `(d,)` of least squares under the constraint that they sum to `total`.

    Args:
        seen: Coalitions `(n, d)`.
        gains: `S(z) - S(x0)` of each, `(n,)`.
        importance: How much each counts, `(n,)`.
        total: `S(x) - S(x0)`.
    """
    root = np.sqrt(importance)
    seen = seen.astype(np.float64)
    # The constraint takes the last weight out of the equations.
    left = seen[:, :-1] - seen[:, -1:]
    first = np.linalg.lstsq(left * root[:, None], (gains - seen[:, -1] * total) * root, rcond=None)[0]
    return np.append(first, total - first.sum())

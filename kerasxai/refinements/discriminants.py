"""A linear discriminant of object and background in the features of an earlier, finer layer, fitted to the heatmap."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, cg

from kerasxai.engine.coverage.extents import cut_to, extents_of, laid_over
from kerasxai.engine.coverage.map_extents import MapExtents
from kerasxai.engine.graph import ancestors
from kerasxai.engine.layers import is_feature_map
from kerasxai.engine.observer import Observer
from kerasxai.localization import has_evidence
from kerasxai.refinements.averages import resized
from kerasxai.refinements.sizes import FACTORS, enlarged, training_share
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import BOX_THRESHOLD, real

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward, ForwardPass
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.traced_model import TracedModel
    from kerasxai.refinements.chain import ModelExplain


def earlier_map(forward: Forward, batch: Samples) -> dict[str, tf.Tensor]:
    """Query: the last map `(B, h, w, K)` twice as fine as the one that feeds the head; if there is none, that one."""
    return read_earlier_map(forward(batch))


def read_earlier_map(fp: ForwardPass) -> dict[str, tf.Tensor]:
    """Read the map of `earlier_map` from a pass, and which part of the input it covers."""
    last = fp.choice.default()[-1].tensor
    needed = ancestors(fp.score)
    height, width = last.shape[1:3]
    finer = [
        call.output
        for call in fp.calls
        if is_feature_map(call.output)
        and call.output.ref() in needed
        and call.output.shape[1] >= 2 * height
        and call.output.shape[2] >= 2 * width
    ]
    chosen = (finer or [last])[-1]
    # Not `fp.located`, which reports the parts that the maps of a method cover.
    extents = MapExtents(fp.images)
    extents.add(chosen)
    return {"features": tf.cast(chosen, tf.float32), **extents.diagnostics}


def discriminant_map(
    features: NDArray[Any], evidence: NDArray[Any], high: float = 0.5, low: float = 0.03, ridge: float = 0.06
) -> NDArray[np.float64] | None:
    """How much the features at each position are those of the object rather than those of the background.

    A ridge regression from features `a_p` to +1 where the evidence is high and -1 where it is low: with weights `w_p`,
    of which each class has half, `v` and `c` minimize `sum w_p (a_p . v + c - y_p)^2 + ridge |v|^2`, features scaled to
    a mean square of 1. That is the direction of Fisher's discriminant. The weight of a position grows linearly with its
    share of the highest evidence, for the object from 0.4 `high` to `high`, for the background from 4 `low` down to
    `low`.

    Args:
        features: `(h, w, K)`.
        evidence: `(h, w)`; below 0 counts as 0.
        high: Share of the highest evidence from which a position has the full weight of the object.
        low: Share below which it has the full weight of the background.
        ridge: The regularization: high values keep single positions from determining the direction.

    Returns:
        `(h, w)` in [0, 1], 0.5 between the classes; None if the evidence has no position for one of them.
    """
    share = np.maximum(np.asarray(evidence, np.float64).ravel(), 0)
    share = share / share.max() if share.max() > 0 else share
    inside = np.clip((share - 0.4 * high) / (0.6 * high), 0, 1)
    outside = np.clip((4 * low - share) / (3 * low), 0, 1)
    if not inside.any() or not outside.any():
        return None
    weights = inside / inside.sum() / 2 + outside / outside.sum() / 2
    labels = np.where(inside > 0, 1.0, -1.0)
    # Single precision if the features are, and no further copies: positions times channels are most of the work.
    a = np.asarray(features)
    a = a.astype(np.promote_types(a.dtype, np.float32), copy=False).reshape(share.size, -1)
    a = a - (weights @ a).astype(a.dtype)
    mean = a.mean(0)
    variance = np.einsum("pk,pk->", a, a) / len(a) - mean @ mean
    # Both classes have the same total weight, and the weighted mean of the features is 0: therefore c = 0.
    side = np.clip(a @ _ridge_coefficients(a, labels, weights, ridge * max(variance, 1e-24)), -1, 1)
    return ((side + 1) / 2).reshape(np.shape(evidence))


def _ridge_coefficients(
    a: NDArray[np.floating], labels: NDArray[np.float64], weights: NDArray[np.float64], alpha: float
) -> NDArray[np.floating]:
    """Return the `v` that minimizes `sum w_p (a_p . v - y_p)^2 + alpha |v|^2`, by conjugate gradients."""
    w = weights.astype(a.dtype)
    equations = LinearOperator((a.shape[1],) * 2, lambda v: (w * (a @ v)) @ a + a.dtype.type(alpha) * v, dtype=a.dtype)
    # A few steps are enough, because `alpha` is a fixed share of the features' variance.
    return cg(equations, (w * labels.astype(a.dtype)) @ a, rtol=np.sqrt(np.finfo(a.dtype).eps))[0]


def discriminant(
    model: TracedModel,
    explain: ModelExplain,
    batch: Samples,
    *,
    factor: float | None = None,
    high: float = 0.5,
    low: float = 0.03,
    ridge: float = 0.06,
    level: float = 0.55,
) -> NDArray[np.float32]:
    """A map of the object from the features of an earlier layer, classified by a discriminant fitted to the heatmap.

    The heatmap is coarse, and high and low at some positions of object and background only. The features of an earlier,
    finer layer separate the two everywhere: a linear discriminant is fitted for each image alone, on the positions with
    high or low evidence, and applied to all (see `discriminant_map`).

    Args:
        model: The model.
        explain: The method; its positive values are the evidence.
        batch: The images and their classes.
        factor: The factor by which images are enlarged to compute the features; None: 2, of the size of training, as
            the largest of `enlarge`.
        high: Share of the maximum from which a position has the full weight of the object.
        low: Share of the maximum below which a position has the full weight of the background.
        ridge: The regularization of the discriminant.
        level: The value of the discriminant, 0 for background to 1 for object, that is mapped to 20 % of the maximum.

    Returns:
        `(N, H, W)` float32, 0 to the heatmap's maximum. A heatmap without evidence, or without positions for one of the
        classes, does not change.

    Raises:
        KerasxaiError: An option out of range, or a model without a feature map or of one size only.

    Example:
        >>> kerasxai.Explainer(model, "cam", refine="enlarge,discriminant")(images).heatmaps

    Papers: Fisher 1936, "The Use of Multiple Measurements in Taxonomic Problems",
    doi:10.1111/j.1469-1809.1936.tb02137.x; Kim et al. 2023, arXiv:2309.06022, take the features' first principal
    component, which needs no labels and may show something else than the object.
    """
    factor = FACTORS[-1] * training_share(model.model) if factor is None else real("factor", factor, above=0)
    real("ridge", ridge, above=0)
    real("level", level, above=0, below=1)
    if not 0 < real("low", low) * 4 <= 0.4 * real("high", high, above=0, below=1):
        raise KerasxaiError(f"low must be above 0 and at most a tenth of high, got {low} and {high}")
    with enlarged(model, batch, factor) as (larger, scaled):
        scaled = scaled.as_floats()
        observer = Observer(read_earlier_map, np.asarray(scaled.images), larger.alterations)
        # If the method explains these images as well, as after `enlarge`, the features are read from its pass.
        heatmaps = explain(model.observed(observer), batch)
        found = SimpleNamespace(**(observer.found or vars(larger.evaluate(earlier_map, scaled))))
    features, extents = found.features.numpy(), extents_of(found)
    evidence = resized(cut_to(heatmaps, extents), features.shape[1:3])
    return np.stack([
        _drawn(heatmap, discriminant_map(f, e, high, low, ridge), level, extents) if has_evidence(e) else heatmap
        for heatmap, f, e in zip(heatmaps, features, evidence, strict=True)
    ]).astype(np.float32)  # fmt: skip


def _drawn(heatmap: NDArray[Any], found: NDArray[Any] | None, level: float, extents: Any) -> NDArray[Any]:
    """Return a discriminant map at the size of the heatmap, bent so that `level` becomes the threshold of boxes."""
    if found is None or found.max() <= level:
        return heatmap
    small, size = found[None].astype(np.float32), heatmap.shape
    large = resized(small, size) if extents is None else laid_over(small, size, extents[0]).numpy()
    fine = np.clip(large[0], 0, 1)
    return heatmap.max() * np.interp(fine / fine.max(), [0, level / fine.max(), 1], [0, BOX_THRESHOLD, 1])

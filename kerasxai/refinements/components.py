"""The first principal component of the feature map, weighted by the evidence for the class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kerasxai.engine.coverage.extents import cut_to, extents_of, laid_over
from kerasxai.methods.cam import layer_activations
from kerasxai.refinements.averages import resized

if TYPE_CHECKING:
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.traced_model import TracedModel
    from kerasxai.refinements.chain import ModelExplain


def first_component(features: NDArray[Any], evidence: NDArray[Any]) -> NDArray[np.float64]:
    """The projection of the features on their first principal component, positions weighted by the evidence.

    With features `a_p` at the positions `p`, `m` their mean and `e_p >= 0` the evidence, the component `v` is the first
    right singular vector of the rows `sqrt(e_p) (a_p - m)`, and the map is `(a_p - m) . v`, with the sign that agrees
    with the evidence.

    Args:
        features: `(h, w, K)`.
        evidence: `(h, w)`; below 0 counts as 0.

    Returns:
        `(h, w)`; zeros if there is no evidence.
    """
    a = np.asarray(features, np.float64).reshape(-1, features.shape[-1])
    e = np.maximum(np.asarray(evidence, np.float64).ravel(), 0)
    if e.sum() <= 0:
        return np.zeros(features.shape[:2])
    centered = a - a.mean(0)
    # The Gram matrix (positions, positions) is smaller than the covariance (K, K) and has the same first component.
    rows = np.sqrt(e / e.sum())[:, None] * centered
    direction = rows.T @ np.linalg.eigh(rows @ rows.T)[1][:, -1]
    projected = centered @ (direction / max(np.linalg.norm(direction), 1e-300))
    # The sign of a component is arbitrary.
    return (projected * np.sign(projected @ (e - e.mean()) or 1.0)).reshape(features.shape[:2])


def pc1(model: TracedModel, explain: ModelExplain, batch: Samples) -> NDArray[np.float32]:
    """The first principal component of the feature map within the class's evidence, scaled to the heatmap's maximum.

    Args:
        model: The model.
        explain: The method; its positive values are the evidence.
        batch: The images and their classes.

    Returns:
        `(N, H, W)` float32; 0 for an image without evidence.

    Raises:
        KerasxaiError: The model has no feature map.

    Paper: Kim et al. 2023, "CAM back again: Large Kernel CNNs from a Weakly Supervised Object Localization
    Perspective", arXiv:2309.06022. Departure: there all positions have the same weight, without a class.
    """
    heatmaps = explain(model, batch)
    answer = model.evaluate(layer_activations, batch.as_floats())
    features, extents = answer.activations[0].numpy(), extents_of(answer)
    evidence = resized(cut_to(heatmaps, extents), features.shape[1:3])
    maps = np.stack([first_component(f, e) for f, e in zip(features, evidence, strict=True)]).astype(np.float32)
    size = batch.images.shape[1:3]
    large = resized(maps, size) if extents is None else laid_over(maps, size, extents[0]).numpy()
    highest = large.max((1, 2), keepdims=True)
    return np.where(highest > 0, large / np.where(highest > 0, highest, 1) * heatmaps.max((1, 2), keepdims=True), 0)

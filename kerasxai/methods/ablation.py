"""Ablation-CAM: channels weighted by how far the score falls without them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from kerasxai.engine.fast import fitting
from kerasxai.engine.map_layout import spread
from kerasxai.methods.cam import one_by_one, several_layers
from kerasxai.methods.perturbation import explained_quantity

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.traced_model import TracedModel

_NEAR_ZERO = 1e-3
# A network's early maps take several times the memory of its images; a batch of ablated maps may take eight times that.
_ROOM = 8


def whole_scores(forward: Forward, batch: Samples, *, explain: str) -> dict[str, tf.Tensor]:
    """Query: the map of the layer `(B, h, w, K)`, the tensor to ablate, and the score with all channels."""
    fp = forward(batch)
    activations = fp.feature_map()
    ablation_point, path = fp.ablation_point(activations)
    return {
        "activations": activations,
        "ablation_point": ablation_point,
        "path": tf.constant(path),
        "scores": fp.explained(explain),
    }


def ablated_scores(
    forward: Forward, batch: Samples, activations: tf.Tensor, channels: tf.Tensor, *, layer: str, explain: str
) -> dict[str, tf.Tensor]:
    """Query: the scores `(n,)` of one image without each of the channels `(n,)` of a layer.

    The output of the layer is overridden by `activations` `(1, ..., K)` with one channel after the other set to 0. The
    image is repeated for branches around the layer; without such, everything below is pruned from the traced graph.
    """
    count = tf.shape(channels)[0]
    kept = 1 - tf.one_hot(channels, tf.shape(activations)[-1], dtype=activations.dtype)
    ablated = activations * spread(kept, activations.shape.rank)
    return {"without": forward(batch.repeat(count), override=(layer, ablated)).explained(explain)}


def ablationcam(model: TracedModel, batch: Samples, *, explain: str | None = None) -> tf.Tensor:
    """Ablation-CAM: `relu(sum_k w_k A_k)`, `w_k = (S - S without channel k) / S`, for all channels of a layer.

    Only layers after the explained one run again, which for the last feature map costs next to nothing; if a global
    pooling is all that follows it, only layers after the pooling.

    Args:
        explain: `"logit"`, the default: the score, see `Explainer`; or `"probability"` of the class.

    Returns:
        Maps `(B, h, w)` at the layer's size, float32, 0 and above. The notes keep `near_zero_score` `(B,)` bool.

    Raises:
        KerasxaiError: No feature map, or a layer that is called several times.

    Example:
        >>> kerasxai.Explainer(model, "ablationcam", layer="backbone/top_activation")(images).heatmaps

    Paper: Desai and Ramaswamy 2020, "Ablation-CAM: Visual Explanations for Deep Convolutional Network via
    Gradient-free Localization", WACV. Dividing by a score below 0 turns the signs around, as the formula says: the map
    then shows what lowers the score. Departure: where |S| is under a thousandth of the largest fall, its sign and size
    are rounding, so that nothing is divided, and `near_zero_score` in the notes is True.
    """
    if layers := several_layers(model, batch):
        return one_by_one(ablationcam, layers, model, batch, explain=explain)
    explain = explained_quantity(model, explain)
    clean = model.evaluate(whole_scores, batch, explain=explain)
    batch = batch.with_targets(clean.targets)
    channels = np.arange(clean.activations.shape[-1], dtype=np.int32)
    falls = np.zeros((len(batch), len(channels)), np.float32)
    each = math.prod(clean.ablation_point.shape[1:])
    factor = max(1, _ROOM * math.prod(batch.images.shape[1:]) // each)
    size = fitting(model.batch_size, each * clean.ablation_point.dtype.size, factor)
    path = clean.path.numpy().decode()
    for b in range(len(batch)):
        one = slice(b, b + 1)
        batches = (
            (batch.take(one), clean.ablation_point[one], channels[part])
            for part in model.chunks(len(channels), size=size)
        )
        answers = model.evaluate_each(ablated_scores, batches, layer=path, explain=explain)
        falls[b] = clean.scores[b] - tf.concat([answer.without for answer in answers], 0)
    scores = clean.scores.numpy()[:, None]
    # Equal where both are 0, as for a black image whose features are all 0.
    near_zero = np.abs(scores) <= _NEAR_ZERO * np.abs(falls).max(1, keepdims=True)
    model.record(near_zero_score=near_zero[:, 0])
    weights = falls / np.where(near_zero, 1, scores)
    maps = tf.einsum("b...k,bk->b...", tf.cast(clean.activations, tf.float32), weights)
    return tf.nn.relu(maps)

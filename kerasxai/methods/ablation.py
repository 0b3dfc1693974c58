"""Ablation-CAM: channels weighted by how far the score falls without them."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from kerasxai.engine.fast import fitting
from kerasxai.engine.map_layout import spread
from kerasxai.methods.cam import one_by_one, several_layers
from kerasxai.methods.perturbation import explained_quantity

_NEAR_ZERO = 1e-3
# A network's early maps take several times the memory of its images; a batch of ablated maps may take eight times that.
_ROOM = 8


def whole_scores(run: Any, images: Any, targets: Any, *, explain: str) -> dict[str, Any]:
    """Asks for the layer's map `(B, h, w, K)`, where channels are taken out, and the score with all of them."""
    seen = run(images, targets)
    activations = seen.feature_map()
    return {
        "activations": activations,
        "ablation_point": seen.ablation_point(activations),
        "scores": seen.explained(explain),
    }


def ablated_scores(
    run: Any, images: Any, targets: Any, activations: Any, channels: Any, *, layer: str, explain: str
) -> dict[str, Any]:
    """Asks for the scores `(n,)` of one image without each of the channels `(n,)` of a layer.

    The layer is fed `activations` `(1, ..., K)` with one channel after the other set to 0. The image is repeated for
    what goes round the layer; where nothing does, all that lies below falls out of the traced graph.
    """
    count = tf.shape(channels)[0]
    kept = 1 - tf.one_hot(channels, tf.shape(activations)[-1], dtype=activations.dtype)
    fed = activations * spread(kept, activations.shape.rank)
    seen = run(tf.repeat(images, count, axis=0), tf.repeat(targets, count), fed=(layer, fed))
    return {"without": seen.explained(explain)}


def ablationcam(view: Any, images: Any, targets: Any, *, explain: str | None = None) -> Any:
    """Ablation-CAM: `relu(sum_k w_k A_k)`, `w_k = (S - S without channel k) / S`, for all channels of a layer.

    Only what lies above the layer is run again, which for the last feature map is next to nothing; where a global
    pooling is all that follows the layer, only what lies above the pooling.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.
        explain: `"logit"` or `"probability"` of the class; None takes the logit, or the score that the user gave.

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
    if layers := several_layers(view, images, targets):
        return one_by_one(ablationcam, layers, view, images, targets, explain=explain)
    explain = explained_quantity(view, explain)
    seen = view.evaluate(whole_scores, images, targets, explain=explain)
    numbers = np.arange(seen.activations.shape[-1], dtype=np.int32)
    falls = np.zeros((len(images), len(numbers)), np.float32)
    each = math.prod(seen.ablation_point.shape[1:])
    factor = max(1, _ROOM * math.prod(images.shape[1:]) // each)
    size = fitting(view.batch_size, each * seen.ablation_point.dtype.size, factor)
    fed = view.ablation_points[seen.layer]
    for b in range(len(images)):
        one = slice(b, b + 1)
        batches = (
            (images[one], seen.targets[one], seen.ablation_point[one], numbers[part])
            for part in view.chunks(len(numbers), size=size)
        )
        answers = view.evaluate_each(ablated_scores, batches, layer=fed, explain=explain)
        falls[b] = seen.scores[b] - tf.concat([answer.without for answer in answers], 0)
    scores = seen.scores.numpy()[:, None]
    # Equal where both are 0, as for a black image whose features are all 0.
    near_zero = np.abs(scores) <= _NEAR_ZERO * np.abs(falls).max(1, keepdims=True)
    view.note(near_zero_score=near_zero[:, 0])
    weights = falls / np.where(near_zero, 1, scores)
    maps = tf.einsum("b...k,bk->b...", tf.cast(seen.activations, tf.float32), weights)
    return tf.nn.relu(maps)

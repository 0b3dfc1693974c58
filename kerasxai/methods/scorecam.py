"""Score-CAM: channels weighted by the score of the image masked by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.engine.coverage.extents import extents_of, laid_over
from kerasxai.engine.map_layout import resized
from kerasxai.methods.cam import one_by_one, several_layers
from kerasxai.methods.perturbation import explained_quantity, scores_under
from kerasxai.tools.options import whole

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.traced_model import TracedModel


def layer_activations(forward: Forward, batch: Samples, *, explain: str) -> dict[str, tf.Tensor]:
    """Query: the activations of the explained layer `(B, h, w, K)` in its dtype, and the scores, in one pass."""
    fp = forward(batch)
    return {"activations": fp.feature_map(), "scores": fp.explained(explain)}


def channel_scores(
    forward: Forward, batch: Samples, channels: tf.Tensor, extent: tf.Tensor | None = None, *, explain: str
) -> dict[str, tf.Tensor]:
    """Query: the scores `(n,)` of one image `(1, H, W, C)` seen through each of the channels `(n, h, w)`.

    If the channels cover a part of the image only, `extent` `(axes, 2)`, their edge values are repeated around it,
    which changes neither the lowest nor the highest.
    """
    size, channels = tf.shape(batch.images)[1:-1], tf.cast(channels, tf.float32)
    masks = resized(channels, size) if extent is None else laid_over(channels, size, extent, outside="edge")
    positions = range(1, channels.shape.rank)
    low, high = (reduce(masks, positions, keepdims=True) for reduce in (tf.reduce_min, tf.reduce_max))
    stretched = tf.math.divide_no_nan(masks - low, high - low)
    return {"through": scores_under(forward, batch, stretched, explain)}


def scorecam(
    model: TracedModel, batch: Samples, *, channels: int | None = None, explain: str | None = None
) -> tf.Tensor:
    """Score-CAM: `relu(sum_k w_k A_k)`, `w = softmax_k(S(x * M_k))`, `M_k` channel k enlarged and stretched to [0, 1].

    A channel that is the same everywhere shows nothing, gets no pass and no weight, and is left out of the softmax.

    Args:
        channels: None takes all channels, one pass each; a number takes the so many that vary most (standard deviation
            over the places), which costs that many passes.
        explain: `"logit"`, the default: the score, see `Explainer`; or `"probability"` of the class.

    Returns:
        Maps `(B, h, w)` at the layer's size, float32, 0 and above. The notes keep `channels` `(B,)`: how many got a
        pass.

    Raises:
        KerasxaiError: An option out of range, or no feature map.

    Example:
        >>> kerasxai.Explainer(model, "scorecam", channels=64)(images).heatmaps

    Paper: Wang et al. 2020, "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks",
    arXiv:1910.01279. The score of a baseline that the paper subtracts cancels out of the softmax. Fewer channels, those
    that vary most, are Faster Score-CAM's idea (Li 2020, github.com/tabayashi0117/Score-CAM).
    """
    if layers := several_layers(model, batch):
        return one_by_one(scorecam, layers, model, batch, channels=channels, explain=explain)
    explain = explained_quantity(model, explain)
    clean = model.evaluate(layer_activations, batch, explain=explain)
    batch = batch.with_targets(clean.targets)
    activations = tf.cast(clean.activations, tf.float32).numpy()
    most = activations.shape[-1] if channels is None else whole("channels", channels, 1, activations.shape[-1])
    where = () if (extents := extents_of(clean)) is None else (extents[0],)
    maps = np.zeros(activations.shape[:-1], np.float32)
    used = np.zeros(len(maps), np.int64)
    for b, layer in enumerate(activations):
        one, chosen = slice(b, b + 1), varying_channels(layer, most)
        used[b] = len(chosen)
        varying = layer[..., chosen]
        masks = np.moveaxis(varying, -1, 0)
        batches = ((batch.take(one), masks[part], *where) for part in model.chunks(len(chosen)))
        scores = [answer.through for answer in model.evaluate_each(channel_scores, batches, explain=explain)]
        if scores:
            maps[b] = np.maximum(varying @ tf.nn.softmax(tf.concat(scores, 0)).numpy(), 0)
    model.record(channels=used)
    return tf.convert_to_tensor(maps)


def varying_channels(layer: NDArray[Any], most: int) -> NDArray[np.int64]:
    """Returns the channels of `(*positions, K)` that vary most, at most so many, and none that is constant."""
    positions = layer.reshape(-1, layer.shape[-1])
    spread = positions.std(0, dtype=np.float64)
    order = np.argsort(-spread, kind="stable")[:most]
    return np.sort(order[np.ptp(positions[:, order], 0) > 0])

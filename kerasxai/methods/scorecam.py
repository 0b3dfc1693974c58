"""Score-CAM: channels weighted by the score of the image seen through them."""

from typing import Any

import numpy as np
import tensorflow as tf

from kerasxai.engine.coverage.extents import extents_of, laid_over
from kerasxai.engine.map_layout import resized
from kerasxai.methods.cam import one_by_one, several_layers
from kerasxai.methods.perturbation import explained_quantity, seen_through
from kerasxai.tools.options import whole


def layer_activations(run: Any, images: Any, targets: Any, *, explain: str) -> dict[str, Any]:
    """Asks for the explained layer's activations `(B, h, w, K)` in its own dtype, and the scores, in one pass."""
    seen = run(images, targets)
    return {"activations": seen.feature_map(), "scores": seen.explained(explain)}


def channel_scores(
    run: Any, images: Any, targets: Any, channels: Any, extent: Any = None, *, explain: str
) -> dict[str, Any]:
    """Asks for the scores `(n,)` of one image `(1, H, W, C)` seen through each of the channels `(n, h, w)`.

    Where the channels cover a part of the image, `extent` `(sides, 2)`, the nearest value stands around it, which
    changes neither the lowest nor the highest.
    """
    size, channels = tf.shape(images)[1:-1], tf.cast(channels, tf.float32)
    masks = resized(channels, size) if extent is None else laid_over(channels, size, extent, outside="edge")
    places = range(1, channels.shape.rank)
    low, high = (reduce(masks, places, keepdims=True) for reduce in (tf.reduce_min, tf.reduce_max))
    stretched = tf.math.divide_no_nan(masks - low, high - low)
    seen = run(seen_through(stretched, images), tf.repeat(targets, tf.shape(channels)[0]))
    return {"through": seen.explained(explain)}


def scorecam(view: Any, images: Any, targets: Any, *, channels: int | None = None, explain: str | None = None) -> Any:
    """Score-CAM: `relu(sum_k w_k A_k)`, `w = softmax_k(S(x * M_k))`, `M_k` channel k enlarged and stretched to [0, 1].

    A channel that is the same everywhere shows nothing, gets no pass and no weight, and is left out of the softmax.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.
        channels: None takes all channels, one pass each; a number takes the so many that vary most (standard deviation
            over the places), which costs that many passes.
        explain: `"logit"` or `"probability"` of the class; None takes the logit, or the score that the user gave.

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
    if layers := several_layers(view, images, targets):
        return one_by_one(scorecam, layers, view, images, targets, channels=channels, explain=explain)
    explain = explained_quantity(view, explain)
    seen = view.evaluate(layer_activations, images, targets, explain=explain)
    activations = tf.cast(seen.activations, tf.float32).numpy()
    most = activations.shape[-1] if channels is None else whole("channels", channels, 1, activations.shape[-1])
    where = () if (extents := extents_of(seen)) is None else (extents[0],)
    maps = np.zeros(activations.shape[:-1], np.float32)
    used = np.zeros(len(maps), np.int64)
    for b, layer in enumerate(activations):
        one, chosen = slice(b, b + 1), varying_channels(layer, most)
        used[b] = len(chosen)
        varying = layer[..., chosen]
        shown = np.moveaxis(varying, -1, 0)
        batches = ((images[one], seen.targets[one], shown[part], *where) for part in view.chunks(len(chosen)))
        scores = [answer.through for answer in view.evaluate_each(channel_scores, batches, explain=explain)]
        if scores:
            maps[b] = np.maximum(varying @ tf.nn.softmax(tf.concat(scores, 0)).numpy(), 0)
    view.note(channels=used)
    return tf.convert_to_tensor(maps)


def varying_channels(layer: np.ndarray, most: int) -> np.ndarray:
    """Returns which channels of `(*sides, K)` vary most over the places, at most so many, and none that is constant."""
    places = layer.reshape(-1, layer.shape[-1])
    spread = places.std(0, dtype=np.float64)
    order = np.argsort(-spread, kind="stable")[:most]
    return np.sort(order[np.ptp(places[:, order], 0) > 0])

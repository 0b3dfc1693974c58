"""Maps from a layer's activations and the gradients that reach them, in one pass, at one layer or at several."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from kerasxai.engine.coverage.extents import extents_of, over_input
from kerasxai.engine.layers import find_call
from kerasxai.engine.map_layout import spatial_shape
from kerasxai.tools.errors import KerasxaiWarning
from kerasxai.tools.options import choice

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.traced_model import TracedModel

Weights: TypeAlias = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From activations and gradients `(B, h, w, K)` to weights, `(B, 1, 1, K)` or one per position."""

# Rectified activations keep the divisor of Grad-CAM++ at 2 or more; a hundredth of that is a weight 100 times as large.
_NEAR_POLE = 0.02
FUSIONS: dict[str, Callable[..., tf.Tensor]] = {"mean": tf.reduce_mean, "max": tf.reduce_max}


def layer_gradients(forward: Forward, batch: Samples) -> dict[str, list[tf.Tensor]]:
    """Query: the activations and gradients of each explained layer, lists of `(B, h, w, K)` float32, in one pass."""
    fp = forward(batch)
    activations = fp.feature_maps()
    return {"activations": _float32(activations), "gradients": fp.gradient(activations)}


def layer_activations(forward: Forward, batch: Samples) -> dict[str, list[tf.Tensor]]:
    """Query: the activations of each explained layer, a list of `(B, h, w, K)` float32, in one pass."""
    return {"activations": _float32(forward(batch).feature_maps())}


def _float32(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    return [tf.cast(x, tf.float32) for x in tensors]


def fused(
    model: TracedModel, maps: Sequence[tf.Tensor], size: Sequence[int], extents: tf.Tensor | None = None
) -> tf.Tensor:
    """Fuses the maps of several layers into one.

    Args:
        model: Its `fuse` chooses the `"mean"` or the `"max"` of the maps, each resized to `size` and then divided by
            its maximum if that is positive. Fused maps cover the whole input, so the extents are no longer reported.
        maps: `(B, h, w)` each, of any sizes.
        size: The spatial shape of the result.
        extents: `(maps, axes, 2)`, which part of the input each map covers; None if all cover all of it.

    Returns:
        `(B, *size)`; a single map is returned unchanged.
    """
    if len(maps) == 1:
        return maps[0]
    model.report.drop("extents")
    parts = [None if extents is None else extents[i : i + 1] for i in range(len(maps))]
    large = tf.stack([over_input(one, size, part) for one, part in zip(maps, parts, strict=True)])
    highest = tf.reduce_max(large, range(2, large.shape.rank), keepdims=True)
    return FUSIONS[choice("fuse", model.fuse, FUSIONS)](tf.where(highest > 0, large / highest, large), 0)


def over_positions(reduce: Callable[..., tf.Tensor], tensor: tf.Tensor) -> tf.Tensor:
    """Reduces `(B, h, w, K)`, or a map of one or three axes, over its positions to `(B, 1, 1, K)`."""
    return reduce(tensor, range(1, tensor.shape.rank - 1), keepdims=True)


Layers: TypeAlias = "list[tuple[str, keras.Layer | None]]"
"""Pairs of path and layer; an operation has no layer."""


def several_layers(model: TracedModel, batch: Samples) -> Layers:
    """Returns the explained layers, named by the user or the last of parallel branches, if there are several."""
    layers = model.layers or [find_call(model.model, name)[:2] for name in model.layer_names(batch)]
    return layers if len(layers) > 1 else []


def one_by_one(
    function: Callable[..., tf.Tensor], layers: Layers, model: TracedModel, batch: Samples, **options: Any
) -> tf.Tensor:
    """Fuses the maps of a method that explains one layer at a time."""
    shape, maps = spatial_shape(batch.images.shape), []
    for layer in layers:
        model.report.drop("layer")
        model.report.drop("extents")
        one = function(model.at(layer), batch, **options)
        maps.append(over_input(one, shape, model.report.drop("extents")))
    model.report.replace(layer=", ".join(path for path, _ in layers))
    return fused(model, maps, shape)


def weighted_maps(
    activations: Sequence[tf.Tensor], gradients: Sequence[tf.Tensor], weights_of: Weights
) -> list[tf.Tensor]:
    """Returns `relu(sum_k w_k A_k)` of each layer, `w = weights_of(A, g)`."""
    pairs = zip(activations, gradients, strict=True)
    return [tf.nn.relu(tf.reduce_sum(weights_of(a, g) * a, -1)) for a, g in pairs]


def mean_gradients(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Returns the weights of Grad-CAM, `(B, 1, 1, K)`."""
    return over_positions(tf.reduce_mean, gradients)


def _weighted(model: TracedModel, batch: Samples, weights_of: Weights) -> tf.Tensor:
    answer = model.evaluate(layer_gradients, batch)
    maps = weighted_maps(answer.activations, answer.gradients, weights_of)
    return fused(model, maps, spatial_shape(batch.images.shape), extents_of(answer))


def gradcam(model: TracedModel, batch: Samples) -> tf.Tensor:
    """Grad-CAM: `relu(sum_k mean_ij(g_k) A_k)`, `A` a layer's channels and `g` the gradient of the score.

    Returns:
        Maps `(B, h, w)` at the layer's size, float32, 0 and above.

    Example:
        >>> kerasxai.Explainer(model, "gradcam", layer="backbone/top_activation")(images).heatmaps

    Paper: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks", arXiv:1610.02391. There the score
    is the logit before softmax; departure: the default is the relative logit, see `Explainer`. Of volumes, and of clips
    whose frames go through a network of images (`keras.layers.TimeDistributed`), the gradient is averaged over all
    places of all frames, which share weights.
    """
    return _weighted(model, batch, mean_gradients)


def gradcam_plus_plus(model: TracedModel, batch: Samples) -> tf.Tensor:
    """Grad-CAM++: `relu(sum_k w_k A_k)`, `w_k = sum_ij a relu(g)`, `a = g^2 / (2 g^2 + sum_ab(A_ab) g^3)`.

    `a` is 0 where its divisor is. It is computed as `1 / (2 + sum_ab(A_ab) g)`, which is the same and loses no small
    gradients to the powers.

    Returns:
        Maps `(B, h, w)` at the layer's size, float32, 0 and above. The notes keep `near_pole` `(B,)` bool: whether a
        place that counts has a divisor below a hundredth of 2.

    Example:
        >>> kerasxai.Explainer(model, "gradcam++")(images).heatmaps

    Paper: Chattopadhay et al. 2018, "Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks",
    arXiv:1710.11063. The score differentiated there is the exponential of the logit; the exponential cancels out of `a`
    and is a common factor of the rest, so that `g` is the gradient of the logit here. Departure: that factor is left
    out. The formula supposes rectified activations, for which the divisor is 2 or more wherever a place counts. On a
    layer with both signs (a linear bottleneck, a sum of branches) a channel's negative activations may bring it near 0:
    there single places get huge weights that rounding decides, and a warning says so. Choose a rectified layer with
    `layer=`, or another method.
    """

    near_pole = np.zeros(len(batch), bool)

    def weights(a: tf.Tensor, g: tf.Tensor) -> tf.Tensor:
        nonlocal near_pole
        divisor = 2 + over_positions(tf.reduce_sum, a) * g
        near_pole = near_pole | tf.reduce_any((tf.abs(divisor) < _NEAR_POLE) & (g > 0), range(1, g.shape.rank)).numpy()
        # Where g is 0, relu(g) is too, so that `a` need not be set to 0 there.
        return over_positions(tf.reduce_sum, tf.math.divide_no_nan(tf.nn.relu(g), divisor))

    maps = _weighted(model, batch, weights)
    model.record(near_pole=near_pole)
    if near_pole.any():
        warnings.warn(
            "gradcam++: negative activations bring the divisor of a weight near 0, and rounding decides about the map; "
            "choose a layer behind a rectifier with layer=, or another method such as gradcam or layercam",
            KerasxaiWarning,
            stacklevel=2,
        )
    return maps


def xgradcam(model: TracedModel, batch: Samples) -> tf.Tensor:
    """XGrad-CAM: `relu(sum_k w_k A_k)`, `w_k = sum_ij(g_k A_k) / sum_ij(A_k)`; 0 where the channel adds up to 0.

    Returns:
        Maps `(B, h, w)` at the layer's size, float32, 0 and above. Before the rectifier they add up to `sum(g A)`.

    Example:
        >>> kerasxai.Explainer(model, "xgradcam")(images).heatmaps

    Paper: Fu et al. 2020, "Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation of CNNs",
    arXiv:2008.02312. The weights are averages only where the activations are not negative; on a layer with both signs a
    channel's sum may be near 0 and its weight huge.
    """

    def weights(a: tf.Tensor, g: tf.Tensor) -> tf.Tensor:
        return tf.math.divide_no_nan(*(over_positions(tf.reduce_sum, x) for x in (g * a, a)))

    return _weighted(model, batch, weights)


def layercam(model: TracedModel, batch: Samples) -> tf.Tensor:
    """LayerCAM: `relu(sum_k relu(g_k) A_k)`, each place with its own weight.

    Returns:
        Maps `(B, h, w)` at the layer's size, float32, 0 and above.

    Example:
        >>> kerasxai.Explainer(model, "layercam", layer=["block3", "block5"], fuse="max")(images).heatmaps

    Paper: Jiang et al. 2021, "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization", IEEE TIP,
    doi:10.1109/TIP.2021.3089943. Departure: the paper puts the maps of early layers through `tanh` before it fuses
    several by their maximum; here each is divided by its maximum.
    """
    return _weighted(model, batch, lambda a, g: tf.nn.relu(g))


def hirescam(model: TracedModel, batch: Samples) -> tf.Tensor:
    """HiResCAM: `relu(sum_k g_k A_k)`, each place with its own weight; Grad-CAM where the head averages over places.

    Returns:
        Maps `(B, h, w)` at the layer's size, float32, 0 and above.

    Example:
        >>> kerasxai.Explainer(model, "hirescam")(images).heatmaps

    Paper: Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural
    networks", arXiv:2011.08891.
    """
    return _weighted(model, batch, lambda a, g: g)


def eigencam(model: TracedModel, batch: Samples) -> tf.Tensor:
    """Eigen-CAM: the activations `(h w, K)` projected on their first right singular vector, whatever the class.

    The vector is found through the smaller of the two Gram matrices, `(h w, h w)` or `(K, K)`, in float64.

    Returns:
        Maps `(B, h, w)` at the layer's size, float32, signed, with a mean that is not negative.

    Example:
        >>> kerasxai.Explainer(model, "eigencam")(images).heatmaps

    Paper: Muhammad and Yeasin 2020, "Eigen-CAM: Class Activation Map using Principal Components", arXiv:2008.00299. The
    activations are not centered, as there. A singular vector has no sign of its own; departure: it is chosen.
    """
    answer = model.evaluate(layer_activations, batch)
    maps = [_first_component(a) for a in answer.activations]
    return fused(model, maps, spatial_shape(batch.images.shape), extents_of(answer))


def _first_component(activations: tf.Tensor) -> tf.Tensor:
    batch, *positions, channels = activations.shape
    matrix = tf.cast(tf.reshape(activations, (batch, -1, channels)), tf.float64)
    by_position = matrix.shape[1] <= channels
    values, vectors = tf.linalg.eigh(tf.matmul(matrix, matrix, transpose_a=not by_position, transpose_b=by_position))
    first = vectors[..., -1:]
    projected = tf.sqrt(tf.nn.relu(values[:, None, -1:])) * first if by_position else tf.matmul(matrix, first)
    sign = tf.where(tf.reduce_sum(projected, 1, keepdims=True) < 0, -1.0, 1.0)
    return tf.cast(tf.reshape(projected * tf.cast(sign, tf.float64), (batch, *positions)), tf.float32)

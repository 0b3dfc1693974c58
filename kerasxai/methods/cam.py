"""Maps from a layer's activations and the gradients that reach them, in one pass, at one layer or at several."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kerasxai.engine.coverage.extents import extents_of, over_input
from kerasxai.engine.layers import find_call
from kerasxai.engine.map_layout import sides_of
from kerasxai.tools.errors import KerasxaiWarning
from kerasxai.tools.options import choice

# Rectified activations keep the divisor of Grad-CAM++ at 2 or more; a hundredth of that is a weight 100 times as large.
_NEAR_POLE = 0.02
FUSIONS: dict[str, Callable[..., Any]] = {"mean": tf.reduce_mean, "max": tf.reduce_max}


def layer_gradients(run: Any, images: Any, targets: Any) -> dict[str, Any]:
    """Asks for each explained layer's activations and gradients, lists of `(B, h, w, K)` float32, in one pass."""
    seen = run(images, targets)
    activations = seen.feature_maps()
    return {"activations": _float32(activations), "gradients": seen.gradient(activations)}


def layer_activations(run: Any, images: Any, targets: Any) -> dict[str, Any]:
    """Asks for each explained layer's activations, a list of `(B, h, w, K)` float32, in one pass."""
    return {"activations": _float32(run(images, targets).feature_maps())}


def _float32(tensors: list[Any]) -> list[Any]:
    return [tf.cast(x, tf.float32) for x in tensors]


def fused(view: Any, maps: list[Any], size: Any, extents: Any = None) -> Any:
    """Makes one map out of those of several layers.

    Args:
        view: The model. Its `fuse` says whether the `"mean"` or the `"max"` of the maps is taken, each brought to
            `size` and then divided by its maximum where that is positive. Fused maps cover the whole input, so that its
            notes say no longer what the maps cover.
        maps: `(B, h, w)` each, of any sizes.
        size: The sides of the result.
        extents: `(maps, sides, 2)`, which part of the input each covers, or None where all cover all of it.

    Returns:
        `(B, *size)`; a single map comes back as it is.
    """
    if len(maps) == 1:
        return maps[0]
    view.notes.pop("extents", None)
    fuse = view.fuse
    parts = [None if extents is None else extents[i : i + 1] for i in range(len(maps))]
    large = tf.stack([over_input(one, size, part) for one, part in zip(maps, parts, strict=True)])
    highest = tf.reduce_max(large, range(2, large.shape.rank), keepdims=True)
    return FUSIONS[choice("fuse", fuse, FUSIONS)](tf.where(highest > 0, large / highest, large), 0)


def over_places(reduce: Callable[..., Any], tensor: Any) -> Any:
    """Reduces `(B, h, w, K)`, or a map of one or three sides, over its places to `(B, 1, 1, K)`."""
    return reduce(tensor, range(1, tensor.shape.rank - 1), keepdims=True)


def several_layers(view: Any, images: Any, targets: Any) -> list[tuple[str, Any]]:
    """Returns the explained layers, named by the user or last of parallel branches, if there are several."""
    layers = view.layers or [find_call(view.model, name)[:2] for name in view.layer_names(images, targets)]
    return layers if len(layers) > 1 else []


def one_by_one(
    function: Callable[..., Any], layers: list[tuple[str, Any]], view: Any, images: Any, targets: Any, **options: Any
) -> Any:
    """Fuses the maps of a method that explains one layer at a time."""
    sides, maps = sides_of(images.shape), []
    for layer in layers:
        view.notes.pop("extents", None)
        with view.at(layer):
            one = function(view, images, targets, **options)
            maps.append(over_input(one, sides, view.notes.pop("extents", None)))
    view.notes["layer"] = ", ".join(path for path, _ in layers)
    return fused(view, maps, sides)


def weighted_maps(activations: list[Any], gradients: list[Any], weights_of: Callable[[Any, Any], Any]) -> list[Any]:
    """Returns `relu(sum_k w_k A_k)` of each layer, `w = weights_of(A, g)`: `(B, 1, 1, K)` or one for each place."""
    pairs = zip(activations, gradients, strict=True)
    return [tf.nn.relu(tf.reduce_sum(weights_of(a, g) * a, -1)) for a, g in pairs]


def mean_gradients(activations: Any, gradients: Any) -> Any:
    """Returns Grad-CAM's weights, `(B, 1, 1, K)`."""
    return over_places(tf.reduce_mean, gradients)


def _weighted(view: Any, images: Any, targets: Any, weights_of: Callable[[Any, Any], Any]) -> Any:
    seen = view.evaluate(layer_gradients, images, targets)
    maps = weighted_maps(seen.activations, seen.gradients, weights_of)
    return fused(view, maps, sides_of(images.shape), extents_of(seen))


def gradcam(view: Any, images: Any, targets: Any) -> Any:
    """Grad-CAM: `relu(sum_k mean_ij(g_k) A_k)`, `A` a layer's channels and `g` the gradient of the score.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.

    Returns:
        Maps `(B, h, w)` at the layer's size, float32, 0 and above.

    Example:
        >>> kerasxai.Explainer(model, "gradcam", layer="backbone/top_activation")(images).heatmaps

    Paper: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks", arXiv:1610.02391. The score is the
    logit before softmax, as there. Of volumes, and of clips whose frames go through a network of images
    (`keras.layers.TimeDistributed`), the gradient is averaged over all places of all frames, which share weights.
    """
    return _weighted(view, images, targets, mean_gradients)


def gradcam_plus_plus(view: Any, images: Any, targets: Any) -> Any:
    """Grad-CAM++: `relu(sum_k w_k A_k)`, `w_k = sum_ij a relu(g)`, `a = g^2 / (2 g^2 + sum_ab(A_ab) g^3)`.

    `a` is 0 where its divisor is. It is computed as `1 / (2 + sum_ab(A_ab) g)`, which is the same and loses no small
    gradients to the powers.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.

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

    near_pole = np.zeros(len(images), bool)

    def weights(a: Any, g: Any) -> Any:
        nonlocal near_pole
        divisor = 2 + over_places(tf.reduce_sum, a) * g
        near_pole = near_pole | tf.reduce_any((tf.abs(divisor) < _NEAR_POLE) & (g > 0), range(1, g.shape.rank)).numpy()
        # Where g is 0, relu(g) is too, so that `a` need not be set to 0 there.
        return over_places(tf.reduce_sum, tf.math.divide_no_nan(tf.nn.relu(g), divisor))

    maps = _weighted(view, images, targets, weights)
    view.note(near_pole=near_pole)
    if near_pole.any():
        warnings.warn(
            "gradcam++: negative activations bring the divisor of a weight near 0, and rounding decides about the map; "
            "choose a layer behind a rectifier with layer=, or another method such as gradcam or layercam",
            KerasxaiWarning,
            stacklevel=2,
        )
    return maps


def xgradcam(view: Any, images: Any, targets: Any) -> Any:
    """XGrad-CAM: `relu(sum_k w_k A_k)`, `w_k = sum_ij(g_k A_k) / sum_ij(A_k)`; 0 where the channel adds up to 0.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.

    Returns:
        Maps `(B, h, w)` at the layer's size, float32, 0 and above. Before the rectifier they add up to `sum(g A)`.

    Example:
        >>> kerasxai.Explainer(model, "xgradcam")(images).heatmaps

    Paper: Fu et al. 2020, "Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation of CNNs",
    arXiv:2008.02312. The weights are averages only where the activations are not negative; on a layer with both signs a
    channel's sum may be near 0 and its weight huge.
    """

    def weights(a: Any, g: Any) -> Any:
        return tf.math.divide_no_nan(*(over_places(tf.reduce_sum, x) for x in (g * a, a)))

    return _weighted(view, images, targets, weights)


def layercam(view: Any, images: Any, targets: Any) -> Any:
    """LayerCAM: `relu(sum_k relu(g_k) A_k)`, each place with its own weight.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.

    Returns:
        Maps `(B, h, w)` at the layer's size, float32, 0 and above.

    Example:
        >>> kerasxai.Explainer(model, "layercam", layer=["block3", "block5"], fuse="max")(images).heatmaps

    Paper: Jiang et al. 2021, "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization", IEEE TIP,
    doi:10.1109/TIP.2021.3089943. Departure: the paper puts the maps of early layers through `tanh` before it fuses
    several by their maximum; here each is divided by its maximum.
    """
    return _weighted(view, images, targets, lambda a, g: tf.nn.relu(g))


def hirescam(view: Any, images: Any, targets: Any) -> Any:
    """HiResCAM: `relu(sum_k g_k A_k)`, each place with its own weight; Grad-CAM where the head averages over places.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.

    Returns:
        Maps `(B, h, w)` at the layer's size, float32, 0 and above.

    Example:
        >>> kerasxai.Explainer(model, "hirescam")(images).heatmaps

    Paper: Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural
    networks", arXiv:2011.08891.
    """
    return _weighted(view, images, targets, lambda a, g: g)


def eigencam(view: Any, images: Any, targets: Any) -> Any:
    """Eigen-CAM: the activations `(h w, K)` projected on their first right singular vector, whatever the class.

    The vector is found through the smaller of the two Gram matrices, `(h w, h w)` or `(K, K)`, in float64.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32.
        targets: `(B,)` int64 classes; -1 stands for the predicted one. They only decide which score is told.

    Returns:
        Maps `(B, h, w)` at the layer's size, float32, signed, with a mean that is not negative.

    Example:
        >>> kerasxai.Explainer(model, "eigencam")(images).heatmaps

    Paper: Muhammad and Yeasin 2020, "Eigen-CAM: Class Activation Map using Principal Components", arXiv:2008.00299. The
    activations are not centered, as there. A singular vector has no sign of its own; departure: it is chosen.
    """
    seen = view.evaluate(layer_activations, images, targets)
    maps = [_first_component(a) for a in seen.activations]
    return fused(view, maps, sides_of(images.shape), extents_of(seen))


def _first_component(activations: Any) -> Any:
    batch, *sides, channels = activations.shape
    matrix = tf.cast(tf.reshape(activations, (batch, -1, channels)), tf.float64)
    by_place = matrix.shape[1] <= channels
    values, vectors = tf.linalg.eigh(tf.matmul(matrix, matrix, transpose_a=not by_place, transpose_b=by_place))
    first = vectors[..., -1:]
    projected = tf.sqrt(tf.nn.relu(values[:, None, -1:])) * first if by_place else tf.matmul(matrix, first)
    sign = tf.where(tf.reduce_sum(projected, 1, keepdims=True) < 0, -1.0, 1.0)
    return tf.cast(tf.reshape(projected * tf.cast(sign, tf.float64), (batch, *sides)), tf.float32)

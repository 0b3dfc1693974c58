"""Maps at the input: gradients of the score with respect to the pixels, by the derivative or by rectifier rules."""

from typing import Any

import tensorflow as tf

from kerasxai.engine.coverage.extents import extents_of, over_input
from kerasxai.engine.images.integer_images import check_behind_cast
from kerasxai.engine.map_layout import sides_of
from kerasxai.methods.cam import fused, layer_gradients, mean_gradients, weighted_maps


def pixel_gradients(run: Any, images: Any, targets: Any, *, rectifier: str | None) -> dict[str, Any]:
    """Asks for the gradient `(B, H, W, C)` float32 of the score at the images, and how many rectifiers a rule met.

    Of tokens `(B, T)` it is the gradient `(B, T, E)` at their embeddings, which `inputs` then are.
    """
    seen = run(images, targets, behind_cast=True)
    inputs = seen.explained_inputs()
    gradients = seen.gradient(inputs, rectifier=rectifier)
    return {
        "gradients": _colors(gradients),
        "inputs": _colors([tf.cast(x, tf.float32) for x in inputs]),
        "rectifiers": tf.constant(seen.rectifiers),
    }


def _colors(tensors: list[Any]) -> Any:
    """Returns what several embeddings give side by side; a plain number gets an axis of its own."""
    joined = tf.concat(tensors, -1)
    return joined[..., None] if joined.shape.rank == 2 else joined


def pixel_and_layer_gradients(run: Any, images: Any, targets: Any) -> dict[str, Any]:
    """Asks for guided gradients at the images, and for Grad-CAM's maps, whose gradients are plain, in one pass."""
    seen = run(images, targets, behind_cast=True)
    at_layers = layer_gradients(lambda *_: seen, images, targets)
    gradients = _colors(seen.gradient(seen.explained_inputs(), rectifier="guided"))
    maps = weighted_maps(at_layers["activations"], at_layers["gradients"], mean_gradients)
    return {"gradients": gradients, "rectifiers": tf.constant(seen.rectifiers), "maps": maps}


def strongest_color(gradients: Any) -> Any:
    """Returns the largest absolute value over the colors of `(B, H, W, C)`, `(B, H, W)`."""
    return tf.reduce_max(tf.abs(gradients), -1)


def input_gradients(view: Any, images: Any, targets: Any) -> Any:
    """Returns the gradient of the score at the images, `(B, H, W, C)` float32."""
    check_behind_cast(view, images, targets)
    return view.evaluate(pixel_gradients, images, targets, rectifier=None).gradients


def guided_gradients(view: Any, images: Any, targets: Any) -> Any:
    """Returns guided backpropagation with its signs and colors, `(B, H, W, C)` float32."""
    return _ruled_gradients(view, images, targets, "guided")


def deconvnet_gradients(view: Any, images: Any, targets: Any) -> Any:
    """Returns the deconvnet's reconstruction with its signs and colors, `(B, H, W, C)` float32."""
    return _ruled_gradients(view, images, targets, "deconvnet")


def guided_gradcam_colors(view: Any, images: Any, targets: Any) -> Any:
    """Returns guided Grad-CAM with its signs and colors, `(B, H, W, C)` float32."""
    check_behind_cast(view, images, targets)
    seen = view.evaluate(pixel_and_layer_gradients, images, targets)
    view.note(rectifiers=int(seen.rectifiers))
    sides, extents = sides_of(images.shape), extents_of(seen)
    maps = fused(view, seen.maps, sides, extents)
    # What is multiplied with the pixels covers all of them.
    view.notes.pop("extents", None)
    return seen.gradients * over_input(maps, sides, extents if len(seen.maps) == 1 else None)[..., None]


def _ruled_gradients(view: Any, images: Any, targets: Any, rectifier: str) -> Any:
    check_behind_cast(view, images, targets)
    seen = view.evaluate(pixel_gradients, images, targets, rectifier=rectifier)
    view.note(rectifiers=int(seen.rectifiers))
    return seen.gradients


def saliency(view: Any, images: Any, targets: Any) -> Any:
    """Saliency: `max over colors of abs(dS/dx)`.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.

    Returns:
        Maps `(B, H, W)` float32, 0 and above.

    Example:
        >>> kerasxai.Explainer(model, "saliency", smooth="smoothgrad")(images).heatmaps

    Paper: Simonyan et al. 2013, "Deep Inside Convolutional Networks: Visualising Image Classification Models and
    Saliency Maps", arXiv:1312.6034.
    """
    return strongest_color(input_gradients(view, images, targets))


def gradient_input(view: Any, images: Any, targets: Any) -> Any:
    """Gradient times input: `sum over colors of x dS/dx`, signed.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32. Where the model holds its own preprocessing, x is the raw image, so that a black
            pixel gets 0 and a bright one much, whatever the network sees after the preprocessing. Of tokens `(B, T)` x
            is what `keras.layers.Embedding` gives for each.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.

    Returns:
        Maps `(B, H, W)` float32, signed.

    Example:
        >>> kerasxai.Explainer(model, "gradient*input")(images).heatmaps

    Paper: Shrikumar et al. 2016, "Not Just a Black Box: Learning Important Features Through Propagating Activation
    Differences", arXiv:1605.01713.
    """
    check_behind_cast(view, images, targets)
    seen = view.evaluate(pixel_gradients, images, targets, rectifier=None)
    return tf.reduce_sum(seen.inputs * seen.gradients, -1)


def deconvnet(view: Any, images: Any, targets: Any) -> Any:
    """Deconvnet: the gradient with `relu(dy)` on the way back through each rectifier, `max over colors of abs`.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.

    Returns:
        Maps `(B, H, W)` float32, 0 and above. The notes keep `rectifiers`, how many the rule acted on.

    Raises:
        KerasxaiError: The model has no rectifiers, or some that the rule cannot reach.

    Example:
        >>> kerasxai.Explainer(model, "deconvnet")(images).notes["rectifiers"]

    Paper: Zeiler and Fergus 2013, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901. Departure:
    the paper starts from one activation, here it is the score. ReLU6 counts as a rectifier, leaky ones do not.
    """
    return strongest_color(deconvnet_gradients(view, images, targets))


def guided_backprop(view: Any, images: Any, targets: Any) -> Any:
    """Guided backpropagation: `relu(dy) * (x > 0)` on the way back through each rectifier, `max over colors of abs`.

    For ReLU6 it is `relu(dy) * (0 < x < 6)`.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.

    Returns:
        Maps `(B, H, W)` float32, 0 and above. The notes keep `rectifiers`, how many the rule acted on.

    Raises:
        KerasxaiError: The model has no rectifiers, or some that the rule cannot reach.

    Example:
        >>> kerasxai.Explainer(model, "guided_backprop")(images).heatmaps

    Paper: Springenberg et al. 2014, "Striving for Simplicity: The All Convolutional Net", arXiv:1412.6806. Leaky and
    smooth activations keep their own gradient. The map hardly depends on the class (Adebayo et al. 2018,
    arXiv:1810.03292).
    """
    return strongest_color(guided_gradients(view, images, targets))


def guided_gradcam(view: Any, images: Any, targets: Any) -> Any:
    """Guided Grad-CAM: guided backpropagation, color by color, times Grad-CAM enlarged, `max over colors of abs`.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.

    Returns:
        Maps `(B, H, W)` float32, 0 and above. The notes keep `rectifiers`, how many the rule acted on.

    Raises:
        KerasxaiError: No feature map, no rectifiers, or some that the rule cannot reach.

    Example:
        >>> kerasxai.Explainer(model, "guided_gradcam", layer="backbone/top_activation")(images).heatmaps

    Paper: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks", arXiv:1610.02391. Both factors
    come from one pass; Grad-CAM's own gradients are plain.
    """
    return strongest_color(guided_gradcam_colors(view, images, targets))

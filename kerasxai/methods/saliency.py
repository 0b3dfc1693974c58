"""Maps at the input: gradients of the score with respect to the pixels, by the derivative or by rectifier rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from kerasxai.engine.coverage.extents import extents_of, over_input
from kerasxai.engine.images.integer_images import check_takes_floats
from kerasxai.engine.map_layout import spatial_shape
from kerasxai.methods.cam import fused, layer_gradients, mean_gradients, weighted_maps

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.traced_model import TracedModel


def pixel_gradients(forward: Forward, batch: Samples, *, rectifier: str | None) -> dict[str, tf.Tensor]:
    """Query: the gradient `(B, H, W, C)` float32 of the score at the images, and how many rectifiers a rule met.

    For tokens `(B, T)` it is the gradient `(B, T, E)` at their embeddings, which are then the `inputs`.
    """
    fp = forward(batch, as_floats=True)
    inputs = fp.explained_inputs()
    gradients = fp.gradient(inputs, rectifier=rectifier)
    return {
        "gradients": _colors(gradients),
        "inputs": _colors([tf.cast(x, tf.float32) for x in inputs]),
        "rectifiers": tf.constant(fp.rectifiers),
    }


def _colors(tensors: list[tf.Tensor]) -> tf.Tensor:
    """Concatenates the outputs of several embeddings; a plain number gets an axis."""
    joined = tf.concat(tensors, -1)
    return joined[..., None] if joined.shape.rank == 2 else joined


def pixel_and_layer_gradients(forward: Forward, batch: Samples) -> dict[str, tf.Tensor | list[tf.Tensor]]:
    """Query: guided gradients at the images, and the maps of Grad-CAM with plain gradients, in one pass."""
    fp = forward(batch, as_floats=True)
    at_layers = layer_gradients(lambda *_: fp, batch)
    gradients = _colors(fp.gradient(fp.explained_inputs(), rectifier="guided"))
    maps = weighted_maps(at_layers["activations"], at_layers["gradients"], mean_gradients)
    return {"gradients": gradients, "rectifiers": tf.constant(fp.rectifiers), "maps": maps}


def strongest_color(gradients: tf.Tensor) -> tf.Tensor:
    """Returns the largest absolute value over the colors of `(B, H, W, C)`, `(B, H, W)`."""
    return tf.reduce_max(tf.abs(gradients), -1)


def input_gradients(model: TracedModel, batch: Samples) -> tf.Tensor:
    """Returns the gradient of the score at the images, `(B, H, W, C)` float32."""
    check_takes_floats(model, batch)
    return model.evaluate(pixel_gradients, batch, rectifier=None).gradients


def guided_gradients(model: TracedModel, batch: Samples) -> tf.Tensor:
    """Returns guided backpropagation with its signs and colors, `(B, H, W, C)` float32."""
    return _ruled_gradients(model, batch, "guided")


def deconvnet_gradients(model: TracedModel, batch: Samples) -> tf.Tensor:
    """Returns the deconvnet's reconstruction with its signs and colors, `(B, H, W, C)` float32."""
    return _ruled_gradients(model, batch, "deconvnet")


def guided_gradcam_colors(model: TracedModel, batch: Samples) -> tf.Tensor:
    """Returns guided Grad-CAM with its signs and colors, `(B, H, W, C)` float32."""
    check_takes_floats(model, batch)
    answer = model.evaluate(pixel_and_layer_gradients, batch)
    model.record(rectifiers=int(answer.rectifiers))
    shape, extents = spatial_shape(batch.images.shape), extents_of(answer)
    maps = fused(model, answer.maps, shape, extents)
    # The product has the size of the image and covers all of it.
    model.report.drop("extents")
    return answer.gradients * over_input(maps, shape, extents if len(answer.maps) == 1 else None)[..., None]


def _ruled_gradients(model: TracedModel, batch: Samples, rectifier: str) -> tf.Tensor:
    check_takes_floats(model, batch)
    answer = model.evaluate(pixel_gradients, batch, rectifier=rectifier)
    model.record(rectifiers=int(answer.rectifiers))
    return answer.gradients


def saliency(model: TracedModel, batch: Samples) -> tf.Tensor:
    """Saliency: `max over colors of abs(dS/dx)`.

    Returns:
        Maps `(B, H, W)` float32, 0 and above.

    Example:
        >>> kerasxai.Explainer(model, "saliency", smooth="smoothgrad")(images).heatmaps

    Paper: Simonyan et al. 2013, "Deep Inside Convolutional Networks: Visualising Image Classification Models and
    Saliency Maps", arXiv:1312.6034.
    """
    return strongest_color(input_gradients(model, batch))


def gradient_input(model: TracedModel, batch: Samples) -> tf.Tensor:
    """Gradient times input: `sum over colors of x dS/dx`, signed.

    If the model contains its own preprocessing, x is the raw image: a black pixel gets 0 and a bright one a large
    value, whatever the preprocessing makes of them. For tokens `(B, T)` x is the output of `keras.layers.Embedding`.

    Returns:
        Maps `(B, H, W)` float32, signed.

    Example:
        >>> kerasxai.Explainer(model, "gradient*input")(images).heatmaps

    Paper: Shrikumar et al. 2016, "Not Just a Black Box: Learning Important Features Through Propagating Activation
    Differences", arXiv:1605.01713.
    """
    check_takes_floats(model, batch)
    answer = model.evaluate(pixel_gradients, batch, rectifier=None)
    return tf.reduce_sum(answer.inputs * answer.gradients, -1)


def deconvnet(model: TracedModel, batch: Samples) -> tf.Tensor:
    """Deconvnet: the gradient with `relu(dy)` on the way back through each rectifier, `max over colors of abs`.

    Returns:
        Maps `(B, H, W)` float32, 0 and above. The notes keep `rectifiers`, how many the rule acted on.

    Raises:
        KerasxaiError: The model has no rectifiers, or some that the rule cannot reach.

    Example:
        >>> kerasxai.Explainer(model, "deconvnet")(images).notes["rectifiers"]

    Paper: Zeiler and Fergus 2013, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901. Departure:
    the paper starts from one activation, here it is the score. ReLU6 counts as a rectifier, leaky ones do not.
    """
    return strongest_color(deconvnet_gradients(model, batch))


def guided_backprop(model: TracedModel, batch: Samples) -> tf.Tensor:
    """Guided backpropagation: `relu(dy) * (x > 0)` on the way back through each rectifier, `max over colors of abs`.

    For ReLU6 it is `relu(dy) * (0 < x < 6)`.

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
    return strongest_color(guided_gradients(model, batch))


def guided_gradcam(model: TracedModel, batch: Samples) -> tf.Tensor:
    """Guided Grad-CAM: guided backpropagation, color by color, times Grad-CAM enlarged, `max over colors of abs`.

    Returns:
        Maps `(B, H, W)` float32, 0 and above. The notes keep `rectifiers`, how many the rule acted on.

    Raises:
        KerasxaiError: No feature map, no rectifiers, or some that the rule cannot reach.

    Example:
        >>> kerasxai.Explainer(model, "guided_gradcam", layer="backbone/top_activation")(images).heatmaps

    Paper: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks", arXiv:1610.02391. Both factors
    come from one pass; Grad-CAM's own gradients are plain.
    """
    return strongest_color(guided_gradcam_colors(model, batch))

"""Maps from one layer's activations and the gradients that reach them."""

from typing import Any

import tensorflow as tf


def layer_gradients(run: Any, images: Any, targets: Any) -> dict[str, Any]:
    """Asks for the explained layer's activations and gradients, both `(B, h, w, K)` float32, in one pass."""
    seen = run(images, targets)
    activations = seen.feature_map()
    return {"activations": tf.cast(activations, tf.float32), "gradients": seen.gradient(activations)}


def gradcam(view: Any, images: Any, targets: Any) -> Any:
    """Grad-CAM: `relu(sum_k mean_ij(g_k) A_k)`, `A` a layer's channels and `g` the gradient of the score.

    Args:
        view: The model, as `kerasxai.core.view.View` shows it.
        images: `(B, H, W, C)` float32.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.

    Returns:
        Maps `(B, h, w)` at the layer's size, float32, 0 and above.

    Example:
        >>> kerasxai.Explainer(model, "gradcam", layer="backbone/top_activation")(images).heatmaps

    Paper: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks", arXiv:1610.02391. The score is the
    logit before softmax, as there.
    """
    seen = view.ask(layer_gradients, images, targets)
    weights = tf.reduce_mean(seen.gradients, (1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(weights * seen.activations, -1))

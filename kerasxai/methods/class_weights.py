"""Class activation maps proper: the evidence that the model's own last weights give to each place."""

from typing import Any

import tensorflow as tf

from kerasxai.engine.graph import pooled_map, pooled_then_dense
from kerasxai.engine.layers import hidden_layers
from kerasxai.engine.scores import class_weights
from kerasxai.tools.errors import KerasxaiError


def class_evidence(run: Any, images: Any, targets: Any) -> dict[str, Any]:
    """Asks for the maps `(B, h, w, K)` at the end of a model and the weights `(B, K)` that the target class gives them.

    Three ends are known: a layer that says that its output is class maps (`produces_class_maps = True`), a global
    average pooling whose output is the logits, and a global average pooling with one dense layer behind it.
    """
    seen = run(images, targets)
    maps = next((c.output for c in reversed(seen.calls) if getattr(c.layer, "produces_class_maps", False)), None)
    kernel = None
    if maps is None and seen.logits is not None:
        maps = pooled_map(seen.logits)
        if maps is None:
            maps, kernel = pooled_then_dense(seen.logits) or (None, None)
    if maps is None:
        raise hidden_layers(seen.calls) or KerasxaiError(
            "cam needs a model that ends in global average pooling and one dense layer, a 1x1 convolution and global "
            "average pooling, or an ACoL head; this one does not: use gradcam, which needs no such head"
        )
    seen.layer_name = seen.name_of(maps)
    maps = seen.read_map(maps)
    weights = class_weights(tf.eye(maps.shape[-1]) if kernel is None else kernel, seen.targets)
    return {"activations": tf.cast(maps, tf.float32), "weights": weights}


def cam(view: Any, images: Any, targets: Any) -> Any:
    """Class activation map: `sum_k w[k, c] A_k`, signed, with the weights of class `c` behind the pooled channels.

    On a 1x1-convolution head it is the class's own channel (with its bias), whose mean over the places is the logit; on
    ACoL the fused map of both branches, erased for the target class.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.

    Returns:
        Maps `(B, h, w)` at the size of the last feature map, float32, signed.

    Raises:
        KerasxaiError: The model does not end so.

    Example:
        >>> kerasxai.Explainer(model, "cam")(images).heatmaps

    Paper: Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", arXiv:1512.04150; for the
    1x1 convolution Lin et al. 2013, "Network In Network", arXiv:1312.4400. A dense layer's bias belongs to no place and
    is left out, as there.
    """
    seen = view.evaluate(class_evidence, images, targets)
    return tf.einsum("b...k,bk->b...", seen.activations, seen.weights)

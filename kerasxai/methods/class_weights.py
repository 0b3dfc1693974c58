"""Class activation maps proper: each position, weighted by the last weights of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from kerasxai.engine.graph import origin, pooled_map, pooled_then_dense
from kerasxai.engine.layers import opaque_model_error
from kerasxai.engine.scores import class_weights
from kerasxai.tools.errors import KerasxaiError

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.traced_model import TracedModel


def class_evidence(forward: Forward, batch: Samples) -> dict[str, tf.Tensor]:
    """Query: the maps `(B, h, w, K)` at the end of a model, and their weights `(B, K)` for the target class.

    Three ends are known: a layer that declares that its output is class maps (`produces_class_maps = True`), a global
    average pooling whose output is the logits, and a global average pooling followed by one dense layer.
    """
    fp = forward(batch)
    maps = next((c.output for c in reversed(fp.calls) if getattr(c.layer, "produces_class_maps", False)), None)
    pooled = None if fp.logits is None else pooled_map(fp.logits)
    # Maps whose means are the logits share what the logits share; other class maps are used unchanged.
    relative = fp.relative and (maps is None or origin(maps) is pooled)
    kernel = None
    if maps is None and fp.logits is not None:
        maps = pooled
        if maps is None:
            maps, kernel = pooled_then_dense(fp.logits) or (None, None)
    if maps is None:
        raise opaque_model_error(fp.calls) or KerasxaiError(
            "expected a model that ends in global average pooling and one dense layer, a 1x1 convolution and global "
            "average pooling, or an ACoL head, got another; use gradcam, which needs no such head"
        )
    fp.layer_name = fp.name_of(maps)
    maps = fp.read_map(maps)
    weights = class_weights(tf.eye(maps.shape[-1]) if kernel is None else kernel, fp.targets, relative)
    return {"activations": tf.cast(maps, tf.float32), "weights": weights}


def cam(model: TracedModel, batch: Samples) -> tf.Tensor:
    """Class activation map: `sum_k w[k, c] A_k`, signed, with the weights of class `c` behind the pooled channels.

    On a 1x1-convolution head it is the channel of the class (with its bias), whose mean over the positions is the
    logit; on ACoL the fused map of both branches, erased for the target class.

    Returns:
        Maps `(B, h, w)` at the size of the last feature map, float32, signed.

    Raises:
        KerasxaiError: The model has another end.

    Example:
        >>> kerasxai.Explainer(model, "cam")(images).heatmaps

    Paper: Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", arXiv:1512.04150; for the
    1x1 convolution Lin et al. 2013, "Network In Network", arXiv:1312.4400. The bias of a dense layer belongs to no
    position and is omitted, as there. Departure: where a softmax follows, the mean over the classes is subtracted from
    the weights or from the maps; `score="logit"` takes them unchanged, as there.
    """
    answer = model.evaluate(class_evidence, batch)
    return tf.einsum("b...k,bk->b...", answer.activations, answer.weights)

"""Clips `(B, T, H, W, C)` whose frames go through a network of images: laid in the batch, they are one call of it.

`keras.layers.TimeDistributed` calls its layer once for each frame, which gives T maps of one frame each. At inference
frames do not depend on one another, so that one call for all of them `(B * T, H, W, C)` gives the same.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from kerasxai.engine.keras_internals import takes_training

_IN, _OUT = "frames_into_batch", "frames_out_of_batch"


def is_time_distributed(layer: Any) -> bool:
    """Returns whether a layer calls another one for each frame."""
    return isinstance(layer, keras.layers.TimeDistributed)


def in_batch(layer: Any) -> Callable[..., Any]:
    """Returns what a time-distributed layer does in place of its call, for `kerasxai.engine.tracing.intercepted`.

    With a mask, which inner layers may treat frame by frame, the layer is called as it is.
    """

    def call(original: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        if mask is not None:
            return original(inputs, training=training, mask=mask)
        shape, inner = tf.shape(inputs), layer.layer
        sizes = [shape[i] if side is None else side for i, side in enumerate(inputs.shape)]
        with tf.name_scope(_IN):
            flat = tf.reshape(inputs, [-1, *sizes[2:]])
        outputs = inner.call(flat, **({"training": training} if takes_training(inner) else {}))

        def taken_out(output: Any) -> Any:
            kept = [tf.shape(output)[i] if side is None else side for i, side in enumerate(output.shape)]
            return tf.reshape(output, [-1, sizes[1], *kept[1:]])

        with tf.name_scope(_OUT):
            return tf.nest.map_structure(taken_out, outputs)

    return call


def frames_after(tensor: Any, frames: int | None, length: int | None, sides: int) -> int | None:
    """Returns how many frames lie in the batch of a tensor, or None where each input is one entry of it.

    Models that lay the frames of a clip in the batch themselves, by a reshaping, are read alike.

    Args:
        tensor: Of a traced graph.
        frames: What this returned for the tensor before it.
        length: How many frames the input has.
        sides: How many sides the input has: 3 for clips.
    """
    op = tensor.op
    if op.type != "Reshape":
        return frames
    before, after, name = op.inputs[0].shape, tensor.shape, op.name
    if frames is None:
        laid = sides > 2 and after.rank == before.rank - 1 and before[2:] == after[1:] and after[0] is None
        entered = _IN in name or (laid and before.rank == sides + 2 and before[1] == length)
        return before[1] if entered else None
    left = after.rank == before.rank + 1 and after[1] == frames and after[2:] == before[1:]
    return None if _OUT in name or left else frames

"""Clips `(B, T, H, W, C)` whose frames go through an image network: moved into the batch, they need one call.

`keras.layers.TimeDistributed` calls its layer once for each frame, which gives T maps of one frame each. At inference
frames do not depend on one another, so that one call for all of them, `(B * T, H, W, C)`, gives the same.
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from kerasxai.engine.keras_internals import takes_training

_IN, _OUT = "frames_into_batch", "frames_out_of_batch"


def is_time_distributed(layer: keras.Layer) -> bool:
    """Returns whether a layer calls another one for each frame."""
    return isinstance(layer, keras.layers.TimeDistributed)


def in_batch(layer: keras.layers.TimeDistributed) -> Callable[..., tf.Tensor]:
    """Returns the replacement of a time-distributed layer's call, for `kerasxai.engine.tracing.intercepted`.

    With a mask, which inner layers may apply frame by frame, the layer's own call is used.
    """

    def call(
        original: Callable[..., tf.Tensor],
        inputs: tf.Tensor,
        training: bool | None = None,
        mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        if mask is not None:
            return original(inputs, training=training, mask=mask)
        # Static lengths where they are known: what is decided by shapes must stay decidable.
        shape, inner = tf.shape(inputs), layer.layer
        sizes = [shape[i] if n is None else n for i, n in enumerate(inputs.shape)]
        # The scopes mark both reshapes for `frames_after`.
        with tf.name_scope(_IN):
            flat = tf.reshape(inputs, [-1, *sizes[2:]])
        outputs = inner.call(flat, **({"training": training} if takes_training(inner) else {}))

        def restored(output: tf.Tensor) -> tf.Tensor:
            shape = [tf.shape(output)[i] if n is None else n for i, n in enumerate(output.shape)]
            return tf.reshape(output, [-1, sizes[1], *shape[1:]])

        with tf.name_scope(_OUT):
            return tf.nest.map_structure(restored, outputs)

    return call


def frames_after(tensor: tf.Tensor, frames: int | None, length: int | None, axes: int) -> int | None:
    """Returns how many frames of each clip are in the batch of a tensor, or None if each clip is one entry of it.

    Models that move the frames into the batch by their own reshape are recognized too.

    Args:
        tensor: A tensor of a traced graph.
        frames: The result for the tensor before it.
        length: How many frames the input has.
        axes: How many spatial axes the input has: 3 for clips.
    """
    op = tensor.op
    if op.type != "Reshape":
        return frames
    before, after, name = op.inputs[0].shape, tensor.shape, op.name
    if frames is None:
        # (B, T, H, W, C) to (B * T, H, W, C), with an open batch.
        is_merged = axes > 2 and after.rank == before.rank - 1 and before[2:] == after[1:] and after[0] is None
        entered = _IN in name or (is_merged and before.rank == axes + 2 and before[1] == length)
        return before[1] if entered else None
    # And back again.
    is_split = after.rank == before.rank + 1 and after[1] == frames and after[2:] == before[1:]
    return None if _OUT in name or is_split else frames

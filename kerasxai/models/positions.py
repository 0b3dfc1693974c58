"""Layers that tell a network where it looks."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("kerasxai")
class Coordinates(keras.layers.Layer):
    """Puts two channels behind a feature map: each place's x and y, from -1 at the left and top to 1.

    Attention and averages forget where they looked; with these channels the place is part of what is seen there
    (Liu et al. 2018, arXiv:1807.03247).

    Example:
        >>> Coordinates()(keras.ops.zeros((1, 2, 2, 3))).shape
        TensorShape([1, 2, 2, 5])
    """

    def call(self, inputs: Any) -> Any:
        """Returns `(B, h, w, C + 2)` for `(B, h, w, C)`."""
        height, width = inputs.shape[1:3]
        y, x = keras.ops.meshgrid(
            keras.ops.linspace(-1.0, 1.0, height), keras.ops.linspace(-1.0, 1.0, width), indexing="ij"
        )
        places = keras.ops.cast(keras.ops.stack([x, y], axis=-1)[None], inputs.dtype)
        repeated = keras.ops.broadcast_to(places, (keras.ops.shape(inputs)[0], height, width, 2))
        return keras.ops.concatenate([inputs, repeated], axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape with two more channels."""
        return (*input_shape[:-1], input_shape[-1] + 2)

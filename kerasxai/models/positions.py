"""Coordinate channels, which give a network the position of each feature."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("kerasxai")
class Coordinates(keras.layers.Layer):
    """Append two channels to a feature map: the x and y of each position, from -1 at the left and top to 1.

    Attention and averages lose positions; with these channels a position is part of its features (Liu et al. 2018,
    CoordConv, arXiv:1807.03247).

    Example:
        >>> Coordinates()(keras.ops.zeros((1, 2, 2, 3))).shape
        TensorShape([1, 2, 2, 5])
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return `(B, h, w, C + 2)` for `(B, h, w, C)`."""
        height, width = inputs.shape[1:3]
        y, x = keras.ops.meshgrid(
            keras.ops.linspace(-1.0, 1.0, height), keras.ops.linspace(-1.0, 1.0, width), indexing="ij"
        )
        coordinates = keras.ops.cast(keras.ops.stack([x, y], axis=-1)[None], inputs.dtype)
        repeated = keras.ops.broadcast_to(coordinates, (keras.ops.shape(inputs)[0], height, width, 2))
        return keras.ops.concatenate([inputs, repeated], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape with two more channels."""
        *rest, channels = input_shape
        return (*rest, channels and channels + 2)

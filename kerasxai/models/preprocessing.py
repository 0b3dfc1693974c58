"""Preprocessing layers from raw RGB in [0, 255] to the input range of a backbone's weights; saved with the model."""

import keras
import tensorflow as tf

# Mean and standard deviation of ImageNet's pixels, RGB, as the authors of the torch and caffe models measured them.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)
_CAFFE_MEAN = (123.68, 116.779, 103.939)


@keras.saving.register_keras_serializable("kerasxai")
class ReverseChannels(keras.layers.Layer):
    """Reverse the channels: RGB to BGR, or back."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return the tensor (..., C) with its channels in reverse order."""
        return keras.ops.flip(inputs, axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the input."""
        return input_shape


def preprocess(x: keras.KerasTensor, mode: str) -> keras.KerasTensor:
    """Apply the layers of one kind of preprocessing to a symbolic tensor.

    They compute in float32 under every dtype policy: in half precision a pixel is off by up to 1/16.

    Args:
        x: Symbolic tensor (B, H, W, 3), raw RGB in [0, 255].
        mode: `"lite"`, `"tf"`, `"torch"`, `"caffe"` or `"built-in"`; see `kerasxai.models.tables.Backbone`; `"unit"`
            is x / 255.

    Returns:
        The symbolic tensor that the backbone's first layer takes.

    Example:
        >>> image = keras.Input((224, 224, 3))
        >>> scaled = preprocess(image, "tf")
    """
    scale, offset = {
        "lite": (1 / 128, -127 / 128),
        "tf": (1 / 127.5, -1.0),
        "unit": (1 / 255, 0.0),
        "torch": (
            [1 / (255 * deviation) for deviation in _DEVIATION],
            [-mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)],
        ),
        "caffe": (1.0, [-mean for mean in reversed(_CAFFE_MEAN)]),
        "built-in": (1.0, 0.0),
    }[mode]
    if mode == "built-in":
        return x
    if mode == "caffe":
        x = ReverseChannels(name="rgb_to_bgr", dtype="float32")(x)
    return keras.layers.Rescaling(scale, offset, name="preprocessing", dtype="float32")(x)

"""Preprocessing within the calls of a model, so that features work on images in [0, 255]."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from kerasxai.engine.images.image_input import ImageInput
from kerasxai.engine.tracing import intercepted
from kerasxai.tools.input_range import RANGES, Preprocess, preprocessed

_LEFT_OUT = contextvars.ContextVar("_LEFT_OUT", default=False)


@contextlib.contextmanager
def without_preprocessing() -> Iterator[None]:
    """Disable `preprocessing_inputs` within a block: receptive fields do not depend on it."""
    token = _LEFT_OUT.set(True)
    try:
        yield
    finally:
        _LEFT_OUT.reset(token)


@contextlib.contextmanager
def preprocessing_inputs(model: keras.Model, taken: ImageInput) -> Iterator[None]:
    """Preprocess the images of each call of a model by this thread within a block.

    Patches are then crops of the original images, and class images are in [0, 255].

    Args:
        model: Any Keras model with images as its only input.
        taken: The image input of the model.

    Example:
        >>> with preprocessing_inputs(model, image_input(model, preprocess="0,1")):
        ...     visualize(model, 3)
    """
    if taken.preprocess is RANGES["0,255"]:
        yield
        return

    # Any: the remaining arguments of a Keras call are passed on.
    def around(call: Callable[..., tf.Tensor], images: tf.Tensor, *args: Any, **kwargs: Any) -> tf.Tensor:
        if _LEFT_OUT.get():
            return call(images, *args, **kwargs)
        images = tf.cast(images, tf.float32)
        if taken.channels_first:
            made = tf.transpose(_in_graph(taken.preprocess, tf.transpose(images, (0, 2, 3, 1))), (0, 3, 1, 2))
        else:
            made = _in_graph(taken.preprocess, images)
        return call(made, *args, **kwargs)

    with intercepted(model, around):
        yield


def _in_graph(function: Preprocess, images: tf.Tensor) -> tf.Tensor:
    """Preprocess images by operations of the graph if the function supports tensors, else by a NumPy call."""
    # Functions of arrays may fail with tensors in any way; their errors for arrays are raised below.
    with contextlib.suppress(Exception):
        made = function(images)
        if isinstance(made, tf.Tensor) and made.shape.is_compatible_with(images.shape):
            return tf.cast(made, tf.float32)
    made = tf.numpy_function(lambda array: preprocessed(function, array), [images], tf.float32)
    return tf.ensure_shape(made, images.shape)

"""Giving a model images in [0, 255] whatever it takes, for all that looks into it."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from kerasxai.engine.images.image_input import ImageInput
from kerasxai.engine.tracing import intercepted
from kerasxai.tools.input_range import RANGES, Preprocess, preprocessed

_LEFT_OUT = contextvars.ContextVar("_LEFT_OUT", default=False)


@contextlib.contextmanager
def without_preprocessing() -> Iterator[None]:
    """Leave out, in a block, what `preprocessing_inputs` does: receptive fields do not depend on it."""
    token = _LEFT_OUT.set(True)
    try:
        yield
    finally:
        _LEFT_OUT.reset(token)


@contextlib.contextmanager
def preprocessing_inputs(model: Any, taken: ImageInput) -> Iterator[None]:
    """Let each call of a model that this thread makes in a block preprocess its images first.

    So pictures can be cut out of the images that people see, and class pictures come out in [0, 255].

    Args:
        model: Any Keras model that takes images alone.
        taken: What it takes.

    Example:
        >>> with preprocessing_inputs(model, image_input(model, preprocess="0,1")):
        ...     visualize(model, 3)
    """
    if taken.preprocess is RANGES["0,255"]:
        yield
        return

    def around(call: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
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


def _in_graph(function: Preprocess, images: Any) -> Any:
    """Return what a function makes of images, by operations of the graph where it can be had so."""
    # A function of arrays fails with a tensor in any way; what it says of arrays is told.
    with contextlib.suppress(Exception):
        made = function(images)
        if isinstance(made, tf.Tensor) and made.shape.is_compatible_with(images.shape):
            return tf.cast(made, tf.float32)
    made = tf.numpy_function(lambda array: preprocessed(function, array), [images], tf.float32)
    return tf.ensure_shape(made, images.shape)

"""Folding batch normalizations into the convolutions before them, in the traced graph alone.

At inference a batch normalization is `x * scale + shift` with one number for each channel, which equals a convolution
whose kernel is multiplied by `scale`. The product is computed in the graph, from the live variables: it costs one
multiplication a weight and a pass, saves two operations on every map, and can never be stale.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf

from kerasxai.engine.fast.switch import enabled
from kerasxai.engine.keras_internals import uses_onednn
from kerasxai.engine.tracing import intercepted

_ADDITIONS = {"AddV2", "BiasAdd"}
_CONVOLUTIONS = {"Conv2D": tf.raw_ops.Conv2D, "DepthwiseConv2dNative": tf.raw_ops.DepthwiseConv2dNative}
_ATTRIBUTES = ("strides", "padding", "explicit_paddings", "data_format", "dilations")
# A kernel is scaled if it is no larger than the maps of so many images; see `_is_kernel_smaller`.
_IMAGES = 2
FENCE = "kerasxai_fence"
"""In the name of an operation that only keeps two others from being fused; see `_fenced`."""


@contextlib.contextmanager
def folded(layers: Iterable[tuple[str, keras.Layer]], kept: Callable[[], Iterable[tf.Tensor]]) -> Iterator[None]:
    """Folds batch normalizations into convolutions wherever one follows the other in a traced pass.

    The convolution's own output stays in the graph, and is pruned if nothing uses it. Only float32 maps with channels
    last are folded; in half precision the product would be rounded otherwise.

    Args:
        layers: Pairs of path and layer, as `kerasxai.engine.layers.walk` yields them.
        kept: Called at each normalization; returns the tensors that must stay on the way to the score.
    """
    with contextlib.ExitStack() as stack:
        for _, layer in layers if enabled() else ():
            if _is_foldable(layer):
                stack.enter_context(intercepted(layer, functools.partial(_fold, layer, kept)))
        yield


def _fold(
    layer: keras.layers.BatchNormalization,
    kept: Callable[[], Iterable[tf.Tensor]],
    original: Callable[..., tf.Tensor],
    inputs: tf.Tensor,
    *args: Any,
    **kwargs: Any,
) -> tf.Tensor:
    """Replaces the call of a batch normalization; `original` is its own."""
    training = args[0] if args else kwargs.get("training")
    keep = {x.ref() for x in kept()}
    # In training the statistics of the batch count, which are unknown before the convolution.
    found = None if training else _convolution_before(inputs, keep)
    if found is None:
        return original(inputs, *args, **kwargs)
    normalized = _normalized(layer, *found, keep)
    return _fenced(normalized) if uses_onednn() else normalized


def _is_foldable(layer: keras.Layer) -> bool:
    return (
        isinstance(layer, keras.layers.BatchNormalization)
        # A subclass may compute anything in its own call.
        and type(layer).call is keras.layers.BatchNormalization.call
        and layer.axis in (-1, 3)
    )


def _fenced(tensor: tf.Tensor) -> tf.Tensor:
    """Keeps a convolution and its bias from being fused with the operation behind them.

    With oneDNN and weights that are no constants such fused operations took up to five times as long for one image,
    those with a ReLU6 (MobileNetV2) and those with a sum of two maps (ResNet50). A graph with constant weights gains by
    them, and drops the fence; see `kerasxai.engine.fast.constant_weights`.
    """
    if tensor.op.inputs[0].op.type != "Conv2D":
        return tensor
    return tf.ensure_shape(tensor, (None,) * 4, name=FENCE)


def _convolution_before(tensor: tf.Tensor, keep: set[Any]) -> tuple[tf.Operation, tf.Tensor | float] | None:
    """Returns the convolution that a tensor comes from and the bias `(K,)` added between, or None."""
    bias: tf.Tensor | float = 0.0
    while tensor.ref() not in keep and tensor.dtype == tf.float32 and tensor.shape.rank == 4:
        op = tensor.op
        if op.type in _CONVOLUTIONS and op.get_attr("data_format") == b"NHWC":
            return op, bias
        if op.type in _ADDITIONS:
            # A bias has the shape (K,) or (1, 1, 1, K); anything larger is a sum of maps.
            if op.inputs[1].shape.num_elements() != tensor.shape[-1]:
                return None
            bias += tf.reshape(op.inputs[1], [-1])
        elif op.type != "Identity":
            return None
        tensor = op.inputs[0]
    return None


def _normalized(
    layer: keras.layers.BatchNormalization, op: tf.Operation, bias: tf.Tensor | float, keep: set[Any]
) -> tf.Tensor:
    """Returns the normalized output of a convolution with a bias `(K,)`, as one convolution and bias."""
    # gamma * (conv + bias - mean) / sqrt(variance + epsilon) + beta = conv * scale + shift
    scale = tf.math.rsqrt(tf.convert_to_tensor(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale *= tf.convert_to_tensor(layer.gamma)
    shift = (bias - tf.convert_to_tensor(layer.moving_mean)) * scale
    if layer.center:
        shift += tf.convert_to_tensor(layer.beta)
    images, kernel = op.inputs
    attributes = {name: op.get_attr(name) for name in _ATTRIBUTES}
    attributes |= {name: attributes[name].decode() for name in ("padding", "data_format")}
    if images.ref() not in keep and _equals_same_padding(images.op, op):
        images, attributes["padding"] = images.op.inputs[0], "SAME"
    convolution = functools.partial(_CONVOLUTIONS[op.type], input=images, **attributes)
    if not _is_kernel_smaller(op):
        # If the weights are constants TensorFlow still scales the kernel, once; see `constant_weights`.
        return tf.nn.bias_add(convolution(filter=kernel) * scale, shift)
    # A depthwise kernel (h, w, C, M) gives the channels C * M in this order.
    by_channel = tf.reshape(scale, kernel.shape[2:]) if op.type == "DepthwiseConv2dNative" else scale
    return tf.nn.bias_add(convolution(filter=kernel * by_channel), shift)


def _is_kernel_smaller(op: tf.Operation) -> bool:
    """Returns whether scaling a kernel costs less than scaling the maps of two images.

    Scaling all made one image through ResNet50 7 % slower, whose late kernels are a hundred times larger than its maps.
    """
    spatial_shape = op.outputs[0].shape[1:3]
    if not spatial_shape.is_fully_defined():
        return True
    weights = op.inputs[1].shape.num_elements() / op.outputs[0].shape[3]
    return weights <= _IMAGES * spatial_shape.num_elements()


def _equals_same_padding(pad: tf.Operation, op: tf.Operation) -> bool:
    """Returns whether the operation before a convolution pads with zeros exactly as `padding="SAME"` would.

    Keras' MobileNets have such ZeroPadding2D layers; writing the padded map, and slicing its gradient, took a tenth of
    the time.
    """
    if pad.type != "Pad" or op.get_attr("padding") != b"VALID" or max(op.get_attr("dilations")) > 1:
        return False
    paddings, spatial_shape = tf.get_static_value(pad.inputs[1]), pad.inputs[0].shape[1:3]
    # Rows 0 and 3 pad batch and channels.
    if paddings is None or paddings[[0, 3]].any() or not spatial_shape.is_fully_defined():
        return False
    strides, sizes = op.get_attr("strides")[1:3], op.inputs[1].shape[:2]
    for padding, length, stride, size in zip(paddings[1:3], spatial_shape, strides, sizes, strict=True):
        # "SAME" pads the least that gives ceil(length / stride) positions, the larger half at the end.
        total = max((-(-length // stride) - 1) * stride + size - length, 0)
        if tuple(padding) != (total // 2, total - total // 2):
            return False
    return True

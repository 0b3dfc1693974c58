"""Folding batch normalizations into the convolutions before them, in the traced graph alone.

At inference a batch normalization is `x * scale + shift`, one number for each channel, and so is what comes out of a
convolution when its kernel is multiplied by `scale`. The product is taken in the graph, from the live variables: it
costs one multiplication a weight and a pass, saves two operations on every map, and can never be stale.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf

from kerasxai.engine.keras_internals import uses_onednn
from kerasxai.engine.tracing import intercepted

_ADDITIONS = {"AddV2", "BiasAdd"}
_CONVOLUTIONS = {"Conv2D": tf.raw_ops.Conv2D, "DepthwiseConv2dNative": tf.raw_ops.DepthwiseConv2dNative}
_IMAGES = 2
FENCE = "kerasxai_fence"
"""In the name of an operation that does nothing but keep others apart; see `_apart`."""
_SETTINGS = ("strides", "padding", "explicit_paddings", "data_format", "dilations")


@contextlib.contextmanager
def folded(layers: Iterable[tuple[str, Any]], kept: Callable[[], Iterable[Any]]) -> Iterator[None]:
    """Folds batch normalizations into convolutions wherever one follows the other in a traced pass.

    The convolution's own output stays in the graph for whoever looks at it, and is not computed where nobody does.
    Only float32 maps with channels last are folded; in half precision the product would be rounded otherwise.

    Args:
        layers: Pairs of path and layer, as `kerasxai.engine.layers.walk` gives them.
        kept: Called at each normalization; gives the tensors that must stay on the way to the score.
    """
    layers = list(layers)
    with contextlib.ExitStack() as stack:
        for _, layer in layers:
            if _foldable(layer):

                def around(original: Any, inputs: Any, *args: Any, layer: Any = layer, **kwargs: Any) -> Any:
                    training = args[0] if args else kwargs.get("training")
                    stay = {x.ref() for x in kept()}
                    found = None if training else _convolution_before(inputs, stay)
                    if not found:
                        return original(inputs, *args, **kwargs)
                    normalized = _normalized(layer, *found, stay)
                    return _apart(normalized) if uses_onednn() else normalized

                stack.enter_context(intercepted(layer, around))
        yield


def _foldable(layer: Any) -> bool:
    return (
        isinstance(layer, keras.layers.BatchNormalization)
        and type(layer).call is keras.layers.BatchNormalization.call
        and layer.axis in (-1, 3)
    )


def _apart(tensor: Any) -> Any:
    """Keeps a convolution from becoming one operation with what is behind it, but for its bias.

    With oneDNN and weights that are no constants such operations took up to five times as long for one image, those
    with a ReLU6 (MobileNetV2) and those with a sum of two maps (ResNet50). A frozen graph, whose weights are constants,
    gains by them, and drops the fence; see `kerasxai.engine.fast.constant_weights`.
    """
    if tensor.op.inputs[0].op.type != "Conv2D":
        return tensor
    return tf.ensure_shape(tensor, (None,) * 4, name=FENCE)


def _convolution_before(tensor: Any, kept: set[Any]) -> tuple[Any, Any] | None:
    """Returns the convolution that a tensor comes from and the bias `(K,)` added between, or None."""
    bias: Any = 0.0
    while tensor.ref() not in kept and tensor.dtype == tf.float32 and tensor.shape.rank == 4:
        op = tensor.op
        if op.type in _CONVOLUTIONS and op.get_attr("data_format") == b"NHWC":
            return op, bias
        if op.type in _ADDITIONS:
            # A bias comes as (K,) or (1, 1, 1, K); what has places or images of its own is a sum of maps.
            if op.inputs[1].shape.num_elements() != tensor.shape[-1]:
                return None
            bias += tf.reshape(op.inputs[1], [-1])
        elif op.type != "Identity":
            return None
        tensor = op.inputs[0]
    return None


def _pays(op: Any) -> bool:
    """Tells whether scaling a kernel costs less than scaling the maps of two images.

    Scaling all made one image through ResNet50 7 % slower, whose late kernels are a hundred times larger than its maps.
    """
    sides = op.outputs[0].shape[1:3]
    if not sides.is_fully_defined():
        return True
    weights = op.inputs[1].shape.num_elements() / op.outputs[0].shape[3]
    return weights <= _IMAGES * sides.num_elements()


def _pads_as_same(pad: Any, op: Any) -> bool:
    """Tells whether a convolution pads with zeros as `"SAME"` would, but in an operation of its own before it.

    Keras' MobileNets do so; writing the padded map, and cutting its gradient out again, took a tenth of the time.
    """
    if pad.type != "Pad" or op.get_attr("padding") != b"VALID" or max(op.get_attr("dilations")) > 1:
        return False
    paddings, sides = tf.get_static_value(pad.inputs[1]), pad.inputs[0].shape[1:3]
    if paddings is None or paddings[[0, 3]].any() or not sides.is_fully_defined():
        return False
    steps, sizes = op.get_attr("strides")[1:3], op.inputs[1].shape[:2]
    for given, side, step, size in zip(paddings[1:3], sides, steps, sizes, strict=True):
        total = max((-(-side // step) - 1) * step + size - side, 0)
        if tuple(given) != (total // 2, total - total // 2):
            return False
    return True


def _normalized(layer: Any, op: Any, bias: Any, kept: set[Any]) -> Any:
    """Returns what a normalization makes of a convolution's output and a bias `(K,)`, as one convolution and bias.

    Where scaling the kernel does not pay, the convolution's output is scaled instead.
    """
    scale = tf.math.rsqrt(tf.convert_to_tensor(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale *= tf.convert_to_tensor(layer.gamma)
    shift = (bias - tf.convert_to_tensor(layer.moving_mean)) * scale
    if layer.center:
        shift += tf.convert_to_tensor(layer.beta)
    images, kernel = op.inputs
    settings = {name: op.get_attr(name) for name in _SETTINGS}
    settings |= {name: settings[name].decode() for name in ("padding", "data_format")}
    if images.ref() not in kept and _pads_as_same(images.op, op):
        images, settings["padding"] = images.op.inputs[0], "SAME"
    convolution = functools.partial(_CONVOLUTIONS[op.type], input=images, **settings)
    if not _pays(op):
        # Where the weights are constants TensorFlow scales the kernel after all, once (see `constant_weights`).
        return tf.nn.bias_add(convolution(filter=kernel) * scale, shift)
    # A depthwise kernel (h, w, C, M) gives the channels C * M in this order.
    by_channel = tf.reshape(scale, kernel.shape[2:]) if op.type == "DepthwiseConv2dNative" else scale
    return tf.nn.bias_add(convolution(filter=kernel * by_channel), shift)

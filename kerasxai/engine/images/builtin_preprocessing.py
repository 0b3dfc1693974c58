"""Whether a model rescales its images itself, read off a traced pass: what stands before its first kernel."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasxai.engine.images.image_input import ImageInput
from kerasxai.engine.layers import input_specs, walk
from kerasxai.engine.tracing import intercepted
from kerasxai.tools.errors import KerasxaiError, KerasxaiWarning

_LAYERS_WITH_KERNELS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Embedding,
    keras.layers.MultiHeadAttention,
    keras.layers.RNN,
)
_KERNELS = frozenset(
    {"Conv2D", "Conv3D", "DepthwiseConv2dNative", "MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"}
    | {"GatherV2", "ResourceGather"}
)
_NO_VALUES = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})
# With these constants the operations change nothing.
_NEUTRAL = {"Mul": 1, "RealDiv": 1, "Div": 1, "DivNoNan": 1, "Sub": 0, "Add": 0, "AddV2": 0, "BiasAdd": 0, "Pow": 1}
_SCALING = frozenset(
    {"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "LRN", "Log", "Log1p", "Sqrt", "Rsqrt", "Square", "Tanh"}
    | {"Sigmoid", "Softmax", "Reciprocal", "LookupTableFindV2"}
)
_FUNCTIONS = ("f", "body", "then_branch")
# Beyond this many times white, or below this spread, no network was trained.
_MOST, _LEAST = 1.5 * 255, 0.1
_MOST_ENTRANCES = 8


class InputRangeWarning(KerasxaiWarning):
    """A model is probably given images in another range than it was trained on."""


def warn_of_range(model: Any, taken: ImageInput, given: Any = None) -> None:
    """Warns where a model is probably given images in another range than it was trained on.

    Args:
        model: Any Keras model that takes images alone.
        taken: How images are made for it.
        given: The input range that the user gave, or None.
    """
    doubt = range_doubt(model, taken, given is not None)
    if doubt is not None:
        warnings.warn(doubt, InputRangeWarning, stacklevel=2)


def range_doubt(model: Any, taken: ImageInput, is_given: bool = False) -> str | None:
    """Returns why images are probably not in the range that a model was trained on, or None.

    A model without rescaling, normalization or other arithmetic before its first kernel takes pixels as they are, and
    most such models were trained on pixels divided by 255. Where it has some, the values behind it are looked at.

    Args:
        model: Any Keras model that takes images alone.
        taken: How images are made for it.
        is_given: Whether the user chose the range of the images.

    Example:
        >>> range_doubt(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()]), ImageInput((8, 8)))
    """
    rescales, lowest, highest = _before_kernels(model, taken)
    if not rescales:
        if is_given:
            return None
        return (
            "the model shows no rescaling or normalization of its own, and images are fed to it in [0, 255]; if it was "
            "trained on another range, give --input-range (preprocess= in Python): 0,1 for images / 255; 0,255 if this "
            "is right"
        )
    values = f"[{lowest:.4g}, {highest:.4g}]"
    if max(abs(lowest), abs(highest)) > _MOST:
        return (
            f"the model's own preprocessing gives values in {values}, as it was made for a smaller range than that of "
            "the images; give --input-range (preprocess= in Python), 0,1 for images / 255"
        )
    if highest - lowest < _LEAST:
        return (
            f"the model's own preprocessing gives values in {values}: images are probably rescaled twice; leave "
            "--input-range (preprocess= in Python) out"
        )
    return None


class _Reached(BaseException):
    """Ends a trace early; not an Exception, which Keras would catch and raise in another form."""


def _before_kernels(model: Any, taken: ImageInput) -> tuple[bool, float, float]:
    """Returns whether a model rescales its images, and between what numbers its first kernels then get values."""
    images = taken.taken(_ramp(taken))
    spec = input_specs(model)
    dtype = spec.dtype if isinstance(spec, tf.TensorSpec) else tf.float32
    rescales = []

    @tf.function(autograph=False)
    def trace(images: Any) -> Any:
        marks: set[Any] = set()
        given = tf.identity(tf.cast(images, dtype))
        with contextlib.suppress(_Reached), _marking(model, given, marks):
            model(given, training=False)
        found, entrances = _scan(given, marks)
        rescales.append(found)
        flat = [tf.cast(x, tf.float32) for x in entrances[:_MOST_ENTRANCES]]
        lows, highs = [tf.reduce_min(x) for x in flat], [tf.reduce_max(x) for x in flat]
        return (tf.reduce_min(lows), tf.reduce_max(highs)) if flat else (tf.constant(0.0), tf.constant(1.0))

    try:
        if not model.built:
            model(images, training=False)
        lowest, highest = trace(tf.convert_to_tensor(images))
    except (ValueError, TypeError, tf.errors.OpError) as error:
        height, width = taken.size
        reason = " ".join(str(error).split())
        raise KerasxaiError(
            f"the model cannot take images of {height} x {width} pixels with {taken.channels} channels: {reason}"
        ) from error
    return rescales[0], float(lowest), float(highest)


def _ramp(taken: ImageInput) -> np.ndarray:
    """Returns an image `(1, H, W, channels)`, each channel of which goes from black to white from another place on."""
    count = taken.size[0] * taken.size[1]
    values = np.linspace(0, 255, count, dtype=np.float32)
    channels = [np.roll(values, channel * count // taken.channels) for channel in range(taken.channels)]
    return np.stack(channels, -1).reshape(1, *taken.size, taken.channels)


@contextlib.contextmanager
def _marking(model: Any, images: Any, marks: set[Any]) -> Iterator[None]:
    """Keeps in `marks` what layers with kernels are given; what they do inside, as to quantize, is not looked at.

    Ends the pass with `_Reached` as soon as a rescaling is found, or a few kernels saw none: large networks take
    seconds to trace.
    """
    graph = tf.compat.v1.get_default_graph()

    def mark(x: Any) -> Any:
        if not isinstance(x, tf.Tensor) or x.graph is not graph:
            return x
        x = tf.identity(x)
        marks.add(x.ref())
        return x

    def marked(call: Any, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = tf.nest.map_structure(mark, (args, kwargs))
        if len(marks) > _MOST_ENTRANCES or _scan(images, marks)[0]:
            raise _Reached
        return call(*args, **kwargs)

    def plain(call: Any, *args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    with contextlib.ExitStack() as stack:
        for _, layer in walk(model):
            # All are intercepted, because that looks through a call that is a tf.function.
            has_kernel = isinstance(layer, _LAYERS_WITH_KERNELS)
            stack.enter_context(intercepted(layer, marked if has_kernel else plain))
        yield


def _scan(images: Any, marks: set[Any]) -> tuple[bool, list[Any]]:
    """Follows images to the first kernels: whether they are rescaled on the way, and what the kernels are given."""
    found, entrances = False, []
    waiting, seen = [images], {images.ref()}
    while waiting:
        tensor = waiting.pop()
        if tensor.ref() in marks:
            entrances.append(tensor)
            continue
        for op in tensor.consumers():
            if op.type in _NO_VALUES:
                continue
            if op.type in _KERNELS or _has_kernels_inside(op):
                entrances.append(tensor)
                continue
            found = found or _rescales(op)
            for output in op.outputs:
                if output.ref() not in seen:
                    seen.add(output.ref())
                    waiting.append(output)
    return found, [x for x in entrances if x.dtype.is_floating or x.dtype.is_integer]


def _rescales(op: Any) -> bool:
    if op.type in _SCALING or _functions(op):
        return True
    if op.type not in _NEUTRAL:
        return False
    constants = [tf.get_static_value(x) for x in op.inputs]
    return not any(x is not None and np.all(x == _NEUTRAL[op.type]) for x in constants)


def _functions(op: Any) -> list[str]:
    """Returns the names of the functions that an operation calls, as loops and conditions do."""
    attributes = op.node_def.attr
    return [attributes[name].func.name for name in _FUNCTIONS if name in attributes and attributes[name].func.name]


def _has_kernels_inside(op: Any) -> bool:
    names = _functions(op)
    if not names:
        return False
    # Also what these call in turn: the library holds all functions of the graph.
    library = {one.signature.name: one for one in op.graph.as_graph_def().library.function}
    waiting, seen = [*names], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in library:
            continue
        seen.add(name)
        for node in library[name].node_def:
            if node.op in _KERNELS:
                return True
            waiting += [node.attr[key].func.name for key in _FUNCTIONS if key in node.attr]
    return False

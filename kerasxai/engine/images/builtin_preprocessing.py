"""Detection of built-in rescaling, read off a traced pass: the operations between the images and the first kernel."""

import contextlib
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.engine.images.image_input import ImageInput, Size, image_input, takes_channels_first
from kerasxai.engine.layers import input_specs, walk
from kerasxai.engine.tracing import intercepted
from kerasxai.tools.errors import KerasxaiError, KerasxaiWarning
from kerasxai.tools.input_range import RANGES, Preprocess, name_of_range

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
# The constant with which an operation changes nothing.
_NEUTRAL = {"Mul": 1, "RealDiv": 1, "Div": 1, "DivNoNan": 1, "Sub": 0, "Add": 0, "AddV2": 0, "BiasAdd": 0, "Pow": 1}
_SCALING = frozenset(
    {"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "LRN", "Log", "Log1p", "Sqrt", "Rsqrt", "Square", "Tanh"}
    | {"Sigmoid", "Softmax", "Reciprocal", "LookupTableFindV2"}
)
_FUNCTIONS = ("f", "body", "then_branch")
# No network is trained on values beyond this, or on a smaller range of values.
_MAX_VALUE, _MIN_RANGE = 1.5 * 255, 0.1
_MAX_KERNEL_INPUTS = 8


_ALL, _FRACTIONS, _PIXELS = frozenset({"fractions", "pixels"}), frozenset({"fractions"}), frozenset({"pixels"})
# Nothing below is taken for pixels: the brightest pixel standardized by the statistics of ImageNet has 2.64.
_MAX_SMALL_VALUE = 3.0
# The kinds of arrays whose values are not checked again, for each model.
_CHECKED: weakref.WeakKeyDictionary[keras.Model, frozenset[str]] = weakref.WeakKeyDictionary()


class Advice(NamedTuple):
    """Words for a warning about the range of images.

    Attributes:
        choose: How to choose an input range.
        omit: How to avoid a second rescaling.
        images: The images that a model gets, and their range.
    """

    choose: str
    omit: str
    images: str = "images are fed to it in [0, 255]"


ON_COMMAND_LINE = Advice("give --input-range", "leave out --input-range")
IN_PYTHON = Advice("give preprocess=", "leave out preprocess=")


class InputRangeWarning(KerasxaiWarning):
    """A model probably gets images in another range than it was trained on."""


def warn_of_range(
    model: keras.Model,
    taken: ImageInput,
    given: str | Preprocess | None = None,
    advice: Advice = ON_COMMAND_LINE,
) -> None:
    """Warns if a model probably gets images in another range than it was trained on.

    Args:
        model: Any Keras model that takes images alone.
        taken: The conversion of images for it; see `input_for_files`.
        given: The input range that the user chose, or None.
        advice: How to choose it.
    """
    doubt = range_doubt(model, taken, given is not None, advice)
    if doubt is not None:
        warnings.warn(doubt, InputRangeWarning, stacklevel=2)


def input_for_files(
    model: keras.Model,
    size: Size | None = None,
    preprocess: str | Preprocess | None = None,
    fit: str | None = None,
) -> ImageInput:
    """Returns what `image_input` returns, for callers that convert files and warn by `warn_of_range`.

    Converted images are not checked a second time, as arrays; arrays of other values are.
    """
    taken = image_input(model, size, preprocess, fit)
    _exclude(model, _kinds_of_range(preprocess))
    return taken


def _kinds_of_range(given: str | Preprocess | None) -> frozenset[str]:
    """Returns the kinds of arrays that images converted to an input range may be taken for."""
    name = name_of_range(given)
    # A function may return anything.
    return _PIXELS if name == "0,255" else _FRACTIONS if name == "0,1" else frozenset() if name in RANGES else _ALL


def range_is_known(model: keras.Model) -> None:
    """Excludes a model from `warn_of_values`, because its images are those of its training."""
    _exclude(model, _ALL)


def _exclude(model: keras.Model, kinds: frozenset[str]) -> None:
    _CHECKED[model] = _CHECKED.get(model, frozenset()) | kinds


def warn_of_values(model: object, images: NDArray[Any], stacklevel: int = 4) -> None:
    """Warns, once for each model, if arrays are probably not in the range that the model was trained on.

    Values decide. Models without rescaling are trained on small or centered values, so that arrays without negative and
    with larger values are doubted; for models that rescale pixels these are arrays of fractions up to 1.

    Args:
        model: Anything; only a Keras model that takes images alone is checked.
        images: `(N, H, W, C)` or `(N, C, H, W)` as the model takes them.
        stacklevel: Of the warning, 1 for this function.
    """
    if not isinstance(model, keras.Model) or images.ndim != 4 or not images.size:
        return
    done = _CHECKED.get(model, frozenset())
    spec = input_specs(model)
    # Numbers from 0 to 1 cannot be meant by an input of integers.
    if done == _ALL or (isinstance(spec, tf.TensorSpec) and spec.dtype.is_integer):
        return
    lowest, highest = float(images.min()), float(images.max())
    kinds = _kinds_of_values(images, lowest, highest)
    if not kinds or kinds <= done:
        return
    _exclude(model, kinds)
    size = images.shape[2:] if takes_channels_first(model, (None, *images.shape[1:])) else images.shape[1:3]
    # Models of several inputs or of other arrays than images have no range to check.
    with contextlib.suppress(KerasxaiError):
        taken = image_input(model, (size[0], size[1]), "0,1" if kinds == _FRACTIONS else None)
        values = f"[{lowest:.4g}, {highest:.4g}]"
        advice = Advice(
            f"divide them or {IN_PYTHON.choose}",
            f"give arrays in [0, 255] instead of {values}",
            f"the arrays have values in {values}",
        )
        doubt = range_doubt(model, taken, kinds == _FRACTIONS, advice)
        if doubt is not None:
            warnings.warn(doubt, InputRangeWarning, stacklevel=stacklevel)


def _kinds_of_values(images: NDArray[Any], lowest: float, highest: float) -> frozenset[str]:
    if not 0 <= lowest <= highest:
        return frozenset()
    if highest <= 1:
        # Without fractions it is an image that is black, or a mask.
        return _FRACTIONS if (images % 1).any() else frozenset()
    return _PIXELS if highest > _MAX_SMALL_VALUE else frozenset()


def range_doubt(
    model: keras.Model, taken: ImageInput, is_given: bool = False, advice: Advice = ON_COMMAND_LINE
) -> str | None:
    """Returns why images are probably not in the range that a model was trained on, or None.

    A model without rescaling, normalization or other arithmetic before its first kernel works on its inputs themselves,
    and most such models were trained on pixels divided by 255. Behind built-in arithmetic the values are checked.

    Args:
        model: Any Keras model that takes images alone.
        taken: The conversion of images for it.
        is_given: Whether the user chose the range of the images.
        advice: What to do, and what the model gets.

    Example:
        >>> range_doubt(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()]), ImageInput((8, 8)))
    """
    rescales, lowest, highest = _before_kernels(model, taken)
    if not rescales:
        if is_given:
            return None
        return (
            f"the model shows no rescaling or normalization of its own, and {advice.images}; if it was trained on "
            f"another range, {advice.choose}: 0,1 for images / 255, -1,1 for images / 127.5 - 1; 0,255 if this is right"
        )
    values = f"[{lowest:.4g}, {highest:.4g}]"
    if max(abs(lowest), abs(highest)) > _MAX_VALUE:
        return (
            f"the model's own preprocessing gives values in {values}, as it was made for a smaller range than that of "
            f"the images; {advice.choose}: 0,1 for images / 255, -1,1 for images / 127.5 - 1"
        )
    if highest - lowest < _MIN_RANGE:
        return (
            f"the model's own preprocessing gives values in {values}: images are probably rescaled twice; {advice.omit}"
        )
    return None


class _Reached(BaseException):
    """Ends a trace early; not an Exception, which Keras would catch and raise in another form."""


def _before_kernels(model: keras.Model, taken: ImageInput) -> tuple[bool, float, float]:
    """Returns whether a model rescales its images, and the lowest and highest value that its first kernels get."""
    # All values between black and white, so that the extremes behind any monotone rescaling are visited.
    images = taken.taken(_ramp(taken))
    spec = input_specs(model)
    dtype = spec.dtype if isinstance(spec, tf.TensorSpec) else tf.float32
    rescales = []

    @tf.function(autograph=False)
    def trace(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        marks: set[Any] = set()
        given = tf.identity(tf.cast(images, dtype))
        with contextlib.suppress(_Reached), _marking(model, given, marks):
            model(given, training=False)
        found, kernel_inputs = _scan(given, marks)
        rescales.append(found)
        flat = [tf.cast(x, tf.float32) for x in kernel_inputs[:_MAX_KERNEL_INPUTS]]
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
            f"cannot call the model with images of {height} x {width} pixels and {taken.channels} channels: {reason}"
        ) from error
    return rescales[0], float(lowest), float(highest)


def _ramp(taken: ImageInput) -> np.ndarray:
    """Returns an image `(1, H, W, channels)` with a ramp from black to white in each channel, each shifted."""
    count = taken.size[0] * taken.size[1]
    values = np.linspace(0, 255, count, dtype=np.float32)
    channels = [np.roll(values, channel * count // taken.channels) for channel in range(taken.channels)]
    return np.stack(channels, -1).reshape(1, *taken.size, taken.channels)


@contextlib.contextmanager
def _marking(model: keras.Model, images: tf.Tensor, marks: set[Any]) -> Iterator[None]:
    """Collects in `marks` the inputs of layers with kernels; what these do inside, as quantization, does not count.

    Ends the pass with `_Reached` as soon as a rescaling is found, or is missing before a few kernels: large networks
    take seconds to trace.
    """
    graph = tf.compat.v1.get_default_graph()

    def mark(x: object) -> object:
        if not isinstance(x, tf.Tensor) or x.graph is not graph:
            return x
        # A tensor of its own for each input, which other layers may share.
        copy = tf.identity(x)
        marks.add(copy.ref())
        return copy

    def marked(call: Callable[..., Any], *args: object, **kwargs: object) -> object:
        args, kwargs = tf.nest.map_structure(mark, (args, kwargs))
        if len(marks) > _MAX_KERNEL_INPUTS or _scan(images, marks)[0]:
            raise _Reached
        return call(*args, **kwargs)

    def plain(call: Callable[..., Any], *args: object, **kwargs: object) -> object:
        return call(*args, **kwargs)

    with contextlib.ExitStack() as patches:
        for _, layer in walk(model):
            # All are intercepted, because that inlines a call that is a tf.function.
            has_kernel = isinstance(layer, _LAYERS_WITH_KERNELS)
            patches.enter_context(intercepted(layer, marked if has_kernel else plain))
        yield


def _scan(images: tf.Tensor, marks: set[Any]) -> tuple[bool, list[tf.Tensor]]:
    """Returns whether images are rescaled on the way to the first kernels, and the inputs of these."""
    found, kernel_inputs = False, []
    stack, visited = [images], {images.ref()}
    while stack:
        tensor = stack.pop()
        if tensor.ref() in marks:
            kernel_inputs.append(tensor)
            continue
        for op in tensor.consumers():
            if op.type in _NO_VALUES:
                continue
            if op.type in _KERNELS or _has_kernels_inside(op):
                kernel_inputs.append(tensor)
                continue
            found = found or _rescales(op)
            for output in op.outputs:
                if output.ref() not in visited:
                    visited.add(output.ref())
                    stack.append(output)
    return found, [x for x in kernel_inputs if x.dtype.is_floating or x.dtype.is_integer]


def _rescales(op: tf.Operation) -> bool:
    # What a function does is unknown, and counts as a rescaling, whose values are checked.
    if op.type in _SCALING or _functions(op):
        return True
    if op.type not in _NEUTRAL:
        return False
    constants = [tf.get_static_value(x) for x in op.inputs]
    return not any(x is not None and np.all(x == _NEUTRAL[op.type]) for x in constants)


def _functions(op: tf.Operation) -> list[str]:
    """Returns the names of the functions that an operation calls, as loops and conditions do."""
    attributes = op.node_def.attr
    return [attributes[name].func.name for name in _FUNCTIONS if name in attributes and attributes[name].func.name]


def _has_kernels_inside(op: tf.Operation) -> bool:
    names = _functions(op)
    if not names:
        return False
    # Functions may call others; the library holds all functions of the graph.
    library = {one.signature.name: one for one in op.graph.as_graph_def().library.function}
    stack, visited = [*names], set()
    while stack:
        name = stack.pop()
        if name in visited or name not in library:
            continue
        visited.add(name)
        for node in library[name].node_def:
            if node.op in _KERNELS:
                return True
            stack += [node.attr[key].func.name for key in _FUNCTIONS if key in node.attr]
    return False

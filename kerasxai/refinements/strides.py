"""A finer feature map from the same weights: late strides become dilations while a method looks."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.core.errors import KerasxaiError
from kerasxai.core.layers import walk
from kerasxai.core.options import whole
from kerasxai.core.tracing import intercepted, one_pass_at_a_time, patched


def _halvings(size: int, side: int) -> int:
    """Returns how often an image of `size` was halved to come to `side`."""
    return max(0, round(np.log2(size / max(1, side))))


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


@contextlib.contextmanager
def at_stride(model: Any, stride: int, size: tuple[int, int]) -> Iterator[list[str]]:
    """Lets the maps of a model shrink no further than to 1 / `stride` of the image, for the length of a block.

    Each layer's own place is known from one traced pass of the model as it is. Beyond the stride a strided layer takes
    steps of 1, and a convolution's kernel is spread by what was left out before it (the "a trous" algorithm), so that
    every weight meets what it was trained on.

    Args:
        model: Any Keras model of known or given image size.
        stride: A power of 2.
        size: Height and width of the images.

    Yields:
        The paths of the layers that changed.
    """
    before = _map_sizes(model, size)
    with contextlib.ExitStack() as stack:
        changed = []
        for path, layer in walk(model):
            if path not in before or not hasattr(layer, "strides") or not isinstance(layer.strides, (int, tuple)):
                continue
            source, result = (min(_halvings(size[0], side), 30) for side in before[path])
            kept = int(np.log2(stride))
            steps = 2 ** (min(result, kept) - min(source, kept))
            spread = 2 ** max(0, source - kept)
            own = _pair(layer.strides)
            # A layer that keeps its place is left alone, whatever its strides.
            new: dict[str, Any] = {}
            if result > source and steps < max(own):
                new["strides"] = type(layer.strides)((steps, steps)) if isinstance(layer.strides, tuple) else steps
            if spread > 1 and hasattr(layer, "dilation_rate") and max(_pair(layer.kernel_size)) > 1:
                new["dilation_rate"] = tuple(spread * rate for rate in _pair(layer.dilation_rate))
            if new:
                stack.enter_context(patched(layer, **new))
                changed.append(path)
        if not changed:
            raise KerasxaiError(f"no layer of {model.name!r} takes strides beyond {stride} that could be left out")
        yield changed


def stride(view: Any, explain: Any, images: NDArray, targets: NDArray, *, stride: int = 16) -> NDArray[np.float32]:
    """The method on a finer feature map: it sees the network with an output stride of 16 or 8 in place of 32.

    Args:
        view: The model, as `kerasxai.core.view.View` shows it.
        explain: The method, which asks that view.
        images: `(N, H, W, C)`.
        targets: `(N,)` classes.
        stride: How many pixels of the image a place of the finest map stands for, a power of 2.

    Returns:
        `(N, H, W)` float32.

    Raises:
        KerasxaiError: It is no power of 2, the model is no Keras model, or no layer of it takes strides beyond it.

    Example:
        >>> kerasxai.Explainer(model, "cam", refine="stride:stride=8")(images).heatmaps

    Paper: Chen et al. 2018, "DeepLab", arXiv:1606.00915. Departure: at inference only, on weights trained at stride 32.
    """
    if whole("stride", stride, 1) & (stride - 1):
        raise KerasxaiError(f"stride must be a power of 2, not {stride}")
    if view.layout is not None or view.channels_first:
        raise KerasxaiError("the stride can be changed of models that take images alone, (N, H, W, C)")
    size = images.shape[1:3]
    with view.altering(("stride", stride, size), lambda: at_stride(view.model, stride, size)):
        return explain(images, targets)


def _map_sizes(model: Any, size: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Returns the height of what goes into each layer and of what comes out, where both are maps."""
    found: dict[str, tuple[int, int]] = {}

    @tf.function(autograph=False)
    @one_pass_at_a_time
    def trace(images: Any) -> Any:
        with contextlib.ExitStack() as stack:
            for path, layer in walk(model):

                def around(call: Any, *args: Any, path: str = path, **kwargs: Any) -> Any:
                    output = call(*args, **kwargs)
                    maps = [x for x in (*args[:1], output) if isinstance(x, tf.Tensor) and x.shape.rank == 4]
                    if len(maps) == 2:
                        found[path] = (int(maps[0].shape[1]), int(maps[1].shape[1]))
                    return output

                stack.enter_context(intercepted(layer, around))
            return model(images, training=False)

    trace.get_concrete_function(tf.TensorSpec((1, *size, 3), tf.float32))
    return found

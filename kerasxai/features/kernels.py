"""The kernels of a layer as arrays, sorted, and as pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai.engine.layers import find_layer, walk
from kerasxai.tools.errors import KerasxaiError


@dataclass(frozen=True)
class Filters:
    """The kernels of one layer, one row an output channel.

    Attributes:
        layer: The layer's path.
        kernels: `(K, h, w, C)` float32: what output channel `channels[i]` weighs its inputs with. A depthwise kernel
            has `C = 1`, one of `G` groups as many inputs as a group has, a dense one `h = w = 1`; kernels over a line
            have `h = 1`.
        channels: `(K,)` int64: the output channel of each row.
        inputs: `(K, C)` int64: the input channels that each row's `C` are.
        norms: `(K,)` float32: the Euclidean norm of each kernel.
    """

    layer: str
    kernels: NDArray[np.float32]
    channels: NDArray[np.int64]
    inputs: NDArray[np.int64]
    norms: NDArray[np.float32]

    def tiles(self, scale: str = "each") -> NDArray[np.uint8]:
        """Return kernels over one or three channels as pictures, zero gray.

        Args:
            scale: `"each"` stretches every kernel by its own largest weight, `"together"` all by the largest of all.

        Returns:
            `(K, h, w, 3)` uint8.

        Raises:
            KerasxaiError: The kernels have other than one or three channels: look at their `slices`.
        """
        if self.kernels.shape[-1] not in (1, 3):
            raise KerasxaiError(
                f"the kernels of {self.layer!r} have {self.kernels.shape[-1]} channels and are no colors; take slices()"
            )
        return np.broadcast_to(_stretched(self.kernels, scale), (*self.kernels.shape[:3], 3))

    def slices(self, scale: str = "each", most: int | None = None) -> NDArray[np.uint8]:
        """Return each kernel's slices, one an input channel, in gray; zero is the middle gray.

        Args:
            scale: As for `tiles`; `"each"` stretches a kernel as a whole, so that its slices can be compared.
            most: How many slices of each kernel, those with the largest norm, largest first; None: all, in order.

        Returns:
            `(K, n, h, w, 3)` uint8.
        """
        sliced = np.moveaxis(_stretched(self.kernels, scale), -1, 1)
        if most is not None:
            order = np.argsort(-np.linalg.norm(self.kernels, axis=(1, 2)), axis=1, kind="stable")[:, :most]
            sliced = np.take_along_axis(sliced, order[:, :, None, None], 1)
        return np.repeat(sliced[..., None], 3, -1)


def filters(model: Any, layer: Any = None, sort: bool = False) -> Filters:
    """Return what the channels of a layer weigh their inputs with.

    A depthwise convolution has one kernel of one channel for each output. A separable convolution is returned as the
    one convolution that it is equal to, the product of its two kernels.

    Args:
        model: Any built Keras model.
        layer: A convolution (of one, two or no spatial axes, transposed, depthwise, separable, grouped) or a dense
            layer, by path, name or itself; None takes the first convolution over two axes.
        sort: Whether the kernels with the largest norm stand first.

    Raises:
        KerasxaiError: The layer has no kernel, or there is no convolution.

    Example:
        >>> found = filters(model, sort=True)
        >>> found.kernels.shape, found.tiles().shape
        ((32, 3, 3, 3), (32, 3, 3, 3))
    """
    path, found = _first_convolution(model) if layer is None else find_layer(model, layer)
    reader = next((reader for kind, reader in _READERS if isinstance(found, kind)), None)
    if reader is None:
        raise KerasxaiError(f"layer {path!r} is a {type(found).__name__} and has no kernel of a kind that can be shown")
    if not found.built:
        raise KerasxaiError(f"layer {path!r} has no weights yet; call the model once")
    kernels, inputs = reader(found)
    kernels = np.asarray(kernels, np.float32)
    norms = np.linalg.norm(kernels.reshape(len(kernels), -1), axis=1)
    order = np.argsort(-norms, kind="stable") if sort else np.arange(len(kernels))
    return Filters(path, kernels[order], order.astype(np.int64), inputs[order], norms[order])


def _first_convolution(model: Any) -> tuple[str, Any]:
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
    for path, layer in walk(model):
        if isinstance(layer, kinds):
            return path, layer
    raise KerasxaiError(f"the model {model.name!r} has no convolution over two axes; name a layer")


def _convolution(layer: Any) -> tuple[NDArray, NDArray]:
    kernel = _plane(_numpy(layer.kernel))
    return np.moveaxis(kernel, -1, 0), _grouped_inputs(kernel.shape[-1], kernel.shape[-2], layer.groups)


def _transposed(layer: Any) -> tuple[NDArray, NDArray]:
    kernel = _plane(_numpy(layer.kernel))
    return np.moveaxis(kernel, -2, 0), _grouped_inputs(kernel.shape[-2], kernel.shape[-1], 1)


def _depthwise(layer: Any) -> tuple[NDArray, NDArray]:
    kernel = _plane(_numpy(layer.kernel))
    height, width, inputs, times = kernel.shape
    rows = kernel.reshape(height, width, 1, inputs * times)
    return np.moveaxis(rows, -1, 0), np.repeat(np.arange(inputs), times)[:, None]


def _separable(layer: Any) -> tuple[NDArray, NDArray]:
    depthwise, pointwise = _plane(_numpy(layer.depthwise_kernel)), _plane(_numpy(layer.pointwise_kernel))
    inputs, times = depthwise.shape[2:]
    mixing = pointwise.reshape(inputs, times, -1)
    kernel = np.einsum("hwim,imo->ohwi", depthwise, mixing)
    return kernel, _grouped_inputs(kernel.shape[0], inputs, 1)


def _dense(layer: Any) -> tuple[NDArray, NDArray]:
    kernel = _numpy(layer.kernel)
    return kernel.T[:, None, None, :], _grouped_inputs(kernel.shape[1], kernel.shape[0], 1)


_READERS: tuple[tuple[Any, Callable[[Any], tuple[NDArray, NDArray]]], ...] = (
    ((keras.layers.SeparableConv1D, keras.layers.SeparableConv2D), _separable),
    ((keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D), _depthwise),
    ((keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose), _transposed),
    ((keras.layers.Conv1D, keras.layers.Conv2D), _convolution),
    (keras.layers.Dense, _dense),
)


def _numpy(weights: Any) -> NDArray:
    return keras.ops.convert_to_numpy(keras.ops.cast(weights, "float32"))


def _plane(kernel: NDArray) -> NDArray:
    """Return a kernel over a line as one over a plane, of height 1."""
    return kernel[None] if kernel.ndim == 3 else kernel


def _grouped_inputs(outputs: int, width: int, groups: int) -> NDArray:
    group = np.arange(outputs) // (outputs // groups)
    return group[:, None] * width + np.arange(width)


def _stretched(kernels: NDArray, scale: str) -> NDArray[np.uint8]:
    if scale not in ("each", "together"):
        raise KerasxaiError(f'scale must be "each" or "together", not {scale!r}')
    axes = (1, 2, 3) if scale == "each" else (0, 1, 2, 3)
    largest = np.abs(kernels).max(axis=axes, keepdims=True)
    return np.rint(127.5 + 127.5 * kernels / np.where(largest > 0, largest, 1)).astype(np.uint8)

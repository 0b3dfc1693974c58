"""Kernels of a layer, as arrays and as pictures."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai.engine.layers import find_layer, walk
from kerasxai.features.capture import LayerName
from kerasxai.tools.errors import KerasxaiError


@dataclass(frozen=True)
class Filters:
    """Kernels of one layer, one row for each output channel.

    Attributes:
        layer: The path of the layer.
        kernels: `(K, h, w, C)` float32: the kernel of output channel `channels[i]`. Depthwise kernels have `C = 1`,
            grouped ones the inputs of their group, dense ones `h = w = 1`, and those of 1D convolutions `h = 1`.
        channels: `(K,)` int64: the output channel of each row.
        inputs: `(K, C)` int64: the input channels of each kernel.
        norms: `(K,)` float32: the Euclidean norm of each kernel.
    """

    layer: str
    kernels: NDArray[np.float32]
    channels: NDArray[np.int64]
    inputs: NDArray[np.int64]
    norms: NDArray[np.float32]

    def tiles(self, scale: str = "each") -> NDArray[np.uint8]:
        """Return kernels of one or three channels as pictures, in which gray is zero.

        Args:
            scale: `"each"` scales each kernel by its own largest weight, `"together"` all by the largest weight of all.

        Returns:
            `(K, h, w, 3)` uint8.

        Raises:
            KerasxaiError: The kernels have another number of channels; use `slices`.
        """
        if self.kernels.shape[-1] not in (1, 3):
            raise KerasxaiError(
                f"expected kernels of 1 or 3 channels, got {self.kernels.shape[-1]} in {self.layer!r}; use slices()"
            )
        return np.broadcast_to(_stretched(self.kernels, scale), (*self.kernels.shape[:3], 3))

    def slices(self, scale: str = "each", most: int | None = None) -> NDArray[np.uint8]:
        """Return a gray picture for each input channel of each kernel, in which middle gray is zero.

        Args:
            scale: As for `tiles`; `"each"` scales a kernel as a whole, so that its slices can be compared.
            most: Number of slices of each kernel, those of the largest norm first; None: all, in order.

        Returns:
            `(K, n, h, w, 3)` uint8.
        """
        sliced = np.moveaxis(_stretched(self.kernels, scale), -1, 1)
        if most is not None:
            order = np.argsort(-np.linalg.norm(self.kernels, axis=(1, 2)), axis=1, kind="stable")[:, :most]
            sliced = np.take_along_axis(sliced, order[:, :, None, None], 1)
        return np.repeat(sliced[..., None], 3, -1)


def filters(model: keras.Model, layer: LayerName = None, sort: bool = False) -> Filters:
    """Return the kernels of a layer.

    Depthwise convolutions have one kernel of one channel for each output. Separable convolutions are returned as the
    equivalent single convolution, the product of their two kernels.

    Args:
        model: Any built Keras model.
        layer: A 1D or 2D convolution (also transposed, depthwise, separable or grouped) or a dense layer, by path, name
            or as an object; None: the first 2D convolution.
        sort: Whether to sort kernels by norm, largest first.

    Raises:
        KerasxaiError: The layer has no such kernel, or the model has no convolution.

    Example:
        >>> found = filters(model, sort=True)
        >>> found.kernels.shape, found.tiles().shape
        ((32, 3, 3, 3), (32, 3, 3, 3))
    """
    path, found = _first_convolution(model) if layer is None else find_layer(model, layer)
    reader = next((reader for kind, reader in _READERS if isinstance(found, kind)), None)
    if reader is None:
        raise KerasxaiError(
            f"expected a convolution or a dense layer, got {type(found).__name__} {path!r}; it has no kernel"
        )
    if not found.built:
        raise KerasxaiError(f"expected a layer with weights, got {path!r}, which is not built; call the model once")
    kernels, inputs = reader(found)
    kernels = np.asarray(kernels, np.float32)
    norms = np.linalg.norm(kernels.reshape(len(kernels), -1), axis=1)
    order = np.argsort(-norms, kind="stable") if sort else np.arange(len(kernels))
    return Filters(path, kernels[order], order.astype(np.int64), inputs[order], norms[order])


def _first_convolution(model: keras.Model) -> tuple[str, keras.Layer]:
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
    for path, layer in walk(model):
        if isinstance(layer, kinds):
            return path, layer
    raise KerasxaiError(f"expected a model with a 2D convolution, got {model.name!r} without one; name a layer")


def _convolution(layer: keras.Layer) -> tuple[NDArray, NDArray]:
    kernel = _plane(_numpy(layer.kernel))
    return np.moveaxis(kernel, -1, 0), _grouped_inputs(kernel.shape[-1], kernel.shape[-2], layer.groups)


def _transposed(layer: keras.Layer) -> tuple[NDArray, NDArray]:
    kernel = _plane(_numpy(layer.kernel))
    return np.moveaxis(kernel, -2, 0), _grouped_inputs(kernel.shape[-2], kernel.shape[-1], 1)


def _depthwise(layer: keras.Layer) -> tuple[NDArray, NDArray]:
    kernel = _plane(_numpy(layer.kernel))
    height, width, inputs, times = kernel.shape
    rows = kernel.reshape(height, width, 1, inputs * times)
    return np.moveaxis(rows, -1, 0), np.repeat(np.arange(inputs), times)[:, None]


def _separable(layer: keras.Layer) -> tuple[NDArray, NDArray]:
    depthwise, pointwise = _plane(_numpy(layer.depthwise_kernel)), _plane(_numpy(layer.pointwise_kernel))
    inputs, times = depthwise.shape[2:]
    mixing = pointwise.reshape(inputs, times, -1)
    kernel = np.einsum("hwim,imo->ohwi", depthwise, mixing)
    return kernel, _grouped_inputs(kernel.shape[0], inputs, 1)


def _dense(layer: keras.Layer) -> tuple[NDArray, NDArray]:
    kernel = _numpy(layer.kernel)
    return kernel.T[:, None, None, :], _grouped_inputs(kernel.shape[1], kernel.shape[0], 1)


# More specific classes first: Keras derives some convolutions from others.
_READERS: tuple[tuple[type | tuple[type, ...], Callable[[keras.Layer], tuple[NDArray, NDArray]]], ...] = (
    ((keras.layers.SeparableConv1D, keras.layers.SeparableConv2D), _separable),
    ((keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D), _depthwise),
    ((keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose), _transposed),
    ((keras.layers.Conv1D, keras.layers.Conv2D), _convolution),
    (keras.layers.Dense, _dense),
)


def _numpy(weights: keras.Variable) -> NDArray:
    return keras.ops.convert_to_numpy(keras.ops.cast(weights, "float32"))


def _plane(kernel: NDArray) -> NDArray:
    """Return the kernel of a 1D convolution as that of a 2D convolution, of height 1."""
    return kernel[None] if kernel.ndim == 3 else kernel


def _grouped_inputs(outputs: int, width: int, groups: int) -> NDArray:
    group = np.arange(outputs) // (outputs // groups)
    return group[:, None] * width + np.arange(width)


def _stretched(kernels: NDArray, scale: str) -> NDArray[np.uint8]:
    if scale not in ("each", "together"):
        raise KerasxaiError(f'scale must be "each" or "together", got {scale!r}')
    axes = (1, 2, 3) if scale == "each" else (0, 1, 2, 3)
    largest = np.abs(kernels).max(axis=axes, keepdims=True)
    return np.rint(127.5 + 127.5 * kernels / np.where(largest > 0, largest, 1)).astype(np.uint8)

"""Settings of strided, pooling and padding layers when strides are removed and later kernels dilated.

If a layer of stride s gets stride 1, its map has s times as many positions along each axis. Each later kernel then has
to skip the new positions in between (dilation d), and each later padding has to be d times as wide, so that every
weight meets the values that it was trained on.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import keras
from keras import ops

from kerasxai.tools.errors import KerasxaiError

CONVOLUTIONS: tuple[Any, ...] = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
POOLINGS: dict[Any, str] = {keras.layers.MaxPooling2D: "max", keras.layers.AveragePooling2D: "average"}
STRIDED: tuple[Any, ...] = (*CONVOLUTIONS, *POOLINGS)
GLOBAL = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
# Layers that read neighboring positions and whose kernels cannot be spread here.
IN_PLACE = ("Flatten", "Reshape", "Permute", "Cropping2D", "UpSampling2D", "Conv2DTranspose", "Resizing")
SUPPORTED = "convolutions, poolings, zero padding, and layers that treat each position separately"


def both(value: int | Sequence[int]) -> tuple[int, int]:
    """Returns a setting of a layer for its two axes."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def steps_of(operation: keras.Operation) -> int:
    """Returns the stride of a layer, 1 for layers that are neither convolutions nor poolings.

    Raises:
        KerasxaiError: Its strides differ.
    """
    if not isinstance(operation, STRIDED):
        return 1
    down, right = both(operation.strides)
    if down != right:
        raise KerasxaiError(
            f"expected equal strides for another output stride, got {(down, right)} in layer {operation.name!r}"
        )
    return down


def window_of(layer: keras.Layer) -> tuple[int, int]:
    """Returns the window (height, width) of a convolution or pooling."""
    return both(getattr(layer, "kernel_size", None) or layer.pool_size)


def unstrided(layer: keras.Layer, removed: bool) -> dict[str, Any]:
    """Returns the settings of a layer without its stride; if windows did not overlap, the map keeps its size."""
    if not removed:
        return {}
    apart = layer.padding == "valid" and max(window_of(layer)) <= steps_of(layer)
    return {"strides": (1, 1)} | ({"padding": "same"} if apart else {})


def spread_padding(
    layer: keras.Layer, following: list[keras.Operation], stride: int, dilation: int, target: int
) -> dict[str, Any]:
    """Returns the settings of a zero padding before a layer with a smaller stride or a wider kernel.

    Args:
        layer: The padding.
        following: The layers that read its output.
        stride: The stride of its map, in pixels of the image.
        dilation: The dilation of kernels at this point.
        target: The output stride; strides beyond it are removed.

    Raises:
        KerasxaiError: The following layers need different paddings.
    """
    pads = [[dilation * side for side in pair] for pair in layer.padding]
    removed = [op for op in following if steps_of(op) > 1 and stride * steps_of(op) > target]
    if removed:
        reaches = {tuple((side - 1) * dilation for side in window_of(op)) for op in removed}
        if len(reaches) > 1 or len(removed) < len(following):
            raise KerasxaiError(
                "expected one padding for all following layers of a finer output stride, got layer "
                f"{layer.name!r} (ZeroPadding2D), whose following layers need it in different ways"
            )
        # Padding at one end only, before a stride, becomes the padding of a convolution that keeps the size of the map.
        pads = [
            [max(reach // 2, pair[0]), max(reach - reach // 2, pair[1])]
            for reach, pair in zip(*reaches, pads, strict=True)
        ]
    changed = tuple(map(tuple, pads))
    return {} if changed == tuple(map(tuple, layer.padding)) else {"padding": changed}


def dilated_pool(
    maps: keras.KerasTensor, kind: str, size: tuple[int, int], dilation: int, padding: str
) -> keras.KerasTensor:
    """Pools a map `(B, h, w, C)` over dilated windows at stride 1; padding does not count.

    Args:
        maps: The map.
        kind: `"max"` or `"average"`.
        size: The window (height, width).
        dilation: The step between positions of a window.
        padding: `"same"` or `"valid"`.
    """
    if kind == "max":
        return reduce(ops.maximum, _windows(maps, size, dilation, padding, -float("inf")))
    count = sum(_windows(ops.ones_like(maps[:1, ..., :1]), size, dilation, padding, 0.0))
    return sum(_windows(maps, size, dilation, padding, 0.0)) / count


def _windows(
    maps: keras.KerasTensor, size: tuple[int, int], dilation: int, padding: str, fill: float
) -> list[keras.KerasTensor]:
    """Returns the map once for each position of the window, shifted there."""
    reach = [(side - 1) * dilation for side in size]
    if padding == "same":
        # TensorFlow pads a dilated convolution in the same way.
        ends = [(length // 2, length - length // 2) for length in reach]
        maps = ops.pad(maps, ((0, 0), *ends, (0, 0)), constant_values=fill)
    height, width = ops.shape(maps)[1] - reach[0], ops.shape(maps)[2] - reach[1]
    tops, lefts = (range(0, length + 1, dilation) for length in reach)
    return [maps[:, top : top + height, left : left + width] for top in tops for left in lefts]


def refusal(operation: str, kind: str) -> KerasxaiError:
    """Returns the error for a layer or operation that cannot be spread."""
    return KerasxaiError(
        f"expected {SUPPORTED} for a finer output stride, got layer {operation!r} ({kind}), which cannot be dilated"
    )

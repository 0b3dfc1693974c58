"""What becomes of strided, pooling and padding layers where strides are taken away and later kernels are spread.

Where a layer of stride s gets stride 1, its map has s times as many places along each side; each later kernel then has
to look past the new places in between (dilation d), and each later padding has to be d times as wide, so that every
weight meets what it was trained on.
"""

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
SUPPORTED = "convolutions, poolings, zero padding, and layers that treat each place alone"


def both(value: Any) -> tuple[int, int]:
    """Returns a setting of a layer for its two sides."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def steps_of(operation: Any) -> int:
    """Returns by how much a layer makes a map smaller, 1 for layers that are neither convolutions nor poolings.

    Raises:
        KerasxaiError: Its strides differ.
    """
    if not isinstance(operation, STRIDED):
        return 1
    down, right = both(operation.strides)
    if down != right:
        raise KerasxaiError(f"layer {operation.name!r} has strides {(down, right)}; output stride needs equal ones")
    return down


def window_of(layer: Any) -> tuple[int, int]:
    """Returns the sides of the window of a convolution or pooling."""
    return both(getattr(layer, "kernel_size", None) or layer.pool_size)


def unstrided(layer: Any, removed: bool) -> dict[str, Any]:
    """Returns the settings of a layer whose stride goes; where windows did not overlap, the map keeps its size."""
    if not removed:
        return {}
    apart = layer.padding == "valid" and max(window_of(layer)) <= steps_of(layer)
    return {"strides": (1, 1)} | ({"padding": "same"} if apart else {})


def spread_padding(layer: Any, following: list[Any], stride: int, dilation: int, target: int) -> dict[str, Any]:
    """Returns the settings of a zero padding that precedes a layer of fewer steps or of a wider kernel.

    Args:
        layer: The padding.
        following: The layers that take what it gives.
        stride: By how much its map is smaller than the image.
        dilation: By how much kernels are spread there.
        target: Beyond which stride strides go.

    Raises:
        KerasxaiError: What follows needs it in two ways.
    """
    pads = [[dilation * side for side in pair] for pair in layer.padding]
    removed = [op for op in following if steps_of(op) > 1 and stride * steps_of(op) > target]
    if removed:
        reaches = {tuple((side - 1) * dilation for side in window_of(op)) for op in removed}
        others = [op for op in following if op not in removed]
        if len(reaches) > 1 or others:
            raise KerasxaiError(
                f"no finer output stride: layer {layer.name!r} (ZeroPadding2D) pads for several layers that need it in "
                "different ways"
            )
        # Padding of one end alone, before a stride, becomes that of a convolution which keeps the size of the map.
        pads = [
            [max(reach // 2, pair[0]), max(reach - reach // 2, pair[1])]
            for reach, pair in zip(*reaches, pads, strict=True)
        ]
    changed = tuple(map(tuple, pads))
    return {} if changed == tuple(map(tuple, layer.padding)) else {"padding": changed}


def dilated_pool(maps: Any, kind: str, size: tuple[int, int], dilation: int, padding: str) -> Any:
    """Pools a map `(B, h, w, C)` over windows whose places lie apart, at stride 1; places of the padding do not count.

    Args:
        maps: The map.
        kind: `"max"` or `"average"`.
        size: Places of a window (height, width).
        dilation: By how many places they lie apart.
        padding: `"same"` or `"valid"`.
    """
    if kind == "max":
        return reduce(ops.maximum, _windows(maps, size, dilation, padding, -float("inf")))
    count = sum(_windows(ops.ones_like(maps[:1, ..., :1]), size, dilation, padding, 0.0))
    return sum(_windows(maps, size, dilation, padding, 0.0)) / count


def _windows(maps: Any, size: tuple[int, int], dilation: int, padding: str, fill: float) -> list[Any]:
    """Returns the map once for each place of the window, moved there."""
    reach = [(side - 1) * dilation for side in size]
    if padding == "same":
        # The half-way place is that of a dilated convolution in TensorFlow.
        sides = [(length // 2, length - length // 2) for length in reach]
        maps = ops.pad(maps, ((0, 0), *sides, (0, 0)), constant_values=fill)
    height, width = ops.shape(maps)[1] - reach[0], ops.shape(maps)[2] - reach[1]
    tops, lefts = (range(0, length + 1, dilation) for length in reach)
    return [maps[:, top : top + height, left : left + width] for top in tops for left in lefts]


def refusal(operation: Any, kind: str) -> KerasxaiError:
    """Returns the error for a layer or operation that cannot be spread."""
    return KerasxaiError(
        f"no finer output stride: layer {operation!r} ({kind}) cannot be spread; what can are {SUPPORTED}"
    )

"""Pooling over places that lie apart, which Keras does not have."""

from typing import Any

import keras

from kerasxai.engine.dilation import dilated_pool
from kerasxai.tools.errors import KerasxaiError


@keras.saving.register_keras_serializable("kerasxai")
class DilatedPooling2D(keras.layers.Layer):
    """Pools a map over windows whose places lie `dilation_rate` apart, at stride 1.

    It stands where a pooling stood before strides below it were taken away: every `dilation_rate`-th place of its
    output is what that pooling gave. As in Keras, places of the padding do not count.

    Args:
        kind: `"max"` or `"average"`.
        pool_size: Places of a window (height, width).
        dilation_rate: By how many places they lie apart.
        padding: `"same"` or `"valid"`.
        **kwargs: As for `keras.layers.Layer`.

    Example:
        >>> DilatedPooling2D("average", (3, 3), 2, "same")(maps).shape == maps.shape
        True
    """

    def __init__(self, kind: str, pool_size: Any, dilation_rate: int, padding: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if kind not in ("max", "average") or padding not in ("same", "valid"):
            raise KerasxaiError(f"kind is max or average and padding same or valid; got {kind!r} and {padding!r}")
        self.kind = kind
        self.pool_size = tuple(pool_size)
        self.dilation_rate = dilation_rate
        self.padding = padding

    def call(self, maps: Any) -> Any:
        """Returns the pooled maps: (B, h, w, C) where padded, else smaller by the window."""
        return dilated_pool(maps, self.kind, self.pool_size, self.dilation_rate, self.padding)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the pooled maps."""
        batch, *sides, channels = input_shape
        if self.padding == "valid":
            reach = [(size - 1) * self.dilation_rate for size in self.pool_size]
            sides = [side and side - length for side, length in zip(sides, reach, strict=True)]
        return (batch, *sides, channels)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that this layer was made with."""
        names = ("kind", "pool_size", "dilation_rate", "padding")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

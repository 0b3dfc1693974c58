"""Pooling over windows with gaps (dilated pooling), which Keras does not have."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasxai.engine.dilation import dilated_pool
from kerasxai.tools.errors import KerasxaiError


@keras.saving.register_keras_serializable("kerasxai")
class DilatedPooling2D(keras.layers.Layer):
    """Dilated pooling at stride 1: the positions of each window are `dilation_rate` apart.

    It replaces a pooling after strides before it were removed: every `dilation_rate`-th position of the output equals
    the output of that pooling. As in Keras, positions in the padding do not count.

    Args:
        kind: `"max"` or `"average"`.
        pool_size: Positions of a window (height, width).
        dilation_rate: The distance between them.
        padding: `"same"` or `"valid"`.
        **kwargs: As for `keras.layers.Layer`.

    Example:
        >>> DilatedPooling2D("average", (3, 3), 2, "same")(maps).shape == maps.shape
        True
    """

    def __init__(self, kind: str, pool_size: Sequence[int], dilation_rate: int, padding: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if kind not in ("max", "average"):
            raise KerasxaiError(f"kind must be max or average, got {kind!r}")
        if padding not in ("same", "valid"):
            raise KerasxaiError(f"padding must be same or valid, got {padding!r}")
        self.kind = kind
        self.pool_size = (pool_size[0], pool_size[1])
        self.dilation_rate = dilation_rate
        self.padding = padding

    def call(self, maps: tf.Tensor) -> tf.Tensor:
        """Return the pooled maps: (B, h, w, C) with padding, else smaller by the window."""
        return dilated_pool(maps, self.kind, self.pool_size, self.dilation_rate, self.padding)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the pooled maps."""
        batch, *spatial, channels = input_shape
        if self.padding == "valid":
            reach = [(size - 1) * self.dilation_rate for size in self.pool_size]
            spatial = [size and size - less for size, less in zip(spatial, reach, strict=True)]
        return (batch, *spatial, channels)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        names = ("kind", "pool_size", "dilation_rate", "padding")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

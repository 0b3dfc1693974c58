"""Multi-head attention without the sum over the positions, so that a map shows the share of each position."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import keras
import tensorflow as tf

Shape: TypeAlias = tuple[int | None, ...]


@keras.saving.register_keras_serializable("kerasxai")
class AttendedEvidence(keras.layers.Layer):
    """Multi-head attention of each state to the positions of a feature map, returned as a map.

    This is multi-head attention (Vaswani et al. 2017, arXiv:1706.03762), `sum_p softmax_p(q . k_p) v_p`, without the
    sum and the last projection. With a sum over the positions after it, the head is linear in the map, as with global
    average pooling: the gradient is the same at all positions, and Grad-CAM shows the share of each. If attention is
    one operation, Grad-CAM's mean of the gradient says little about single positions.

    Args:
        heads: The number of attention heads, each with its own distribution over the positions.
        key_dim: Channels of each head; a state has `width = heads * key_dim`.

    Example:
        >>> states, maps = keras.Input((7, 16)), keras.Input((10, 10, 24))
        >>> evidence = AttendedEvidence(heads=4, key_dim=8)(states, maps)  # (None, 10, 10, 7 * 32)
        >>> attended = keras.layers.Reshape((7, 32))(keras.ops.sum(evidence, axis=(1, 2)))
    """

    def __init__(self, heads: int, key_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads, self.key_dim, self.width = heads, key_dim, heads * key_dim

    def build(self, states_shape: Shape, maps_shape: Shape) -> None:
        """Create the projections to queries, keys and values."""
        # The weights do not depend on the number of positions.
        flat = (maps_shape[0], None, maps_shape[3])
        for name, shape in (("query", states_shape), ("key", flat), ("value", flat)):
            each = (shape[1], self.heads, self.key_dim)
            layer = keras.layers.EinsumDense("bnk,khd->bnhd", each, bias_axes="hd", name=name)
            layer.build(shape)
            setattr(self, name, layer)

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Build the layer from the shapes in a saved model, which Keras stores under the names of the arguments."""
        shapes = config["shapes_dict"]
        # Version 0.1.0 had other names for the arguments.
        states = shapes.get("states_shape", shapes.get("asked_shape"))
        self.build(states, shapes.get("maps_shape", shapes.get("places_shape")))

    def call(self, states: tf.Tensor, maps: tf.Tensor) -> tf.Tensor:
        """Return the evidence `(B, h, w, T * width)` of states `(B, T, K)` in maps `(B, h, w, C)`."""
        rows, columns, channels = maps.shape[1:]
        flat = keras.ops.reshape(maps, (-1, rows * columns, channels))
        query, key, value = self.query(states), self.key(flat), self.value(flat)
        scores = keras.ops.einsum("bphd,bthd->bpth", key, query) / self.key_dim**0.5
        attention = keras.ops.softmax(scores, axis=1)
        evidence = attention[..., None] * value[:, :, None]
        return keras.ops.reshape(evidence, (-1, rows, columns, keras.ops.shape(states)[1] * self.width))

    def compute_output_shape(self, states_shape: Shape, maps_shape: Shape) -> Shape:
        """Return `(B, h, w, T * width)`."""
        channels = None if states_shape[1] is None else states_shape[1] * self.width
        return (*maps_shape[:-1], channels)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "heads": self.heads, "key_dim": self.key_dim}

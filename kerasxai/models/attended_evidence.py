"""Attention whose sum over the places is still to be taken, so that what it found lies on a map."""

import math
from typing import Any

import keras


@keras.saving.register_keras_serializable("kerasxai")
class AttendedEvidence(keras.layers.Layer):
    """Looks at the places that each state asks for, and gives what is found there as a map.

    This is multi-head attention (Vaswani et al. 2017, arXiv:1706.03762), `sum_p softmax_p(q . k_p) v_p`, without the
    sum and the last projection. Who takes the sum over the places makes a head that is linear in the map, as global
    average pooling is: the gradient is the same at all places, and Grad-CAM shows what each of them adds. Behind
    attention as one operation, Grad-CAM's mean of the gradient says little about single places.

    Args:
        heads: How many distributions over the places each state has.
        key_dim: How many channels each head has; a state gets `width = heads * key_dim` of them.

    Example:
        >>> states, places = keras.Input((7, 16)), keras.Input((10, 10, 24))
        >>> evidence = AttendedEvidence(heads=4, key_dim=8)(states, places)  # (None, 10, 10, 7 * 32)
        >>> found = keras.layers.Reshape((7, 32))(keras.ops.sum(evidence, axis=(1, 2)))
    """

    def __init__(self, heads: int, key_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads, self.key_dim, self.width = heads, key_dim, heads * key_dim

    def build(self, asked_shape: Any, places_shape: Any) -> None:
        """Makes the projections to queries, keys and values."""
        places = (places_shape[0], math.prod(places_shape[1:3]), places_shape[3])
        for name, shape in (("query", asked_shape), ("key", places), ("value", places)):
            each = (shape[1], self.heads, self.key_dim)
            layer = keras.layers.EinsumDense("bnk,khd->bnhd", each, bias_axes="hd", name=name)
            layer.build(shape)
            setattr(self, name, layer)

    def call(self, asked: Any, places: Any) -> Any:
        """Returns the evidence `(B, h, w, T * width)` of states `(B, T, K)` on places `(B, h, w, C)`."""
        rows, columns, channels = places.shape[1:]
        flat = keras.ops.reshape(places, (-1, rows * columns, channels))
        query, key, value = self.query(asked), self.key(flat), self.value(flat)
        scores = keras.ops.einsum("bphd,bthd->bpth", key, query) / self.key_dim**0.5
        attention = keras.ops.softmax(scores, axis=1)
        found = attention[..., None] * value[:, :, None]
        return keras.ops.reshape(found, (-1, rows, columns, keras.ops.shape(asked)[1] * self.width))

    def compute_output_shape(self, asked_shape: Any, places_shape: Any) -> Any:
        """Returns `(B, h, w, T * width)`."""
        channels = None if asked_shape[1] is None else asked_shape[1] * self.width
        return (*places_shape[:-1], channels)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {**super().get_config(), "heads": self.heads, "key_dim": self.key_dim}

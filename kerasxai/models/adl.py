"""Attention-based dropout: a layer between others that hides from them where they look most.

Choe and Shim 2019, arXiv:1908.10028.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasxai.models import graph
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import real


@keras.saving.register_keras_serializable("kerasxai")
class AttentionDropout(keras.layers.Layer):
    """ADL: hides the most attended places of a map, or else weighs the places by their attention.

    Attention is the mean over channels of what is above zero: behind a rectifier, where the authors put it, the plain
    mean; block outputs without one, as in MobileNetV2 and EfficientNet, have values of either sign. One coin is thrown
    for a batch: with probability `drop_rate` the places whose attention is at least `gamma` times the image's largest
    become zero, else each place is multiplied by the sigmoid of its attention. At inference the map passes as it is.
    The layer has no weights.

    Args:
        drop_rate: Probability that the batch's most attended places are dropped, in [0, 1].
        gamma: Share of the largest attention from which a place is dropped, in (0, 1].
        seed: Of the coin; its state is saved with the model, so that a run that goes on throws the same coins.
        **kwargs: As for `keras.layers.Layer`.

    Raises:
        KerasxaiError: An option is out of range.

    Example:
        >>> model = build_classifier("VGG16", 8, insert={"block4_conv3": AttentionDropout(seed=0)})
    """

    def __init__(self, drop_rate: float = 0.75, gamma: float = 0.9, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= real("drop_rate", drop_rate) <= 1 or not 0 < real("gamma", gamma) <= 1:
            raise KerasxaiError(f"drop_rate and gamma must be shares up to 1; got {drop_rate!r} and {gamma!r}")
        self.drop_rate = drop_rate
        self.gamma = gamma
        self.seed = seed
        self.coins = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, maps: Any, training: bool | None = None) -> Any:
        """Returns the map (B, h, w, C): as it came, or in training hidden or weighed."""
        if not training:
            return maps
        # Half precision would put places at the threshold on either side of it.
        attention = ops.mean(ops.relu(ops.cast(maps, "float32")), -1, keepdims=True)
        largest = ops.max(attention, (1, 2), keepdims=True)
        kept = ops.cast(attention < self.gamma * largest, "float32")
        drops = keras.random.uniform((), seed=self.coins) < self.drop_rate
        return maps * ops.cast(ops.where(drops, kept, ops.sigmoid(attention)), maps.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape as it came."""
        return input_shape

    def save_own_variables(self, store: Any) -> None:
        """Keeps where the coin stands, which Keras would forget."""
        store["coins"] = np.asarray(self.coins.state)

    def load_own_variables(self, store: Any) -> None:
        """Sets the coin to where it stood."""
        self.coins.state.assign(store["coins"])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that this layer was made with."""
        return {**super().get_config(), "drop_rate": self.drop_rate, "gamma": self.gamma, "seed": self.seed}


def attention_dropout(
    backbone: keras.Model,
    *,
    seed: int | None = None,
    drop_rate: float = 0.75,
    gamma: float = 0.9,
    places: Sequence[str] | None = None,
) -> dict[str, AttentionDropout]:
    """Says where ADL stands in a backbone, for `build_classifier(..., insert=...)`.

    By default it follows the last block output of each of the last three strides, see `default_places`, which is near
    to what the authors chose: after pool3, conv4_3 and conv5_3 of VGG16.

    Args:
        backbone: The graph up to the map that the head stands on.
        seed: Seed of the coins, one apart for each layer.
        drop_rate: As for `AttentionDropout`.
        gamma: As for `AttentionDropout`.
        places: Names of the layers that it shall follow.

    Returns:
        One new layer for the name of each layer that it follows.

    Raises:
        KerasxaiError: An option is out of range.

    Example:
        >>> model = build_classifier("EfficientNetLite0", 8, insert=attention_dropout)
    """
    names = list(places) if places else default_places(backbone)
    return {
        name: AttentionDropout(drop_rate, gamma, None if seed is None else seed + 1000 + number, name=f"adl_{number}")
        for number, name in enumerate(dict.fromkeys(names), 1)
    }


def default_places(backbone: keras.Model, count: int = 3) -> list[str]:
    """Returns the names of the last block outputs of a backbone's last strides, from stride 4 on, early ones first.

    A block's output is a sum or a concatenation, with the activation that follows it; where a stride has none, the last
    activation; and for the last stride the backbone's own output. What is inside a block will not do: in EfficientNet
    the rectified maps there have large means, which batch normalization behind them then keeps as they were with places
    hidden and weighed, so that at inference, without either, all is shifted.
    """
    maps = [place for place in graph.places(backbone) if place.stride is not None and place.stride >= 4]
    strides = sorted({place.stride for place in maps if place.stride is not None})[-count:]
    names = [_block_output(backbone, [p for p in maps if p.trunk and p.stride == s], int(s)) for s in strides[:-1]]
    final = next(place for place in reversed(maps) if place.tensor is backbone.outputs[0])
    return [*names, final.name]


def _block_output(backbone: keras.Model, trunk: list[graph.Place], stride: int) -> str:
    merges = [number for number, place in enumerate(trunk) if type(place.operation).__name__ in graph.MERGES]
    if not merges:
        return graph.find_features(backbone, stride).name
    following = trunk[merges[-1] + 1 : merges[-1] + 2]
    activated = [p for p in following if isinstance(p.operation, keras.layers.Activation | keras.layers.ReLU)]
    return (activated or [trunk[merges[-1]]])[0].name

"""Attention-based dropout layer (ADL): hide the most attended positions of a feature map during training.

Choe and Shim 2019, arXiv:1908.10028.
"""

from collections.abc import MutableMapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasxai.models.graph import MERGES, LayerOutput, find_features, layer_outputs
from kerasxai.tools.deprecation import warn_deprecated
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import real


@keras.saving.register_keras_serializable("kerasxai")
class AttentionDropout(keras.layers.Layer):
    """ADL: either drop the most attended positions of a map, or weight all positions by their attention.

    Attention is the mean over channels of the positive values: after a ReLU, where the authors put the layer, the plain
    mean; block outputs without one, as in MobileNetV2 and EfficientNet, have values of either sign. One random choice
    is made for a batch: with probability `drop_rate` the positions whose attention is at least `gamma` times the
    image's largest become zero, else each position is multiplied by the sigmoid of its attention. At inference the map
    is unchanged. The layer has no weights.

    Args:
        drop_rate: Probability that the most attended positions of a batch are dropped, in [0, 1].
        gamma: Share of the largest attention from which a position is dropped, in (0, 1].
        seed: Seed of the random choice; its state is saved with the model, so that a resumed run draws the same.
        **kwargs: As for `keras.layers.Layer`.

    Raises:
        KerasxaiError: An option is out of range.

    Example:
        >>> model = build_classifier("VGG16", 8, insert={"block4_conv3": AttentionDropout(seed=0)})
    """

    def __init__(self, drop_rate: float = 0.75, gamma: float = 0.9, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= real("drop_rate", drop_rate) <= 1:
            raise KerasxaiError(f"drop_rate must be from 0 to 1, got {drop_rate!r}")
        if not 0 < real("gamma", gamma) <= 1:
            raise KerasxaiError(f"gamma must be above 0 and at most 1, got {gamma!r}")
        self.drop_rate = drop_rate
        self.gamma = gamma
        self.seed = seed
        self.coins = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, maps: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Return the map (B, h, w, C): unchanged at inference, with dropped or weighted positions in training."""
        if not training:
            return maps
        # In half precision rounding would decide about positions at the threshold.
        attention = ops.mean(ops.relu(ops.cast(maps, "float32")), -1, keepdims=True)
        largest = ops.max(attention, (1, 2), keepdims=True)
        kept = ops.cast(attention < self.gamma * largest, "float32")
        drops = keras.random.uniform((), seed=self.coins) < self.drop_rate
        return maps * ops.cast(ops.where(drops, kept, ops.sigmoid(attention)), maps.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the input."""
        return input_shape

    def save_own_variables(self, store: MutableMapping[str, np.ndarray]) -> None:
        """Save the state of the random generator, which Keras does not."""
        store["coins"] = np.asarray(self.coins.state)

    def load_own_variables(self, store: MutableMapping[str, np.ndarray]) -> None:
        """Restore the state of the random generator."""
        self.coins.state.assign(store["coins"])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "drop_rate": self.drop_rate, "gamma": self.gamma, "seed": self.seed}


def attention_dropout(
    backbone: keras.Model,
    *,
    seed: int | None = None,
    drop_rate: float = 0.75,
    gamma: float = 0.9,
    layers: Sequence[str] | None = None,
    **deprecated: Sequence[str] | None,
) -> dict[str, AttentionDropout]:
    """Choose the positions of ADL in a backbone, for `build_classifier(..., insert=...)`.

    By default it follows the last block output of each of the last three strides, see `default_layers`, which is close
    to the authors' choice: after pool3, conv4_3 and conv5_3 of VGG16.

    Args:
        backbone: The graph up to the feature map of the head.
        seed: Seed of the random choices; each layer gets its own.
        drop_rate: As for `AttentionDropout`.
        gamma: As for `AttentionDropout`.
        layers: Names of the layers after which it is inserted.
        **deprecated: `places`, the former name of `layers`.

    Returns:
        Maps the name of each of these layers to the new layer that follows it.

    Raises:
        KerasxaiError: An option is out of range.

    Example:
        >>> model = build_classifier("EfficientNetLite0", 8, insert=attention_dropout)
    """
    if "places" in deprecated:
        warn_deprecated("attention_dropout(places=)", "layers=")
        layers = deprecated.pop("places")
    if deprecated:
        raise TypeError(f"expected a keyword argument of attention_dropout(), got {next(iter(deprecated))!r}")
    names = list(layers) if layers else default_layers(backbone)
    return {
        name: AttentionDropout(drop_rate, gamma, None if seed is None else seed + 1000 + number, name=f"adl_{number}")
        for number, name in enumerate(dict.fromkeys(names), 1)
    }


def default_layers(backbone: keras.Model, count: int = 3) -> list[str]:
    """Return the names of the last block outputs of a backbone's last strides, from stride 4 on, early ones first.

    A block's output is a sum or a concatenation, with the activation that follows it; where a stride has none, the last
    activation; and for the last stride the backbone's own output. Maps inside a block do not work: in EfficientNet the
    rectified maps there have large means, which the batch normalization after them keeps track of while positions are
    dropped and weighted, so that all features are shifted at inference.
    """
    maps = [output for output in layer_outputs(backbone) if output.stride is not None and output.stride >= 4]
    strides = sorted({output.stride for output in maps if output.stride is not None})[-count:]
    names = [
        _block_output(backbone, [one for one in maps if one.on_every_path and one.stride == stride], int(stride))
        for stride in strides[:-1]
    ]
    final = next(output for output in reversed(maps) if output.tensor is backbone.outputs[0])
    return [*names, final.name]


def _block_output(backbone: keras.Model, outputs: list[LayerOutput], stride: int) -> str:
    merges = [number for number, output in enumerate(outputs) if type(output.operation).__name__ in MERGES]
    if not merges:
        return find_features(backbone, stride).name
    following = outputs[merges[-1] + 1 : merges[-1] + 2]
    activated = [one for one in following if isinstance(one.operation, keras.layers.Activation | keras.layers.ReLU)]
    return (activated or [outputs[merges[-1]]])[0].name

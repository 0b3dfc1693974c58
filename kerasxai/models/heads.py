"""Heads: from a feature map to logits, so that the evidence for a class can be read off a map."""

from typing import Any

import keras

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import flag, whole, within


@keras.saving.register_keras_serializable("kerasxai")
class Predictions(keras.layers.Softmax):
    """The softmax that ends a classifier; it also carries the names of the classes into the saved file.

    Args:
        class_names: One name a class, or None.
        **kwargs: As for `keras.layers.Softmax`.
    """

    def __init__(self, class_names: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.class_names = None if class_names is None else [str(name) for name in class_names]

    def get_config(self) -> dict[str, Any]:
        """Returns the config, class names included."""
        return {**super().get_config(), "class_names": self.class_names and list(self.class_names)}


def initializer(seed: int | None, number: int) -> keras.initializers.Initializer:
    """Returns Glorot's uniform initializer, seeded apart for each layer of a head if a seed is given."""
    return keras.initializers.GlorotUniform(None if seed is None else seed + number)


def check_head(width: int, normalize: bool, dropout: float, seed: int | None, depth: int = 0) -> None:
    """Refuses options of a head that are out of range.

    Raises:
        KerasxaiError: One of them is.
    """
    whole("depth", depth, least=0, most=100)
    whole("width", width, least=1, most=65_536)
    flag("normalize", normalize)
    if within("dropout", dropout, 0, 1) == 1:
        raise KerasxaiError("dropout must be below 1, got 1")
    if seed is not None:
        whole("seed", seed, least=0, most=2**32 - 1)


def _convolutions(features: Any, depth: int, width: int, normalize: bool, seed: int | None) -> Any:
    for number in range(depth):
        name = f"head_conv{number + 1}"
        for layer in convolution(width, name, normalize, initializer(seed, number)):
            features = layer(features)
    return features


def convolution(
    width: int, name: str, normalize: bool, kernel: Any, dtype: Any = None, dilation_rate: int = 1
) -> list[keras.layers.Layer]:
    """Returns the layers of a 3x3 convolution with ReLU and, between the two, batch normalization if `normalize`.

    Without it a new head on a pretrained map hardly learns in a few epochs: the mean over many places makes its
    gradients small, and nothing evens out the scale of the features. The statistics follow quickly (momentum 0.9),
    because fine-tuning is short.
    """
    first = keras.layers.Conv2D(
        width,
        3,
        padding="same",
        dilation_rate=dilation_rate,
        use_bias=not normalize,
        kernel_initializer=kernel,
        name=name,
        dtype=dtype,
    )
    between = [keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn", dtype=dtype)] if normalize else []
    return [first, *between, keras.layers.ReLU(name=f"{name}_relu", dtype=dtype)]


def gap(
    features: Any,
    num_classes: int,
    *,
    depth: int = 0,
    width: int = 512,
    normalize: bool = True,
    dropout: float = 0.0,
    seed: int | None = None,
) -> Any:
    """Pools the feature map over all places and puts one dense layer without bias on it.

    So the logit of a class is the mean over places of the features times the class's weights, and that product before
    the mean is the class activation map (Zhou et al. 2016, arXiv:1512.04150).

    Args:
        features: Symbolic feature map (B, h, w, K).
        num_classes: Number of classes.
        depth: How many 3x3 convolutions with ReLU come before the pooling.
        width: Their channels.
        normalize: Whether batch normalization stands between each of them and its ReLU.
        dropout: Share of pooled features dropped in training.
        seed: Seed of the new weights.

    Returns:
        Symbolic logits (B, num_classes), float32, of a layer named `logits`.

    Example:
        >>> logits = gap(backbone.output, 10)
    """
    check_head(width, normalize, dropout, seed, depth)
    features = _convolutions(features, depth, width, normalize, seed)
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool", dtype="float32")(features)
    if dropout:
        x = keras.layers.Dropout(dropout, name="head_dropout")(x)
    kernel = initializer(seed, depth)
    return keras.layers.Dense(num_classes, use_bias=False, kernel_initializer=kernel, name="logits", dtype="float32")(x)


def conv1x1(
    features: Any,
    num_classes: int,
    *,
    depth: int = 0,
    width: int = 512,
    normalize: bool = True,
    dropout: float = 0.0,
    seed: int | None = None,
) -> Any:
    """Gives each class a channel by a 1x1 convolution, and takes the channel's mean for its logit.

    The output of the layer `class_maps` IS the class maps (Lin et al. 2013, arXiv:1312.4400); there is nothing to weigh
    afterwards. With `depth=2` this is one branch of ACoL alone, a fair baseline for it.

    Args:
        features: Symbolic feature map (B, h, w, K).
        num_classes: Number of classes.
        depth: How many 3x3 convolutions with ReLU come before the class maps.
        width: Their channels.
        normalize: Whether batch normalization stands between each of them and its ReLU.
        dropout: Share of features dropped in training.
        seed: Seed of the new weights.

    Returns:
        Symbolic logits (B, num_classes), float32, of a layer named `logits`.

    Example:
        >>> logits = conv1x1(backbone.output, 10)
    """
    check_head(width, normalize, dropout, seed, depth)
    x = _convolutions(features, depth, width, normalize, seed)
    if dropout:
        x = keras.layers.Dropout(dropout, name="head_dropout")(x)
    maps = keras.layers.Conv2D(num_classes, 1, kernel_initializer=initializer(seed, depth), name="class_maps")(x)
    return keras.layers.GlobalAveragePooling2D(name="logits", dtype="float32")(maps)

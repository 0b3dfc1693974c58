"""Heads: from a feature map to logits, so that a class activation map shows the evidence for each class."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from kerasxai.models.multi_label import is_multi, prior_bias
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import flag, whole, within


@keras.saving.register_keras_serializable("kerasxai")
class Predictions(keras.layers.Softmax):
    """The final softmax of a classifier; it also saves the class names, and the fit and the size of training images.

    Args:
        class_names: One name for each class, or None.
        input_fit: How images were fitted to the input in training: `"stretch"`, `"crop"` or `"pad"`.
        training_size: Height and width of the images of training, if the model takes others now; None: the same.
        **kwargs: As for `keras.layers.Softmax`.
    """

    def __init__(
        self,
        class_names: Sequence[str] | None = None,
        input_fit: str = "stretch",
        training_size: tuple[int, int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.training_size = None if training_size is None else (int(training_size[0]), int(training_size[1]))
        self.class_names = None if class_names is None else [str(name) for name in class_names]
        self.input_fit = input_fit

    def get_config(self) -> dict[str, Any]:
        """Return the config with the class names, and with what is not the default."""
        config = {**super().get_config(), "class_names": self.class_names and list(self.class_names)}
        # Files of other models stay readable for older versions.
        changed: dict[str, Any] = {"input_fit": self.input_fit} if self.input_fit != "stretch" else {}
        changed |= {"training_size": list(self.training_size)} if self.training_size else {}
        return {**config, **changed}


def initializer(seed: int | None, number: int) -> keras.initializers.Initializer:
    """Return Glorot's uniform initializer for layer `number` of a head; a seed makes each layer's own reproducible."""
    return keras.initializers.GlorotUniform(None if seed is None else seed + number)


def check_head(width: int, normalize: bool, dropout: float, seed: int | None, depth: int = 0) -> None:
    """Check the options of a head.

    Raises:
        KerasxaiError: One of them is out of range.
    """
    whole("depth", depth, least=0, most=100)
    whole("width", width, least=1, most=65_536)
    flag("normalize", normalize)
    if within("dropout", dropout, 0, 1) == 1:
        raise KerasxaiError("dropout must be below 1, got 1")
    if seed is not None:
        whole("seed", seed, least=0, most=2**32 - 1)


def _convolutions(
    features: keras.KerasTensor, depth: int, width: int, normalize: bool, seed: int | None
) -> keras.KerasTensor:
    for number in range(depth):
        name = f"head_conv{number + 1}"
        for layer in convolution(width, name, normalize, initializer(seed, number)):
            features = layer(features)
    return features


def convolution(
    width: int,
    name: str,
    normalize: bool,
    kernel: keras.initializers.Initializer,
    dtype: str | keras.DTypePolicy | None = None,
    dilation_rate: int = 1,
) -> list[keras.Layer]:
    """Return the layers of a 3x3 convolution with ReLU and, if `normalize`, batch normalization between them.

    Without it a new head on a pretrained map hardly learns in a few epochs: the mean over many positions makes its
    gradients small, and the scale of the features differs from channel to channel. A momentum of 0.9 lets the
    statistics follow quickly, because fine-tuning is short.
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
    normalization = [keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn", dtype=dtype)] if normalize else []
    return [first, *normalization, keras.layers.ReLU(name=f"{name}_relu", dtype=dtype)]


@keras.saving.register_keras_serializable("kerasxai")
class Centered(keras.constraints.Constraint):
    """Keeps weights centered over the classes, their last axis: the mean over the classes is 0.

    A softmax does not see what the weights of all classes share, but class activation maps do. Optimizers that scale
    every gradient by itself, as Adam does, let it grow.

    Example:
        >>> keras.layers.Dense(10, use_bias=False, kernel_constraint=Centered())
    """

    def __call__(self, w: tf.Tensor) -> tf.Tensor:
        """Return the weights minus their mean over the last axis."""
        return w - ops.mean(w, -1, keepdims=True)


def center(layer: keras.Layer) -> None:
    """Center the new weights of a layer: a constraint only acts on weights that an optimizer changes."""
    for variable in layer.trainable_variables:
        if isinstance(variable.constraint, Centered):
            variable.assign(variable.constraint(variable))


def class_maps(
    num_classes: int,
    kernel: keras.initializers.Initializer,
    name: str,
    dtype: str | keras.DTypePolicy | None = None,
    multi: bool = False,
) -> keras.layers.Conv2D:
    """Return the 1x1 convolution to one channel for each class, with weights kept centered over the classes.

    With `multi` they are not, and the bias is that of `prior_bias`.
    """
    return keras.layers.Conv2D(
        num_classes,
        1,
        kernel_initializer=kernel,
        bias_initializer=prior_bias(num_classes) if multi else "zeros",
        kernel_constraint=None if multi else Centered(),
        bias_constraint=None if multi else Centered(),
        name=name,
        dtype=dtype,
    )


def gap(
    features: keras.KerasTensor,
    num_classes: int,
    *,
    depth: int = 0,
    width: int = 512,
    normalize: bool = True,
    dropout: float = 0.0,
    seed: int | None = None,
    labels: str = "single",
) -> keras.KerasTensor:
    """Global average pooling and one dense layer without bias.

    The logit of a class is the mean over positions of the features times the weights of the class, and that product
    before the mean is the class activation map (Zhou et al. 2016, arXiv:1512.04150).

    Args:
        features: Symbolic feature map (B, h, w, K).
        num_classes: Number of classes.
        depth: Number of 3x3 convolutions with ReLU before the pooling.
        width: Channels of these convolutions.
        normalize: Whether to put batch normalization between each of them and its ReLU.
        dropout: Share of pooled features dropped in training.
        seed: Seed of the new weights.
        labels: As for `kerasxai.models.build_classifier`; with `"multi"` there is a bias.

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
    multi = is_multi(labels)
    last = keras.layers.Dense(
        num_classes,
        use_bias=multi,
        kernel_initializer=initializer(seed, depth),
        bias_initializer=prior_bias(num_classes) if multi else "zeros",
        kernel_constraint=None if multi else Centered(),
        name="logits",
        dtype="float32",
    )
    logits = last(x)
    center(last)
    return logits


def conv1x1(
    features: keras.KerasTensor,
    num_classes: int,
    *,
    depth: int = 0,
    width: int = 512,
    normalize: bool = True,
    dropout: float = 0.0,
    seed: int | None = None,
    labels: str = "single",
) -> keras.KerasTensor:
    """A 1x1 convolution with one channel for each class, and the mean of each channel as its logit.

    The output of the layer `class_maps` is the class activation maps (Lin et al. 2013, arXiv:1312.4400), without
    further weights. With `depth=2` and the same width this is a single branch of ACoL, a fair baseline for it.

    Args:
        features: Symbolic feature map (B, h, w, K).
        num_classes: Number of classes.
        depth: Number of 3x3 convolutions with ReLU before the class maps.
        width: Channels of these convolutions.
        normalize: Whether to put batch normalization between each of them and its ReLU.
        dropout: Share of features dropped in training.
        seed: Seed of the new weights.
        labels: As for `kerasxai.models.build_classifier`; with `"multi"` there is a bias.

    Returns:
        Symbolic logits (B, num_classes), float32, of a layer named `logits`.

    Example:
        >>> logits = conv1x1(backbone.output, 10)
    """
    check_head(width, normalize, dropout, seed, depth)
    x = _convolutions(features, depth, width, normalize, seed)
    if dropout:
        x = keras.layers.Dropout(dropout, name="head_dropout")(x)
    last = class_maps(num_classes, initializer(seed, depth), "class_maps", multi=is_multi(labels))
    maps = last(x)
    center(last)
    return keras.layers.GlobalAveragePooling2D(name="logits", dtype="float32")(maps)

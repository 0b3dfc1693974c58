"""A small segmenter: an encoder-decoder on a pretrained backbone, with skip connections."""

from collections.abc import Sequence

import keras

from kerasxai.models import build_classifier
from kerasxai.models.build import InputSize, Weights
from kerasxai.models.graph import LayerOutput, find_features, layer_outputs
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import whole

STRIDES = (4, 8, 16, 32)
"""Strides of the maps that the decoder reads, of those that the backbone has."""


def build_segmenter(
    backbone: str | keras.Model,
    num_classes: int,
    *,
    weights: Weights = "imagenet",
    input_size: InputSize = None,
    width: int = 64,
    seed: int | None = None,
) -> keras.Model:
    """Build a segmenter: raw RGB in [0, 255] in, logits of the background and of each class for each pixel out.

    The decoder is a feature pyramid (Lin et al. 2017, arXiv:1612.03144): from the coarsest map of the backbone up, each
    map is enlarged, added to a 1x1 convolution of the next finer one, and convolved. The logits at stride 4 are
    enlarged bilinearly to the image. Departures: depthwise separable convolutions with batch normalization, and one
    output.

    Args:
        backbone: A name in BACKBONES, or a model of yours; see `build_classifier`.
        num_classes: Number of classes without the background.
        weights: As for `build_classifier`.
        input_size: Side of the square images, or (height, width); None for the size that the backbone was made for.
        width: Channels of the decoder.
        seed: Seed of the decoder's weights.

    Returns:
        A functional Keras model `(B, H, W, 3) -> (B, H, W, num_classes + 1)`, not compiled. Its layers are the input
        `image`, the sub-model `backbone`, the decoder's own layers, and `logits` (float32 under every policy).

    Raises:
        KerasxaiError: As for `build_classifier`, or the backbone has no two maps of strides 4 to 32, or no fixed size.

    Example:
        >>> model = build_segmenter("EfficientNetLite0", 8, input_size=160)
        >>> model.output_shape
        (None, 160, 160, 9)
    """
    whole("num_classes", num_classes, 1, 254)
    whole("width", width, 1, 4096)
    classifier = build_classifier(backbone, 2, weights=weights, input_size=input_size)
    size = classifier.input_shape[1:3]
    if None in size:
        raise KerasxaiError(f"input_size must be a side or (height, width) for a segmenter, got {input_size!r}")
    trunk = classifier.get_layer("backbone")
    tensors = [found.tensor for found in _pyramid(trunk)]
    encoder = keras.Model(trunk.inputs[0], tensors, name="backbone")
    image = keras.Input(classifier.input_shape[1:], name="image", dtype="float32")
    x = _decoder(encoder(image), width, seed)
    x = keras.layers.Conv2D(num_classes + 1, 1, kernel_initializer=_initializer(seed, 99), name="scores")(x)
    logits = keras.layers.Resizing(*size, interpolation="bilinear", name="logits", dtype="float32")(x)
    return keras.Model(image, logits, name=f"{trunk.name}_segmenter")


def _pyramid(trunk: keras.Model) -> list[LayerOutput]:
    """Return the last block output of each stride, the coarsest first."""
    there = {output.stride for output in layer_outputs(trunk)}
    found = [find_features(trunk, stride) for stride in reversed(STRIDES) if stride in there]
    if len(found) < 2:
        raise KerasxaiError(
            f"expected a backbone with maps of two or more of the strides {', '.join(map(str, STRIDES))}, got "
            f"{trunk.name!r} with {len(found)}; choose a convolutional one"
        )
    return found


def _decoder(maps: Sequence[keras.KerasTensor], width: int, seed: int | None) -> keras.KerasTensor:
    x = None
    for number, features in enumerate(maps):
        lateral = keras.layers.Conv2D(
            width, 1, use_bias=False, kernel_initializer=_initializer(seed, 2 * number), name=f"lateral{number}"
        )(features)
        lateral = keras.layers.BatchNormalization(momentum=0.9, name=f"lateral{number}_bn")(lateral)
        if x is not None:
            larger = keras.layers.Resizing(*features.shape[1:3], interpolation="bilinear", name=f"enlarged{number}")(x)
            lateral = keras.layers.Add(name=f"sum{number}")([lateral, larger])
        x = keras.layers.ReLU(name=f"sum{number}_relu")(lateral)
        kernel = _initializer(seed, 2 * number + 1)
        x = keras.layers.SeparableConv2D(
            width,
            3,
            padding="same",
            use_bias=False,
            depthwise_initializer=kernel,
            pointwise_initializer=kernel,
            name=f"conv{number}",
        )(x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"conv{number}_bn")(x)
        x = keras.layers.ReLU(name=f"conv{number}_relu")(x)
    return x


def _initializer(seed: int | None, number: int) -> keras.initializers.Initializer:
    return keras.initializers.GlorotUniform(None if seed is None else seed + number)

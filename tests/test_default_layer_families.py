"""The default layer of classifiers of keras.applications and KerasHub."""

from typing import Any

import keras
import pytest
import tensorflow as tf
import zoo

from kerasxai.engine.samples import Samples
from kerasxai.engine.traced_model import TracedModel

LAST_MAPS = {
    "VGG16": "block5_pool",
    "ResNet50V2": "post_relu",
    "ConvNeXtTiny": "add_17 (operation)",
    "MobileNetV2": "out_relu",
    "MobileNetV3Small": "activation_17",
}
OTHER_LAST_MAPS = {
    "MobileNet": "conv_pw_13_relu",
    "DenseNet121": "relu",
    "EfficientNetB0": "top_activation",
    "EfficientNetV2B0": "top_activation",
    "Xception": "block14_sepconv2_act",
    "ResNet50": "conv5_block3_out",
    "ResNet101V2": "post_relu",
    "InceptionV3": "mixed10",
    "InceptionResNetV2": "conv_7b_ac",
    "NASNetMobile": "activation_187",
    "MobileNetV3Large": "activation_17",
}


def application(name: str, own_top: bool, side: int | None) -> Any:
    keras.backend.clear_session()  # for the names of the layers
    build = getattr(keras.applications, name)
    if own_top:
        return build(weights=None, input_shape=(side, side, 3), classes=3)
    base = build(weights=None, include_top=False, pooling="avg", input_shape=(side, side, 3))
    return keras.Model(base.input, keras.layers.Dense(3)(base.output))


def default_names(model: Any, sides: tuple[int, int]) -> list[str]:
    return TracedModel(model).layer_names(Samples.of(tf.zeros((1, *sides, 3)), [-1]))


# One that ends in a layer, and one that ends in an operation behind branches.
@pytest.mark.parametrize("name", zoo.mostly(("VGG16", "MobileNetV3Small", "ConvNeXtTiny"), LAST_MAPS))
def test_the_last_map_of_the_families_of_keras_applications(name: str) -> None:
    assert default_names(application(name, False, None), (96, 128)) == [LAST_MAPS[name]]


@pytest.mark.exhaustive
@pytest.mark.parametrize("own_top", [True, False])
@pytest.mark.parametrize("side", [128, 160])
@pytest.mark.parametrize("name", [*LAST_MAPS, *OTHER_LAST_MAPS])
def test_the_last_map_of_all_families_at_two_sizes(name: str, side: int, own_top: bool) -> None:
    expected = (LAST_MAPS | OTHER_LAST_MAPS)[name]
    assert default_names(application(name, own_top, side), (side, side)) == [expected]


HUB: dict[str, tuple[dict[str, Any], str]] = {
    "ViT": (
        {"image_shape": (32, 32, 3), "patch_size": 8, "num_layers": 3, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32},
        "vit_encoder/transformer_block_3/ln_1",
    ),
    "DeiT": (
        {
            "image_shape": (32, 32, 3),
            "patch_size": 8,
            "num_layers": 3,
            "num_heads": 2,
            "hidden_dim": 16,
            "intermediate_dim": 32,
        },
        "deit_encoder/transformer_block_3/ln_1",
    ),
    "MiT": (
        {
            "image_shape": (64, 64, 3),
            "layerwise_depths": [1, 1],
            "num_layers": 2,
            "layerwise_num_heads": [1, 2],
            "layerwise_sr_ratios": [4, 2],
            "max_drop_path_rate": 0.1,
            "layerwise_patch_sizes": [7, 3],
            "layerwise_strides": [4, 2],
            "hidden_dims": [8, 16],
        },
        "output_level_1",
    ),
    "SwinTransformer": (
        {
            "image_shape": (64, 64, 3),
            "embed_dim": 8,
            "depths": [2, 2],
            "num_heads": [1, 2],
            "window_size": 4,
            "patch_size": 4,
        },
        "norm",
    ),
    "DenseNet": (
        {
            "image_shape": (64, 64, 3),
            "stackwise_num_repeats": [2, 2],
            "compression_ratio": 0.5,
            "growth_rate": 8,
        },
        "relu",
    ),
    "Xception": (
        {
            "image_shape": (None, None, 3),
            "stackwise_conv_filters": [[8, 8], [8, 16, 16]],
            "stackwise_pooling": [True, False],
        },
        "block2_sepconv3_act",
    ),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", HUB)
def test_the_last_map_of_classifiers_of_keras_hub(name: str) -> None:
    hub = pytest.importorskip("keras_hub", reason="an optional package; `make test-all` installs it")
    options, expected = HUB[name]
    backbone = getattr(hub.models, f"{name}Backbone")(**options)
    model = getattr(hub.models, f"{name}ImageClassifier")(backbone, num_classes=3)
    height, width = (side or 96 for side in model.input_shape[1:3])
    (found,) = default_names(model, (height, width))
    assert found == f"{backbone.name}/{expected}"

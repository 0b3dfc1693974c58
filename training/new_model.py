"""The model that a training run starts from."""

from dataclasses import replace
from typing import Any

import keras

from kerasxai import data, models
from kerasxai.tools.errors import unknown
from kerasxai.training.config import TrainConfig
from kerasxai.training.own_backbone import OwnBackbone
from kerasxai.training.recipe_parts import insertion
from kerasxai.training.recipes import share_options, taken_by


def new_model(config: TrainConfig, info: data.DatasetInfo, own: OwnBackbone | None = None) -> keras.Model:
    """Build the classifier of a run.

    Args:
        config: The settings, resolved.
        info: What is known about the data.
        own: The model file, if it is the backbone.
    """
    features = features_of(config, feature_stride(config, info))
    size = config.image_size
    return models.build_classifier(
        config.backbone if own is None else own.trunk,
        info.num_classes,
        config.head,
        weights=None if config.weights == "none" else config.weights,
        input_size=size if size is None or isinstance(size, int) else (size[0], size[1]),
        features=features,
        output_stride=config.output_stride,
        insert=insertion(config),
        class_names=info.class_names,
        input_fit=config.fit,
        labels="multi" if config.labels == "multi" else "single",
        seed=config.seed,
        **head_options(config, features is not None),
    )


def resized_model(config: TrainConfig, info: data.DatasetInfo) -> keras.Model:
    """Build the classifier of a run for images of the final size, whose weights have to be replaced.

    Its backbone is not a random one where it was pretrained: EfficientNetB0 to B7 of Keras have one layer more then. A
    file of weights adds none, and may have been moved.
    """
    weights = config.weights if config.weights == "imagenet" else "none"
    model = new_model(replace(config, image_size=config.final_image_size, weights=weights), info)
    size = config.image_size
    assert size is not None, "the settings are resolved"
    model.get_layer("predictions").training_size = (size, size) if isinstance(size, int) else size
    return model


def features_of(config: TrainConfig, feature_stride: int) -> int | str | None:
    """Return the map that feeds the head, None for the last one of the backbone.

    Args:
        config: The settings.
        feature_stride: The stride that the data set recommends.
    """
    # On small images the last map of a backbone is too coarse for localization; data sets may recommend an earlier one.
    if config.features is None and config.output_stride is None and feature_stride < 32:
        return feature_stride
    return config.features


def feature_stride(config: TrainConfig, info: data.DatasetInfo) -> int:
    """Return the stride of the map that the data set recommends; a model file as backbone may not have such a map."""
    return info.feature_stride if config.backbone in models.BACKBONES else 32


def head_options(config: TrainConfig, early: bool) -> dict[str, Any]:
    """Return the options of the head: those of the config, of the recipe, and defaults for an early map.

    Args:
        config: The settings.
        early: Whether the head is below the last map of the backbone.

    Raises:
        KerasxaiError: An option is not one of the head.
    """
    taken = taken_by(models.HEADS[config.head].builder)
    # Features of an early map do not represent classes yet: two convolutions combine them, for which 128 channels are
    # enough.
    defaults = {"depth": 2, "width": 128} if early else {}
    defaults = {name: value for name, value in defaults.items() if name in taken}
    given = share_options(config.recipe, config.head, config.recipe_options)[1] | config.head_options
    if "labels" in given:
        raise unknown(f"option of head {config.head!r}", "labels", [name for name in taken[2:] if name != "labels"])
    return defaults | given

"""`kerasxai layers`: what may be given to `--layer`."""

import argparse
from dataclasses import dataclass

from kerasxai.tools.json_output import JsonOutput
from kerasxai.tools.model_settings import OUTPUT, ModelSettings
from kerasxai.tools.settings import SettingsCommand, from_options, setting
from kerasxai.tools.text_tables import print_rows


@dataclass(frozen=True, kw_only=True)
class LayersConfig(ModelSettings):
    """Settings of `kerasxai layers`.

    Attributes:
        maps: Whether only layers with a feature map are listed.
    """

    maps: bool = setting("only layers that give a feature map", OUTPUT, False)


LAYERS = SettingsCommand(
    "List the layers of a model.",
    ["kerasxai layers imagenet:EfficientNetLite0", "kerasxai layers runs/gap/model.keras --maps"],
    (LayersConfig, JsonOutput),
)


def run(options: argparse.Namespace) -> None:
    """Print the layers in the order in which they are called."""
    from kerasxai.engine.layer_table import list_layers
    from kerasxai.models import load

    config = from_options(LayersConfig, options)
    rows = [
        row
        for row in list_layers(load(config.model, custom_objects=config.custom_objects))
        if row.is_feature_map or not config.maps
    ]
    cells = ((row.path, row.kind, _shape(row.shape), "yes" if row.is_feature_map else "") for row in rows)
    print_rows(("layer", "kind", "output", "feature map"), cells)


def _shape(shape: tuple[int | None, ...] | None) -> str:
    return "?" if shape is None else " x ".join("?" if size is None else str(size) for size in shape[1:])

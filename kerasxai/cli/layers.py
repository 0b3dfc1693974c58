"""`kerasxai layers`: what may be given to `--layer`."""

import argparse

from kerasxai.tools.arguments import add_model
from kerasxai.tools.text_tables import print_table

SUMMARY = "List the layers of a model."
EXAMPLES = [
    "kerasxai layers imagenet:EfficientNetLite0",
    "kerasxai layers runs/gap/model.keras --maps",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the model and the choice of maps alone."""
    add_model(parser)
    parser.add_argument("--maps", action="store_true", help="only layers that give a feature map")


def run(options: argparse.Namespace) -> None:
    """Prints the layers in the order in which they are called."""
    from kerasxai.engine.layer_table import list_layers
    from kerasxai.models import load

    rows = [
        row
        for row in list_layers(load(options.model, custom_objects=options.custom_objects))
        if row.is_feature_map or not options.maps
    ]
    cells = ((row.path, row.kind, _shape(row.shape), "yes" if row.is_feature_map else "") for row in rows)
    print_table(("layer", "kind", "output", "feature map"), cells)


def _shape(shape: tuple[int | None, ...] | None) -> str:
    return "?" if shape is None else " x ".join("?" if size is None else str(size) for size in shape[1:])

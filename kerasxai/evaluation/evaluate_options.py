"""The arguments of `kerasxai evaluate`. Nothing here imports TensorFlow."""

import argparse
from pathlib import Path

from kerasxai.evaluation.config import EvaluateConfig
from kerasxai.tools.arguments import add_method_options, add_model, section
from kerasxai.tools.image_options import add_image_options
from kerasxai.tools.settings import add_settings

SUMMARY = "Measure accuracy and localization."
EXAMPLES = [
    "kerasxai evaluate runs/gap/model.keras --data shapes --method cam",
    "kerasxai evaluate runs/gap/model.keras --data shapes --method gradcam --layer backbone/top_activation",
    "kerasxai evaluate imagenet:EfficientNetLite0 --data photos/ --boxes boxes.csv --split test --tune-split none",
    "kerasxai evaluate runs/cub/model.keras --data caltech_birds2011 --protocol wsolevaluation",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the settings of `EvaluateConfig`, the method's options and the folder."""
    add_model(parser)
    add_settings(parser, EvaluateConfig)
    add_method_options(parser)
    add_image_options(parser)
    section(parser, "output").add_argument(
        "--out", type=Path, help="folder to write to (default: next to the model, or evaluation/)"
    )

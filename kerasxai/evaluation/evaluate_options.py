"""The arguments of `kerasxai evaluate`. Nothing here imports TensorFlow."""

import argparse
from pathlib import Path

from kerasxai.engine.outputs.kinds import OUTPUTS, OUTPUTS_HELP
from kerasxai.methods import METHODS
from kerasxai.refinements import REFINE_HELP
from kerasxai.tools.arguments import add_method_options, add_model, box_threshold, positive_int, section
from kerasxai.tools.image_options import add_image_options

SUMMARY = "Measure accuracy and localization."
EXAMPLES = [
    "kerasxai evaluate runs/gap/model.keras --data shapes --method cam",
    "kerasxai evaluate runs/gap/model.keras --data shapes --method gradcam --layer backbone/top_activation",
    "kerasxai evaluate imagenet:EfficientNetLite0 --data photos/ --boxes boxes.csv --split test --tune-split none",
    "kerasxai evaluate runs/cub/model.keras --data caltech_birds2011 --protocol wsolevaluation",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the model, the data and the method."""
    add_model(parser)
    section(parser, "data").add_argument(
        "--data", required=True, help="name of a data set, or a folder with one folder for each class"
    )
    section(parser, "data").add_argument("--split", default="test", help="what is measured (default: %(default)s)")
    section(parser, "data").add_argument(
        "--tune-split",
        default="validation",
        help="where the best threshold is chosen, which the measured split must not do; none: only the fixed threshold"
        " (default: %(default)s)",
    )
    section(parser, "method").add_argument(
        "--method", default="cam", choices=METHODS, metavar="NAME", help="explainer (default: %(default)s)"
    )
    section(parser, "method").add_argument("--layer", help="for methods that explain at a layer")
    section(parser, "method").add_argument("--refine", metavar="NAME[,NAME]", help=REFINE_HELP)
    add_method_options(parser)
    section(parser, "boxes").add_argument(
        "--threshold",
        type=box_threshold,
        default=0.2,
        help="of a heatmap's maximum, for boxes and masks (default: %(default)s)",
    )
    section(parser, "boxes").add_argument(
        "--protocol",
        default="kerasxai",
        choices=("kerasxai", "wsolevaluation"),
        help="how boxes are made and compared; wsolevaluation: as the literature on CUB and ImageNet does, with"
        " MaxBoxAcc and MaxBoxAccV2 (default: %(default)s)",
    )
    section(parser, "model").add_argument("--outputs", choices=OUTPUTS, help=OUTPUTS_HELP)
    section(parser, "data").add_argument("--limit", type=positive_int, help="measure so many images only")
    section(parser, "method").add_argument(
        "--batch-size", type=positive_int, default=32, help="images at once (default: %(default)s)"
    )
    add_image_options(parser)
    section(parser, "data").add_argument("--data-dir", help="where TensorFlow Datasets keeps its files")
    section(parser, "data").add_argument(
        "--boxes",
        dest="boxes_csv",
        metavar="FILE",
        help="CSV with boxes by file name, or wsolevaluation's localization.txt",
    )
    section(parser, "output").add_argument(
        "--out", type=Path, help="folder to write to (default: beside the model, or evaluation/)"
    )

"""The arguments of `kerasxai benchmark`. Nothing here imports TensorFlow."""

import argparse
from pathlib import Path
from typing import Any

from kerasxai.methods import METHODS
from kerasxai.tools.arguments import box_threshold, fraction, listed, parse_option, positive_int
from kerasxai.training.losses import LOSSES
from kerasxai.training.options import add_settings
from kerasxai.training.recipes import RECIPES

SUMMARY = "Train and measure recipes with several seeds, and set them beside one another in one table."
EXAMPLES = [
    "kerasxai benchmark --data shapes --out runs/b",
    "kerasxai benchmark --data shapes --recipes gap,acol --seeds 5 --epochs 4 --out runs/b",
    "kerasxai benchmark --data shapes --recipes gap,acol --recipe-option acol.erase_threshold=0.5 --out runs/b",
    "kerasxai benchmark --data shapes --recipes gap --label-fraction 0.1 --label-noise 0.2,0.4 --out runs/weak",
    "kerasxai benchmark --data caltech_birds2011 --features 16 --epochs 30 --out runs/cub",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what is compared, how all runs are trained alike, and what is measured."""
    parser.add_argument(
        "--out", required=True, type=Path, help="folder of the benchmark; given again, it goes on where it was"
    )
    parser.add_argument(
        "--recipes",
        type=listed,
        default=[*RECIPES],
        metavar="NAMES",
        help=f"what is compared, with commas; the first is what the others are compared with (default: all of "
        f"{', '.join(RECIPES)})",
    )
    parser.add_argument(
        "--seeds", type=positive_int, default=3, help="runs of each row, seeds from 0 on (default: %(default)s)"
    )
    parser.add_argument(
        "--recipe-option",
        action="append",
        default=[],
        type=recipe_option,
        metavar="RECIPE.NAME=VALUE",
        help="an option of one recipe, or of its head",
    )
    parser.add_argument(
        "--label-fraction",
        dest="label_fractions",
        type=_shares,
        default=[],
        metavar="SHARES",
        help="train each recipe with so much of the labels too, and tell what it costs; with commas",
    )
    parser.add_argument(
        "--label-noise",
        dest="label_noises",
        type=_shares,
        default=[],
        metavar="SHARES",
        help="train each recipe with so much of the labels wrong too, and tell what it costs; with commas",
    )
    parser.add_argument(
        "--noise-loss",
        default="",
        choices=sorted(LOSSES),
        metavar="NAME",
        help=f"with wrong labels train with this loss as well: {', '.join(LOSSES)}",
    )
    add_settings(parser)
    parser.add_argument(
        "--method", default="cam", choices=METHODS, metavar="NAME", help="explainer (default: %(default)s)"
    )
    parser.add_argument(
        "--threshold",
        type=box_threshold,
        default=0.2,
        help="the fixed one, of a heatmap's maximum (default: %(default)s)",
    )
    parser.add_argument("--limit", type=positive_int, help="measure so many images of each split only")
    parser.add_argument(
        "--sheet-images", type=positive_int, default=6, help="test images on the contact sheet (default: %(default)s)"
    )


def recipe_option(text: str) -> tuple[str, str, Any]:
    """Splits `recipe.name=value`.

    Example:
        >>> recipe_option("acol.erase_threshold=0.6")
        ('acol', 'erase_threshold', 0.6)
    """
    name, value = parse_option(text)
    recipe, dot, option = name.partition(".")
    if not dot or not option:
        raise argparse.ArgumentTypeError(f"options are written RECIPE.NAME=VALUE, not {text!r}")
    return recipe, option, value


def _shares(text: str) -> list[float]:
    return [fraction(share) for share in listed(text)]

"""The arguments of `kerasxai train`. Nothing here imports TensorFlow."""

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from kerasxai.models import BACKBONES, HEADS
from kerasxai.tools.arguments import (
    fraction,
    natural_int,
    number,
    parse_option,
    positive_float,
    positive_int,
    seed_number,
    stride_or_layer,
)
from kerasxai.training.config import OPTIMIZERS, SCHEDULES, TrainConfig
from kerasxai.training.losses import LOSSES
from kerasxai.training.recipes import RECIPES

SUMMARY = "Fine-tune a classifier and watch where it looks."
EXAMPLES = [
    "kerasxai train --data shapes --backbone EfficientNetLite0 --head gap --out runs/gap",
    "kerasxai train --data shapes --recipe acol --recipe-option erase_threshold=0.5 --out runs/acol",
    "kerasxai train --data oxford_iiit_pet --backbone ResNet50 --features 16 --epochs 10 --out runs/pets",
    "kerasxai train --data shapes --optimizer sgd --head-rate 10 --schedule steps --finetune-rate 1e-3 --out runs/sgd",
    "kerasxai train --data photos/ --boxes boxes.csv --out runs/photos",
    "kerasxai train --data shapes --label-fraction 0.1 --confidence 0.95 --out runs/few",
    "kerasxai train --data shapes --label-noise 0.2 --loss categorical_generalized_cross_entropy --out runs/noisy",
]
_OPTIONS = {"head_options": "head_option", "recipe_options": "recipe_option", "loss_options": "loss_option"}
_DEFAULTS = {item.name: item.default for item in fields(TrainConfig)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds one argument for each field of `TrainConfig`, and what is drawn on the way."""
    parser.add_argument("--out", required=True, type=Path, help="folder of the run; given again, the run goes on")
    add = _adder(parser)
    add("--recipe", f"one of {', '.join(RECIPES)}; see `kerasxai recipes`", choices=sorted(RECIPES), metavar="NAME")
    parser.add_argument(
        "--recipe-option",
        action="append",
        default=[],
        type=parse_option,
        metavar="NAME=VALUE",
        help="an option of the recipe, or of its head",
    )
    parser.add_argument(
        "--head",
        default="",
        choices=sorted(HEADS),
        metavar="NAME",
        help=f"one of {', '.join(HEADS)} (default: the recipe's, or gap)",
    )
    add_settings(parser)
    add(
        "--label-fraction",
        "share of the training labels that is used; the rest gets pseudo-labels",
        type=number(above=0, most=1),
    )
    add("--label-noise", "share of the training labels that is made wrong", type=number(least=0, below=1))
    add("--loss", f"one of {', '.join(LOSSES)}", choices=sorted(LOSSES), metavar="NAME")
    parser.add_argument(
        "--loss-option", action="append", default=[], type=parse_option, metavar="NAME=VALUE", help="an option of it"
    )
    add("--seed", "of weights, order and augmentation, and of weak labels", type=seed_number)
    parser.add_argument(
        "--explain", default="cam,gradcam", metavar="NAMES", help="methods drawn each epoch; none: `--explain ''`"
    )
    parser.add_argument(
        "--explain-images", type=natural_int, default=8, help="images drawn each epoch (default: %(default)s)"
    )
    parser.add_argument(
        "--localize-images",
        type=natural_int,
        help="validation images measured each epoch, where there are boxes; 0: none (default: all)",
    )
    parser.add_argument(
        "--explain-every", type=positive_int, default=1, help="epochs between drawings (default: %(default)s)"
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds the data and how it is trained on: what the runs of a comparison have in common."""
    add = _adder(parser)
    parser.add_argument("--data", required=True, help="name of a data set, or a folder with one folder for each class")
    add("--backbone", "see `kerasxai backbones`", choices=sorted(BACKBONES), metavar="NAME")
    parser.add_argument(
        "--head-option",
        action="append",
        default=[],
        type=parse_option,
        metavar="NAME=VALUE",
        help="an option of the head",
    )
    add("--weights", "imagenet, none, or a file of weights")
    add("--features", "stride (8, 16, 32) or layer of the backbone that the head stands on", type=stride_or_layer)
    add(
        "--output-stride", "make the head's map so fine (8, 16, 32): the last strides are taken away", type=positive_int
    )
    add("--image-size", "side in pixels", type=positive_int)
    add("--resize", "side that training images are resized to before a square is cut out at random", type=positive_int)
    add("--head-epochs", "epochs of the first phase: the head alone", type=natural_int)
    add("--epochs", "epochs of the second phase: head and upper backbone", type=natural_int)
    add("--batch-size", "images a step", type=positive_int)
    add("--learning-rate", "peak rate of the first phase", type=positive_float)
    add("--finetune-rate", "peak rate of the second phase", type=positive_float)
    add("--finetune-share", "share of the backbone's layers that the second phase trains", type=fraction)
    add("--optimizer", f"one of {', '.join(OPTIMIZERS)}", choices=OPTIMIZERS, metavar="NAME")
    add("--schedule", f"how the rate falls: {', '.join(SCHEDULES)}", choices=SCHEDULES, metavar="NAME")
    add("--head-rate", "how many times as fast as the backbone the layers above it learn", type=positive_float)
    add("--patience", "epochs without a better validation loss before a phase ends", type=positive_int)
    add("--mixed-precision", "compute in half precision", action="store_true")
    add("--confidence", "probability from which on an image without a label is given one", type=number(above=0, most=1))
    add("--data-dir", "where TensorFlow Datasets keeps its files")
    add("--boxes", "CSV with boxes by file name, for measuring only", dest="boxes_csv", metavar="FILE")


def _adder(parser: argparse.ArgumentParser) -> Callable[..., None]:
    def add(flag: str, help: str, **settings: Any) -> None:
        name = settings.get("dest", flag.lstrip("-").replace("-", "_"))
        settings.setdefault("default", _DEFAULTS.get(name))
        shown = "" if settings["default"] in (None, False) else " (default: %(default)s)"
        parser.add_argument(flag, help=help + shown, **settings)

    return add


def config_of(options: argparse.Namespace) -> TrainConfig:
    """Returns the config that parsed arguments mean; what a command does not ask for is as by default."""
    given = vars(options)
    values = {item.name: given[item.name] for item in fields(TrainConfig) if item.name in given}
    for name, flag in _OPTIONS.items():
        values[name] = dict(given.get(flag, []))
    return TrainConfig(**values)

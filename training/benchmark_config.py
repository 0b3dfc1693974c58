"""Settings of `kerasxai benchmark`, and its arguments made of them. Nothing here imports TensorFlow."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerasxai.methods import METHODS
from kerasxai.tools.arguments import fraction, listed, parse_option
from kerasxai.tools.config_file import ConfigFile
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.json_output import JsonOutput
from kerasxai.tools.model_settings import EndReport
from kerasxai.tools.options import BOX_THRESHOLD
from kerasxai.tools.settings import Limits, SettingsCommand, check_settings, setting
from kerasxai.training.config import MODEL, OUTPUT, WEAK, RunOutput, TrainConfig
from kerasxai.training.losses import LOSSES
from kerasxai.training.recipes import RECIPES

_COMPARED, _MEASURED = "compared", "measured"


def recipe_option(text: str) -> tuple[str, str, Any]:
    """Split `recipe.name=value`.

    Example:
        >>> recipe_option("acol.erase_threshold=0.6")
        ('acol', 'erase_threshold', 0.6)
    """
    name, value = parse_option(text)
    recipe, dot, option = name.partition(".")
    if not dot or not option:
        raise argparse.ArgumentTypeError(f"options are written RECIPE.NAME=VALUE, not {text!r}")
    return recipe, option, value


def _by_recipe(options: list[tuple[str, str, Any]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for recipe, name, value in options:
        found.setdefault(recipe, {})[name] = value
    return found


def _shares(text: str) -> tuple[float, ...]:
    return tuple(fraction(share) for share in listed(text))


@dataclass(frozen=True)
class BenchmarkConfig:
    """Settings of a benchmark; the settings of the runs are a `TrainConfig`.

    Attributes:
        recipes: Names in `kerasxai.RECIPES`; differences are to the first.
        seeds: Number of runs for each recipe, with seeds from 0.
        recipe_options: Options of single recipes, by recipe.
        label_fractions: Shares of the labels; every recipe is also trained with each of them, and compared with the
        same
            recipe with all labels.
        label_noises: The same for shares of wrong labels.
        noise_loss: A name in LOSSES; with wrong labels every recipe is also trained with it.
        method: The explainer of the true class: a name in `kerasxai.METHODS`.
        threshold: The fixed threshold, in [0, 1); another one is chosen on the validation images.
        limit: Number of measured images in each split; those of a folder are spread evenly over it.
        sheet_images: Number of test images on the contact sheet; 0: no sheet.
    """

    recipes: Sequence[str] = setting(
        f"recipes to compare, with commas; the first is the reference (default: all of {', '.join(RECIPES)})",
        _COMPARED,
        tuple(RECIPES),
        metavar="NAMES",
        parse=listed,
    )
    seeds: int = setting("runs of each row, seeds from 0 on", _COMPARED, 3, limits=Limits(least=1))
    recipe_options: Mapping[str, Mapping[str, Any]] = setting(
        "an option of one recipe, or of its head",
        MODEL,
        flag="--recipe-option",
        metavar="RECIPE.NAME=VALUE",
        parse=recipe_option,
        collect=_by_recipe,
    )
    label_fractions: Sequence[float] = setting(
        "train each recipe with so much of the labels too, and report what it costs; with commas",
        WEAK,
        (),
        flag="--label-fraction",
        metavar="SHARES",
        parse=_shares,
    )
    label_noises: Sequence[float] = setting(
        "train each recipe with so much of the labels wrong too, and report what it costs; with commas",
        WEAK,
        (),
        flag="--label-noise",
        metavar="SHARES",
        parse=_shares,
    )
    noise_loss: str = setting(
        f"with wrong labels train with this loss as well: {', '.join(LOSSES)}", WEAK, "", choices=LOSSES
    )
    method: str = setting("explainer", _MEASURED, "cam", choices=METHODS)
    threshold: float = setting(
        "the fixed one, of a heatmap's maximum", _MEASURED, BOX_THRESHOLD, limits=Limits(least=0, below=1)
    )
    limit: int | None = setting(
        "maximum number of measured images of each split; of a folder they are spread evenly over it",
        _MEASURED,
        None,
        limits=Limits(least=1),
    )
    sheet_images: int = setting("test images on the contact sheet", OUTPUT, 6, limits=Limits(least=0))

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.recipes:
            raise KerasxaiError("expected at least one recipe, got none; name some of `kerasxai recipes`")


BENCHMARK = SettingsCommand(
    "Train and measure recipes with several seeds, and compare them in one table.",
    [
        "kerasxai benchmark --data shapes --out runs/b",
        "kerasxai benchmark --data shapes --recipes gap,acol --seeds 5 --epochs 4 --out runs/b",
        "kerasxai benchmark --data shapes --recipes gap,acol --recipe-option acol.erase_threshold=0.5 --out runs/b",
        "kerasxai benchmark --data shapes --recipes gap --label-fraction 0.1 --label-noise 0.2,0.4 --out runs/weak",
        "kerasxai benchmark --data caltech_birds2011 --features 16 --epochs 30 --out runs/cub",
    ],
    (BenchmarkConfig, TrainConfig, RunOutput, EndReport, JsonOutput, ConfigFile),
    # The rows and the runs of a benchmark decide these.
    leave_out=("recipe", "head", "label_fraction", "label_noise", "loss", "loss_options", "seed"),
)

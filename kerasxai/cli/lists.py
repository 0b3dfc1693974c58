"""`kerasxai methods`, `backbones`, `recipes`, `datasets`: the tables of what is known by name."""

import argparse

from kerasxai.data import DATASETS
from kerasxai.methods import METHODS
from kerasxai.models import BACKBONES, HEADS
from kerasxai.tools.json_output import JsonOutput, print_json
from kerasxai.tools.settings import SettingsCommand
from kerasxai.tools.text_tables import objects_of, print_rows, print_table
from kerasxai.training.recipes import RECIPES

METHODS_COMMAND = SettingsCommand(
    "List the explainers.", ["kerasxai methods", "kerasxai methods --json"], (JsonOutput,)
)
BACKBONES_COMMAND = SettingsCommand("List the backbones and heads.", ["kerasxai backbones"], (JsonOutput,))
RECIPES_COMMAND = SettingsCommand(
    "List the training recipes.",
    ["kerasxai recipes", "kerasxai train --data shapes --recipe acol --out runs/acol"],
    (JsonOutput,),
)
DATASETS_COMMAND = SettingsCommand("List the data sets that are known by name.", ["kerasxai datasets"], (JsonOutput,))


def print_methods(options: argparse.Namespace) -> None:
    """Print every method with its requirements and its paper."""
    columns = ("method", "what it shows", "needs", "forward passes", "paper")
    rows = [(row.name, row.summary, row.needs, row.cost, row.paper) for row in METHODS.values()]
    print_json(objects_of(columns, rows))
    # A column for papers would leave no room for words in a terminal of 80 characters.
    print_table(columns[:-1], [(name, f"{shows} {paper}", *rest) for name, shows, *rest, paper in rows])


def print_backbones(options: argparse.Namespace) -> None:
    """Print the backbones, and the heads too in the table for people."""
    rows = ((row.name, row.input_size, row.feature_layer, row.weights) for row in BACKBONES.values())
    print_rows(("backbone", "input size>", "feature layer", "ImageNet weights from"), rows)
    if not options.json:
        print_table(("head", "what it is", "paper"), ((row.name, row.summary, row.paper) for row in HEADS.values()))


def print_recipes(options: argparse.Namespace) -> None:
    """Print every recipe with its head, its paper, and how its source trained."""
    rows = [(row.name, row.head, row.summary, row.paper, row.optimizer, row.schedule) for row in RECIPES.values()]
    columns = ("recipe", "head", "what it does", "paper", "its source's optimizer", "its source's schedule")
    print_json(objects_of(columns, rows))
    shown = [(name, head, f"{what} {paper}", *rest) for name, head, what, paper, *rest in rows]
    print_table([column for column in columns if column != "paper"], shown)


def print_datasets(options: argparse.Namespace) -> None:
    """Print the data sets, and for people what else can be given in place of a name."""
    rows = ((name, row.summary) for name, row in DATASETS.items())
    print_rows(("data set", "what it holds"), rows)
    if not options.json:
        print(
            "Any other name of TensorFlow Datasets works as well, and so does a folder with one folder for each class."
        )

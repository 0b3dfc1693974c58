"""`kerasxai methods`, `backbones`, `recipes`, `datasets`: the tables of what is known by name."""

import argparse

from kerasxai.data import DATASETS
from kerasxai.methods import METHODS
from kerasxai.models import BACKBONES, HEADS
from kerasxai.tools.settings import SettingsCommand
from kerasxai.tools.text_tables import print_table
from kerasxai.training.recipes import RECIPES

METHODS_COMMAND = SettingsCommand("List the explainers.", ["kerasxai methods"])
BACKBONES_COMMAND = SettingsCommand("List the backbones and heads.", ["kerasxai backbones"])
RECIPES_COMMAND = SettingsCommand(
    "List the training recipes.",
    ["kerasxai recipes", "kerasxai train --data shapes --recipe acol --out runs/acol"],
)
DATASETS_COMMAND = SettingsCommand("List the data sets that are known by name.", ["kerasxai datasets"])


def print_methods(options: argparse.Namespace) -> None:
    """Print every method with its requirements and its paper."""
    rows = ((row.name, row.summary, row.needs, row.cost, row.paper) for row in METHODS.values())
    print_table(("method", "what it shows", "needs", "forward passes", "paper"), rows)


def print_backbones(options: argparse.Namespace) -> None:
    """Print the backbones and the heads that a classifier is built of."""
    rows = ((row.name, row.input_size, row.feature_layer, row.weights) for row in BACKBONES.values())
    print_table(("backbone", "input size>", "feature layer", "ImageNet weights from"), rows)
    print_table(("head", "what it is", "paper"), ((row.name, row.summary, row.paper) for row in HEADS.values()))


def print_recipes(options: argparse.Namespace) -> None:
    """Print every recipe with its head, its paper, and how its source trained."""
    rows = [(row.name, row.head, row.summary, row.paper, row.optimizer, row.schedule) for row in RECIPES.values()]
    print_table(("recipe", "head", "what it does", "paper", "its source's optimizer", "its source's schedule"), rows)


def print_datasets(options: argparse.Namespace) -> None:
    """Print the data sets, and what else can be given in place of a name."""
    print_table(("data set", "what it holds"), ((name, row.summary) for name, row in DATASETS.items()))
    print("Any other name of TensorFlow Datasets works as well, and so does a folder with one folder for each class.")

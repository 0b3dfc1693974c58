"""`kerasxai recipes`: the methods of weakly supervised localization that a classifier is trained by."""

import argparse

from kerasxai.tools.text_tables import print_table
from kerasxai.training.recipes import RECIPES

SUMMARY = "List the training recipes."
EXAMPLES = ["kerasxai recipes", "kerasxai train --data shapes --recipe acol --out runs/acol"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""


def run(options: argparse.Namespace) -> None:
    """Prints every recipe with its head, where it comes from, and how its source trained."""
    rows = [(row.name, row.head, row.summary, row.paper, row.optimizer, row.schedule) for row in RECIPES.values()]
    print_table(("recipe", "head", "what it does", "paper", "its source's optimizer", "its source's schedule"), rows)

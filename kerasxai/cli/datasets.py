"""`kerasxai datasets`: the data sets that are known by name."""

import argparse

from kerasxai.data import DATASETS
from kerasxai.tools.text_tables import print_table

SUMMARY = "List the data sets that are known by name."
EXAMPLES = ["kerasxai datasets"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""


def run(options: argparse.Namespace) -> None:
    """Prints the table, and what else may stand in place of a name."""
    print_table(("data set", "what it holds"), ((name, row.summary) for name, row in DATASETS.items()))
    print("Any other name of TensorFlow Datasets works as well, and so does a folder with one folder for each class.")

"""`kerasxai backbones`: the backbones and heads that a classifier is put together from."""

import argparse

from kerasxai.models import BACKBONES, HEADS
from kerasxai.tools.text_tables import print_table

SUMMARY = "List the backbones and heads."
EXAMPLES = ["kerasxai backbones"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""


def run(options: argparse.Namespace) -> None:
    """Prints both tables."""
    rows = ((row.name, row.input_size, row.feature_layer, row.weights) for row in BACKBONES.values())
    print_table(("backbone", "input size>", "feature layer", "ImageNet weights from"), rows)
    print_table(("head", "what it is", "paper"), ((row.name, row.summary, row.paper) for row in HEADS.values()))

"""`kerasxai methods`: the table of explainers."""

import argparse

from kerasxai.methods import METHODS
from kerasxai.tools.text_tables import print_table

SUMMARY = "List the explainers."
EXAMPLES = ["kerasxai methods"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""


def run(options: argparse.Namespace) -> None:
    """Prints every method with what it needs and where it comes from."""
    rows = ((row.name, row.summary, row.needs, row.cost, row.paper) for row in METHODS.values())
    print_table(("method", "what it shows", "needs", "forward passes", "paper"), rows)

"""The arguments of `kerasxai demo`. Nothing here imports TensorFlow."""

import argparse
from pathlib import Path

from kerasxai.tools.arguments import natural_int, seed_number

SUMMARY = "Walk the whole road on the embedded data and write an HTML report."
EXAMPLES = ["kerasxai demo", "kerasxai demo --out runs/demo --open"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds where to write and how long to train."""
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder to write to (default: %(default)s)")
    parser.add_argument(
        "--head-epochs", type=natural_int, default=1, help="epochs of the head alone (default: %(default)s)"
    )
    parser.add_argument("--epochs", type=natural_int, default=4, help="epochs of fine-tuning (default: %(default)s)")
    parser.add_argument("--data-dir", help="where TensorFlow Datasets keeps its files")
    parser.add_argument(
        "--seed", type=seed_number, default=0, help="of weights, order and augmentation (default: %(default)s)"
    )
    parser.add_argument("--open", action="store_true", help="show the report in the browser at the end")

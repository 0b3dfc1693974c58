"""The work of `kerasxai train`."""

import argparse

from kerasxai.cli.end_report import REPORT_FILE, write_end_report
from kerasxai.tools.settings import from_options
from kerasxai.training.config import Drawing, TrainConfig
from kerasxai.training.train import train_into


def run(options: argparse.Namespace) -> None:
    """Train, and print the path of the results."""
    train_into(from_options(TrainConfig, options), options.out, from_options(Drawing, options), "auto")
    print(f"trained model and heatmaps: {options.out}")
    write_end_report([options.out], options.report, options.out / REPORT_FILE)

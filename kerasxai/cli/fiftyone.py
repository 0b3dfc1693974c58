"""The work of `kerasxai fiftyone`."""

import argparse
from pathlib import Path

from kerasxai.cli.fiftyone_config import FiftyOneConfig
from kerasxai.report.fiftyone import to_fiftyone
from kerasxai.tools.printable import printable
from kerasxai.tools.settings import from_options


def run(options: argparse.Namespace) -> None:
    """Write the dataset, and print the command that shows it."""
    config = from_options(FiftyOneConfig, options)
    name = config.name or Path(config.results[0]).resolve().name
    count = to_fiftyone(config.results, name, config.overwrite)
    print(f"dataset: {printable(name)} ({count} images); to look at it: fiftyone app launch {printable(name)}")

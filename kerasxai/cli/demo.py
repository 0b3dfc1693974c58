"""The work of `kerasxai demo`."""

import argparse
import time
import webbrowser

from kerasxai.tools.settings import from_options
from kerasxai.training.demo import make_demo
from kerasxai.training.demo_config import DemoConfig


def run(options: argparse.Namespace) -> None:
    """Make the demo, and print the path of its report."""
    started = time.monotonic()
    config = from_options(DemoConfig, options)
    report = make_demo(config)
    print(f"\nreport: {report.resolve()}  ({(time.monotonic() - started) / 60:.1f} minutes)")
    if config.open:
        webbrowser.open(report.resolve().as_uri())

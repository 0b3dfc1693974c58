"""The work of `kerasxai demo`."""

import argparse
import time
import webbrowser

from kerasxai.cli.end_report import write_end_report
from kerasxai.tools.settings import from_options
from kerasxai.training.demo import heads_of, make_demo
from kerasxai.training.demo_config import DemoConfig

IMAGES, QUICK_IMAGES = 48, 8
"""Images of the gallery."""


def run(options: argparse.Namespace) -> None:
    """Make the demo, and print the path of its report."""
    started = time.monotonic()
    config = from_options(DemoConfig, options)
    report = make_demo(config)
    # The other report is a text with pictures; this one is to explore.
    runs = [config.folder / head for head in heads_of(config)]
    write_end_report(runs, QUICK_IMAGES if config.quick else IMAGES, config.folder / "gallery.html")
    print(f"\nreport: {report.resolve()}  ({(time.monotonic() - started) / 60:.1f} minutes)")
    if config.open:
        webbrowser.open(report.resolve().as_uri())

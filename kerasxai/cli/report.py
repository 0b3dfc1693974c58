"""The work of `kerasxai report`."""

import argparse

from kerasxai.report.build import write_report
from kerasxai.report.config import ReportConfig
from kerasxai.tools.printable import printable
from kerasxai.tools.settings import from_options


def run(options: argparse.Namespace) -> None:
    """Write the report, and print its path and size."""
    path = write_report(from_options(ReportConfig, options))
    print(f"report: {printable(path)} ({path.stat().st_size / 1e6:.1f} MB)")

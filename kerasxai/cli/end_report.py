"""The report that a command writes when it is done."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from kerasxai.report.build import write_report
from kerasxai.report.config import ReportConfig
from kerasxai.tools.commands import print_line
from kerasxai.tools.printable import printable

REPORT_FILE = "report.html"


def write_end_report(runs: Sequence[Path], images: int, file: Path, custom_objects: Sequence[str] = ()) -> None:
    """Write a report on runs, and print its path; an error is printed, because the results are safe already.

    Args:
        runs: Their folders.
        images: Images of the gallery; 0 writes no report and prints the command that does.
        file: The HTML file.
        custom_objects: As for `ReportConfig`.
    """
    folders = [str(run) for run in runs]
    if not images:
        print(f"report: kerasxai report {shlex.join(folders)}")
        return
    print("writing the report, with heatmaps of the model", flush=True)
    try:
        config = ReportConfig(runs=folders, images=images, out=file, custom_objects=tuple(custom_objects))
        path = write_report(config)
    except Exception as error:  # A report must not turn a finished training into a failed command.
        print_line(f"no report: {printable(str(error))}")
        return
    print(f"report: {printable(str(path))}; kerasxai report {shlex.join(folders)} makes one of more images")

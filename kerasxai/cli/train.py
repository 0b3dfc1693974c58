"""The work of `kerasxai train`."""

import argparse

from kerasxai.cli.end_report import REPORT_FILE, write_end_report
from kerasxai.tools.settings import from_options
from kerasxai.training.config import TrainConfig
from kerasxai.training.distributed import Workers
from kerasxai.training.distributed_config import WorkerSettings
from kerasxai.training.distributed_run import serve
from kerasxai.training.drawing import Drawing
from kerasxai.training.kept import kept_line
from kerasxai.training.train import train_into


def run(options: argparse.Namespace) -> None:
    """Train, and print the path of the results."""
    config, drawing = from_options(TrainConfig, options), from_options(Drawing, options)
    settings = from_options(WorkerSettings, options)
    workers = Workers.connect(settings.workers or None, settings.worker) if settings.several else None
    if workers is not None and not workers.is_chief:
        serve(workers)
        print(f"worker {workers.index} of {workers.count} is finished")
        return
    train_into(config, options.out, drawing, "auto", workers)
    print(kept_line(options.out))
    print(f"trained model and heatmaps: {options.out}")
    write_end_report([options.out], options.report, options.out / REPORT_FILE)

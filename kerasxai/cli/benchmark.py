"""The work of `kerasxai benchmark`."""

import argparse

from kerasxai.cli.end_report import REPORT_FILE, write_end_report
from kerasxai.cli.terminal import print_figures
from kerasxai.tools.json_output import print_json
from kerasxai.tools.settings import from_options
from kerasxai.training.benchmark import rows_of, run_benchmark
from kerasxai.training.benchmark_config import BenchmarkConfig
from kerasxai.training.benchmark_tables import table_of
from kerasxai.training.config import TrainConfig


def run(options: argparse.Namespace) -> None:
    """Train and measure, and print the main table and the path of the results."""
    config, compared = from_options(TrainConfig, options, recipe_options={}), from_options(BenchmarkConfig, options)
    found = run_benchmark(config, compared, options.out, verbose=2)
    print_json(found)
    head, lines = table_of(found["rows"] | found["baselines"])
    # Transposed, so that it fits a terminal.
    rows = [[label, *(line[column] for line in lines)] for column, label in enumerate(head[1:], start=1)]
    print_figures(["", *(line[0] for line in lines)], rows)
    print(f"tables and pictures: {options.out}")
    runs = rows_of(compared.recipes, compared.label_fractions, compared.label_noises, compared.noise_loss)
    write_end_report([options.out / row.folder / "seed_0" for row in runs], options.report, options.out / REPORT_FILE)

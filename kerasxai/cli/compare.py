"""The work of `kerasxai compare`: print tables of evaluations and their differences, and write them with a picture."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasxai import viz
from kerasxai.cli.terminal import print_figures
from kerasxai.evaluation.compare_config import CompareConfig
from kerasxai.evaluation.comparison import (
    FIGURES,
    compare,
    comparison_settings,
    difference_rows,
    figure_rows,
)
from kerasxai.evaluation.comparison_picture import differing_images, draw_comparison
from kerasxai.evaluation.evaluated_runs import common_images, read_runs
from kerasxai.evaluation.saved_results import folder_of_figures, free_folder
from kerasxai.tools.files import write_json
from kerasxai.tools.folders import check_output_folder
from kerasxai.tools.json_output import print_json
from kerasxai.tools.printable import percent, printable
from kerasxai.tools.settings import from_options

FILES = ("comparison.json", "images.png")
"""The files of `kerasxai compare`; the first contains the settings."""


def run(options: argparse.Namespace) -> None:
    """Compare, print the tables, and write `comparison.json` and `images.png`."""
    config = from_options(CompareConfig, options)
    runs = read_runs(config.runs)
    settings = comparison_settings(runs, config)
    out = free_folder(Path("comparison"), settings, FILES) if config.out is None else config.out
    check_output_folder(out)
    with folder_of_figures(out, settings, FILES):
        comparison = compare(runs, config)
        print_json(comparison)
        print_comparison(comparison, config.confidence)
        write_json(out / FILES[0], comparison)
        drawn = differing_images(runs, common_images(runs), config.images)
        if drawn:
            viz.save_png(out / FILES[1], draw_comparison(runs, drawn))
    print(f"figures{' and picture' if drawn else ''}: {printable(out)}")


def print_comparison(comparison: Mapping[str, Any], confidence: float) -> None:
    """Print the figures of all runs with their intervals, and their differences to the first run."""
    pairs = f"{comparison['pairs']} pairs of image and class, " if "pairs" in comparison else ""
    print(
        f"{printable(comparison['data'])}/{printable(comparison['split'])}: {comparison['images']} images in all runs, "
        f"{pairs}"
        f"{comparison['images_with_boxes']} with boxes; {percent(confidence, None)} intervals over images"
    )
    headings = [heading for heading, _ in FIGURES.values()]
    print_figures(["", "threshold", *headings], figure_rows(comparison))
    first = printable(comparison["runs"][0]["name"])
    print_figures([f"minus {first}", *headings], difference_rows(comparison))
    print("*: the interval of the difference does not contain 0")

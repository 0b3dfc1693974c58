"""The work of `kerasxai caption` and `kerasxai vqa`."""

import argparse

from kerasxai.cli.terminal import print_figures
from kerasxai.tools.json_output import print_json
from kerasxai.tools.settings import from_options
from kerasxai.training.words import caption, vqa
from kerasxai.training.words.pointing_accuracy import COLUMNS, rows
from kerasxai.training.words.scene_config import SceneConfig, WordMeasurement
from kerasxai.training.words.word_task import WordTask


def run_caption(options: argparse.Namespace) -> None:
    """Train and measure a captioner, and print its table and the path of the results."""
    _run(caption.TASK, options)


def run_vqa(options: argparse.Namespace) -> None:
    """Train and measure a model that answers questions, and print its table and the path of the results."""
    _run(vqa.TASK, options)


def _run(task: WordTask, options: argparse.Namespace) -> None:
    measurement = from_options(WordMeasurement, options)
    found = task.train_and_measure(
        from_options(SceneConfig, options, task=task.name),
        options.out,
        measurement.method,
        limit=measurement.limit,
        gallery=measurement.gallery,
    )
    print_json(found)
    print_figures(COLUMNS, rows(found[task.groups]))
    print(f"model, figures and pictures: {options.out}")

"""The work of `kerasxai evaluate`: measure a model, print the tables, write the figures."""

import argparse
from pathlib import Path
from typing import Any

from kerasxai import models
from kerasxai.cli.terminal import print_figures
from kerasxai.evaluation.config import EvaluateConfig
from kerasxai.evaluation.evaluate import evaluate
from kerasxai.evaluation.saved_results import free_folder
from kerasxai.evaluation.tables import FIGURES, evaluation_rows, group_table
from kerasxai.tools.commands import print_line
from kerasxai.tools.digests import model_identity
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.folders import check_output_folder
from kerasxai.tools.input_range import preprocessing
from kerasxai.tools.printable import printable
from kerasxai.tools.settings import from_options


def run(options: argparse.Namespace) -> int:
    """Evaluate, and print the tables and the path of the results.

    Returns:
        0, or 2 if the folder for the results cannot be written to: an error is printed first, then the figures.
    """
    # Refuse a mistake before the model is loaded.
    preprocessing(options.input_range)
    out = _default_folder(options) if options.out is None else options.out
    folders: list[Path] = []

    def choose_folder(settings: dict[str, Any]) -> Path:
        # The default folder may get a number; a folder that the user named is refused if it contains other figures.
        folders.append(free_folder(out, settings) if options.out is None else out)
        return folders[0]

    writable = True
    try:
        check_output_folder(out)
    except KerasxaiError as error:
        writable = False
        print_line(f"kerasxai evaluate: {error}; the figures are printed and not written")
    evaluate(
        models.load_classifier(options.model, options.custom_objects),
        from_options(
            EvaluateConfig,
            options,
            image_size=options.image_size,
            preprocess=options.input_range,
            method_options=dict(options.option),
        ),
        out=choose_folder if writable else None,
        show=print_evaluation,
        about={"model": model_identity(options.model)},
    )
    if not writable:
        return 2
    print(f"figures and pictures: {folders[0]}")
    return 0


def _default_folder(options: argparse.Namespace) -> Path:
    """Return a folder next to the model file, or in the working directory for a model without a file."""
    if options.model.startswith("imagenet:"):
        return Path("evaluation")
    return Path(options.model).parent / f"evaluation_{options.method}"


def print_evaluation(evaluation: dict[str, Any]) -> None:
    """Print accuracy, localization with the baselines, and both by size and by class."""
    print(
        f"{printable(evaluation['data'])}/{printable(evaluation['split'])}: {evaluation['images']} images, "
        f"top-1 accuracy {evaluation['top1_accuracy']:.3f}, balanced over the classes "
        f"{evaluation['balanced_accuracy']:.3f}, top-5 {evaluation['top5_accuracy']:.3f}"
    )
    chosen = evaluation["chosen"]
    print(f"threshold {chosen['threshold']:.3f} of the maximum ({chosen['source']})")
    print_figures(["", "threshold", *FIGURES.values()], evaluation_rows(evaluation))
    for key, title in (("max_box_acc", "MaxBoxAcc"), ("max_box_acc_v2", "MaxBoxAccV2")):
        if key in evaluation:
            print(f"{title} {evaluation[key]:.2f} (threshold chosen on these images)")
    for key, title in (("by_size", "object size"), ("by_class", "class")):
        print_figures(*group_table(evaluation, key, title))

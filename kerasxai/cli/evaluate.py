"""The work of `kerasxai evaluate`: measure a model, print the tables, write the figures."""

import argparse
import contextlib
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kerasxai import data, models
from kerasxai.cli.end_report import REPORT_FILE, write_end_report
from kerasxai.cli.evaluate_shards import check_shards, evaluate_shards
from kerasxai.cli.terminal import print_figures
from kerasxai.evaluation.config import EvaluateConfig
from kerasxai.evaluation.data_check import drawn_split_note
from kerasxai.evaluation.evaluate import evaluate, evaluate_methods
from kerasxai.evaluation.method_rows import METHODS_FILE, split_refinements
from kerasxai.evaluation.multi_label_tables import (
    LABEL_FIGURES,
    is_multi_label,
    label_class_table,
    label_method_table,
    label_size_table,
)
from kerasxai.evaluation.saved_results import FILES, free_folder
from kerasxai.evaluation.tables import (
    FIGURES,
    class_table,
    evaluation_rows,
    group_table,
    is_of_classes,
    method_table,
)
from kerasxai.streaming.config import ShardSettings
from kerasxai.tools.arguments import listed
from kerasxai.tools.commands import print_line
from kerasxai.tools.digests import model_identity
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.folders import check_output_folder
from kerasxai.tools.input_range import preprocessing
from kerasxai.tools.json_output import print_json
from kerasxai.tools.model_settings import is_model_name
from kerasxai.tools.printable import printable
from kerasxai.tools.settings import from_options


def run(options: argparse.Namespace) -> int:
    """Evaluate, and print the tables and the path of the results.

    Returns:
        0, or 2 if the folder for the results cannot be written to: an error is printed first, then the figures.
    """
    # Refuse a mistake before the model is loaded.
    preprocessing(options.input_range)
    methods, refinements = listed(options.method), split_refinements(options.refine)
    several = len(methods) * len(refinements) > 1
    shards = from_options(ShardSettings, options)
    check_shards(shards, len(methods) * len(refinements), options.out)
    out = _default_folder(options, methods, several) if options.out is None else options.out
    folders: list[Path] = []

    def choose_folder(settings: Mapping[str, Any]) -> Path:
        # The default folder may get a number; a folder that the user named is refused if it contains other figures.
        files = (METHODS_FILE,) if several else FILES
        folders.append(free_folder(out, settings, files) if options.out is None else out)
        return folders[0]

    writable = True
    try:
        check_output_folder(out)
    except KerasxaiError as error:
        writable = False
        print_line(f"kerasxai evaluate: {error}; the figures are printed and not written")
    config = from_options(
        EvaluateConfig,
        options,
        method=methods[0],
        refine=refinements[0],
        image_size=options.image_size,
        preprocess=options.input_range,
        method_options=dict(options.option),
    )
    load = partial(models.load_classifier, options.model, options.custom_objects)
    target = choose_folder if writable else None
    about = {"model": model_identity(options.model)}
    if shards.shards is not None:
        evaluation = evaluate_shards(load, config, shards, out, about)
        if evaluation is not None:
            print_evaluation(evaluation)
            _print_drawn_split(config, options.model)
            print(f"figures and records: {out}")
        return 0
    model = load()
    if several:
        evaluate_methods(model, config, methods, refinements, out=target, show=print_methods, about=about)
    else:
        evaluate(model, config, out=target, show=print_evaluation, about=about)
    # After the figures that it qualifies, so that a mistake has one line on stderr.
    _print_drawn_split(config, options.model)
    if not writable:
        return 2
    if not (folders[0] / FILES[-1]).exists() and not several:
        print(f"figures: {folders[0]}")
        return 0
    print(f"figures and pictures: {folders[0]}")
    write_end_report(folders[:1], options.report, folders[0] / REPORT_FILE, options.custom_objects)
    if several:
        print(f"differences with intervals: kerasxai compare {shlex.quote(str(folders[0]))}")
    return 0


def _print_drawn_split(config: EvaluateConfig, model: str) -> None:
    """Print a line if the measured images of a folder were drawn at random, perhaps from those of the training."""
    if not Path(config.name_or_path).is_dir():
        return
    # The figures are there; a note is no reason to fail after them.
    with contextlib.suppress(KerasxaiError):
        note = drawn_split_note(data.open(config.name_or_path).info, config.split, model)
        if note is not None:
            print_line(f"kerasxai evaluate: {note}")


def _default_folder(options: argparse.Namespace, methods: Sequence[str], several: bool) -> Path:
    """Return a folder next to the model file, or in the working directory for a model without a file."""
    if is_model_name(options.model):
        return Path("evaluation_methods" if several else "evaluation")
    return Path(options.model).parent / f"evaluation_{'methods' if several else methods[0]}"


def print_methods(evaluations: list[dict[str, Any]]) -> None:
    """Print accuracy, and the localization of several methods with the baselines."""
    print_json(evaluations)
    figures = _print_accuracy(evaluations[0])
    for source in dict.fromkeys(evaluation["chosen"]["source"] for evaluation in evaluations):
        print(f"threshold of each method: {source}")
    print_figures(["", "threshold", *figures.values()], method_table(evaluations, figures))
    if is_multi_label(evaluations[0]):
        print_figures(*label_method_table(evaluations))


def print_evaluation(evaluation: dict[str, Any]) -> None:
    """Print accuracy, localization with the baselines, and both by size and by class."""
    print_json(evaluation)
    figures = _print_accuracy(evaluation)
    if is_of_classes(evaluation):
        print_figures(*class_table(evaluation))
        return
    chosen = evaluation["chosen"]
    print(f"threshold {chosen['threshold']:.3f} of the maximum ({chosen['source']})")
    print_figures(["", "threshold", *figures.values()], evaluation_rows(evaluation, figures))
    for key, title in (("max_box_acc", "MaxBoxAcc"), ("max_box_acc_v2", "MaxBoxAccV2")):
        if key in evaluation:
            print(f"{title} {evaluation[key]:.2f} (threshold chosen on these images)")
    if is_multi_label(evaluation):
        print_figures(*label_method_table([evaluation]))
        print_figures(*label_size_table(evaluation))
        print_figures(*label_class_table(evaluation))
        return
    for key, title in (("by_size", "object size"), ("by_class", "class")):
        print_figures(*group_table(evaluation, key, title))


def _print_accuracy(evaluation: Mapping[str, Any]) -> Mapping[str, str]:
    """Print the figures of the classes, and return the figures of heatmaps that follow, with their headings."""
    if is_multi_label(evaluation):
        _print_labels(evaluation)
        return LABEL_FIGURES
    print(
        f"{printable(evaluation['data'])}/{printable(evaluation['split'])}: {evaluation['images']} images, "
        f"top-1 accuracy {evaluation['top1_accuracy']:.3f}, balanced over the classes "
        f"{evaluation['balanced_accuracy']:.3f}, top-5 {evaluation['top5_accuracy']:.3f}"
    )
    return FIGURES


def _pairs(evaluation: Mapping[str, Any]) -> str:
    return f"{evaluation['pairs']} pairs of image and class, " if "pairs" in evaluation else ""


def _print_labels(evaluation: Mapping[str, Any]) -> None:
    f1 = evaluation["f1_scores"]
    print(
        f"{printable(evaluation['data'])}/{printable(evaluation['split'])}: {evaluation['images']} images, "
        f"{_pairs(evaluation)}mean average precision "
        f"{evaluation['mean_average_precision']:.3f}, F1 {evaluation['f1']:.3f} (thresholds: {f1['source']}), micro F1 "
        f"{f1['one_threshold']['micro_f1']:.3f} at {f1['one_threshold']['threshold']:.3f}"
    )
    if evaluation["classes_without_positives"]:
        print(f"classes in no image, left out: {printable(', '.join(evaluation['classes_without_positives']))}")

"""Evaluate a classifier: accuracy, and localization by its heatmaps.

Run it as `kerasxai evaluate ...` or `python -m kerasxai.evaluation.evaluate ...`.
"""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai import data, models, viz
from kerasxai.data.choosing import spread_over_positions
from kerasxai.data.information import Part
from kerasxai.engine.images.builtin_preprocessing import input_for_files, warn_of_range
from kerasxai.engine.outputs.kinds import Predictions
from kerasxai.evaluation.cases import draw_cases, draw_curve
from kerasxai.evaluation.config import EvaluateConfig, config_from
from kerasxai.evaluation.data_check import (
    check_boxes,
    check_classes,
    check_splits,
    has_objects,
    warn_of_missing_classes,
)
from kerasxai.evaluation.measured_classes import MeasuredClasses
from kerasxai.evaluation.measured_method import MeasuredMethod
from kerasxai.evaluation.method_rows import METHODS_FILE, Row, digests_of, folder_name, rows_of, summaries
from kerasxai.evaluation.multi_label import MultiLabelMethod
from kerasxai.evaluation.saved_results import folder_of_figures, settings_of_figures
from kerasxai.evaluation.tables import name_of
from kerasxai.evaluation.thresholds import RULE_IMAGES
from kerasxai.refinements.automatic import MOST, announce_choice
from kerasxai.tools.commands import command_line
from kerasxai.tools.files import null_for_nan, write_json
from kerasxai.tools.lazy import resolve
from kerasxai.tools.progress import Bar

_LOG = logging.getLogger(__name__)


def evaluate(
    model: keras.Model,
    name_or_path: str | EvaluateConfig,
    split: str | None = None,
    *,
    out: str | Path | Callable[[dict[str, Any]], Path] | None = None,
    progress: bool = True,
    show: Callable[[dict[str, Any]], object] | None = None,
    about: Mapping[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Measure accuracy and localization of a model on a split of a data set.

    The heatmap of each image's true class is thresholded at a fraction of its maximum, and the largest component's box
    is compared with the true boxes. Models and methods differ in the threshold that fits their heatmaps: the best one
    is chosen on another split and applied here, because a threshold chosen on the measured images is too optimistic.
    Of data without boxes and masks the predicted classes alone are measured, with a warning.

    Args:
        model: A Keras classifier with the classes of the data set.
        name_or_path: The settings; or as for `kerasxai.data.load`, with the settings as keywords.
        split: The split to evaluate (default: `"test"`).
        out: A folder for `evaluation.json`, `records.json`, `cases.png` and `threshold.png`, or a function that returns
            it for the settings of the figures; None writes nothing. Figures that were made with other settings are
            never overwritten.
        progress: Show a progress bar.
        show: Called with the figures before they are written.
        about: Entries to keep with the figures, such as the name and digest of the model's file.
        **settings: Fields of `EvaluateConfig`; other keywords are options of the method.

    Returns:
        The figures of `kerasxai.metrics.LocalizationReport.result`, at the given threshold or at 20 % of the maximum.
        `chosen`: all figures at the chosen threshold, which are the ones to report: `threshold`, `source` (where the
        threshold is from), the same entries, `by_class`, `by_size`, and for each group `baselines`, the centered
        Gaussian at the threshold chosen for it in the same way. `tuned`: `threshold`, `gt_known_loc`, `top1_loc`,
        `top5_loc` at the threshold that was best on `tune_split`, and the same for the centered Gaussian, with its
        best threshold, in `baselines`. With `oracle`, `max_box_acc_v2` in percent, and `max_box_acc_v2_at`, the same
        by IoU; under `"wsolevaluation"` also `max_box_acc`. With several labels an image, `labels` is `"multi"`, the
        figures are of `pairs` of image and class, ranked among the absent classes, and there are
        `mean_average_precision`, `average_precision`, `classes_without_positives`, `f1`, `f1_scores`, `corloc`,
        `pointing_game_all`, `pointing_game_difficult`, with boxes `box_ap50`, `box_average_precision`, and with class
        masks `seed_mean_iou`, `seed_iou`, `seed_threshold`, `seed_threshold_source`, `seed_curve`, `seed_baselines`.
        Of classes alone, `measured` is `"classes"`, and there are accuracies, or with several labels the figures up to
        `f1_scores`.

    Raises:
        KerasxaiError: The data set has no such split, or does not fit the model, or `out` cannot be written to or
            contains other figures.

    Example:
        >>> evaluate(model, EvaluateConfig("shapes", method="cam"))["gt_known_loc"]
        >>> evaluate(model, "shapes", method="cam")["gt_known_loc"]
    """
    config = config_from(name_or_path, split, settings)
    stored = settings_of_figures(model, config.figure_settings())
    folder = out(stored) if callable(out) else None if out is None else Path(out)

    def show_first(evaluations: list[dict[str, Any]]) -> None:
        if show is not None:
            show(evaluations[0])

    return _evaluate(model, [Row(config, stored, folder, about or {})], progress, show_first)[0]


def evaluate_methods(
    model: keras.Model,
    config: EvaluateConfig,
    methods: Sequence[str],
    refinements: Sequence[str | None] = (None,),
    *,
    out: str | Path | Callable[[dict[str, str]], Path] | None = None,
    progress: bool = True,
    show: Callable[[list[dict[str, Any]]], object] | None = None,
    about: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Measure several methods, each with several refinements, on the same images.

    Images are read once, classes are predicted once, and each row has a threshold of its own.

    Args:
        model: As for `evaluate`.
        config: The settings but for `method` and `refine`. With several methods, a layer, a score and options go to
            the methods that have them.
        methods: Names in `kerasxai.METHODS`.
        refinements: As for `kerasxai.Explainer`; None for none.
        out: A folder for `methods.json`, with the files of `evaluate` in a folder for each row, or a function that
            returns it for the digests of the rows; None writes nothing. Figures that were made with other settings are
            never overwritten.
        progress: Show a progress bar.
        show: Called with the figures of all rows before they are written.
        about: As for `evaluate`.

    Returns:
        What `evaluate` returns, for each row.

    Raises:
        KerasxaiError: As for `evaluate`, an unknown method, or data without boxes.

    Example:
        >>> rows = evaluate_methods(model, EvaluateConfig("shapes"), ["cam", "gradcam"], [None, "best"])
        >>> [row["chosen"]["gt_known_loc"] for row in rows]
    """
    configs = rows_of(config, methods, refinements)
    stored = [settings_of_figures(model, one.figure_settings()) for one in configs]
    digests = digests_of(configs, stored)
    folder = out(digests) if callable(out) else None if out is None else Path(out)
    rows = [
        Row(one, kept, None if folder is None else folder / folder_name(one), about or {})
        for one, kept in zip(configs, stored, strict=True)
    ]
    with folder_of_figures(folder, digests, (METHODS_FILE,)):
        evaluations = _evaluate(model, rows, progress, show)
        if folder is not None:
            summary = {"command": command_line(), "settings": digests, "methods": summaries(evaluations, rows)}
            write_json(folder / METHODS_FILE, null_for_nan(summary))
    return evaluations


def _evaluate(
    model: keras.Model,
    rows: Sequence[Row],
    progress: bool,
    show: Callable[[list[dict[str, Any]]], object] | None,
) -> list[dict[str, Any]]:
    with contextlib.ExitStack() as folders:
        # Folders are locked and checked first, so that a long evaluation does not fail when it writes.
        for row in rows:
            folders.enter_context(folder_of_figures(row.folder, row.settings))
        evaluator = Evaluator(model, [row.config for row in rows], progress)
        measured = evaluator.measured()
        evaluations = [
            method.evaluation(evaluator.info.name) | {**row.about, "settings": row.settings}
            for row, method in zip(rows, measured, strict=True)
        ]
        # Shown before writing: the figures are not lost if the disk is full.
        if show is not None:
            show(evaluations)
        for row, method, evaluation in zip(rows, measured, evaluations, strict=True):
            if row.folder is None:
                continue
            for name, content in (("evaluation", evaluation), ("records", _records(method))):
                write_json(row.folder / f"{name}.json", null_for_nan(content))
            if isinstance(method, MeasuredMethod):
                viz.save_png(row.folder / "threshold.png", draw_curve(evaluation))
                viz.save_png(row.folder / "cases.png", evaluator.cases(method))
    return evaluations


def _records(method: MeasuredMethod | MeasuredClasses) -> list[dict[str, Any]]:
    if isinstance(method, MeasuredClasses):
        return method.records
    return with_chosen(method.report.records, method.chosen.records.records)


def with_chosen(records: Sequence[dict[str, Any]], chosen: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the records of images with the entries that depend on the threshold, as chosen, under `chosen`.

    Args:
        records: At the fixed threshold.
        chosen: Of the same images, at the chosen one.
    """
    names = ("iou", "box", "baselines")
    return [
        record | ({"chosen": {name: its[name] for name in names}} if "iou" in its else {})
        for record, its in zip(records, chosen, strict=True)
    ]


class Evaluator:
    """Measures splits of a data set with one model and one or more methods.

    Args:
        model: A Keras classifier.
        configs: The settings of each method, alike in all that is not about the method.
        progress: Show a progress bar.

    Raises:
        KerasxaiError: The model and the data do not fit together.
    """

    def __init__(self, model: keras.Model, configs: Sequence[EvaluateConfig], progress: bool) -> None:
        self.model, self.config, self.progress = model, configs[0], progress
        config = self.config
        # A model that ends in a softmax knows one class an image, whatever the data have.
        auto = config.labels == "auto" and config.class_masks is None
        reading = "single" if auto and not models.is_multi_label(model) else config.labels
        self.dataset = data.open(
            config.name_or_path,
            data_dir=config.data_dir,
            boxes_csv=config.boxes_csv,
            labels=reading,
            class_masks=config.class_masks,
        )
        self.info = self.dataset.info
        if len(configs) > 1:
            check_boxes(self.info)
        self.of_classes = not has_objects(self.info)
        # Of classes with one label an image nothing is chosen on another split.
        self.tune_split = None if self.of_classes and not self.info.multi_label else config.tune_split
        splits = [config.split, *([] if self.tune_split is None else [self.tune_split])]
        check_splits(self.info, splits)
        models.check_image_model(model)
        self.images = input_for_files(model, config.image_size, config.preprocess, config.fit)
        check_classes(self.info, model, self.images)
        self.methods = [self._method(one) for one in configs]
        self._range_checked = False

    def _method(self, config: EvaluateConfig) -> MeasuredMethod | MeasuredClasses:
        if self.of_classes:
            _LOG.warning(
                "%s has no boxes%s: the predicted classes alone are measured; for heatmaps give --boxes FILE",
                self.info.name,
                " or class masks" if self.info.multi_label else "",
            )
            return MeasuredClasses(self.model, config, self.images, self.info)
        kind = MultiLabelMethod if self.info.multi_label else MeasuredMethod
        method = kind(self.model, config, self.images, self.info.class_names)
        if self.dataset.is_sorted:
            method.thresholds.most = None
        return method

    def measured(self) -> Sequence[MeasuredMethod | MeasuredClasses]:
        """Measure the splits, and return the methods with their reports."""
        self.dataset.check_images([self.config.split, *([] if self.tune_split is None else [self.tune_split])])
        self.choose_refinements()
        self.choose_thresholds()
        self.measure(self.config.split)
        return self.methods

    def choose_refinements(self) -> None:
        """Make the choice of `refine="auto"` on images of all classes, whatever part of the split is measured first."""
        methods = [method for method in self.methods if isinstance(method, MeasuredMethod)]
        explainers = [method.explainer for method in methods if method.explainer.chooses_refinement]
        if not explainers:
            return
        split = self.config.split if self.tune_split is None else self.tune_split
        count, taken = self.count(split), self.images
        announce_choice(min(count, MOST))
        part: Part | int | None = min(count, MOST)
        if self.dataset.is_sorted:
            part = self._part(split, spread_over_positions(count, MOST).tolist())
        samples = self.dataset.samples(split, taken.size, with_annotations=False, fit=taken.fit, part=part)
        images = np.stack([sample["image"] for sample in samples.as_numpy_iterator()])
        for explainer in explainers:
            explainer.choose_refinement(taken.taken(images))

    def choose_thresholds(self, in_parts: bool = False) -> None:
        """Choose the threshold of each method, on the tuning split if there is one.

        Args:
            in_parts: Whether the evaluated split is read in parts, so that a rule reads a part as well.
        """
        config, methods = self.config, self.methods
        # The tuning split first: its best threshold is then applied to the evaluated split, which must not choose it.
        if self.tune_split is not None:
            self.measure(self.tune_split)
        elif any(isinstance(method, MeasuredMethod) and method.thresholds.needs_heatmaps for method in methods):
            # A rule looks at some heatmaps; boxes are not used.
            count = self.count(config.split)
            most = min(count, RULE_IMAGES)
            if self.dataset.is_sorted:
                self.measure(config.split, spread_over_positions(count, most).tolist())
            else:
                self.measure(config.split, (0, most) if in_parts else None, most)
        for method in methods:
            method.choose()

    def count(self, split: str) -> int:
        """Return the number of images of a split that are measured."""
        count, limit = self.info.splits[split], self.config.limit
        return count if limit is None else min(count, limit)

    def measure(self, split: str, part: Part | None = None, most: int | None = None) -> None:
        """Explain images of a split by all methods.

        Args:
            split: The split.
            part: The first of the measured images and the one after the last, or positions among them; None for all.
            most: The most images.
        """
        labels: list[NDArray[np.int64]] = []
        for batch in self._batches(split, part, most):
            labels.append(np.asarray(batch.get("label", []), np.int64))
            outputs: Predictions | None = None
            for method in self.methods:
                outputs = method.add(batch, outputs)
            # After the first batch: the check predicts, and a model that cannot explain the data should fail first.
            if not self._range_checked:
                self._range_checked = True
                warn_of_range(self.model, self.images, self.config.preprocess)
        is_first = not self.dataset.is_sorted and self.count(split) < self.info.splits[split]
        if part is None and most is None and is_first:
            warn_of_missing_classes(self.info, split, np.concatenate(labels))

    def _part(self, split: str, part: Part | None) -> Part | int | None:
        """Return a part of the measured images as one of the split, of which they may be a sample."""
        if part is None:
            return self.config.limit
        positions = self.dataset.spread(split, self.config.limit)
        if positions is None:
            return part
        return positions[slice(*part)] if isinstance(part, tuple) else [positions[number] for number in part]

    def cases(self, method: MeasuredMethod) -> NDArray[np.uint8]:
        """Draw the cases of highest and lowest IoU of the evaluated split."""
        taken = self.images
        samples = self.dataset.samples(self.config.split, taken.size, fit=taken.fit, part=self.config.limit)
        name = name_of(vars(method.config))
        return draw_cases(
            method.chosen.records,
            method.explainer,
            samples.as_numpy_iterator(),
            self.images,
            name,
            image_numbers=method.image_numbers,
        )

    def _batches(self, split: str, part: Part | None, most: int | None) -> Iterator[dict[str, Any]]:
        """Yield the batches of a split, or of a part of it, with a progress bar."""
        size = self.config.batch_size
        count = self.count(split) if part is None else len(range(*part) if isinstance(part, tuple) else part)
        left = count if most is None else min(count, most)
        rows = self._part(split, part)
        batches = self.dataset.batches(split, self.images.size, size, fit=self.images.fit, part=rows)
        batches = batches.as_numpy_iterator()
        with Bar(left, f"explaining {split}", None if self.progress else False) as bar:
            for batch in batches:
                yield {name: values[:left] for name, values in batch.items()}
                left -= size
                bar.advance(size)
                if left <= 0:
                    return


if __name__ == "__main__":
    sys.exit(resolve("kerasxai.cli:main")(["evaluate", *sys.argv[1:]]))

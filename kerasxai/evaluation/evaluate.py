"""Evaluate a classifier: accuracy, and localization by its heatmaps.

Run it as `kerasxai evaluate ...` or `python -m kerasxai.evaluation.evaluate ...`.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.progress import track

from kerasxai import data, models, viz
from kerasxai.engine.images.builtin_preprocessing import warn_of_range
from kerasxai.engine.images.image_input import ImageInput, image_input
from kerasxai.evaluation.cases import draw_cases, draw_curve
from kerasxai.evaluation.config import EvaluateConfig, config_from
from kerasxai.evaluation.data_check import check_boxes, check_classes, check_splits
from kerasxai.evaluation.saved_results import folder_of_figures, settings_of_figures
from kerasxai.evaluation.tables import name_of
from kerasxai.evaluation.thresholds import Thresholds
from kerasxai.explainer import Explainer, Explanation
from kerasxai.metrics import LocalizationReport, MaxBoxAccV2
from kerasxai.metrics.batch import BatchMeasure, Truth
from kerasxai.metrics.localization import IOU_LEVELS
from kerasxai.metrics.protocols import WSOL, protocol_of
from kerasxai.metrics.records import RecordsAt
from kerasxai.tools.commands import command_line
from kerasxai.tools.files import null_for_nan, write_json
from kerasxai.tools.input_range import name_of_range
from kerasxai.tools.lazy import resolve

PARTS = {"head": 1, "body": 2, "tail": 3}
"""The values in the part masks of the embedded data."""


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
        by IoU; under `"wsolevaluation"` also `max_box_acc`.

    Raises:
        KerasxaiError: The data set has no boxes or no such split, or does not fit the model, or `out` cannot be written
            to or contains other figures.

    Example:
        >>> evaluate(model, EvaluateConfig("shapes", method="cam"))["gt_known_loc"]
        >>> evaluate(model, "shapes", method="cam")["gt_known_loc"]
    """
    config = config_from(name_or_path, split, settings)
    stored = settings_of_figures(model, config.figure_settings())
    folder = out(stored) if callable(out) else None if out is None else Path(out)
    # The folder is locked and checked first, so that a long evaluation does not fail when it writes.
    with folder_of_figures(folder, stored):
        evaluator = _Evaluator(model, config, progress)
        evaluation, report, chosen = evaluator.figures()
        evaluation |= {**(about or {}), "settings": stored}
        # Shown before writing: the figures are not lost if the disk is full.
        if show is not None:
            show(evaluation)
        if folder is not None:
            for name, content in (("evaluation", evaluation), ("records", with_chosen(report.records, chosen.records))):
                write_json(folder / f"{name}.json", null_for_nan(content))
            viz.save_png(folder / "threshold.png", draw_curve(evaluation))
            viz.save_png(folder / "cases.png", evaluator.cases(chosen))
    return evaluation


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


class _Evaluator:
    """Measures splits of a data set with one model and one explainer.

    Args:
        model: A Keras classifier.
        config: The settings.
        progress: Show a progress bar.

    Raises:
        KerasxaiError: The model and the data do not fit together.
    """

    def __init__(self, model: keras.Model, config: EvaluateConfig, progress: bool) -> None:
        self.model, self.config, self.progress = model, config, progress
        self.dataset = data.open(config.name_or_path, data_dir=config.data_dir, boxes_csv=config.boxes_csv)
        self.info = self.dataset.info
        splits = [config.split, *([] if config.tune_split is None else [config.tune_split])]
        check_boxes(self.info)
        check_splits(self.info, splits)
        models.check_image_model(model)
        self.images = image_input(model, config.image_size, config.preprocess)
        check_classes(self.info, model, self.images)
        self.dataset.check_images(splits)
        self.protocol = protocol_of(config.protocol)
        self.thresholds = Thresholds(config, self.protocol)
        # A refinement works on maps of the image's size; without one, the protocol does the resizing.
        raw: dict[str, Any] = {"resize": False} if self.protocol.resizes_method_maps and config.refine is None else {}
        names = ("layer", "refine", "batch_size", "score", "outputs")
        given: dict[str, Any] = {name: getattr(config, name) for name in names}
        self.explainer = Explainer(model, config.method, **given, **raw, **config.method_options)
        self.layer: str | None = None
        self._range_checked = False

    def figures(self) -> tuple[dict[str, Any], LocalizationReport, RecordsAt]:
        """Measure the splits; return the figures, the report of the evaluated split, and its records as chosen."""
        config = self.config
        # The tuning split first: its best threshold is then applied to the evaluated split, which must not choose it.
        tuning = None if config.tune_split is None else self.measure(config.tune_split)
        if self.thresholds.needs_heatmaps and tuning is None:
            self._look_at(config.split)
        chosen = self.thresholds.choose(tuning, self.info.class_names)
        oracle = MaxBoxAccV2(protocol=WSOL.name) if config.oracle or self.protocol.reports_max_box_acc else None
        report = self.measure(config.split, oracle, chosen.records)
        evaluation = report.result() | {
            "command": command_line(),
            "data": self.info.name,
            "split": config.split,
            "method": config.method,
            "layer": self.layer,
            "refine": config.refine,
            "input_range": name_of_range(config.preprocess),
        }
        if oracle is not None:
            best = oracle.result()
            evaluation["max_box_acc_v2"] = float(best)
            evaluation["max_box_acc_v2_at"] = {iou: best[f"max_box_acc_{iou}"] for iou in IOU_LEVELS}
        if self.protocol.reports_max_box_acc:
            # MaxBoxAcc is the maximum of the same curve, in percent.
            evaluation["max_box_acc"] = 100 * evaluation["best_gt_known_loc"]
        if chosen.tuned:
            tuned, blind = chosen.best, chosen.blind
            evaluation["tuned"] = {"split": config.tune_split, "threshold": tuned, **report.at(tuned)}
            gaussian = {"split": config.tune_split, "threshold": blind, "gt_known_loc": report.gaussian.at(blind)}
            evaluation["baselines"]["centered_gaussian"]["tuned"] = gaussian
        evaluation["chosen"] = {"source": chosen.source, **chosen.records.result()}
        return evaluation, report, chosen.records

    def measure(
        self, split: str, oracle: MaxBoxAccV2 | None = None, chosen: RecordsAt | None = None
    ) -> LocalizationReport:
        """Explain the images of a split and count them in a new report, and in `oracle` and `chosen` if given."""
        threshold = self.thresholds.fixed
        report = LocalizationReport(threshold, 0.5, self.config.protocol, class_names=self.info.class_names)
        for batch in self._batches(split):
            explanation, measure = add_batch(report, self.explainer, batch, self.images)
            self._check_range()
            self.layer = explanation.layer
            if chosen is None:
                self.thresholds.look_at(measure)
            else:
                chosen.count(measure, report.records[-len(measure.maps) :])
            if oracle is not None:
                oracle.count_batch(measure)
        return report

    def _look_at(self, split: str) -> None:
        """Show the first heatmaps of a split to the rule that chooses a threshold; boxes are not used."""
        report = LocalizationReport(self.thresholds.fixed, 0.5, self.config.protocol)
        for batch in self._batches(split, self.thresholds.images):
            self.thresholds.look_at(add_batch(report, self.explainer, batch, self.images)[1])

    def _check_range(self) -> None:
        """Warn about the range of the images, after the first batch."""
        # After it, because the check predicts, and a model that cannot explain the data should fail first.
        if not self._range_checked:
            self._range_checked = True
            warn_of_range(self.model, self.images, self.config.preprocess)

    def cases(self, records: RecordsAt) -> NDArray[np.uint8]:
        """Draw the cases of highest and lowest IoU of the evaluated split."""
        samples = self.dataset.samples(self.config.split, self.images.size)
        name = name_of(vars(self.config))
        return draw_cases(records, self.explainer, samples.as_numpy_iterator(), self.images, name)

    def _batches(self, split: str, most: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield batches up to the limit of images, with a progress bar."""
        count, size = self.info.splits[split], self.config.batch_size
        left = min([count, *(limit for limit in (self.config.limit, most) if limit is not None)])
        batches = self.dataset.batches(split, self.images.size, size).as_numpy_iterator()
        title = f"explaining {escape(split)}"
        shown = track(batches, title, total=-(-left // size), transient=True, disable=not self.progress)
        for batch in shown:
            yield {name: values[:left] for name, values in batch.items()}
            left -= size
            if left <= 0:
                return


def add_batch(
    report: LocalizationReport,
    explainer: Explainer,
    batch: Mapping[str, Any],
    taken: ImageInput,
) -> tuple[Explanation, BatchMeasure]:
    """Explain the true classes of one batch of `kerasxai.data.load`, and count it in a report.

    Args:
        report: The report.
        explainer: The explainer of the model.
        batch: `image`, `label`, `boxes`, and if known `mask`, `part_mask` and `name`.
        taken: Converts images to what the model takes.

    Returns:
        The explanation of the batch, and the checked batch for further metrics.
    """
    images = taken.taken(batch["image"])
    labels = np.asarray(batch["label"])
    explanation = explainer(images, labels)
    # Part masks hold a number for each part; metrics take one binary mask a part.
    parts = {}
    if "part_mask" in batch:
        parts = {name: (batch["part_mask"] == value).astype(np.uint8) for name, value in PARTS.items()}
    truth = Truth(labels, data.unpad_boxes(batch["boxes"]), batch.get("mask"), parts)
    scores = (explanation.outputs or explainer.predict(images)).scores
    measure = report.batch(explanation.heatmaps, scores, truth, batch["image"].shape[1:3])
    report.count(measure, [_text(name) for name in batch["name"]] if "name" in batch else None)
    return explanation, measure


def _text(name: bytes | str) -> str:
    # File names may have bytes that are not UTF-8.
    return os.fsdecode(name) if isinstance(name, bytes) else str(name)


if __name__ == "__main__":
    sys.exit(resolve("kerasxai.cli:main")(["evaluate", *sys.argv[1:]]))

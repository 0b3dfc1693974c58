"""Measuring a classifier: accuracy, and how well its heatmaps localize the object.

Run it as `kerasxai evaluate ...` or `python -m kerasxai.evaluation.evaluate ...`.
"""

import argparse
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.markup import escape
from rich.progress import track

from kerasxai import data, models, viz
from kerasxai.engine.images.builtin_preprocessing import warn_of_range
from kerasxai.engine.images.image_input import ImageInput, Size, image_input
from kerasxai.evaluation import evaluate_options
from kerasxai.evaluation.data_check import check_classes, check_splits
from kerasxai.evaluation.saved_results import folder_of_figures, free_folder, settings_of_figures
from kerasxai.evaluation.tables import print_evaluation
from kerasxai.explainer import Explainer, Explanation
from kerasxai.metrics import LocalizationReport, MaxBoxAccV2
from kerasxai.metrics.batch import BatchMeasure, Truth
from kerasxai.metrics.localization import IOU_LEVELS
from kerasxai.metrics.protocols import WSOL, protocol_of
from kerasxai.tools.commands import command_line, run_module, tell
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import null_for_nan, write_json
from kerasxai.tools.folders import check_output_folder
from kerasxai.tools.input_range import Preprocess, name_of_range, preprocessing

PARTS = {"head": 1, "body": 2, "tail": 3}
"""What the values of a part mask mean, in the embedded data."""

_NOT_OF_FIGURES = {"model", "batch_size", "out", "progress", "show"}


def run(options: argparse.Namespace) -> int:
    """Evaluates as the command line says, prints the table and tells where the results lie.

    Returns:
        0, or 2 if the folder for the results cannot be written to: that is told at once, and the figures are printed.
    """
    preprocessing(options.input_range)  # Refuses a mistake before the model is loaded.
    out = options.out
    if out is None:
        is_file = not options.model.startswith("imagenet:")
        out = Path(options.model).parent / f"evaluation_{options.method}" if is_file else Path("evaluation")
    writable = True
    try:
        check_output_folder(out)
    except KerasxaiError as error:
        writable = False
        tell(f"kerasxai evaluate: {error}; the figures are printed and not written")
    chosen = [out]

    def free(settings: dict[str, Any]) -> Path:
        chosen[0] = free_folder(out, settings)
        return chosen[0]

    evaluate(
        models.load_classifier(options.model, options.custom_objects),
        options.data,
        options.split,
        method=options.method,
        layer=options.layer,
        refine=options.refine,
        outputs=options.outputs,
        tune_split=None if options.tune_split == "none" else options.tune_split,
        threshold=options.threshold,
        limit=options.limit,
        batch_size=options.batch_size,
        image_size=options.image_size,
        preprocess=options.input_range,
        data_dir=options.data_dir,
        boxes_csv=options.boxes_csv,
        # A folder that nobody has named may get another name; one that was named is refused if it holds other figures.
        out=None if not writable else free if options.out is None else out,
        protocol=options.protocol,
        show=print_evaluation,
        **dict(options.option),
    )
    if writable:
        print(f"figures and pictures: {chosen[0]}")
    return 0 if writable else 2


def evaluate(
    model: keras.Model,
    name_or_path: str,
    split: str = "test",
    *,
    method: str = "cam",
    layer: Any = None,
    refine: Any = None,
    tune_split: str | None = "validation",
    threshold: float = 0.2,
    limit: int | None = None,
    batch_size: int = 32,
    image_size: Size | None = None,
    preprocess: str | Preprocess | None = None,
    data_dir: str | None = None,
    boxes_csv: str | None = None,
    out: str | Path | Callable[[dict[str, Any]], Path] | None = None,
    progress: bool = True,
    oracle: bool = False,
    protocol: str = "kerasxai",
    show: Callable[[dict[str, Any]], object] | None = None,
    outputs: str | None = None,
    **method_options: Any,
) -> dict[str, Any]:
    """Measures accuracy and localization of a model on a split of a data set.

    The heatmap of each image's true class is thresholded at a share of its maximum, and the largest component's box is
    compared with the true boxes. The best threshold is chosen on another split and applied here, because a threshold
    chosen on the measured images flatters.

    Args:
        model: A Keras classifier that knows the data set's classes.
        name_or_path: As for `kerasxai.data.load`.
        split: What is measured.
        method: A name in `kerasxai.METHODS`.
        layer: As for `kerasxai.Explainer`.
        refine: As for `kerasxai.Explainer`.
        tune_split: Where the best threshold is chosen; None leaves it out.
        threshold: The fixed threshold, in [0, 1).
        limit: Measure so many images of each split only.
        batch_size: Images at once.
        image_size: Side in pixels, or height and width, for models that take any; None: 224.
        preprocess: What the model takes in place of images in [0, 255], as for `kerasxai.Explainer`. None leaves them,
            with a warning where the model shows no rescaling of its own.
        data_dir: As for `kerasxai.data.load`.
        boxes_csv: As for `kerasxai.data.load`.
        out: A folder for `evaluation.json`, `records.json`, `cases.png` and `threshold.png`, or a
            function that returns it for the settings of the figures; None writes nothing. It must not hold figures that
            were made with other settings.
        progress: Show a progress bar.
        oracle: Also measure MaxBoxAccV2, whose thresholds and boxes are chosen on the measured images themselves.
        protocol: How heatmaps become boxes and boxes are compared, see `kerasxai.metrics.protocols`: `"kerasxai"`, or
            `"wsolevaluation"` to set figures beside those that the literature has for CUB and ImageNet: heatmaps as
            the method makes them, resized as the reference does, and MaxBoxAcc and MaxBoxAccV2 as well.
        show: Is called with the figures before they are written.
        outputs: As for `kerasxai.Explainer`.
        **method_options: Options of the method.

    Returns:
        What `kerasxai.metrics.LocalizationReport.result` returns, and `tuned`: `threshold`, `gt_known_loc`, `top1_loc`,
        `top5_loc` at the threshold that was best on `tune_split`, and the same for the centered Gaussian, which has
        a best threshold of its own, in `baselines`; with `oracle`, `max_box_acc_v2` in percent, and
        `max_box_acc_v2_at`, the same by IoU; under `"wsolevaluation"` also `max_box_acc`.

    Raises:
        KerasxaiError: The data set has no boxes or no such split, or does not fit the model, or
            `out` cannot be written to or holds other figures.

    Example:
        >>> evaluate(model, "shapes", method="cam")["gt_known_loc"]
    """
    # All arguments but these decide what the figures are.
    given = {name: value for name, value in locals().items() if name not in _NOT_OF_FIGURES}
    settings = settings_of_figures(model, given)
    folder = out(settings) if callable(out) else None if out is None else Path(out)
    with folder_of_figures(folder, settings):
        evaluation, report, draw = _measure(model, **given, batch_size=batch_size, progress=progress)
        evaluation["settings"] = settings
        if show is not None:
            show(evaluation)
        if folder is not None:
            _write(folder, evaluation, report)
            viz.save_png(folder / "cases.png", draw())
    return evaluation


def _measure(
    model: keras.Model,
    name_or_path: str,
    split: str,
    method: str,
    layer: Any,
    refine: Any,
    tune_split: str | None,
    threshold: float,
    limit: int | None,
    batch_size: int,
    image_size: Size | None,
    preprocess: str | Preprocess | None,
    data_dir: str | None,
    boxes_csv: str | None,
    progress: bool,
    oracle: bool,
    protocol: str,
    outputs: str | None,
    method_options: dict[str, Any],
) -> tuple[dict[str, Any], LocalizationReport, Callable[[], np.ndarray]]:
    """Returns the figures, the report that they are of, and a function that draws cases."""
    where = {"data_dir": data_dir, "boxes_csv": boxes_csv}
    info = data.info(name_or_path, **where)
    check_splits(info, split, tune_split)
    models.check_image_model(model)
    taken = image_input(model, image_size, preprocess)
    check_classes(info, model, taken)
    data.check_images(name_or_path, [split, *([] if tune_split is None else [tune_split])], data_dir=data_dir)
    boxes_by = protocol_of(protocol)
    raw: dict[str, Any] = {"resize": False} if boxes_by.resizes_method_maps and refine is None else {}
    settings = {"layer": layer, "refine": refine, "batch_size": batch_size, "outputs": outputs}
    explainer = Explainer(model, method, **settings, **raw, **method_options)
    turns = itertools.count()
    best_boxes = MaxBoxAccV2(protocol=WSOL.name) if oracle or boxes_by.reports_max_box_acc else None

    def measured(part: str, count: MaxBoxAccV2 | None = None) -> tuple[LocalizationReport, str | None]:
        report, explained = LocalizationReport(threshold, 0.5, protocol, class_names=info.class_names), None
        batches = data.load(name_or_path, part, taken.size, batch_size=batch_size, **where).as_numpy_iterator()
        for batch in _limited(batches, info.splits[part], batch_size, limit, f"explaining {escape(part)}", progress):
            explanation, measure = add_batch(report, explainer, batch, taken)
            if next(turns) == 0:
                warn_of_range(model, taken, preprocess)
            explained = explanation.layer
            if count is not None:
                count.count_batch(measure)
        return report, explained

    tuning = None if tune_split is None else measured(tune_split)[0].result()
    report, explained_layer = measured(split, best_boxes)
    evaluation = report.result() | {
        "command": command_line(),
        "data": info.name,
        "split": split,
        "method": method,
        "layer": explained_layer,
        "refine": refine,
        "input_range": name_of_range(preprocess),
    }
    if best_boxes is not None:
        best = best_boxes.result()
        evaluation["max_box_acc_v2"] = float(best)
        evaluation["max_box_acc_v2_at"] = {iou: best[f"max_box_acc_{iou}"] for iou in IOU_LEVELS}
    if boxes_by.reports_max_box_acc:
        evaluation["max_box_acc"] = 100 * evaluation["best_gt_known_loc"]
    if tuning is not None:
        tuned, blind = tuning["best_threshold"], tuning["baselines"]["centered_gaussian"]["best_threshold"]
        evaluation["tuned"] = {"split": tune_split, "threshold": tuned, **report.at(tuned)}
        evaluation["baselines"]["centered_gaussian"]["tuned"] = {
            "split": tune_split, "threshold": blind, "gt_known_loc": report.gaussian.at(blind),
        }  # fmt: skip

    def draw() -> np.ndarray:
        samples = data.load(name_or_path, split, taken.size, **where).as_numpy_iterator()
        return draw_cases(report, explainer, samples, taken=taken)

    return evaluation, report, draw


def add_batch(
    report: LocalizationReport,
    explainer: Explainer,
    batch: Mapping[str, Any],
    taken: ImageInput,
) -> tuple[Explanation, BatchMeasure]:
    """Explains the true classes of one batch of `kerasxai.data.load` and counts it.

    Args:
        report: Where to count.
        explainer: Explains the model.
        batch: `image`, `label`, `boxes`, and what there is of `mask`, `part_mask` and `name`.
        taken: Converts images to what the model takes.

    Returns:
        The explanation of the batch, and what was measured.
    """
    images = taken.taken(batch["image"])
    labels = np.asarray(batch["label"])
    explanation = explainer(images, labels)
    parts = {}
    if "part_mask" in batch:
        parts = {name: (batch["part_mask"] == value).astype(np.uint8) for name, value in PARTS.items()}
    truth = Truth(labels, data.unpad_boxes(batch["boxes"]), batch.get("mask"), parts)
    scores = explainer.predict(images).scores
    measure = report.batch(explanation.heatmaps, scores, truth, batch["image"].shape[1:3])
    report.count(measure, [_text(name) for name in batch["name"]] if "name" in batch else None)
    return explanation, measure


def _text(name: Any) -> str:
    return os.fsdecode(name) if isinstance(name, bytes) else str(name)


def _limited(
    batches: Iterable[dict[str, Any]], count: int, batch_size: int, limit: int | None, title: str, progress: bool
) -> Iterator[dict[str, Any]]:
    left = count if limit is None else min(limit, count)
    shown = track(batches, title, total=-(-left // batch_size), transient=True, disable=not progress)
    for batch in shown:
        yield {name: values[:left] for name, values in batch.items()}
        left -= batch_size
        if left <= 0:
            return


def draw_cases(
    report: LocalizationReport,
    explainer: Explainer,
    samples: Iterable[Mapping[str, Any]],
    count: int = 6,
    taken: ImageInput | None = None,
) -> np.ndarray:
    """Draws the cases of highest and lowest IoU, with true boxes and those from the heatmaps.

    Args:
        report: Of the same images in the same order.
        explainer: What it was made with.
        samples: Of `kerasxai.data.load`, one by one.
        count: How many of each kind.
        taken: As for `add_batch`.

    Returns:
        A sheet `(H, W, 3)` uint8.
    """
    order = {id(record): number for number, record in enumerate(report.records)}
    chosen = [report.best(count), report.worst(count)]
    wanted = {order[id(record)] for row in chosen for record in row}
    numbered = itertools.islice(enumerate(samples), max(wanted) + 1)
    images = {number: sample["image"] for number, sample in numbered if number in wanted}
    names = report.options["class_names"]

    def cell(record: dict[str, Any]) -> np.ndarray:
        image = images[order[id(record)]]
        given = image[None] if taken is None else taken.taken(image[None])
        heatmap = explainer(given, record["label"]).heatmaps[0]
        boxes = None if record["box"] is None else [record["box"]]
        return viz.overlay(image, heatmap, boxes=boxes, true_boxes=record["boxes"])

    return viz.grid(
        [[cell(record) for record in row] for row in chosen],
        row_labels=["best", "worst"],
        captions=[[f"{names[r['label']]}, IoU {r['iou']:.2f}" for r in row] for row in chosen],
        title=f"{explainer.method.name}: boxes at {report.options['threshold']:.0%} of the maximum",
        legend=[("true box", viz.TRUE_COLOR), ("from the heatmap", viz.PREDICTED_COLOR)],
    )


def _write(out: Path, evaluation: dict[str, Any], report: LocalizationReport) -> None:
    for name, content in (("evaluation", evaluation), ("records", report.records)):
        write_json(out / f"{name}.json", null_for_nan(content))
    curve = evaluation["curve"]
    marks = {"fixed": evaluation["threshold"]}
    if "tuned" in evaluation:
        marks["chosen on " + evaluation["tuned"]["split"]] = evaluation["tuned"]["threshold"]
    plot = viz.plot_curves(
        curve["thresholds"], {evaluation["method"]: curve["gt_known_loc"]}, y_label="GT-known Loc", marks=marks
    )
    viz.save_png(out / "threshold.png", plot)


if __name__ == "__main__":
    sys.exit(run_module("kerasxai.evaluation.evaluate", evaluate_options, run))

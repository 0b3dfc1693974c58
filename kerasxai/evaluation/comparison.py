"""Comparison of evaluations on the same images: paired differences with bootstrap intervals.

Nothing here imports TensorFlow.
"""

import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasxai.evaluation.compare_config import CompareConfig
from kerasxai.evaluation.evaluated_runs import Record, Run, check_protocols, common_images, threshold_rule
from kerasxai.tools.commands import command_line
from kerasxai.tools.errors import KerasxaiError, KerasxaiWarning
from kerasxai.tools.printable import printable

# The most random numbers at once.
_CHUNK = 8_000_000

Value = Callable[[Record, float], float]
"""The value of one image, from its record and the IoU of a hit; the mean over images is the figure."""

FIGURES: Mapping[str, tuple[str, Value]] = {
    "top1_accuracy": ("top-1", lambda record, least: record["place"] < 1),
    "gt_known_loc": ("GT-known Loc", lambda record, least: record["chosen"]["iou"] >= least),
    "top1_loc": ("Top-1 Loc", lambda record, least: record["chosen"]["iou"] >= least and record["place"] < 1),
    "mean_iou": ("mean IoU", lambda record, least: record["chosen"]["iou"]),
    "pointing_game": ("pointing game", lambda record, least: record["pointing"]),
    "energy_pointing_game": ("energy in box", lambda record, least: record["energy"]),
}
"""Figures with their headings; all but the first are of images with boxes."""
_BLIND: Mapping[str, Value] = {
    "gt_known_loc": lambda record, least: record["chosen"]["baselines"]["centered_gaussian"] >= least,
    "mean_iou": lambda record, least: record["chosen"]["baselines"]["centered_gaussian"],
}


def compare(runs: Sequence[Run], config: CompareConfig) -> dict[str, Any]:
    """Compare evaluations image by image.

    The images are drawn with replacement, the same for all runs, so that the interval of a difference is that of paired
    values: images that are hard for all runs do not widen it. Intervals are percentiles of the bootstrap (Efron 1979);
    they cover the choice of images, not that of the seed of a training.

    Args:
        runs: Two or more evaluations.
        config: The settings.

    Returns:
        `images`, `images_with_boxes`, and of several labels an image, `pairs` of image and class, of which
        `images_with_boxes` are those with boxes; `runs` with `name`, `folder`, `method`, `refine`, `threshold`,
        `source` and `figures`; `baseline` with the `figures` of the centered Gaussian in the first run; `differences`
        of each run (`run`) to each before it (`reference`) with `figures`. A figure has `value`, `low` and `high`.

    Raises:
        KerasxaiError: The evaluations cannot be compared: other images, boxes, classes or protocols.

    Warns:
        KerasxaiWarning: Some images are not in all runs, or thresholds were chosen in different ways.
    """
    check_protocols(runs)
    names = common_images(runs)
    _warn_of_images(runs, len(names))
    _warn_of_thresholds(runs)
    located = [name for name in names if "iou" in runs[0].records[name]]
    if len(located) < 2:
        raise KerasxaiError(f"expected two or more images with boxes in all runs, got {len(located)}")
    means: dict[str, NDArray[np.float64]] = {}
    drawn: dict[str, NDArray[np.float64]] = {}
    for group, figures in ((names, list(FIGURES)[:1]), (located, list(FIGURES)[1:])):
        values = np.stack([_values(run, group, FIGURES[figure][1]) for figure in figures for run in runs], axis=1)
        for figure, its, samples in _split(figures, len(runs), values, config, _images_of(runs[0], group)):
            means[figure], drawn[figure] = its, samples
    blind = np.stack([_values(runs[0], located, value) for value in _BLIND.values()], axis=1)
    blind_means = {
        figure: _interval(its[0], samples[:, 0], config.confidence)
        for figure, its, samples in _split(list(_BLIND), 1, blind, config, _images_of(runs[0], located))
    }

    def difference(run: int, reference: int) -> dict[str, Any]:
        figures = {
            figure: _interval(
                means[figure][run] - means[figure][reference],
                drawn[figure][:, run] - drawn[figure][:, reference],
                config.confidence,
            )
            for figure in FIGURES
        }
        return {"run": runs[run].name, "reference": runs[reference].name, "figures": figures}

    return {
        "command": command_line(),
        "settings": comparison_settings(runs, config),
        "data": runs[0].evaluation.get("data"),
        "split": runs[0].evaluation.get("split"),
        "images": len({runs[0].records[name]["name"] for name in names}),
        **({"pairs": len(names)} if runs[0].evaluation.get("labels") == "multi" else {}),
        "images_with_boxes": len(located),
        "runs": [
            {
                "name": run.name,
                "folder": str(run.folder),
                **{key: run.evaluation.get(key) for key in ("method", "refine")},
                **{key: run.chosen[key] for key in ("threshold", "source")},
                "figures": {
                    figure: _interval(means[figure][number], drawn[figure][:, number], config.confidence)
                    for figure in FIGURES
                },
            }
            for number, run in enumerate(runs)
        ],
        "baseline": {"name": "baseline: centered gaussian", "figures": blind_means},
        "differences": [difference(run, reference) for reference, run in itertools.combinations(range(len(runs)), 2)],
    }


def comparison_settings(runs: Sequence[Run], config: CompareConfig) -> dict[str, Any]:
    """Return everything that a comparison depends on."""
    kept = {name: getattr(config, name) for name in ("resamples", "confidence", "seed", "images")}
    return kept | {"runs": [str(run.folder) for run in runs], "runs_sha256": [run.sha256 for run in runs]}


def _values(run: Run, names: Sequence[str], value: Value) -> NDArray[np.float64]:
    least = run.evaluation["iou_threshold"]
    return np.array([value(run.records[name], least) for name in names], np.float64)


def _images_of(run: Run, names: Sequence[str]) -> NDArray[np.int64] | None:
    """Return the number of the image of each record; None with one record an image."""
    if run.evaluation.get("labels") != "multi":
        return None
    return np.unique([run.records[name]["name"] for name in names], return_inverse=True)[1].astype(np.int64)


def _split(
    figures: Sequence[str],
    runs: int,
    values: NDArray[np.float64],
    config: CompareConfig,
    images: NDArray[np.int64] | None,
) -> list[tuple[str, NDArray[np.float64], NDArray[np.float64]]]:
    """Return each figure with its means `(runs,)` and those of the bootstrap samples `(resamples, runs)`."""
    drawn = bootstrap_means(values, config.resamples, config.seed, images)
    return [
        (figure, values[:, columns].mean(axis=0), drawn[:, columns])
        for number, figure in enumerate(figures)
        for columns in [slice(number * runs, (number + 1) * runs)]
    ]


def bootstrap_means(
    values: NDArray[np.float64], resamples: int, seed: int, images: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Return the means of values whose rows are drawn with replacement.

    Args:
        values: `(images, columns)`.
        resamples: The number of samples.
        seed: The same seed draws the same rows, for any values of as many rows.
        images: `(rows,)` the image of each row, from 0, if several rows belong to one: images are drawn with all their
            rows, which depend on each other.

    Returns:
        `(resamples, columns)`.

    Example:
        >>> bootstrap_means(np.ones((5, 2)), 100, 0).shape
        (100, 2)
    """
    sizes: NDArray[np.int64] | None = None
    if images is not None:
        sizes = np.bincount(images)
        values = np.stack([np.bincount(images, column) for column in values.T], axis=1)
    count, generator = len(values), np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    step = max(1, _CHUNK // count)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        # How often each image is drawn: a product of matrices is faster than gathering values.
        chosen = generator.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(chosen.ravel(), minlength=rows * count).reshape(rows, count)
        means[start : start + rows] = times @ values / (count if sizes is None else (times @ sizes)[:, None])
    return means


def _interval(value: float, drawn: NDArray[np.float64], confidence: float) -> dict[str, float]:
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"value": float(value), "low": float(low), "high": float(high)}


def _warn_of_images(runs: Sequence[Run], count: int) -> None:
    partial = [run for run in runs if len(run.records) > count]
    if partial:
        listed = ", ".join(f"{len(run.records)} in {printable(run.name)}" for run in partial)
        warnings.warn(
            f"compared on the {count} images that all runs measured, of {listed}", KerasxaiWarning, stacklevel=3
        )


def _warn_of_thresholds(runs: Sequence[Run]) -> None:
    rules = {threshold_rule(run): run for run in runs}
    if len(rules) > 1:
        listed = "; ".join(f"{rule} in {printable(run.name)}" for rule, run in rules.items())
        warnings.warn(
            f"thresholds were chosen in different ways, which is part of the differences: {listed}",
            KerasxaiWarning,
            stacklevel=3,
        )


def figure_rows(comparison: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of the table of runs: name, threshold, figures with intervals; the blind baseline last."""
    rows = [
        [run["name"], f"{run['threshold']:.3f}", *(_cell(run["figures"].get(figure)) for figure in FIGURES)]
        for run in comparison["runs"]
    ]
    blind = comparison["baseline"]
    return [*rows, [blind["name"], "", *(_cell(blind["figures"].get(figure)) for figure in FIGURES)]]


def difference_rows(comparison: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of the table of differences to the first run; "*" marks intervals without 0."""
    first = comparison["runs"][0]["name"]
    return [
        [one["run"], *(_cell(one["figures"][figure], signed=True) for figure in FIGURES)]
        for one in comparison["differences"]
        if one["reference"] == first
    ]


def _cell(figure: Mapping[str, float] | None, signed: bool = False) -> str:
    if figure is None:
        return ""
    low, high = figure["low"], figure["high"]
    if not signed:
        return f"{figure['value']:.3f} [{low:.2f}, {high:.2f}]"
    mark = "*" if low > 0 or high < 0 else " "
    # As many digits as the mark needs to be believed; z: no minus before a zero.
    return f"{figure['value']:+z.3f} [{low:+z.3f}, {high:+z.3f}]{mark}"

"""Compare recipes: each is trained and measured with several seeds, and a table shows mean and standard deviation.

Run it as `kerasxai benchmark ...` or `python -m kerasxai.training.benchmark ...`.
"""

import json
import logging
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

import keras
import numpy as np

from kerasxai import data
from kerasxai.data.finding import is_own_table
from kerasxai.engine.images.image_input import Size
from kerasxai.evaluation.data_check import check_boxes, check_splits
from kerasxai.evaluation.saved_results import differences, keep_former
from kerasxai.metrics import MaxBoxAccV2
from kerasxai.metrics.baselines import centered_gaussian
from kerasxai.metrics.protocols import WSOL
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import json_text, read_json, write_json
from kerasxai.tools.folders import locked
from kerasxai.tools.lazy import resolve
from kerasxai.tools.printable import percent
from kerasxai.training.benchmark_config import BenchmarkConfig
from kerasxai.training.benchmark_report import BenchmarkReport
from kerasxai.training.config import TrainConfig
from kerasxai.training.lifecycle import evaluated
from kerasxai.training.losses import DEFAULT_LOSS
from kerasxai.training.new_model import feature_stride
from kerasxai.training.own_backbone import is_model_file
from kerasxai.training.phases import loss_of
from kerasxai.training.plan import AFTER_EPOCHS, plan_of
from kerasxai.training.recipes import recipe_of
from kerasxai.training.start import start_size
from kerasxai.training.train import check_apart, train

_LOG = logging.getLogger(__name__)

_OWN = ("recipe", "recipe_options", "head", "seed", "label_fraction", "label_noise", "loss")
"""The settings in which runs differ."""
_SPLITS = ("train", "validation", "test")
_TABLES = ("benchmark.json", "benchmark.csv", "benchmark.md", "runs.csv", "thresholds.png", "sheet.png")


@dataclass(frozen=True)
class Row:
    """One row of the table: a recipe, and its weak labels.

    Attributes:
        recipe: A name in RECIPES.
        label_fraction: As in `TrainConfig`.
        label_noise: As in `TrainConfig`.
        loss: As in `TrainConfig`.
    """

    recipe: str
    label_fraction: float = 1.0
    label_noise: float = 0.0
    loss: str = DEFAULT_LOSS

    @property
    def name(self) -> str:
        """The heading of the row."""
        parts = [self.recipe]
        if self.label_fraction < 1:
            parts.append(f"{percent(self.label_fraction, None)} of the labels")
        if self.label_noise:
            parts.append(f"{percent(self.label_noise, None)} of the labels wrong")
        if self.loss != DEFAULT_LOSS:
            parts.append(self.loss)
        return ", ".join(parts)

    @property
    def folder(self) -> str:
        """The folder of its runs."""
        weak = [
            f"_{kind}_{share:g}"
            for kind, share, usual in (("labels", self.label_fraction, 1.0), ("noise", self.label_noise, 0.0))
            if share != usual
        ]
        return self.recipe + "".join(weak) + (f"_{self.loss}" if self.loss != DEFAULT_LOSS else "")


def rows_of(
    recipes: Sequence[str],
    label_fractions: Sequence[float] = (),
    label_noises: Sequence[float] = (),
    noise_loss: str = "",
) -> dict[Row, Row]:
    """Return the rows of the table, each with its reference, the row to compare with.

    Args:
        recipes: Each gives a row with all labels; the reference is the row of the first recipe.
        label_fractions: Each gives another row for each recipe; the reference is the same recipe with all labels.
        label_noises: The same.
        noise_loss: If not empty, each row with wrong labels is repeated with this loss.

    Example:
        >>> [row.name for row in rows_of(["gap"], label_noises=[0.2])]
        ['gap', 'gap, 20 % of the labels wrong']
    """
    found = {Row(recipe): Row(recipes[0]) for recipe in recipes}
    losses = list(dict.fromkeys([DEFAULT_LOSS, *([noise_loss] if noise_loss else [])]))
    for full in list(found):
        weak = [replace(full, label_fraction=share) for share in label_fractions if share < 1]
        weak += [replace(full, label_noise=share, loss=loss) for share in label_noises if share for loss in losses]
        found |= dict.fromkeys(weak, full)
    return found


class BenchmarkSettings(TypedDict, total=False):
    """The fields of `BenchmarkConfig` that are keywords of `benchmark`."""

    recipe_options: Mapping[str, Mapping[str, Any]]
    label_fractions: Sequence[float]
    label_noises: Sequence[float]
    noise_loss: str
    method: str
    threshold: float
    limit: int | None
    sheet_images: int


def benchmark(
    config: TrainConfig,
    recipes: Sequence[str],
    seeds: int,
    out: str | Path,
    *,
    verbose: int | str = 2,
    **settings: Unpack[BenchmarkSettings],
) -> dict[str, Any]:
    """Train and measure recipes with several seeds, and write a table of means and standard deviations.

    Finished runs of an earlier call with the same settings are not repeated, so that a stopped benchmark continues, and
    recipes and seeds can be added. The tables are updated after each run.

    Args:
        config: The common settings of all runs; its recipe, head, recipe options, loss, seed and weak labels are
            replaced.
        recipes: Names in `kerasxai.RECIPES`; differences are to the first.
        seeds: Number of runs for each recipe, with seeds from 0.
        out: Folder for `benchmark.json`, `benchmark.csv`, `benchmark.md`, `runs.csv`, `thresholds.png`, `sheet.png`,
            `command.txt`, and a folder for each run.
        verbose: As for `keras.Model.fit`.
        **settings: Other fields of `BenchmarkConfig`.

    Returns:
        The content of `benchmark.json`: `rows` and `baselines` with `mean` and `std` of each measure in percent,
        `differences` to the first row, `runs`, and the settings.

    Raises:
        KerasxaiError: The data has no boxes or lacks a split, a recipe or an option is wrong, or `out` contains runs
            with other settings.

    Example:
        >>> benchmark(TrainConfig("shapes"), ["gap", "acol"], 3, "runs/b")["rows"]["acol"]["body_recall"]["mean"]
    """
    return run_benchmark(config, BenchmarkConfig(recipes, seeds, **settings), Path(out), verbose)


def run_benchmark(config: TrainConfig, compared: BenchmarkConfig, out: Path, verbose: int | str) -> dict[str, Any]:
    """Train and measure as `benchmark` does."""
    check_apart(out, config.data)
    if config.head_phase == "auto":
        # The probe applies to some recipes only, and its defaults are others: the table would compare these.
        config = replace(config, head_phase="epochs")
    with locked(out):
        # All settings and the data are checked first: a mistake in the last recipe must not be found after hours.
        rows = rows_of(compared.recipes, compared.label_fractions, compared.label_noises, compared.noise_loss)
        dataset = _checked_dataset(config)
        size = start_size(config, dataset)
        if config.head_phase == "probe" and not is_model_file(config.backbone):
            # The models are compared, and drawn in one sheet, at one size.
            config = replace(config, final_image_size=size)
        configs = _configs(config, rows, compared.seeds, compared.recipe_options)
        for one in configs.values():
            loss_of(one, plan_of(one, feature_stride(one, dataset.info)))
        measuring = {
            "method": compared.method,
            "threshold": compared.threshold,
            "limit": compared.limit,
            "batch_size": config.batch_size or AFTER_EPOCHS.batch_size,
            "data_dir": config.data_dir,
            "boxes_csv": config.boxes_csv,
        }
        about = {
            "data": config.data,
            **measuring,
            "recipe_options": compared.recipe_options,
            "training": _shared(config),
        }

        # Finished runs are found again in their folders; tables of other settings are kept under another name.
        _keep_former_tables(out, about)
        report = BenchmarkReport(
            out,
            {row.name: reference.name for row, reference in rows.items()},
            about,
            gaussian_max_box_acc_v2(dataset, size, compared.limit, config.fit),
        )
        for number, ((row, seed), one) in enumerate(configs.items()):
            left = report.time_left(len(configs) - number)
            _LOG.info("\n[%d/%d] %s, seed %d%s", number + 1, len(configs), row.name, seed, left)
            report.add(row.name, seed, *_run(one, out / row.folder / f"seed_{seed}", measuring, verbose))
            # After each run, so that a stopped benchmark has tables of what is finished.
            report.write()

        report.draw(dataset.examples("test", size, compared.sheet_images, fit=config.fit), dataset.class_names)
        return report.content()


def _keep_former_tables(out: Path, about: Mapping[str, Any]) -> None:
    """Rename tables of other settings, and refuse foreign files of the same name."""
    main = out / _TABLES[0]
    if is_own_table(main):
        before = read_json(main)
        if differences({name: before.get(name) for name in about}, json.loads(json_text(about))):
            keep_former([out / name for name in _TABLES])
        return
    for name in _TABLES:
        if (out / name).exists():
            raise KerasxaiError(f"expected a folder without a foreign {name}, got {out}; choose another --out")


def _configs(
    config: TrainConfig, rows: Iterable[Row], seeds: int, options: Mapping[str, Mapping[str, Any]]
) -> dict[tuple[Row, int], TrainConfig]:
    """Return the config of every run."""
    # Options of a recipe that is not compared may be a typing error; here an unknown name is refused.
    for name in [*(row.recipe for row in rows), *options]:
        recipe_of(name)
    # Seed by seed, so that an early table has all rows.
    return {
        (row, seed): replace(
            config, head="", recipe_options=dict(options.get(row.recipe, {})), seed=seed, **asdict(row)
        )
        for seed in range(seeds)
        for row in rows
    }


def _checked_dataset(config: TrainConfig) -> data.ImageDataset:
    """Open the data, and refuse them before the first run if a later step would."""
    dataset = data.open(config.data, data_dir=config.data_dir, boxes_csv=config.boxes_csv, labels="single")
    check_boxes(dataset.info)
    check_splits(dataset.info, _SPLITS)
    dataset.check_images(_SPLITS)
    return dataset


def _shared(config: TrainConfig) -> dict[str, Any]:
    return {k: v for k, v in asdict(config).items() if k not in _OWN}


def _run(
    config: TrainConfig, folder: Path, measuring: dict[str, Any], verbose: int | str
) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Train and measure a run unless finished; return the file of the model, the evaluation, and details."""
    # The graphs of earlier runs would fill the memory.
    keras.backend.clear_session()
    model = train(config, folder, methods=(), localize_images=0, verbose=verbose)
    begun = time.monotonic()
    measured = folder / f"evaluation_{measuring['method']}"
    # The time is recorded for the estimate of the remaining time; a cached evaluation must not count as fast.
    fresh = not (measured / "evaluation.json").exists()
    evaluation = evaluated(model, config.data, measured, oracle=True, **measuring)
    if fresh or not (measured / "seconds.json").exists():
        write_json(measured / "seconds.json", round(time.monotonic() - begun, 1))
    metrics = read_json(folder / "metrics.json")
    seconds = metrics["seconds"] + read_json(measured / "seconds.json")
    return (
        model,
        evaluation,
        {"seconds": round(seconds, 1), "epochs": metrics["epochs"], "labels": metrics.get("labels")},
    )


def gaussian_max_box_acc_v2(dataset: data.ImageDataset, size: Size, limit: int | None, fit: str = "stretch") -> float:
    """Return the MaxBoxAccV2 of the centered Gaussian on the test images, in percent."""
    height, width = (size, size) if isinstance(size, int) else size
    samples = dataset.samples("test", size, fit=fit, part=limit)
    boxes = [
        data.unpad_boxes(sample["boxes"][None])[0] * (width, height, width, height)
        for sample in samples.as_numpy_iterator()
    ]
    metric = MaxBoxAccV2(protocol=WSOL.name)
    metric.update(
        np.broadcast_to(centered_gaussian((height, width)), (len(boxes), height, width)), boxes, (height, width)
    )
    return float(metric.result())


if __name__ == "__main__":
    sys.exit(resolve("kerasxai.cli:main")(["benchmark", *sys.argv[1:]]))

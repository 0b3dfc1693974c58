"""Fine-tune a classifier in two phases: the head alone, then the head and the upper backbone.

Run it as `kerasxai train ...` or `python -m kerasxai.training.train ...`.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras

from kerasxai import data, viz
from kerasxai.callbacks import draw_timeline
from kerasxai.evaluation.data_check import check_splits, split_line
from kerasxai.tools.epoch_names import FINAL_SIZE, NO_FIGURES, epoch_names, source_of
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.folders import locked
from kerasxai.tools.lazy import resolve
from kerasxai.training.augment import check_augmentation
from kerasxai.training.config import TrainConfig
from kerasxai.training.distributed import Workers
from kerasxai.training.distributed_run import check_batches, finish
from kerasxai.training.drawing import Drawing
from kerasxai.training.multi_label import positive_weights_of
from kerasxai.training.new_model import feature_stride
from kerasxai.training.own_backbone import accuracies
from kerasxai.training.phases import loss_of, run_phase
from kerasxai.training.plan import PHASES, Plan, plan_of
from kerasxai.training.resolve import reading_of
from kerasxai.training.run_data import Run, check_images, check_monitor
from kerasxai.training.run_folder import RunFolder
from kerasxai.training.run_log import logged
from kerasxai.training.start import start_of
from kerasxai.training.weak_labels import RunLabels, is_weak
from kerasxai.viz.pixels import Picture

_LOG = logging.getLogger(__name__)


def train(
    config: TrainConfig,
    out: str | Path,
    methods: Sequence[str] = ("cam", "gradcam"),
    explain_images: int = 8,
    explain_every: int = 1,
    localize_images: int | None = None,
    verbose: int | str = "auto",
    log: Sequence[str] = (),
) -> Path:
    """Train a classifier; a stopped run continues, and ends with the same weights as without the stop.

    Only images and labels are read for training. The validation figure `monitor` of the config chooses the best epoch;
    the probe, if there is one, counts as an epoch, so that fine-tuning cannot lose to it. Boxes and masks are only read
    for the localization figures in the history, which choose the epoch if `monitor` is one of them.

    Args:
        config: The settings.
        out: Folder of the run: `config.json`, `choices.json` (what was chosen by the data), `command.txt`,
            `augmentation.png`, `history.csv`, `heatmaps/`, after a probe `probe.json`, and at the end `history.png`,
            `metrics.json` and `model.keras`.
        methods: Explainers to draw each epoch, on validation images that the seed chooses, balanced over the classes.
        explain_images: Number of drawn images.
        explain_every: Epochs between drawings.
        localize_images: Number of validation images measured each epoch, rounded up to whole batches; None: all; 0:
            none.
        verbose: As for `keras.Model.fit`.
        log: Where settings, figures and sheets are logged: `"tensorboard"` (in `out/tensorboard`), `"mlflow"`,
            `"wandb"`; see `kerasxai.viz.open_sink`. A service that fails warns once and is left out.

    Returns:
        The path of the finished model.

    Raises:
        KerasxaiError: The data, the backbone or an option is wrong, or the folder contains another run.

    Example:
        >>> train(TrainConfig(data="shapes", head="gap"), "runs/gap")
    """
    drawing = Drawing(tuple(methods), explain_images, explain_every, localize_images, tuple(log))
    return train_into(config, Path(out), drawing, verbose)


def train_into(
    config: TrainConfig, out: Path, drawing: Drawing, verbose: int | str, workers: Workers | None = None
) -> Path:
    """Train as `train` does, if there are workers together with them."""
    check_apart(out, config.data)
    # Locked, because two processes that continue the same run would overwrite each other's checkpoints.
    with locked(out):
        model = _train(config, out, drawing, verbose, workers)
    if workers is not None:
        finish(workers)
    return model


def check_apart(out: str | Path, folder: str) -> None:
    """Refuse the folder of the data as output folder, because pictures would be among the images.

    Raises:
        KerasxaiError: `out` is the folder of the data; a folder in it is allowed.
    """
    if Path(folder).is_dir() and Path(out).resolve() == Path(folder).expanduser().resolve():
        raise KerasxaiError(f"expected an --out apart from the images, got the data folder {folder}; name another one")


def _train(config: TrainConfig, out: Path, drawing: Drawing, verbose: int | str, workers: Workers | None) -> Path:
    # A finished run is returned and a stopped one continues, both only with the settings of its first start.
    config.check_same(out)
    folder = RunFolder(out)
    if folder.model.exists():
        return folder.model

    # The data are checked before hours of training: the splits, and whether each image can be read.
    dataset = data.open(
        config.data,
        data_dir=config.data_dir,
        boxes_csv=config.boxes_csv,
        labels=reading_of(config, out),
        class_masks=config.class_masks,
    )
    splits = ("train", "validation")
    check_splits(dataset.info, splits)
    check_images(config, dataset.info, splits)
    _LOG.info(split_line(dataset.info))
    dataset.check_images(splits)

    # Seeds the weights and the layers; data and labels get their seeds from the config.
    keras.utils.set_random_seed(config.seed)
    with _policy(config.mixed_precision):
        # All that may be refused is made before anything is written, so that a mistake leaves no folder behind.
        given = config
        start = start_of(given, dataset, folder)
        config = start.resolved.config
        plan = plan_of(config, feature_stride(config, dataset.info))
        check_monitor(plan, dataset.info, drawing)
        if workers is not None:
            check_batches(plan, dataset.info.splits["train"], workers)
        folder.monitor = plan.monitor
        weights = positive_weights_of(config, dataset)
        loss_of(config, plan, weights)
        labels = RunLabels(config, folder, dataset) if is_weak(config) else None
        check_augmentation(config, dataset.info)
        given.write(out)
        start.write(out, dataset, bool(drawing.methods and drawing.images))

        # Each phase finds out from the rows in the folder how many of its epochs are completed.
        with logged(folder, config, plan, drawing.log) as sinks:
            for phase in PHASES:
                given_size = given.final_image_size is not None
                run = Run(config, plan, folder, dataset, labels, drawing, verbose, weights, sinks, workers, given_size)
                done = len(folder.rows)
                run_phase(run, phase, start.model)
                _log_without_epochs(folder, done, plan)

    viz.save_png(out / "history.png", _curves(folder, plan))
    if drawing.methods and drawing.images:
        _mark_kept(folder, drawing)
    size = config.final_image_size if folder.best_row["phase"] == FINAL_SIZE else config.image_size
    figures = (
        folder.summary()
        | {"image_size": size}
        | {"kept": _kept(folder, plan), "plan": asdict(plan)}
        | accuracies(out, folder.best_row)
    )
    folder.write_json("metrics.json", figures | ({} if labels is None else {"labels": labels.counts()}))
    # Last, because the model marks the run as finished.
    folder.finish()
    return folder.model


def _kept(folder: RunFolder, plan: Plan) -> str:
    """Return the phase of the best epoch, "probe" for the probe, and log if fine-tuning is no better."""
    best = source_of(folder.best_row, folder.rows)
    if not plan.probe or best["phase"] != "head":
        return str(best["phase"])
    rows = [row for row in folder.rows if row["phase"] not in ("head", FINAL_SIZE)]
    if rows:
        _LOG.warning(
            "fine-tuning was not better on validation than the probe, which is kept: %s %.4g after the probe, %.4g in "
            "the best epoch after it",
            folder.monitor,
            best[folder.monitor],
            folder.best_of(rows)[folder.monitor],
        )
    return "probe"


def _log_without_epochs(folder: RunFolder, done: int, plan: Plan) -> None:
    """Log the rows of a phase without epochs, which Keras does not print: the probe and averages."""
    for row, name in list(zip(folder.rows, epoch_names(folder.rows, plan.probe), strict=True))[done:]:
        if not name.isdecimal() and row["phase"] != FINAL_SIZE and folder.monitor in row:
            _LOG.info("epoch %d is the %s: %s %.4g", row["epoch"] + 1, name, folder.monitor, row[folder.monitor])


def _curves(folder: RunFolder, plan: Plan) -> Picture:
    """Return the plot of the history, in which the kept row is marked, and rows that are no epochs are."""
    rows = folder.rows
    history = {name: [row.get(name, float("nan")) for row in rows] for name in _figures(rows)}
    numbers = [int(row["epoch"]) + 1 for row in rows]
    best = int(folder.best_row["epoch"]) + 1
    return viz.plot_history(history, numbers, marks=_marks(epoch_names(rows, plan.probe), numbers, best))


def _marks(names: Sequence[str], numbers: Sequence[int], kept: int) -> dict[str, float]:
    """Return the marks of a plot: the kept row, and the first of each kind of rows that are no epochs.

    Args:
        names: As `epoch_names` returns them.
        numbers: Of the rows, counted from 1.
        kept: The number of the kept row.
    """
    marks: dict[str, float] = {}
    for place, (name, number) in enumerate(zip(names, numbers, strict=True)):
        if number == kept:
            marks["kept" if name.isdecimal() else f"{name}, kept"] = number
        elif not name.isdecimal() and names.index(name) == place:
            # There may be several averages.
            marks[f"{name}s" if names.count(name) > 1 else name] = number
    return marks


def _mark_kept(folder: RunFolder, drawing: Drawing) -> None:
    """Draw the timelines again with the kept epoch, which is not known before the end."""
    for name in drawing.methods:
        # A method that failed in every epoch has no maps.
        with contextlib.suppress(KerasxaiError):
            draw_timeline(folder.path, name, kept=int(source_of(folder.best_row, folder.rows)["epoch"]) + 1)


def _figures(rows: list[dict[str, Any]]) -> list[str]:
    return [name for name in dict.fromkeys(k for row in rows for k in row) if name not in NO_FIGURES]


@contextlib.contextmanager
def _policy(mixed_precision: bool) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16" if mixed_precision else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


if __name__ == "__main__":
    sys.exit(resolve("kerasxai.cli:main")(["train", *sys.argv[1:]]))

"""Fine-tune a classifier in two phases: the head alone, then the head and the upper backbone.

Run it as `kerasxai train ...` or `python -m kerasxai.training.train ...`.
"""

import contextlib
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai import data, models, viz
from kerasxai.callbacks import ExplanationCallback, LocalizationCallback
from kerasxai.evaluation.data_check import check_splits
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.folders import locked
from kerasxai.tools.lazy import resolve
from kerasxai.tools.printable import printable
from kerasxai.training.config import Drawing, TrainConfig
from kerasxai.training.labels import Labels
from kerasxai.training.losses import keras_loss
from kerasxai.training.optimizers import optimizer_of
from kerasxai.training.recipe_parts import augmentation, has_soft_labels, insertion, one_hot
from kerasxai.training.recipes import share_options, taken_by
from kerasxai.training.run_folder import KeepEpochs, RunFolder
from kerasxai.training.weak_labels import RunLabels, is_weak

_LOG = logging.getLogger(__name__)

PHASES = ("head", "finetune", "pseudo")
"""The last one exists only if labels are missing."""


@dataclass(frozen=True)
class _Run:
    """What all phases of a run have in common.

    Attributes:
        config: The settings.
        folder: Completed epochs and checkpoints.
        dataset: The data.
        labels: Weak labels, or None for the labels of the data.
        drawing: Heatmaps and measurements of each epoch.
        verbose: As for `keras.Model.fit`.
    """

    config: TrainConfig
    folder: RunFolder
    dataset: data.ImageDataset
    labels: RunLabels | None
    drawing: Drawing
    verbose: int | str

    @property
    def size(self) -> int:
        """Side of the images."""
        return image_size(self.config, self.dataset.info)

    @property
    def steps(self) -> int:
        """Steps of an epoch: as many as with all labels, so that runs with fewer labels train as long."""
        return -(-self.dataset.info.splits["train"] // self.config.batch_size)


def train(
    config: TrainConfig,
    out: str | Path,
    methods: Sequence[str] = ("cam", "gradcam"),
    explain_images: int = 8,
    explain_every: int = 1,
    localize_images: int | None = None,
    verbose: int | str = "auto",
) -> Path:
    """Train a classifier; a stopped run continues, and ends with the same weights as without the stop.

    Only images and labels are read for training, and the validation loss alone chooses the best epoch: boxes and masks
    are only read for the localization figures in the history.

    Args:
        config: The settings.
        out: Folder of the run: `config.json`, `command.txt`, `history.csv`, `heatmaps/`, and at the end `history.png`,
            `metrics.json` and `model.keras`.
        methods: Explainers to draw each epoch, on validation images that the seed chooses, balanced over the classes.
        explain_images: Number of drawn images.
        explain_every: Epochs between drawings.
        localize_images: Number of validation images measured each epoch, rounded up to whole batches; None: all; 0:
            none.
        verbose: As for `keras.Model.fit`.

    Returns:
        The path of the finished model.

    Raises:
        KerasxaiError: The data, the backbone or an option is wrong, or the folder contains another run.

    Example:
        >>> train(TrainConfig(data="shapes", head="gap"), "runs/gap")
    """
    drawing = Drawing(tuple(methods), explain_images, explain_every, localize_images)
    return train_into(config, Path(out), drawing, verbose)


def train_into(config: TrainConfig, out: Path, drawing: Drawing, verbose: int | str) -> Path:
    """Train as `train` does."""
    check_apart(out, config.data)
    # Locked, because two processes that continue the same run would overwrite each other's checkpoints.
    with locked(out):
        return _train(config, out, drawing, verbose)


def check_apart(out: str | Path, folder: str) -> None:
    """Refuse the folder of the data as output folder, because pictures would be among the images.

    Raises:
        KerasxaiError: `out` is the folder of the data; a folder in it is allowed.
    """
    if Path(folder).is_dir() and Path(out).resolve() == Path(folder).expanduser().resolve():
        raise KerasxaiError(f"expected an --out apart from the images, got the data folder {folder}; name another one")


def _train(config: TrainConfig, out: Path, drawing: Drawing, verbose: int | str) -> Path:
    # A finished run is returned and a stopped one continues, both only with the settings of its first start.
    config.check_same(out)
    folder = RunFolder(out)
    if folder.model.exists():
        return folder.model

    # The data are checked before hours of training: the splits, and whether each image can be read.
    dataset = data.open(config.data, data_dir=config.data_dir, boxes_csv=config.boxes_csv)
    splits = ("train", "validation")
    check_splits(dataset.info, splits)
    _check_images(config, dataset.info, splits)
    dataset.check_images(splits)

    # Seeds the weights and the layers; data and labels get their seeds from the config.
    keras.utils.set_random_seed(config.seed)
    with _policy(config.mixed_precision):
        # All that may be refused is made before anything is written, so that a mistake leaves no folder behind.
        model = None if folder.rows else _new_model(config, dataset.info, image_size(config, dataset.info))
        loss_of(config)
        labels = RunLabels(config, folder, dataset) if is_weak(config) else None
        augmentation(config, dataset.info.num_classes)
        config.write(out)

        # Each phase finds out from the rows in the folder how many of its epochs are completed.
        for phase in PHASES:
            _run_phase(_Run(config, folder, dataset, labels, drawing, verbose), phase, model)

    history = {name: [row.get(name, float("nan")) for row in folder.rows] for name in _figures(folder.rows)}
    viz.save_png(out / "history.png", viz.plot_history(history, [int(row["epoch"]) + 1 for row in folder.rows]))
    folder.write_json("metrics.json", folder.summary() | ({} if labels is None else {"labels": labels.counts()}))
    # Last, because the model marks the run as finished.
    folder.finish()
    return folder.model


def _check_images(config: TrainConfig, info: data.DatasetInfo, splits: Iterable[str]) -> None:
    """Refuse splits without images."""
    for split in splits:
        if not info.splits[split]:
            raise KerasxaiError(
                f"expected images to train and to validate on, got none for {split} in {printable(config.data)}; of a "
                "folder a tenth of each class is held out to validate and a tenth to test, at least one image where "
                "a class has two: give some class three images, or a validation folder"
            )


def _figures(rows: list[dict[str, Any]]) -> list[str]:
    return [name for name in dict.fromkeys(k for row in rows for k in row) if name not in ("phase", "epoch", "seconds")]


@contextlib.contextmanager
def _policy(mixed_precision: bool) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16" if mixed_precision else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _run_phase(run: _Run, phase: str, model: keras.Model | None) -> None:
    """Train the epochs of a phase that are not completed.

    Args:
        run: The run.
        phase: One of `PHASES`.
        model: The new model of a run without epochs.
    """
    config, folder = run.config, run.folder
    start, end = epochs_of(config, phase)
    done = len(folder.rows_of(phase))
    if done >= end - start or folder.stale(phase, config.patience):
        return

    given = None
    if run.labels is not None:
        given = run.labels.of_phase(phase, lambda: _probabilities(run))
        _LOG.info(run.labels.summary())
        # Without a confident prediction the last phase would repeat the one before.
        if phase == "pseudo" and not run.labels.counts()["pseudo"]:
            return

    if done:
        # Continue: the checkpoint of the last epoch, with the state of its optimizer.
        model = models.load(folder.checkpoint(folder.rows[-1]["epoch"]), compile=True)
    else:
        # A phase starts from the best epoch so far, not from the last one, with a new optimizer.
        model = models.load(folder.best) if folder.rows or model is None else model
        _prepare(model, config, phase, run.steps * (end - start))

    pairs, validation = _training_data(run, given), _validation_data(run)
    # Order and augmentation depend on the number of the pass, so that skipping the completed passes makes a continued
    # run see the batches that it would have seen.
    first = start + done
    model.fit(
        pairs.skip(run.steps * first),
        steps_per_epoch=run.steps,
        initial_epoch=first,
        epochs=end,
        validation_data=validation,
        shuffle=False,  # already shuffled
        callbacks=_callbacks(config, folder, run.dataset, run.size, phase, run.drawing),
        verbose=run.verbose,
    )


def _training_data(run: _Run, given: Labels | None) -> tf.data.Dataset:
    """Return endless batches of training images and labels.

    Args:
        run: The run.
        given: Weak labels, or None for the labels of the data.
    """
    config, info = run.config, run.dataset.info
    settings = data.PairSettings(
        image_size=run.size,
        # With weak labels batches are made after repeating: a few labeled images then still fill each batch.
        batch_size=config.batch_size if given is None else None,
        flip=True,
        cache=_fits_in_memory(info, config.resize or run.size),
        resize=config.resize,
        seed=config.seed,
    )
    pairs = run.dataset.training_pairs("train", settings, labels=given).repeat()
    if given is not None:
        pairs = pairs.batch(config.batch_size).prefetch(tf.data.AUTOTUNE)
    change = augmentation(config, info.num_classes)
    # Another seed than that of the order, or the augmentation would depend on the order.
    return pairs if change is None else data.augmented(pairs, change, config.seed + 1)


def _validation_data(run: _Run) -> tf.data.Dataset:
    """Return the validation images and labels; they are never augmented, and their labels are never weakened."""
    settings = data.PairSettings(run.size, run.config.batch_size, seed=run.config.seed)
    validation = run.dataset.training_pairs("validation", settings)
    if has_soft_labels(run.config):
        # The loss of mixed labels takes rows of shares.
        validation = validation.map(partial(one_hot, num_classes=run.dataset.info.num_classes))
    return validation


def epochs_of(config: TrainConfig, phase: str) -> tuple[int, int]:
    """Return the first epoch of a phase and the one after its last, counted over all phases."""
    first = 0
    for name in PHASES:
        length = config.epochs
        if name == "head":
            length = 0 if config.weights == "none" else config.head_epochs
        elif name == "pseudo":
            length = config.epochs if config.label_fraction < 1 else 0
        if name == phase:
            break
        first += length
    return first, first + length


def loss_of(config: TrainConfig) -> keras.losses.Loss:
    """Return the Keras loss of a run."""
    return keras_loss(config.loss, config.loss_options, has_soft_labels(config))


def _probabilities(run: _Run) -> NDArray[np.float32]:
    """Return the predictions of the best model so far for all training images, in their order."""
    settings = data.PairSettings(run.size, run.config.batch_size, shuffle=False)
    pairs = run.dataset.training_pairs("train", settings)
    return models.load(run.folder.best).predict(pairs.map(lambda image, _: image), verbose=0)


def image_size(config: TrainConfig, info: data.DatasetInfo) -> int:
    """Return the side of the images: of the config, the data set, or the backbone."""
    side = config.image_size or info.image_size or models.BACKBONES[config.backbone].input_size
    if config.resize is not None and config.resize < side:
        raise KerasxaiError(f"resize must be {side} or more, the size of the random crops, got {config.resize}")
    return side


def _fits_in_memory(info: data.DatasetInfo, size: int) -> bool:
    """Return whether the resized training images may be cached: up to 1 GiB of bytes."""
    return info.splits["train"] * size * size * 3 <= 2**30


def _new_model(config: TrainConfig, info: data.DatasetInfo, size: int) -> keras.Model:
    # On small images the last map of a backbone is too coarse for localization; data sets may recommend an earlier one.
    features = config.features
    if features is None and config.output_stride is None and info.feature_stride < 32:
        features = info.feature_stride
    return models.build_classifier(
        config.backbone,
        info.num_classes,
        config.head,
        weights=None if config.weights == "none" else config.weights,
        input_size=size,
        features=features,
        output_stride=config.output_stride,
        insert=insertion(config),
        class_names=info.class_names,
        seed=config.seed,
        **head_options(config, features is not None),
    )


def head_options(config: TrainConfig, early: bool) -> dict[str, Any]:
    """Return the options of the head: those of the config, of the recipe, and defaults for an early map.

    Args:
        config: The settings.
        early: Whether the head is below the last map of the backbone.
    """
    taken = taken_by(models.HEADS[config.head].builder)
    # Features of an early map do not represent classes yet: two convolutions combine them, for which 128 channels are
    # enough.
    defaults = {"depth": 2, "width": 128} if early else {}
    defaults = {name: value for name, value in defaults.items() if name in taken}
    return defaults | share_options(config.recipe, config.head, config.recipe_options)[1] | config.head_options


def _prepare(model: keras.Model, config: TrainConfig, phase: str, steps: int) -> None:
    """Set the trainable layers of a phase, and compile."""
    backbone = model.get_layer("backbone")
    from_scratch = config.weights == "none"
    backbone.trainable = from_scratch or phase != "head"
    if backbone.trainable and not from_scratch:
        # Only the upper layers, and no batch normalization: the statistics of ImageNet are better than those of few
        # images.
        lowest = round(len(backbone.layers) * (1 - config.finetune_share))
        for number, layer in enumerate(backbone.layers):
            layer.trainable = number >= lowest and not isinstance(layer, keras.layers.BatchNormalization)
    rate = config.learning_rate if phase == "head" or from_scratch else config.finetune_rate
    model.compile(
        optimizer_of(config, model, rate, steps),
        loss_of(config),
        metrics=["accuracy"],
        # On a CPU, XLA makes depthwise convolutions several times slower.
        jit_compile="auto" if tf.config.list_physical_devices("GPU") else False,
    )


def _callbacks(
    config: TrainConfig, folder: RunFolder, dataset: data.ImageDataset, size: int, phase: str, drawing: Drawing
) -> list[keras.callbacks.Callback]:
    measured = drawing.measured
    # The order matters: KeepEpochs saves the figures that the others put into the logs.
    callbacks: list[keras.callbacks.Callback] = []
    if dataset.info.has_boxes and measured != 0:
        annotated = dataset.batches("validation", size, config.batch_size)
        callbacks.append(
            LocalizationCallback(annotated.take(-(-measured // config.batch_size) if measured else -1), method="cam")
        )
    if drawing.methods and drawing.images:
        callbacks.append(
            ExplanationCallback(
                dataset.examples("validation", size, drawing.images, seed=config.seed),
                "true",
                drawing.methods,
                folder.path,
                every=drawing.every,
                class_names=dataset.class_names,
                count=drawing.images,
            )
        )
    return [*callbacks, KeepEpochs(folder, phase, config.patience)]


if __name__ == "__main__":
    sys.exit(resolve("kerasxai.cli:main")(["train", *sys.argv[1:]]))

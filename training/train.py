"""Fine-tuning a classifier in two phases: the head alone, then the head and the upper backbone.

Run it as `kerasxai train ...` or `python -m kerasxai.training.train ...`.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kerasxai import data, models, viz
from kerasxai.callbacks import ExplanationCallback, LocalizationCallback
from kerasxai.tools.commands import run_module
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.folders import locked
from kerasxai.tools.printable import printable
from kerasxai.tools.settings import from_options
from kerasxai.training.config import TRAIN, Drawing, TrainConfig
from kerasxai.training.losses import keras_loss
from kerasxai.training.optimizers import optimizer_of
from kerasxai.training.recipe_parts import augmentation, has_soft_labels, insertion, one_hot
from kerasxai.training.recipes import share_options, taken_by
from kerasxai.training.run_folder import KeepEpochs, RunFolder
from kerasxai.training.weak_labels import RunLabels, is_weak

PHASES = ("head", "finetune", "pseudo")
"""The last one is there only where labels are missing."""


def run(options: argparse.Namespace) -> None:
    """Trains as the command line says and tells where the results lie."""
    _train_into(from_options(TrainConfig, options), options.out, from_options(Drawing, options), "auto")
    print(f"trained model and heatmaps: {options.out}")


def train(
    config: TrainConfig,
    out: str | Path,
    methods: Sequence[str] = ("cam", "gradcam"),
    explain_images: int = 8,
    explain_every: int = 1,
    localize_images: int | None = None,
    verbose: int | str = "auto",
) -> Path:
    """Trains a classifier; a run that was stopped goes on where it was, to the same weights.

    Only images and labels are read for training, and the validation loss alone decides which epoch is best: boxes and
    masks are looked at for the localization figures in the history and nowhere else.

    Args:
        config: What to train.
        out: The run's folder: `config.json`, `command.txt`, `history.csv`, `heatmaps/`, and at the end
            `history.png`, `metrics.json` and `model.keras`.
        methods: Explainers that are drawn each epoch, on validation images chosen over the classes by the seed.
        explain_images: How many images are drawn.
        explain_every: Epochs between drawings.
        localize_images: How many validation images are measured each epoch, rounded up to whole batches; None: all; 0:
            none.
        verbose: As `keras.Model.fit` takes it.

    Returns:
        The path of the finished model.

    Raises:
        KerasxaiError: The data, the backbone or an option is wrong, or the folder holds another run.

    Example:
        >>> train(TrainConfig(data="shapes", head="gap"), "runs/gap")
    """
    drawing = Drawing(tuple(methods), explain_images, explain_every, localize_images)
    return _train_into(config, Path(out), drawing, verbose)


def _train_into(config: TrainConfig, out: Path, drawing: Drawing, verbose: int | str) -> Path:
    check_apart(out, config.data)
    with locked(out):
        return _train(config, out, drawing, verbose)


def check_apart(out: str | Path, folder: str) -> None:
    """Refuses to write into the data's own folder, whose images pictures would lie among; a folder in it is fine.

    Raises:
        KerasxaiError: `out` is the folder of the data.
    """
    if Path(folder).is_dir() and Path(out).resolve() == Path(folder).expanduser().resolve():
        raise KerasxaiError(f"expected an --out apart from the images, got the data folder {folder}; name another one")


def _train(config: TrainConfig, out: Path, drawing: Drawing, verbose: int | str) -> Path:
    config.check_same(out)
    folder = RunFolder(out)
    if folder.model.exists():
        return folder.model
    dataset = data.open(config.data, data_dir=config.data_dir, boxes_csv=config.boxes_csv)
    info = dataset.info
    for split in ("train", "validation"):
        if split not in info.splits:
            raise KerasxaiError(f"{config.data} has no split {split!r}, only {', '.join(info.splits)}")
        if not info.splits[split]:
            raise KerasxaiError(
                f"expected images to train and to validate on, got none for {split} in {printable(config.data)}; of a "
                "folder a tenth of each class is held out to validate and a tenth to test, at least one image where "
                "a class has two: give some class three images, or a validation folder"
            )
    dataset.check_images(("train", "validation"))
    keras.utils.set_random_seed(config.seed)
    with _policy(config.mixed_precision):
        # Built before anything is written, so that a mistake in the config leaves no folder behind.
        model = None if folder.rows else _new_model(config, info, image_size(config, info))
        loss_of(config)
        labels = RunLabels(config, folder, dataset) if is_weak(config) else None
        augmentation(config, info.num_classes)
        config.write(out)
        for phase in PHASES:
            _run_phase(config, folder, dataset, phase, model, labels, drawing, verbose)
    history = {name: [row.get(name, float("nan")) for row in folder.rows] for name in _figures(folder.rows)}
    viz.save_png(out / "history.png", viz.plot_history(history, [int(row["epoch"]) + 1 for row in folder.rows]))
    folder.write_json("metrics.json", folder.summary() | ({} if labels is None else {"labels": labels.counts()}))
    folder.finish()
    return folder.model


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


def _run_phase(
    config: TrainConfig,
    folder: RunFolder,
    dataset: data.ImageDataset,
    phase: str,
    model: keras.Model | None,
    labels: RunLabels | None,
    drawing: Drawing,
    verbose: int | str,
) -> None:
    start, end = epochs_of(config, phase)
    done = folder.rows_of(phase)
    if len(done) >= end - start or folder.stale(phase, config.patience):
        return
    info = dataset.info
    size = image_size(config, info)
    steps = -(-info.splits["train"] // config.batch_size)
    given = None
    if labels is not None:
        given = labels.of_phase(phase, lambda: _probabilities(config, folder, dataset, size))
        print(labels.told(), flush=True)
        if phase == "pseudo" and not labels.counts()["pseudo"]:
            return
    if done:
        model = models.load(folder.checkpoint(folder.rows[-1]["epoch"]), compile=True)
    else:
        model = models.load(folder.best) if folder.rows or model is None else model
        _prepare(model, config, phase, steps * (end - start))
    # Few labeled images are gone through several times within an epoch, in full batches.
    batch_size = config.batch_size if given is None else None
    settings = data.PairSettings(
        image_size=size,
        batch_size=batch_size,
        flip=True,
        cache=_fits(info, config.resize or size),
        resize=config.resize,
        seed=config.seed,
    )
    pairs = dataset.training_pairs("train", settings, labels=given).repeat()
    if given is not None:
        pairs = pairs.batch(config.batch_size).prefetch(tf.data.AUTOTUNE)
    settings = data.PairSettings(size, config.batch_size, seed=config.seed)
    validation = dataset.training_pairs("validation", settings)
    change = augmentation(config, info.num_classes)
    if change is not None:
        pairs = data.augmented(pairs, change, config.seed + 1)
    if has_soft_labels(config):
        validation = validation.map(partial(one_hot, num_classes=info.num_classes))
    # Each pass over the pairs has an order and an augmentation of its own; the passes already made are left out.
    first = start + len(done)
    model.fit(
        pairs.skip(steps * first),
        steps_per_epoch=steps,
        initial_epoch=first,
        epochs=end,
        validation_data=validation,
        shuffle=False,  # the pairs come mixed
        callbacks=_callbacks(config, folder, dataset, size, phase, drawing),
        verbose=verbose,
    )


def epochs_of(config: TrainConfig, phase: str) -> tuple[int, int]:
    """Returns the first epoch of a phase and the one after its last, counted through all phases."""
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


def loss_of(config: TrainConfig) -> Any:
    """Returns the Keras loss of a run."""
    return keras_loss(config.loss, config.loss_options, has_soft_labels(config))


def _probabilities(config: TrainConfig, folder: RunFolder, dataset: data.ImageDataset, size: int) -> Any:
    """Returns what the best model so far says of all training images, in their order."""
    pairs = dataset.training_pairs("train", data.PairSettings(size, config.batch_size, shuffle=False))
    return models.load(folder.best).predict(pairs.map(lambda image, _: image), verbose=0)


def image_size(config: TrainConfig, info: data.DatasetInfo) -> int:
    """Returns the side of the images: the config's, the data set's own, or the backbone's."""
    side = config.image_size or info.image_size or models.BACKBONES[config.backbone].input_size
    if config.resize is not None and config.resize < side:
        raise KerasxaiError(f"no square of {side} can be cut from images resized to {config.resize}")
    return side


def _fits(info: data.DatasetInfo, size: int) -> bool:
    """Tells whether the resized training images may stay in memory: up to 1 GiB of bytes."""
    return info.splits["train"] * size * size * 3 <= 2**30


def _new_model(config: TrainConfig, info: data.DatasetInfo, size: int) -> keras.Model:
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
    """Returns the options of the head: the config's, the recipe's, and on an early map what suits a head there.

    Args:
        config: What is trained.
        early: Whether the head stands below the backbone's last map. Features from there name no class yet: two
            convolutions have to put them together, and 128 channels are enough for what they see.
    """
    taken = taken_by(models.HEADS[config.head].builder)
    suited = {"depth": 2, "width": 128} if early else {}
    suited = {name: value for name, value in suited.items() if name in taken}
    return suited | share_options(config.recipe, config.head, config.recipe_options)[1] | config.head_options


def _prepare(model: keras.Model, config: TrainConfig, phase: str, steps: int) -> None:
    """Chooses what a phase trains, and compiles.

    Batch normalization stays frozen in a pretrained backbone: its statistics are worth more than those of few images.
    """
    backbone = model.get_layer("backbone")
    from_scratch = config.weights == "none"
    backbone.trainable = from_scratch or phase != "head"
    if backbone.trainable and not from_scratch:
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
    sys.exit(run_module("kerasxai.training.train", TRAIN, run))

"""Training of a reader: the backbone's maps are computed once, and only the layers above them are trained.

The finished model is both in one, from pixels to words.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from rich.progress import track

from kerasxai import data, models
from kerasxai.data.scenes import count_scenes
from kerasxai.engine.keras_internals import build_training_state
from kerasxai.tools.folders import locked
from kerasxai.training.run_folder import KeepEpochs, RunFolder
from kerasxai.training.words.attention_reader import SIDE
from kerasxai.training.words.scene_config import SceneConfig

Batch = Mapping[str, np.ndarray]
"""Scenes of `kerasxai.data.load_scenes`, by field."""
Verbosity = int | str
_CHUNK = 64


@dataclass(frozen=True)
class ReaderParts:
    """The parts in which a captioner and an answerer differ.

    Attributes:
        build: A function from the shape of the backbone's map and the width to a new reader.
        read: A function from a batch to the further input of the reader, its targets, and their weights or None.
        assemble: A function from backbone and reader to the whole model.
    """

    build: Callable[[Sequence[int], int], keras.Model]
    read: Callable[[Batch], tuple[np.ndarray, np.ndarray, np.ndarray | None]]
    assemble: Callable[[keras.Model, keras.Model], keras.Model]


def backbone(config: SceneConfig) -> keras.Model:
    """Return the frozen backbone, from raw pixels to the input map of the reader."""
    weights = None if config.weights == "none" else config.weights
    # The two classes are not used: only the backbone is taken out of the classifier.
    classifier = models.build_classifier(config.backbone, 2, weights=weights, input_size=SIDE, features=config.features)
    base = classifier.get_layer("backbone")
    base.trainable = False
    return base


def scene_batches(
    split: str, config: SceneConfig, limit: int | None, title: str, masks: bool = False
) -> Iterator[Batch]:
    """Yield batches of a split as NumPy arrays, with a progress bar."""
    count = count_scenes(split, config.data_dir)
    count = count if limit is None else min(limit, count)
    scenes = data.load_scenes(split, data_dir=config.data_dir, with_masks=masks).take(count).batch(_CHUNK)
    yield from track(scenes.as_numpy_iterator(), title, total=-(-count // _CHUNK), transient=True)


def maps_of(base: keras.Model, images: NDArray) -> NDArray[np.float16]:
    """Return the backbone's maps of uint8 images, in half precision because those of all images are in memory."""
    return np.asarray(base.predict_on_batch(tf.cast(images, tf.float32)), np.float16)


def train_reader(parts: ReaderParts, config: SceneConfig, out: str | Path, verbose: Verbosity = "auto") -> keras.Model:
    """Train a reader and return the whole model; a finished run is loaded, a stopped one continues.

    Args:
        parts: The parts of the model.
        config: Settings of the training.
        out: Folder of the run.
        verbose: As for `keras.Model.fit`.

    Raises:
        KerasxaiError: The folder contains another run.
    """
    with locked(out):
        config.check_same(Path(out))
        folder = RunFolder(Path(out))
        if folder.model.exists():
            return models.load(folder.model)
        keras.utils.set_random_seed(config.seed)
        base = backbone(config)
        # Built before anything is written, so that a mistake in the config leaves no folder behind.
        new = None if folder.rows else parts.build(base.output_shape[1:], config.width)
        config.write(folder.path)
        model = parts.assemble(base, _fit_reader(config, folder, new, parts, base, verbose))
        folder.write_json("metrics.json", folder.summary())
        folder.finish(model)
        return model


def _fit_reader(
    config: SceneConfig,
    folder: RunFolder,
    reader: keras.Model | None,
    parts: ReaderParts,
    base: keras.Model,
    verbose: Verbosity,
) -> keras.Model:
    """Train a reader on cached maps; a stopped run continues.

    Args:
        config: Settings of the training.
        folder: Folder of the run.
        reader: A new reader; not used if there are epochs to continue from.
        parts: The parts of the model.
        base: The backbone.
        verbose: As for `keras.Model.fit`.

    Returns:
        The reader of the epoch with the lowest validation loss.
    """
    done = len(folder.rows)
    if done >= config.epochs or folder.stale(config.task, config.patience):
        return models.load(folder.best)
    # The backbone is frozen, so that its maps are the same in every epoch and are computed once.
    training = _arrays(config, "train", config.train_images, parts, base)
    validation = _arrays(config, "validation", None, parts, base)
    images = len(training[0][0])
    steps = -(-images // config.batch_size)
    if done:
        reader = models.load(folder.checkpoint(folder.rows[-1]["epoch"]), compile=True)
    else:
        assert reader is not None
        _compile(reader, config, steps * config.epochs)
    pairs = tf.data.Dataset.from_tensor_slices(training)
    pairs = pairs.shuffle(images, seed=config.seed, reshuffle_each_iteration=True)
    pairs = pairs.batch(config.batch_size).prefetch(tf.data.AUTOTUNE)
    build_training_state(reader, pairs)
    reader.fit(
        # Each pass has its order; skipping the completed passes makes a continued run see the same batches.
        pairs.repeat().skip(steps * done),
        steps_per_epoch=steps,
        initial_epoch=done,
        epochs=config.epochs,
        validation_data=tf.data.Dataset.from_tensor_slices(validation).batch(_CHUNK),
        shuffle=False,  # already shuffled above
        callbacks=[KeepEpochs(folder, config.task, config.patience)],
        verbose=verbose,
    )
    # Not the reader in memory: the best epoch may be an earlier one.
    return models.load(folder.best)


def _arrays(
    config: SceneConfig, split: str, limit: int | None, parts: ReaderParts, base: keras.Model
) -> tuple[tuple[NDArray, NDArray], *tuple[NDArray, ...]]:
    """Return a split as `((maps, words), targets)` or `((maps, words), targets, weights)`."""
    batches = []
    for batch in scene_batches(split, config, limit, f"computing the features of {split}"):
        words, targets, weights = parts.read(batch)
        batches.append((maps_of(base, batch["image"]), words, targets, *([] if weights is None else [weights])))
    maps, words, *rest = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    return ((maps, words), *rest)


def _compile(reader: keras.Model, config: SceneConfig, steps: int) -> None:
    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    reader.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-4, global_clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=["accuracy"],
        # On a CPU, XLA makes such small models slower.
        jit_compile="auto" if tf.config.list_physical_devices("GPU") else False,
    )

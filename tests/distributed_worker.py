"""A training in one of several processes, for the tests of `training/distributed.py`.

Run as `python distributed_worker.py FOLDER INDEX HOST:PORT,... CASE...`, or `... FOLDER mirrored`.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_backbone import in_backbones

from kerasxai import Explainer
from kerasxai.callbacks import LocalizationCallback
from kerasxai.cli import main as kerasxai_main
from kerasxai.cli import parser_of
from kerasxai.tools.settings import from_options
from kerasxai.training import distributed_run
from kerasxai.training.config import TrainConfig
from kerasxai.training.distributed import Workers, fit
from kerasxai.training.drawing import Drawing
from kerasxai.training.train import train_into

ROWS, BATCH, SIDE = 20, 8, 6


def model_of(normalizes: bool) -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIDE, SIDE, 1))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="maps")(inputs)
    if normalizes:
        x = keras.layers.BatchNormalization(momentum=0.8)(x)
    frozen = keras.layers.Conv2D(3, 1, name="frozen")
    frozen.trainable = False
    outputs = keras.layers.Dense(3, activation="softmax")(keras.layers.GlobalAveragePooling2D()(frozen(x)))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.3, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def batches() -> tf.data.Dataset:
    chance = np.random.default_rng(0)
    labels = np.arange(ROWS) % 3
    images = chance.normal(size=(ROWS, SIDE, SIDE, 1)) + labels[:, None, None, None]
    # The last batch has fewer rows.
    return tf.data.Dataset.from_tensor_slices((images.astype(np.float32), labels)).batch(BATCH)


class Halve(keras.callbacks.Callback):
    """Changes the learning rate at the end of an epoch, and stops after the fourth of many."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.model.optimizer.learning_rate = float(self.model.optimizer.learning_rate) / 2
        self.model.stop_training = epoch == 3


class StopWithin(keras.callbacks.Callback):
    """Stops within the first epoch."""

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.model.stop_training = True


def killing(given: tf.data.Dataset, after: int) -> tf.data.Dataset:
    """Return batches whose reader kills the process after some of them."""
    count = 0

    def read(labels: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        if count > after:
            os.kill(os.getpid(), signal.SIGKILL)
        return labels

    return given.map(lambda x, y: (x, tf.ensure_shape(tf.numpy_function(read, [y], y.dtype), y.shape)))


def train(
    model: keras.Model, workers: Workers | None, epochs: int, callbacks: list[keras.callbacks.Callback]
) -> dict[str, list[float]]:
    settings: dict[str, Any] = {"epochs": epochs, "verbose": 0, "callbacks": callbacks, "shuffle": False}
    settings["validation_data"] = batches()
    trained = model.fit(batches(), **settings) if workers is None else fit(model, workers, batches(), **settings)
    return trained.history


def results(folder: Path, workers: Workers | None, cases: list[str]) -> None:
    """Train each case, and write its weights and figures."""
    index = 0 if workers is None else workers.index
    alone = "alone" if workers is None else str(index)
    for case in cases:
        model = model_of(case == "normalized")
        if index:
            # Other weights than those of the chief, which all have to begin with.
            model.set_weights([weight + 1 for weight in model.get_weights()])
        callbacks: list[keras.callbacks.Callback] = [Halve()]
        if case == "within" and index == 0:
            callbacks = [StopWithin()]
        if case in ("begun", "continued"):
            callbacks.append(keras.callbacks.BackupAndRestore(folder / f"backup_{alone}", delete_checkpoint=False))
        history = train(model, workers, 2 if case == "begun" else 9, callbacks)
        found: dict[str, Any] = {name: np.array(its) for name, its in history.items()}
        found |= {f"weight{number}": weight for number, weight in enumerate(model.get_weights())}
        np.savez(folder / f"{case}_{alone}.npz", **found)


def run_words(folder: Path, out: str) -> list[str]:
    """Return the words of a training by the command line, without layers whose batch statistics would differ."""
    words = "--backbone Tiny --image-size 40 --features 4 --head-option depth=0 --head-phase epochs --head-epochs 1"
    words += (
        " --epochs 2 --batch-size 8 --augment flip --learning-rate 0.01 --explain cam --explain-images 2 --report 0"
    )
    return ["train", "--data", str(folder / "photos"), *words.split(), "--out", str(folder / out)]


def killed_run(folder: Path, workers: Workers) -> None:
    """Train as the command line does; the second process kills itself in the second fit."""
    options = parser_of("train").parse_args(run_words(folder, "run")[1:])
    if workers.is_chief:
        train_into(from_options(TrainConfig, options), options.out, from_options(Drawing, options), 0, workers)
        return
    original = distributed_run.training_data
    fits: list[object] = []

    def data_of(*words: Any) -> tf.data.Dataset:
        fits.append(words)
        return killing(original(*words), 2) if len(fits) == 2 else original(*words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed_run, "training_data", data_of)
        distributed_run.serve(workers)


def mirrored(folder: Path) -> None:
    """Train and explain on two devices of this process, with Keras' own `fit` and a callback that explains."""
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    images, labels = next(iter(batches().unbatch().batch(ROWS)))
    boxes = np.tile(np.array([[[0.1, 0.1, 0.7, 0.9]]], np.float32), (ROWS, 1, 1))
    validation = {"image": images.numpy(), "label": labels.numpy(), "boxes": boxes}
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = model_of(normalizes=False)
    for name, trained in (("mirrored", model), ("single", model_of(normalizes=False))):
        callback = LocalizationCallback([validation], method="gradcam")
        # Batches that divide evenly, as Keras' own `fit` on several devices needs for the mean over all rows.
        history = trained.fit(
            batches().unbatch().batch(10), epochs=3, verbose=0, shuffle=False, callbacks=[callback]
        ).history
        found: dict[str, Any] = {key: np.array(its) for key, its in history.items()}
        found |= {f"weight{number}": weight for number, weight in enumerate(trained.get_weights())}
        found["maps"] = Explainer(trained, "gradcam")(images.numpy()).heatmaps
        np.savez(folder / f"{name}.npz", **found)


def main() -> None:
    """Run the cases of the command line."""
    where, number, *rest = sys.argv[1:]
    folder = Path(where)
    if number == "mirrored":
        mirrored(folder)
        return
    addresses, *names = rest
    with in_backbones(40):
        if "run" in names:
            command = ["--workers", addresses, "--worker", number]
            assert kerasxai_main([*run_words(folder, "run"), *command]) == 0
        workers = Workers.connect(addresses.split(","), int(number))
        results(folder, workers, [name for name in names if name not in ("run", "killed")])
        if "killed" in names:
            killed_run(folder, workers)


if __name__ == "__main__":
    main()

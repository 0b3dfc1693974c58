"""Measure the share of an epoch that `ExplanationCallback` takes.

The callback explains 16 images with Grad-CAM at the end of each epoch and writes the overlays. The model is MobileNetV2
with random weights at 224 pixels. The epoch has 1000 images in batches of 16 and updates all weights; on a larger data
set the share is smaller in proportion.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType

import keras
import numpy as np
import tensorflow as tf

import kerasxai
from benchmarks.rounds import interleaved, ratios
from benchmarks.subject import SIZE
from benchmarks.tables import Cell, Figure, Ratio, Table, in_rounds
from kerasxai.viz import encode_png

QUICK = MappingProxyType({"repeats": 2, "size": 96})
BATCH = 16
EPOCHS = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=7, help="rounds")
    parser.add_argument("--size", type=int, default=SIZE, help="the side of the images")
    parser.add_argument("--images", type=int, default=1000, help="images of an epoch")


def run(arguments: argparse.Namespace) -> Iterator[Table]:
    images = np.random.default_rng(0).uniform(0, 255, (BATCH, 7, 7, 3))
    # Noise cannot be compressed: pictures as smooth as photographs are made of it.
    images = tf.image.resize(images, (arguments.size, arguments.size), "bicubic").numpy().clip(0, 255)
    with tempfile.TemporaryDirectory() as folder:
        functions = _functions(images, Path(folder))
        for function in functions.values():
            function()
        taken = interleaved(functions, arguments.repeats)
    steps = arguments.images / BATCH
    rows: list[tuple[Cell, ...]] = []
    for name, seconds in taken.items():
        share = None
        if name.startswith("callback"):
            by_step = [cpu for cpu, _ in ratios(seconds, taken["training step"])]
            share = Figure.of([100 * cost / (cost + steps) for cost in by_step])
        rows.append((name, Ratio.of(ratios(seconds, taken["forward pass"])), share))
    columns = ("what", "in forward passes of 16 images", f"% of an epoch of {arguments.images} images")
    notes = (
        f"CPU time: median [least, largest] {in_rounds(arguments.repeats)}, in parentheses wall time.",
        "The share is that of CPU time.",
    )
    yield Table("callback", "What callbacks take of an epoch", columns, tuple(rows), notes)


def _functions(images: np.ndarray, folder: Path) -> dict[str, Callable[[], object]]:
    model = _model(images.shape[1])
    explain = kerasxai.Explainer(model, "gradcam")
    forward = tf.function(lambda x: model(x, training=False), autograph=False)
    tensor, labels = tf.constant(images), tf.range(BATCH)
    sheet = np.concatenate(list(images.astype(np.uint8)))
    # Another model with the same weights, because training changes weights.
    trained = _model(images.shape[1])
    trained.compile("sgd", "sparse_categorical_crossentropy")
    return {
        "forward pass": lambda: forward(tensor),
        "training step": lambda: trained.train_on_batch(tensor, labels),
        "heatmaps": lambda: explain(images),
        "callback, PNG": _epoch_end(model, images, folder / "png", png=True, tensorboard=False),
        "callback, TensorBoard": _epoch_end(model, images, folder / "board", png=False, tensorboard=True),
        "callback, both": _epoch_end(model, images, folder / "both", png=True, tensorboard=True),
        "PNG of the images, kerasxai": lambda: encode_png(sheet),
        "PNG of the images, TensorFlow": lambda: tf.io.encode_png(sheet),
    }


def _model(size: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((size, size, 3))
    network = keras.applications.MobileNetV2(weights=None, input_shape=(size, size, 3))
    return keras.Model(inputs, network(keras.layers.Rescaling(1 / 127.5, -1)(inputs)))


def _epoch_end(
    model: keras.Model, images: np.ndarray, folder: Path, png: bool, tensorboard: bool
) -> Callable[[], object]:
    callback = kerasxai.callbacks.ExplanationCallback(images, log_dir=folder, png=png, tensorboard=tensorboard)
    callback.set_model(model)
    callback.set_params({"epochs": EPOCHS})
    callback.on_train_begin()
    epochs = iter(range(EPOCHS))
    return lambda: callback.on_epoch_end(next(epochs), {})

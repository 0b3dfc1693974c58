"""What an epoch's pictures cost a training: `python -m benchmarks drawing`.

Sixteen Grad-CAM maps of MobileNetV2 (random weights) at 224, as `ExplanationCallback` makes and writes them, as ratios
to one forward pass of these sixteen images; CPU time.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kerasxai
from kerasxai.viz import encode_png


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=7)


def run(arguments: argparse.Namespace) -> None:
    images = np.random.default_rng(0).uniform(0, 255, (16, 7, 7, 3))
    # Noise cannot be compressed, so that pictures as smooth as photographs are made of it.
    images = tf.image.resize(images, (224, 224), "bicubic").numpy().clip(0, 255)
    model = _model()
    explain = kerasxai.Explainer(model, "gradcam")
    forward = tf.function(lambda x: model(x, training=False), autograph=False)
    tensor = tf.constant(images)
    sheet = np.concatenate(list(images.astype(np.uint8)))
    with tempfile.TemporaryDirectory() as folder:
        parts: dict[str, Callable[[], Any]] = {
            "forward": lambda: forward(tensor),
            "maps": lambda: explain(images),
            "callback, PNG": _epoch(model, images, Path(folder, "png"), png=True, tensorboard=False),
            "callback, TensorBoard": _epoch(model, images, Path(folder, "board"), png=False, tensorboard=True),
            "callback, both": _epoch(model, images, Path(folder, "both"), png=True, tensorboard=True),
            "PNG of the images, kerasxai": lambda: encode_png(sheet),
            "PNG of the images, TensorFlow": lambda: tf.io.encode_png(sheet),
        }
        taken: dict[str, list[float]] = {name: [] for name in parts}
        for _ in range(arguments.repeats + 1):
            for name, function in parts.items():
                start = time.process_time()
                function()
                taken[name].append(time.process_time() - start)
    # The first round traces.
    medians = {name: statistics.median(values[1:]) for name, values in taken.items()}
    for name, seconds in medians.items():
        print(f"{name:32}{seconds / medians['forward']:7.2f}{1000 * seconds:9.0f} ms")


def _model() -> Any:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((224, 224, 3))
    network = keras.applications.MobileNetV2(weights=None)
    return keras.Model(inputs, network(keras.layers.Rescaling(1 / 127.5, -1)(inputs)))


def _epoch(model: Any, images: np.ndarray, folder: Path, png: bool, tensorboard: bool) -> Callable[[], Any]:
    callback = kerasxai.callbacks.ExplanationCallback(images, log_dir=folder, png=png, tensorboard=tensorboard)
    callback.set_model(model)
    callback.set_params({"epochs": 1000})
    callback.on_train_begin()
    epochs = iter(range(1000))
    return lambda: callback.on_epoch_end(next(epochs), {})

"""The model and the images that are timed. As a script, time the methods of one installation on request."""

import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

SIZE = 224
# Passes of 224 pixels until the weights are constants in long loops, in every version since 0.1.0.
UNTIL_CONSTANT = 400
Seconds = tuple[float, float]


def make_model(name: str, size: int = SIZE) -> keras.Model:
    """Return a model of `keras.applications` with random weights and the statistics of some images.

    Fresh normalizations have shifts of 0, and TensorFlow removes additions of 0 from a graph with constant weights.

    Args:
        name: Such as "ResNet50"; "MobileNetV2:0.35" has 0.35 times as many channels.
        size: The side of its images.
    """
    keras.utils.set_random_seed(0)
    name, _, alpha = name.partition(":")
    width = {"alpha": float(alpha)} if alpha else {}
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), **width)
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            layer.gamma.assign(generator.uniform(0.8, 1.2, layer.gamma.shape))
            layer.beta.assign(generator.normal(0, 0.1, layer.beta.shape))
    model(make_images(generator, 8, size), training=True)
    return model


def make_images(generator: np.random.Generator, count: int, size: int = SIZE) -> np.ndarray:
    """Return enlarged noise `(count, size, size, 3)`, which superpixels can be cut from."""
    noise = generator.uniform(-1, 1, (count, 14, 14, 3))
    return tf.image.resize(noise, (size, size), "bicubic").numpy()


def seconds_of(function: Callable[[], Any]) -> Seconds:
    """Return the CPU and the wall seconds of a call, without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        cpu, wall = time.process_time(), time.perf_counter()
        function()
        return time.process_time() - cpu, time.perf_counter() - wall


def _serve() -> None:
    """Read a line of JSON, answer with a line: a case is built and called until it is warm, `null` times one call."""
    import kerasxai

    model, call = make_model(sys.argv[1]), None
    print(json.dumps([kerasxai.__version__, tf.__version__, keras.__version__]), flush=True)
    for line in sys.stdin:
        case = json.loads(line)
        if case is None:
            assert call is not None
            print(json.dumps(seconds_of(call)), flush=True)
            continue
        generator = np.random.default_rng(0)
        images = make_images(generator, case["batch"])
        targets = generator.integers(0, model.output_shape[-1], case["batch"])
        explain = kerasxai.Explainer(model, case["method"], progress=False, **case["options"])
        call = lambda explain=explain, images=images, targets=targets: explain(images, targets)  # noqa: E731
        first = seconds_of(call)
        for _ in range(1 + UNTIL_CONSTANT // case["passes"] if case["passes"] else 1):
            seconds_of(call)
        print(json.dumps(first), flush=True)


if __name__ == "__main__":
    _serve()

"""Backbones trained from random weights on drawn objects, for measurements without ImageNet weights.

Objects and backgrounds are those of the data set `shapes`. All objects are large: with small ones a training from
random weights takes many more images.
"""

from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import report
from kerasxai.data.shapes import backgrounds
from kerasxai.data.shapes.draw import CLASSES, draw_scene, sample_object
from kerasxai.models import build_classifier
from kerasxai.models.loading import load_classifier
from kerasxai.tools.files import atomic_path, read_json, write_json

PREFIX = "shapes:"
SIDE = 96
SHARES = (0.6, 0.8)
"""The longer side of an object as a share of the side of the image."""
TRAINING, TEST, EPOCHS, BATCH = 12_000, 800, 2, 16


def trained(backbone: str, folder: Path) -> tuple[keras.Model, float]:
    """Return a trained backbone and its accuracy on test images, from a folder if an earlier run has written them.

    Args:
        backbone: A name in `kerasxai.models.BACKBONES`.
        folder: Where the model is kept.
    """
    path, figures = folder / f"{backbone}.keras", folder / f"{backbone}.json"
    # The accuracy is written last, when the model is complete.
    if not figures.exists():
        model = fitted_model(backbone, TRAINING, EPOCHS)
        correct = model.evaluate(*drawn("test", TEST), verbose=0, return_dict=True)["accuracy"]
        with atomic_path(path) as temporary:
            model.save(temporary)
        write_json(figures, {"accuracy": float(correct)})
    return load_classifier(path), read_json(figures)["accuracy"]


def drawn(split: str, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the first images of a split `(count, SIDE, SIDE, 3)` and their labels."""
    labels = np.arange(count) % len(CLASSES)
    return np.stack([_image(split, i, int(label)) for i, label in enumerate(labels)]), labels


def _image(split: str, index: int, label: int) -> NDArray[np.uint8]:
    random = np.random.default_rng([backgrounds.SPLITS.index(split), index])
    parts = sample_object(random, label, random.uniform(*SHARES), SIDE)
    extent = np.concatenate([part.outline for part in parts]).max(axis=0)
    return draw_scene(random, split, [(label, parts, random.uniform(0, SIDE - extent))], SIDE).image


def fitted_model(backbone: str, count: int, epochs: int) -> keras.Model:
    """Return a backbone with a GAP head, trained from random weights on the first images of the split "train"."""
    keras.utils.set_random_seed(0)
    model = build_classifier(
        backbone, len(CLASSES), weights=None, input_size=SIDE, class_names=CLASSES, name=backbone, seed=0
    )
    for layer in model.get_layer("backbone").layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # With the usual 0.99 or 0.999 the moving averages lag behind in a training of few steps.
            layer.momentum = 0.97
    steps = epochs * -(-count // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(1e-4, steps, warmup_target=1e-3, warmup_steps=steps // 10)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    logger = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: report(f"{backbone} | epoch {epoch + 1} of {epochs} | {logs}")
    )
    model.fit(*drawn("train", count), batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[logger])
    return model

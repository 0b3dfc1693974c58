"""The last phase of a training run: the kept model, rebuilt for larger images than those of training.

Touvron et al. 2019, "Fixing the train-test resolution discrepancy", arXiv:1906.06423: random crops enlarge the objects
of training images, so that a network classifies larger images better than those of the size that it was trained on. The
authors then also fine-tune the classifier at that size; here the logits are only divided by one number. Larger images
give maps of more positions, which localize better (docs/training.md).
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from kerasxai import data, models
from kerasxai.callbacks import LocalizationCallback
from kerasxai.models.classification_metrics import TEMPERATURES
from kerasxai.tools.epoch_names import FINAL_SIZE
from kerasxai.training.head_start import scale_classes
from kerasxai.training.multi_label import is_multi
from kerasxai.training.new_model import resized_model
from kerasxai.training.resolve import shown_size
from kerasxai.training.run_data import Run, validation_data
from kerasxai.training.run_folder import KeepEpochs, Row

_LOG = logging.getLogger(__name__)

_SMALLEST = 1.2e-38
"""The smallest normal float32, because a probability of 0 has no logarithm."""
_TEMPERATURES = (1 / 8, 8.0)
_HALVINGS = 50
"""Of the range of temperatures, on a logarithmic scale."""
Prepare = Callable[[keras.Model], None]


def run_final_size(run: Run, prepare: Prepare, callbacks: Callable[[Run], Sequence[keras.callbacks.Callback]]) -> None:
    """Measure the kept model on images of the final size as one epoch.

    Unless that size was given, the model for it is kept if its monitored figure is at most one standard error worse
    than at the size of training, and a probe keeps its size: it has seen no enlarged objects.

    Logits are means over positions, of which an object covers less in larger images than in random crops, so that
    probabilities come out too low. After a probe they are divided by one number, so that validation images are
    predicted as surely as at the size of training; this changes no prediction, and maps by a constant.

    Args:
        run: The run, with all other phases completed.
        prepare: Compiles the model.
        callbacks: Returns the callbacks of an epoch of a run, which measure and save; the last one keeps the epoch.
    """
    before = run.folder.best_row
    if run.plan.probe and before["phase"] == "head" and not run.final_size_given:
        _LOG.info("images of %s pixels: not tried with the probe", shown_size(run.config.final_image_size))
        return
    kept = models.load(run.folder.best)
    larger = replace(run, config=replace(run.config, image_size=run.config.final_image_size))
    model = resized_model(run.config, run.dataset.info)
    _copy_weights(kept, model)
    about: Row = {"source": before["epoch"]}
    trained = _predicted(run, kept)
    if run.plan.probe and not is_multi(run.config):
        about["temperature"] = matching_temperature(_predicted(larger, model)[0], trained[0])
        scale_classes(model, 1 / about["temperature"])
    prepare(model)
    *measuring, keep = callbacks(larger)
    assert isinstance(keep, KeepEpochs)
    keep.about = about
    monitor = run.plan.monitor
    if not run.final_size_given and monitor.endswith("_loc"):
        about["allowance"] = share_error(before.get(monitor, math.nan), _images_with_boxes(measuring))
    elif not run.final_size_given:
        about["allowance"] = standard_error(monitor, *trained)
    first, _ = run.plan.epochs_of(FINAL_SIZE)
    listed = keras.callbacks.CallbackList([*measuring, keep], model=model, epochs=first + 1, steps=1, verbose=0)
    listed.on_train_begin()
    listed.on_epoch_begin(first)
    figures = model.evaluate(validation_data(larger), verbose=0, return_dict=True)
    listed.on_epoch_end(first, {f"val_{name}": value for name, value in figures.items()})
    listed.on_train_end()
    _log(larger, before)


def _copy_weights(source: keras.Model, model: keras.Model) -> None:
    model.set_weights(source.get_weights())
    for layer in model.get_layer("backbone").layers:
        if isinstance(layer, keras.layers.Normalization):
            # It computes with copies of its weights.
            layer.finalize_state()


def _log(run: Run, before: Row) -> None:
    """Log the figure that decides, at both sizes, and whether the final one is kept."""
    row, monitor, best = run.folder.rows[-1], run.plan.monitor, run.folder.best_row
    if monitor not in row or monitor not in before:
        return
    allowance = f", standard error {row['allowance']:.2g}" if "allowance" in row else ""
    _LOG.info(
        "images of %s pixels: %s %.4g, before %.4g%s; %s",
        shown_size(run.config.image_size),
        monitor,
        row[monitor],
        before[monitor],
        allowance,
        "kept" if best is row else "not kept",
    )


def _predicted(run: Run, model: keras.Model) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return probabilities `(N, C)` and class numbers `(N,)` of the validation images."""
    found, labels = [], []
    for images, batch in validation_data(run):
        found.append(np.asarray(model.predict_on_batch(images), np.float32))
        labels.append(np.asarray(batch).argmax(-1) if len(batch.shape) == 2 else np.asarray(batch).reshape(-1))
    return np.concatenate(found), np.concatenate(labels).astype(np.int64)


def matching_temperature(probabilities: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Return the number, from 1/8 to 8, by which logits are divided to be as sure as given ones; 1 if some are NaN.

    Args:
        probabilities: `(N, C)` of those logits.
        reference: `(N, C)`, whose mean probability of the predicted class is matched.
    """
    logits, target = _logits(probabilities), float(reference.max(-1).mean())
    if not math.isfinite(float(logits.sum()) + target):
        return 1.0
    low, high = np.log(_TEMPERATURES)
    # The mean falls with the temperature, from 1 to that of chance.
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_surer = softmax(logits / math.exp(middle), axis=-1).max(-1).mean() > target
        low, high = (middle, high) if is_surer else (low, middle)
    return math.exp((low + high) / 2)


def _logits(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.log(np.maximum(np.asarray(probabilities, np.float64), _SMALLEST))


def _losses(logits: NDArray[np.float64], labels: NDArray[np.int64], temperature: float) -> NDArray[np.float64]:
    return -log_softmax(logits / temperature, axis=-1)[np.arange(len(labels)), labels]


def _images_with_boxes(callbacks: Sequence[keras.callbacks.Callback]) -> int:
    """Return the number of images that figures of localization are shares of."""
    (measured,) = (one.data for one in callbacks if isinstance(one, LocalizationCallback))
    assert isinstance(measured, tf.data.Dataset)
    boxes = (one for batch in measured.as_numpy_iterator() for one in data.unpad_boxes(batch["boxes"]))
    return sum(len(one) > 0 for one in boxes)


def share_error(share: float, count: int) -> float:
    """Return the standard error of a share of some images; NaN if it could not be measured.

    Example:
        >>> share_error(0.5, 100)
        0.05
    """
    return math.sqrt(share * (1 - share) / count) if count else math.nan


def standard_error(monitor: str, probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the standard error of a figure of classification over the validation images.

    Args:
        monitor: The figure; a loss, at the best temperature if it is the calibrated one, or an accuracy.
        probabilities: `(N, C)` of the validation images.
        labels: `(N,)` class numbers.

    Example:
        >>> standard_error("val_accuracy", np.array([[0.6, 0.4], [0.3, 0.7]] * 50), np.zeros(100, int))
        0.05
    """
    count = len(labels)
    if not monitor.endswith("loss"):
        right = probabilities.argmax(-1) == labels
        if monitor == "val_accuracy":
            return share_error(float(right.mean()), count)
        # Balanced: the mean of the shares of the classes.
        classes = [right[labels == number] for number in np.unique(labels)]
        return math.hypot(*(share_error(float(one.mean()), len(one)) for one in classes)) / len(classes)
    logits = _logits(probabilities)
    temperatures = TEMPERATURES if monitor == "val_calibrated_loss" else (1.0,)
    losses = [_losses(logits, labels, one) for one in temperatures]
    best = min(losses, key=np.mean)
    return float(best.std(ddof=1) / math.sqrt(count)) if count > 1 else 0.0

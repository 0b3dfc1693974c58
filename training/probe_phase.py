"""The first phase of a training run as a linear probe: the head fitted to the frozen backbone's pooled features."""

import time
from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.metrics import accuracy_score, log_loss, recall_score

from kerasxai import data
from kerasxai.data.choosing import spread_over_classes
from kerasxai.training.binary_probe import binary_loss, fit_binary_probe, mean_average_precision
from kerasxai.training.class_balance import balanced_weights
from kerasxai.training.head_start import has_convolutions, start_head
from kerasxai.training.labels import NO_LABEL
from kerasxai.training.multi_label import is_multi
from kerasxai.training.pooled_features import PooledFeatures, pooled_features
from kerasxai.training.probe import Probe, fit_probe
from kerasxai.training.run_data import Run, validation_data

_MOST_NUMBERS = 2**28
"""Of the features that are kept in memory: 1 GiB of float32, 200,000 images of 1,280 channels."""


def run_probe(run: Run, model: keras.Model, callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Fit the head to the pooled features of the training images, and record it as one epoch.

    Features are computed once, of images as they are in validation, and kept in the folder of the run until it is
    finished, so that a stopped run continues where it was.

    Args:
        run: The run.
        model: The new model, compiled.
        callbacks: The callbacks of an epoch, which measure, draw and save.
    """
    listed = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=1, steps=1, verbose=0)
    listed.on_train_begin()
    listed.on_epoch_begin(0)
    begun = time.monotonic()
    training, probe = _fitted(run, model)
    start_head(model, probe.weights, training, probe.biases)
    figures = model.evaluate(validation_data(run), verbose=0, return_dict=True)
    logs = _figures(training, probe, run.dataset.info.num_classes) | {f"val_{name}": figures[name] for name in figures}
    run.folder.write_json(
        "probe.json",
        {
            "C": probe.strength,
            "validation_log_loss": {f"{strength:g}": loss for strength, loss in probe.validation_losses.items()},
            "images": len(training.labels),
            "seconds": round(time.monotonic() - begun, 1),
        },
    )
    listed.on_epoch_end(0, logs)
    listed.on_train_end()


def _fitted(run: Run, model: keras.Model) -> tuple[PooledFeatures, Probe]:
    """Return the features of the training images, and the probe that fits them."""
    backbone = model.get_layer("backbone")
    info = run.dataset.info
    settings = data.PairSettings(run.size, run.plan.batch_size, shuffle=False, fit=run.config.fit)
    count, most = info.splits["train"], max(1, _MOST_NUMBERS // backbone.output_shape[-1])
    chosen = None if count <= most else spread_labels(run.dataset.labels("train"), most, run.config.seed)
    training = pooled_features(
        backbone,
        run.dataset.training_pairs("train", settings, labels=chosen),
        min(count, most),
        run.folder.checkpoints / "probe_train.npz",
        with_covariance=has_convolutions(model),
        progress=run.verbose != 0,
    )
    validation = pooled_features(
        backbone,
        run.dataset.training_pairs("validation", settings),
        info.splits["validation"],
        run.folder.checkpoints / "probe_validation.npz",
        progress=run.verbose != 0,
    )
    if is_multi(run.config):
        return training, fit_binary_probe(training, validation, run.positive_weights)
    balanced = run.config.class_weights == "balanced"
    weights = balanced_weights(training.labels, info.num_classes) if balanced else None
    return training, fit_probe(training, validation, info.num_classes, weights)


def spread_labels(labels: NDArray, count: int, seed: int) -> NDArray:
    """Return the labels of images spread over the classes, `(N,)` or `(N, C)`, -1 for all others."""
    chosen = spread_over_classes(labels, count, seed)
    kept = np.full_like(labels, NO_LABEL)
    kept[chosen] = labels[chosen]
    return kept


def _figures(training: PooledFeatures, probe: Probe, num_classes: int) -> dict[str, float]:
    """Return the figures of the probe on its training images."""
    if probe.biases is not None:
        present = expit(training.means @ probe.weights + probe.biases)
        precision = mean_average_precision(training.labels, present)
        return {"loss": binary_loss(training.labels, present), "mean_average_precision": precision}
    probabilities = softmax(training.means @ probe.weights, axis=1)
    predicted = probabilities.argmax(1)
    return {
        "loss": float(log_loss(training.labels, probabilities, labels=np.arange(num_classes))),
        "accuracy": float(accuracy_score(training.labels, predicted)),
        "balanced_accuracy": float(
            # The mean of the recalls; `balanced_accuracy_score` warns of predicted classes without an image.
            recall_score(training.labels, predicted, labels=np.unique(training.labels), average="macro")
        ),
    }

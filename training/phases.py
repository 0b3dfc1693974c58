"""The phases of a training run: the head, then also the upper backbone, averages of both models, pseudo-labels."""

import logging
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai import data, models
from kerasxai.callbacks import ExplanationCallback, LocalizationCallback
from kerasxai.callbacks.localization import DEFAULT_FIGURES, SEED_FIGURES
from kerasxai.engine.images.builtin_preprocessing import range_is_known
from kerasxai.models.classification_metrics import BalancedAccuracy, CalibratedLoss
from kerasxai.models.multi_label_losses import MeanAveragePrecisionMetric
from kerasxai.tools.epoch_names import FINAL_SIZE
from kerasxai.tools.log_services import has_tensorboard
from kerasxai.training.averages import START, end_of, run_averages
from kerasxai.training.config import TrainConfig
from kerasxai.training.distributed_run import Epochs, fit_phase
from kerasxai.training.final_size import run_final_size
from kerasxai.training.losses import keras_loss
from kerasxai.training.multi_label import drawn_samples, is_multi, multi_label_loss
from kerasxai.training.optimizers import optimizer_of
from kerasxai.training.plan import WARMUP_SHARE, Plan, rows_of_shares
from kerasxai.training.probe_phase import run_probe
from kerasxai.training.run_data import Run, validation_data
from kerasxai.training.run_folder import KeepEpochs
from kerasxai.training.run_log import LogEpochs

_LOG = logging.getLogger(__name__)


def run_phase(run: Run, phase: str, model: keras.Model | None) -> None:
    """Train the epochs of a phase that are not completed.

    Args:
        run: The run.
        phase: One of `PHASES`.
        model: The new model of a run without epochs.
    """
    folder = run.folder
    start, end = run.plan.epochs_of(phase)
    done = len(folder.rows_of(phase))
    # Averages are tried all, since they do not follow one from another.
    if done >= end - start or (phase != "average" and folder.stale(phase, run.plan.patience)):
        return

    # These read no training image.
    if phase == "average":
        run_averages(run, callbacks_of(run, phase))
        return
    if phase == FINAL_SIZE:
        run_final_size(run, partial(_prepared, run), lambda larger: callbacks_of(larger, phase))
        return

    given = None
    if run.labels is not None:
        given = run.labels.of_phase(phase, lambda: probabilities(run))
        _LOG.info(run.labels.summary())
        # Without a confident prediction the last phase would repeat the one before.
        if phase == "pseudo" and not run.labels.counts()["pseudo"]:
            return

    if phase == "finetune" and run.plan.averages and not done:
        folder.keep_copy(START)
    if phase == "head" and run.plan.probe:
        model = _begun(run, phase, model, end - start)
        run_probe(run, model, callbacks_of(run, phase))
        return
    length = run.plan.epochs if phase == "finetune" else end - start
    for begin in range(done - done % length, end - start, length):
        if done > begin:
            # Continue: the checkpoint of the last epoch, with the state of its optimizer.
            model = models.load(folder.checkpoint(folder.rows[-1]["epoch"]), compile=True)
        else:
            if begin:
                folder.keep_copy(end_of(begin // length - 1), folder.checkpoint(folder.rows[-1]["epoch"]))
            model = _begun(run, phase, model, length, again=begin > 0)
        # Order and augmentation depend on the number of the pass, so that skipping the completed passes makes a
        # continued run see the batches that it would have seen, and each fine-tuning others.
        first = start + max(done, begin)
        # A probe reads no batch of these.
        passes = first - run.plan.head_epochs if run.plan.probe else first
        epochs = Epochs(first, start + begin + length, passes)
        fit_phase(run, model, epochs, given, validation_data(run), callbacks_of(run, phase))
        done = begin + length


def _begun(run: Run, phase: str, model: keras.Model | None, epochs: int, *, again: bool = False) -> keras.Model:
    """Return the model that a phase begins with, compiled: the best so far, `again` that of the probe."""
    folder = run.folder
    if again:
        model = models.load(folder.checkpoints / START)
    elif folder.rows or model is None:
        # Not the last epoch's, and with a new optimizer.
        model = models.load(folder.best)
    prepare(model, run.config, run.plan, phase, run.steps * epochs, run.positive_weights)
    return model


def _prepared(run: Run, model: keras.Model) -> None:
    """Compile a model as the second phase does, for users who train on."""
    prepare(model, run.config, run.plan, "finetune", run.steps, run.positive_weights)
    # Keras warns when it loads an optimizer that was not built.
    model.optimizer.build(model.trainable_variables)


def loss_of(config: TrainConfig, plan: Plan, positive_weights: NDArray[np.float32] | None = None) -> keras.losses.Loss:
    """Return the Keras loss of a run."""
    if is_multi(config):
        return multi_label_loss(config.loss, config.loss_options, positive_weights)
    return keras_loss(config.loss, config.loss_options, rows_of_shares(config, plan))


def probabilities(run: Run) -> NDArray[np.float32]:
    """Return the predictions of the best model so far for all training images, in their order."""
    settings = data.PairSettings(run.size, run.plan.batch_size, shuffle=False, fit=run.config.fit)
    pairs = run.dataset.training_pairs("train", settings)
    return models.load(run.folder.best).predict(pairs.map(lambda image, _: image), verbose=0)


def metrics_of(config: TrainConfig, classes: int) -> list[str | keras.metrics.Metric]:
    """Return the Keras metrics of a run."""
    if is_multi(config):
        return [MeanAveragePrecisionMetric(classes)]
    return ["accuracy", BalancedAccuracy(classes), CalibratedLoss(classes)]


def prepare(
    model: keras.Model,
    config: TrainConfig,
    plan: Plan,
    phase: str,
    steps: int,
    positive_weights: NDArray[np.float32] | None = None,
) -> None:
    """Set the trainable layers of a phase, and compile."""
    backbone = model.get_layer("backbone")
    from_scratch = config.weights == "none"
    backbone.trainable = from_scratch or phase != "head"
    if backbone.trainable and not from_scratch:
        # Only the upper layers, and no batch normalization: the statistics of ImageNet are better than those of few
        # images.
        lowest = round(len(backbone.layers) * (1 - plan.finetune_share))
        for number, layer in enumerate(backbone.layers):
            layer.trainable = number >= lowest and not isinstance(layer, keras.layers.BatchNormalization)
    rate = config.learning_rate if phase == "head" or from_scratch else plan.finetune_rate
    after_probe = plan.probe and phase == "finetune"
    classes = model.output_shape[-1]
    model.compile(
        optimizer_of(
            config,
            model,
            rate,
            steps,
            start_decay=plan.start_decay if phase == "finetune" else 0.0,
            warmup=round(WARMUP_SHARE * steps) if after_probe else 0,
        ),
        loss_of(config, plan, positive_weights),
        metrics=metrics_of(config, classes),
        jit_compile=compiled_by_xla(config.jit),
    )
    if model.jit_compile:
        # Keras would build it in the first step, where XLA cannot copy the weights that the optimizer pulls toward.
        model.optimizer.build(model.trainable_variables)


def compiled_by_xla(jit: str) -> bool | str:
    """Return the argument `jit_compile` of Keras for a setting in `JIT`."""
    if jit != "auto":
        return jit == "on"
    # On a CPU, XLA makes depthwise convolutions several times slower.
    return "auto" if tf.config.list_physical_devices("GPU") else False


class _SameImages(keras.callbacks.Callback):
    """Excludes the model from the check of the range of arrays: callbacks get images as the training reads them."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        range_is_known(self.model)


def callbacks_of(run: Run, phase: str) -> list[keras.callbacks.Callback]:
    """Return the callbacks that measure, draw and save the epochs of a phase."""
    config, dataset, drawing, size = run.config, run.dataset, run.drawing, run.size
    measured = drawing.measured
    logged = [] if run.sinks is None or not run.sinks.names else [run.sinks]
    # The order matters: KeepEpochs saves the figures that the others put into the logs.
    callbacks: list[keras.callbacks.Callback] = [_SameImages()]
    if dataset.info.has_boxes and measured != 0:
        batch = run.plan.batch_size
        whole = None if measured is None else -(-measured // batch) * batch
        annotated = dataset.batches("validation", size, batch, fit=config.fit, part=whole)
        has_masks = is_multi(config) and "class_mask" in annotated.element_spec
        callbacks.append(LocalizationCallback(annotated, "cam", figures=SEED_FIGURES if has_masks else DEFAULT_FIGURES))
    # Maps of larger images cannot be in a timeline with those of training; the report draws the finished model.
    if drawing.methods and drawing.images and phase != FINAL_SIZE:
        samples = dataset.examples("validation", size, drawing.images, seed=config.seed, fit=config.fit)
        samples = drawn_samples(samples, drawing.images) if is_multi(config) else samples
        callbacks.append(
            ExplanationCallback(
                samples,
                "true",
                drawing.methods,
                run.folder.path,
                every=drawing.every,
                class_names=dataset.class_names,
                count=drawing.images,
                # Where they are logged to TensorBoard, the sheets are there.
                tensorboard=has_tensorboard() and "tensorboard" not in drawing.log,
                sinks=logged,
            )
        )
    callbacks += [LogEpochs(sinks) for sinks in logged]
    return [*callbacks, KeepEpochs(run.folder, phase, run.plan.patience)]

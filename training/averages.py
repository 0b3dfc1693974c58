"""Weighted averages of the models before and after fine-tuning.

Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", arXiv:2109.01903: between the two, models are often
better than both. The authors use one share for all data; here validation decides.

Wortsman et al. 2022, "Model soups", arXiv:2203.05482: the mean of models that were fine-tuned from the same weights is
often better than each of them.
"""

from collections.abc import Sequence

import keras
import numpy as np

from kerasxai import models
from kerasxai.training.run_data import Run, validation_data

START, END = "start.keras", "end.keras"
"""The models before and after the last fine-tuning, in the folder of checkpoints."""


def end_of(number: int) -> str:
    """Return the name of the model after a fine-tuning that another one follows."""
    return f"end_{number}.keras"


def run_averages(run: Run, callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Measure averages of the models before and after fine-tuning, each as one epoch.

    Weights are `(1 - s) * start + s * end`, for shares `s` at equal distances between 0 and 1, where `end` is the mean
    of the last epochs of all fine-tunings.

    Args:
        run: The run, with all epochs of fine-tuning completed.
        callbacks: The callbacks of an epoch, which measure, draw and save.
    """
    folder, count = run.folder, run.plan.averages
    first, _ = run.plan.epochs_of("average")
    done = len(folder.rows_of("average"))
    # Copied before the first average replaces it.
    end = folder.keep_copy(END, None if done else folder.checkpoint(folder.rows[-1]["epoch"]))
    before = models.load(folder.checkpoints / START).get_weights()
    model = models.load(end, compile=True)
    former = [models.load(folder.checkpoints / end_of(number)) for number in range(run.plan.finetunings - 1)]
    after = [
        np.mean(ends, axis=0, dtype=np.float32)
        for ends in zip(model.get_weights(), *(one.get_weights() for one in former), strict=True)
    ]
    listed = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=first + count, steps=1, verbose=0)
    listed.on_train_begin()
    for number in range(done, count):
        listed.on_epoch_begin(first + number)
        share = np.float32((number + 1) / (count + 1))
        model.set_weights([one + share * (other - one) for one, other in zip(before, after, strict=True)])
        figures = model.evaluate(validation_data(run), verbose=0, return_dict=True)
        listed.on_epoch_end(first + number, {f"val_{name}": value for name, value in figures.items()})
    listed.on_train_end()

"""`kerasxai train` in several processes: the chief decides, and the others take part in the fits that it announces.

Only the chief reads and writes the folder of the run. A worker receives the model and all that the batches depend on
before each fit, so that it needs nothing but the data, and continues wherever the chief continues.
"""

import io
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasxai import data, models
from kerasxai.engine.keras_internals import build_training_state
from kerasxai.tools.errors import KerasxaiError
from kerasxai.training.config import TrainConfig
from kerasxai.training.distributed import Workers, fit
from kerasxai.training.drawing import Drawing
from kerasxai.training.labels import Labels
from kerasxai.training.plan import Plan
from kerasxai.training.run_data import Run, training_data
from kerasxai.training.run_folder import RunFolder


@dataclass(frozen=True)
class Epochs:
    """The epochs of one fit.

    Attributes:
        first: The number of the first epoch.
        end: The number after the last.
        passes: Epochs whose batches are left out, since they were trained on.
    """

    first: int
    end: int
    passes: int


def check_batches(plan: Plan, images: int, workers: Workers) -> None:
    """Refuse batches that cannot be spread over the workers.

    Raises:
        KerasxaiError: A batch has fewer images than there are workers.
    """
    smallest = min(plan.batch_size, images % plan.batch_size or plan.batch_size)
    if smallest < workers.count:
        raise KerasxaiError(
            f"expected batches of at least {workers.count} images, one for each worker, got one of {smallest} (of "
            f"{images} images in batches of {plan.batch_size}); choose another --batch-size"
        )


def fit_phase(
    run: Run,
    model: keras.Model,
    epochs: Epochs,
    given: Labels | None,
    validation: tf.data.Dataset,
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """Train epochs of a run, in this process or with the workers.

    Args:
        run: The run.
        model: The compiled model.
        epochs: The epochs.
        given: Weak labels, or None for the labels of the data.
        validation: As for `keras.Model.fit`.
        callbacks: As for `keras.Model.fit`.
    """
    settings = _settings(run, epochs)
    pairs = training_data(run, given).skip(run.steps * epochs.passes)
    if run.workers is None:
        build_training_state(model, pairs)
        model.fit(pairs, **settings, validation_data=validation, callbacks=callbacks, verbose=run.verbose)
        return
    run.workers.share(_packed(run, model, epochs, given))
    fit(model, run.workers, pairs, **settings, validation_data=validation, callbacks=callbacks, verbose=run.verbose)


def _settings(run: Run, epochs: Epochs) -> dict[str, Any]:
    return {
        "steps_per_epoch": run.steps,
        "initial_epoch": epochs.first,
        "epochs": epochs.end,
        "shuffle": False,  # already shuffled
    }


def finish(workers: Workers) -> None:
    """Tell the workers that there are no more fits."""
    workers.share(b"")


def serve(workers: Workers) -> None:
    """Take part in the fits of the chief until it finishes.

    Args:
        workers: The processes; this one is not the chief.
    """
    opened: tuple[TrainConfig, data.ImageDataset] | None = None
    with tempfile.TemporaryDirectory() as folder:
        while content := workers.share(None):
            with np.load(io.BytesIO(content), allow_pickle=False) as packed:
                about = json.loads(str(packed["about"]))
                given = packed.get("given")
                file = Path(folder) / "model.keras"
                file.write_bytes(packed["model"].tobytes())
            config = _config(about["config"])
            if opened is None or opened[0] != config:
                dataset = data.open(
                    config.data, data_dir=config.data_dir, labels=config.labels, class_masks=config.class_masks
                )
                opened = config, dataset
            run = Run(config, Plan(**about["plan"]), RunFolder(Path(folder)), opened[1], None, Drawing((), 0, 1, 0), 0)
            # The order of the images depends on the seed of the data and on the global one, which the chief has set.
            keras.utils.set_random_seed(config.seed)
            keras.config.set_dtype_policy("mixed_float16" if config.mixed_precision else "float32")
            epochs = Epochs(**about["epochs"])
            pairs = training_data(run, given).skip(run.steps * epochs.passes)
            fit(models.load(file, compile=True), workers, pairs, **_settings(run, epochs))


def _packed(run: Run, model: keras.Model, epochs: Epochs, given: Labels | None) -> bytes:
    """Return all that a worker needs for a fit."""
    about = {"config": asdict(run.config), "plan": asdict(run.plan), "epochs": asdict(epochs)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        model.save(file)
        arrays: dict[str, Any] = {"model": np.frombuffer(file.read_bytes(), np.uint8), "about": json.dumps(about)}
    if given is not None:
        arrays["given"] = given
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def _config(content: dict[str, Any]) -> TrainConfig:
    sizes = {name: content[name] for name in ("image_size", "final_image_size")}
    pairs = {name: tuple(size) for name, size in sizes.items() if isinstance(size, list)}
    return TrainConfig(**{**content, **pairs})

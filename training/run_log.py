"""Logging of a run to TensorBoard, MLflow or Weights & Biases: settings, figures and sheets."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import keras

from kerasxai.callbacks.log_sinks import LogSinks
from kerasxai.tools.files import read_json, write_json
from kerasxai.training.config import TrainConfig
from kerasxai.training.plan import Plan
from kerasxai.training.run_folder import RunFolder
from kerasxai.viz.log_sinks import Value

_RUNS = "logged_runs.json"
FOLDER = "tensorboard"
"""The folder of TensorBoard's files in that of a run."""


@contextlib.contextmanager
def logged(folder: RunFolder, config: TrainConfig, plan: Plan, names: tuple[str, ...]) -> Iterator[LogSinks]:
    """Yield the sinks of a run, open; a run that continues goes on with the runs of the services.

    Args:
        folder: The folder of the run, which keeps the identities of the services' runs.
        config: The settings, resolved.
        plan: What follows from them.
        names: Names in `kerasxai.tools.log_services.LOG_SERVICES`.
    """
    sinks = LogSinks("kerasxai train", names, folder.path / FOLDER)
    kept = folder.path / _RUNS
    known = read_json(kept) if names and folder.rows and kept.exists() else {}
    sinks.begin(folder.path.name, known)
    finished = False
    try:
        if sinks.names:
            write_json(kept, {**known, **sinks.identities()})
            if not folder.rows:
                sinks.settings(dict(_flat({**asdict(config), **asdict(plan)})))
        yield sinks
        finished = True
    finally:
        sinks.close(finished)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Value]]:
    """Yield settings as names and plain values, without those that are not set."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, Value):
            yield f"{prefix}{name}", value
        elif value is not None:
            yield f"{prefix}{name}", str(value)


class LogEpochs(keras.callbacks.Callback):
    """Logs the figures of each epoch.

    It must be after the callbacks that measure, so that their figures are in the logs.
    """

    def __init__(self, sinks: LogSinks) -> None:
        super().__init__()
        self.sinks = sinks

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Log the figures."""
        self.sinks.scalars({name: float(value) for name, value in (logs or {}).items()}, epoch + 1)

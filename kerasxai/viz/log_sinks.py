"""Sinks for figures and pictures of a training: TensorBoard, MLflow, Weights & Biases."""

import io
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from PIL import Image

from kerasxai.tools.lazy import resolve
from kerasxai.tools.log_services import LOG_SERVICES, check_service
from kerasxai.viz.sinks import TensorBoardSink

Value = bool | int | float | str


class LogSink(Protocol):
    """Writes figures and pictures of a training somewhere; write your own to log to another service.

    Attributes:
        identity: The run of the service, by which a training that continues finds it; None if there is none.
    """

    identity: str | None

    def settings(self, values: Mapping[str, Value]) -> None:
        """Write the settings of the training."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write figures after an epoch."""

    def picture(self, name: str, png: bytes, step: int) -> None:
        """Write a picture after an epoch, encoded as PNG."""

    def close(self, finished: bool = True) -> None:
        """Write what is buffered; `finished` is False if the training failed or was stopped."""


def open_sink(
    name: str, folder: str | os.PathLike[str] = "logs", title: str = "", identity: str | None = None
) -> LogSink:
    """Open a sink by name.

    MLflow and Weights & Biases use their active run, which stays open, or begin one and end it in `close`.

    Args:
        name: A name in `kerasxai.tools.log_services.LOG_SERVICES`: `"tensorboard"`, `"mlflow"` or `"wandb"`.
        folder: The folder for TensorBoard.
        title: The name of a new run.
        identity: `LogSink.identity` of the run to continue.

    Raises:
        KerasxaiError: The name is unknown, or its package is not installed.

    Example:
        >>> sink = open_sink("tensorboard", "logs/mine")
        >>> sink.scalars({"val_gt_known_loc": 0.7}, step=1)
        >>> sink.close()
    """
    check_service(name)
    return resolve(LOG_SERVICES[name].sink)(Path(folder), title, identity)


class TensorBoardLog:
    """Scalars, images and hyperparameters for TensorBoard."""

    identity: str | None = None

    def __init__(self, folder: Path, title: str = "", identity: str | None = None) -> None:
        self._sink = TensorBoardSink(folder)

    def settings(self, values: Mapping[str, Value]) -> None:
        """Write the settings as hyperparameters."""
        self._sink.hparams(values)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write figures after an epoch."""
        for name, value in values.items():
            self._sink.scalar(name, value, step)
        self._sink.flush()

    def picture(self, name: str, png: bytes, step: int) -> None:
        """Write a picture after an epoch."""
        with Image.open(io.BytesIO(png)) as picture:
            width, height = picture.size
        self._sink.encoded(name, [png], (height, width), step)
        self._sink.flush()

    def close(self, finished: bool = True) -> None:
        """Close the file."""
        self._sink.close()


class MLflowLog:
    """Metrics, parameters and images of a run of MLflow."""

    identity: str | None

    def __init__(self, folder: Path, title: str = "", identity: str | None = None) -> None:
        import mlflow

        active = mlflow.active_run()
        self._own = active is None
        self._run = str((active or mlflow.start_run(run_id=identity, run_name=title or None)).info.run_id)
        self.identity = self._run
        self._client = mlflow.MlflowClient()

    def settings(self, values: Mapping[str, Value]) -> None:
        """Write the settings as parameters."""
        from mlflow.entities import Param

        params = [Param(_portable(name), str(value)[:_LONGEST_PARAM]) for name, value in values.items()]
        self._client.log_batch(self._run, params=params)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write figures after an epoch as metrics."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(_portable(name), value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def picture(self, name: str, png: bytes, step: int) -> None:
        """Write a picture after an epoch."""
        with Image.open(io.BytesIO(png)) as picture:
            self._client.log_image(self._run, picture, key=_portable(name), step=step, synchronous=True)

    def close(self, finished: bool = True) -> None:
        """End the run, if this sink began it."""
        if self._own:
            import mlflow

            mlflow.end_run("FINISHED" if finished else "FAILED")


class WandbLog:
    """History, config and images of a run of Weights & Biases; the horizontal axis is `epoch`."""

    identity: str | None

    def __init__(self, folder: Path, title: str = "", identity: str | None = None) -> None:
        import wandb

        self._own = wandb.run is None
        self._run = wandb.run or wandb.init(
            project=os.environ.get("WANDB_PROJECT", "kerasxai"),
            name=title or None,
            id=identity,
            resume=None if identity is None else "allow",
        )
        self.identity = self._run.id

    def settings(self, values: Mapping[str, Value]) -> None:
        """Write the settings as the config."""
        self._run.config.update(dict(values), allow_val_change=True)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write figures after an epoch."""
        # Not `step=`, which must not decrease, also over what others log to the same run.
        self._run.log({**values, "epoch": step})

    def picture(self, name: str, png: bytes, step: int) -> None:
        """Write a picture after an epoch."""
        import wandb

        with Image.open(io.BytesIO(png)) as picture:
            self._run.log({name: wandb.Image(picture), "epoch": step})

    def close(self, finished: bool = True) -> None:
        """Finish the run, if this sink began it."""
        if self._own:
            self._run.finish(exit_code=0 if finished else 1)


# What MLflow's servers accept.
_LONGEST_PARAM = 6000


def _portable(name: str) -> str:
    """Return a name with the characters that MLflow accepts."""
    return re.sub(r"[^\w\-. /]", "_", name.replace("+", "plus"))

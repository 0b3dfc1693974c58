"""Where figures and pictures of a training can be logged, by name. Nothing here imports TensorFlow."""

import importlib.util
import warnings
from dataclasses import dataclass

from kerasxai.tools.errors import KerasxaiError, KerasxaiWarning, unknown


@dataclass(frozen=True)
class LogService:
    """One row of LOG_SERVICES.

    Attributes:
        name: The name for `--log`; also that of the extra and of the package.
        sink: `"module:class"` of the sink.
        summary: One line.
    """

    name: str
    sink: str
    summary: str


_SINKS = "kerasxai.viz.log_sinks:"
LOG_SERVICES: dict[str, LogService] = {
    "tensorboard": LogService("tensorboard", _SINKS + "TensorBoardLog", "files in the folder of the run"),
    "mlflow": LogService("mlflow", _SINKS + "MLflowLog", "the active run of MLflow, or a new one at its tracking URI"),
    "wandb": LogService("wandb", _SINKS + "WandbLog", "the active run of Weights & Biases, or a new one"),
}


def check_service(name: str) -> str:
    """Check that a service is known and its package is installed.

    Raises:
        KerasxaiError: It is not.

    Example:
        >>> check_service("tensorboard")
        'tensorboard'
    """
    if name not in LOG_SERVICES:
        raise unknown("service to log to", name, LOG_SERVICES)
    if importlib.util.find_spec(name) is None:
        raise KerasxaiError(f"cannot log to {name}: it is not installed; run pip install 'kerasxai[{name}]'")
    return name


class MissingTensorBoardWarning(KerasxaiWarning):
    """Files for TensorBoard are not written, because it is not installed."""


def has_tensorboard() -> bool:
    """Return whether TensorBoard is installed."""
    return importlib.util.find_spec("tensorboard") is not None


def warn_without_tensorboard(who: str, written: str, missing: str) -> None:
    """Warn, in the line that makes a callback, if TensorBoard is not installed.

    Args:
        who: The callback.
        written: What it writes without TensorBoard: "PNG files in logs".
        missing: What TensorBoard will not show.

    Example:
        >>> warn_without_tensorboard("ExplanationCallback", "PNG files in logs", "heatmaps")
    """
    if has_tensorboard():
        return
    warnings.warn(
        f"{who} writes {written}, but no {missing} for TensorBoard, which is not installed; run pip install "
        "'kerasxai[tensorboard]'",
        MissingTensorBoardWarning,
        stacklevel=3,
    )

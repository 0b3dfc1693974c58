"""What is kept of a finished training, in one line."""

from pathlib import Path

from kerasxai.tools.epoch_names import kept_model, reason
from kerasxai.tools.files import read_json
from kerasxai.training.run_folder import MONITOR, RunFolder

_ACCURACIES = {"val_accuracy": "validation accuracy", "val_mean_average_precision": "validation mean average precision"}


def kept_line(folder: Path) -> str:
    """Return which model a finished training keeps, why, and its accuracy on the validation images.

    Args:
        folder: The folder of the run.

    Example:
        >>> kept_line(Path("runs/mine"))
        'kept: epoch 6 of 9 (lowest val_loss, 0.1234); validation accuracy 0.967'
    """
    metrics = read_json(folder / "metrics.json")
    best, plan = metrics["best"], metrics.get("plan", {})
    monitor = plan.get("monitor", MONITOR)
    rows = RunFolder(folder).rows
    line = f"kept: {kept_model(best, rows, plan.get('probe', False))}"
    # A figure that is not finite is null.
    if best.get(monitor) is not None:
        line += f" ({reason(monitor, best, rows)})"
    known = [f"; {name} {best[key]:.3f}" for key, name in _ACCURACIES.items() if best.get(key) is not None]
    return line + "".join(known)

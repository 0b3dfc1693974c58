"""Names of the epochs of a training for people, who count from 1. Nothing here imports TensorFlow."""

from collections.abc import Mapping, Sequence
from typing import Any

PROBE, AVERAGE = "probe", "average"


def epoch_names(rows: Sequence[Mapping[str, Any]], has_probe: bool) -> list[str]:
    """Return the names of the rows of a history: "probe", the number that Keras prints, "average".

    Args:
        rows: With `phase` and `epoch`, which is counted from 0 over all phases.
        has_probe: Whether the phase of the head is a probe instead of epochs.

    Example:
        >>> epoch_names([{"phase": "head", "epoch": 0}, {"phase": "finetune", "epoch": 1}], has_probe=True)
        ['probe', '2']
    """
    return [_name(row, has_probe) for row in rows]


def _name(row: Mapping[str, Any], has_probe: bool) -> str:
    phase = row.get("phase")
    if phase == AVERAGE:
        return AVERAGE
    return PROBE if phase == "head" and has_probe else f"{int(row['epoch']) + 1}"


def kept_model(best: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], has_probe: bool) -> str:
    """Return what is kept of a training: "epoch 6 of 9", "the probe", or an average.

    Args:
        best: The row that is kept.
        rows: As for `epoch_names`.
        has_probe: As for `epoch_names`.
    """
    name = _name(best, has_probe)
    if name == PROBE:
        return "the probe"
    if name == AVERAGE:
        alike = [int(row["epoch"]) for row in rows if row.get("phase") == AVERAGE]
        place = f" ({alike.index(int(best['epoch'])) + 1} of {len(alike)})" if len(alike) > 1 else ""
        return f"the average of the models before and after fine-tuning{place}"
    return f"epoch {name} of {max(int(one) for one in epoch_names(rows, has_probe) if one.isdecimal())}"


def reason(monitor: str, value: float) -> str:
    """Return why an epoch is kept: "lowest val_loss, 0.1234"."""
    return f"{'lowest' if monitor.endswith('loss') else 'highest'} {monitor}, {value:.4g}"

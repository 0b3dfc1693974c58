"""Names of the epochs of a training for people, who count from 1. Nothing here imports TensorFlow."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

PROBE, AVERAGE, FINAL_SIZE = "probe", "average", "final size"
NO_FIGURES = ("phase", "epoch", "seconds", "source", "allowance", "temperature")
"""Columns of a history that are no figures: of the last phase, the epoch that is measured on images of another size,
how much worse its monitored figure may be than with images of the size of training, and what divides its logits.
"""


def epoch_names(rows: Sequence[Mapping[str, Any]], has_probe: bool) -> list[str]:
    """Return the names of the rows of a history: "probe", the number that Keras prints, "average", "final size".

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
    if phase in (AVERAGE, FINAL_SIZE):
        return str(phase)
    return PROBE if phase == "head" and has_probe else f"{int(row['epoch']) + 1}"


def source_of(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the row whose weights a row has: itself, or the one that is measured on images of another size."""
    if row.get("phase") != FINAL_SIZE:
        return row
    return next(one for one in rows if int(one["epoch"]) == int(row["source"]))


def kept_model(best: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], has_probe: bool) -> str:
    """Return what is kept of a training: "epoch 6 of 9", "the probe", or an average.

    Args:
        best: The row that is kept.
        rows: As for `epoch_names`.
        has_probe: As for `epoch_names`.
    """
    if best.get("phase") == FINAL_SIZE:
        return f"{kept_model(source_of(best, rows), rows, has_probe)} with images of the final size"
    name = _name(best, has_probe)
    if name == PROBE:
        return "the probe"
    if name == AVERAGE:
        alike = [int(row["epoch"]) for row in rows if row.get("phase") == AVERAGE]
        place = f" ({alike.index(int(best['epoch'])) + 1} of {len(alike)})" if len(alike) > 1 else ""
        return f"the average of the models before and after fine-tuning{place}"
    return f"epoch {name} of {max(int(one) for one in epoch_names(rows, has_probe) if one.isdecimal())}"


def reason(monitor: str, best: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return why a row is kept: "lowest val_loss, 0.1234".

    Args:
        monitor: The figure that chose it.
        best: The row.
        rows: As for `epoch_names`.
    """
    value = f"{float(best[monitor]):.4g}"
    if best.get("phase") == FINAL_SIZE:
        # Empty in a table, and missing elsewhere, if it could not be measured.
        before = source_of(best, rows).get(monitor, "")
        return (
            f"{monitor} {value}, {math.nan if before == '' else float(before):.4g} with images of the size of training"
        )
    return f"{'lowest' if monitor.endswith('loss') else 'highest'} {monitor}, {value}"

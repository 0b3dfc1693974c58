"""The folder of a training run: completed epochs, the best model, and the checkpoint to continue from."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import keras

from kerasxai.tools.epoch_names import FINAL_SIZE
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import atomic_path, null_for_nan, read_csv, write_csv, write_json
from kerasxai.tools.model_settings import RUN_MODEL
from kerasxai.tools.printable import printable

MONITOR = "val_loss"
Row: TypeAlias = "dict[str, Any]"
"""The phase, the number, the seconds and the figures of an epoch."""


class RunFolder:
    """The files of a run. All decisions depend on its rows alone, so that a killed run continues identically.

    Args:
        path: The folder; created when the first file is written.
        monitor: The figure that chooses the best epoch: the lowest of a loss, the highest of any other.
    """

    def __init__(self, path: Path, monitor: str = MONITOR) -> None:
        self.path = path
        self.monitor = monitor
        self.checkpoints = path / "checkpoints"
        self.rows = self._read_rows()

    @property
    def history(self) -> Path:
        """The table of all epochs."""
        return self.path / "history.csv"

    @property
    def best(self) -> Path:
        """The model of the best epoch in the rows."""
        best = self._best(self.best_row["epoch"])
        # Runs that were begun with version 0.1.0 have no number in the name.
        return best if best.exists() else self.checkpoints / "best.keras"

    @property
    def best_row(self) -> Row:
        """The row of the best epoch; the first of several that are equal."""
        return self.best_of(self.rows)

    @property
    def model(self) -> Path:
        """The finished model; exists only when the run is finished."""
        return self.path / RUN_MODEL

    def checkpoint(self, epoch: int) -> Path:
        """Return the path of the model of an epoch, which is kept until the next epoch."""
        return self.checkpoints / f"epoch_{epoch:04d}.keras"

    def best_of(self, rows: Sequence[Row]) -> Row:
        """Return the best of some rows; the first of several that are equal."""
        return min(rows, key=self._cost)

    def _cost(self, row: Row) -> tuple[float, float]:
        """Return what a better epoch has less of; the validation loss decides between equal accuracies."""
        value = float(row.get(self.monitor, math.nan))
        cost = value if self.monitor.endswith("loss") else -value
        second = float(row.get(MONITOR, math.inf))
        if row["phase"] == FINAL_SIZE:
            if "allowance" not in row:
                # A given size is always kept, even if its figure could not be measured.
                return -math.inf, -math.inf
            # Equal is not worse.
            cost, second = cost - float(row["allowance"]), -math.inf
        # A figure that could not be measured is worse than all others.
        return math.inf if math.isnan(cost) else cost, second

    def _best(self, epoch: int) -> Path:
        return self.checkpoints / f"best_{epoch:04d}.keras"

    def rows_of(self, phase: str) -> list[Row]:
        """Return the rows of one phase, in order."""
        return [row for row in self.rows if row["phase"] == phase]

    def stale(self, phase: str, patience: int) -> bool:
        """Return whether the monitored figure of a phase has not improved for `patience` epochs."""
        costs = [self._cost(row) for row in self.rows_of(phase)]
        return bool(costs) and len(costs) - 1 - costs.index(min(costs)) >= patience

    def keep(self, model: keras.Model, row: Row) -> None:
        """Save the model and the row of an epoch."""
        checkpoint = self.checkpoint(row["epoch"])
        # The model first: a run that is killed in between continues from the last row, whose model must exist, and
        # repeats the epoch.
        with atomic_path(checkpoint) as temporary:
            model.save(temporary)
        is_best = all(self._cost(row) < self._cost(before) for before in self.rows)
        if is_best:
            # The former best stays until the row is written, because a phase that is repeated starts from it.
            with atomic_path(self._best(row["epoch"])) as temporary:
                temporary.write_bytes(checkpoint.read_bytes())
        self.rows.append(row)
        self._write_rows()
        # Only after the row is written, since until then the former checkpoint is the one to continue from.
        for old in self.checkpoints.glob("epoch_*.keras"):
            if old != checkpoint:
                old.unlink()
        if is_best:
            for old in self.checkpoints.glob("best*.keras"):
                if old != self._best(row["epoch"]):
                    old.unlink()

    def keep_copy(self, name: str, source: Path | None = None) -> Path:
        """Copy a model to a file of another name in the folder of checkpoints, unless it exists, and return the file.

        Args:
            name: The name of the file.
            source: The model; None for the best so far.
        """
        path = self.checkpoints / name
        if not path.exists():
            with atomic_path(path) as temporary:
                temporary.write_bytes((source or self.best).read_bytes())
        return path

    def finish(self, model: keras.Model | None = None) -> None:
        """Save the finished model and remove the checkpoints.

        Args:
            model: The finished model if only a part of it was trained; None for the best checkpoint.
        """
        with atomic_path(self.model) as temporary:
            if model is None:
                temporary.write_bytes(self.best.read_bytes())
            else:
                model.save(temporary)
        for path in self.checkpoints.iterdir():
            path.unlink()
        self.checkpoints.rmdir()

    def summary(self) -> dict[str, Any]:
        """Return the figures of the best epoch, and the epochs and seconds of the whole run."""
        return {
            "best": self.best_row,
            "epochs": len(self.rows),
            "seconds": round(sum(row["seconds"] for row in self.rows), 1),
        }

    def write_json(self, name: str, content: object) -> None:
        """Write a JSON file into the folder; figures that are not finite, as in a diverged training, become null."""
        write_json(self.path / name, null_for_nan(content))

    def _write_rows(self) -> None:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        write_csv(self.history, columns, ([row.get(name, "") for name in columns] for row in self.rows))

    def _read_rows(self) -> list[Row]:
        if not self.history.exists():
            return []
        rows = [
            {str(name): _value(text) for name, text in row.items() if text and isinstance(text, str)}
            for row in read_csv(self.history)
        ]
        for number, row in enumerate(rows, 2):
            if not ({"phase", "epoch", "seconds"} <= row.keys() and isinstance(row["epoch"], int)):
                raise KerasxaiError(
                    f"{printable(self.history)}, line {number}: expected an epoch with phase, epoch and seconds, got "
                    f"{row}; the run cannot continue: choose another --out"
                )
        return rows


def _value(text: str) -> int | float | str:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text


class KeepEpochs(keras.callbacks.Callback):
    """Saves each epoch in the folder of the run, and ends a phase that no longer improves.

    It must be the last callback, so that the figures of the others are in the logs.
    """

    def __init__(self, folder: RunFolder, phase: str, patience: int) -> None:
        super().__init__()
        self.about: Row = {}
        """What is kept of an epoch in addition to its figures."""
        self.folder = folder
        self.phase = phase
        self.patience = patience
        self._begun = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock of the epoch."""
        self._begun = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Save the epoch, and stop if the patience is exhausted."""
        seconds = round(time.monotonic() - self._begun, 2)
        figures = {name: float(value) for name, value in (logs or {}).items()}
        about = {"phase": self.phase, "epoch": epoch, "seconds": seconds, **self.about}
        self.folder.keep(self.model, {**about, **figures})
        if self.folder.stale(self.phase, self.patience):
            self.model.stop_training = True

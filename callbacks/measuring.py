"""The epochs of a callback that measures: when it does, and its figures in `logs`."""

from collections.abc import Iterable
from typing import Any

import keras

from kerasxai.callbacks.log_sinks import LogSinks
from kerasxai.callbacks.schedule import Results, is_due
from kerasxai.callbacks.warn_once import WarnOnce
from kerasxai.viz.log_sinks import LogSink


class MeasuringCallback(keras.callbacks.Callback):
    """A callback that measures after epochs, and adds its figures to `logs` after every one.

    Args:
        figures: The names of the figures.
        every: Number of epochs between measurements.
        prefix: Of the names in `logs`.
        task: What is done, for the warning about an error.
        sinks: Where the figures are written too; see `kerasxai.viz.open_sink`.

    Attributes:
        who: The name of the callback in warnings.
        results: The figures by the number of completed epochs.
    """

    who = "MeasuringCallback"

    def __init__(
        self,
        figures: tuple[str, ...],
        every: int,
        prefix: str,
        task: str,
        sinks: Iterable[str | LogSink] = (),
    ) -> None:
        super().__init__()
        self.figures, self.every = figures, every
        self.results = Results()
        self._prefix, self._task = prefix, task
        self._guard = WarnOnce(self.who)
        self._sinks = LogSinks(self.who, sinks)
        self._last: dict[str, float] | None = None
        self._first = self._begun = True

    @property
    def names(self) -> list[str]:
        """The names of the figures in `logs`."""
        return [self._prefix + figure for figure in self.figures]

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remove the results of another training, before the first epoch."""
        # Only now is `initial_epoch` known, which Keras does not give to `on_train_begin`.
        if not self._begun:
            self._begun = True
            self.results.begin(self.model, epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure, and add the figures to `logs`."""
        if self._first or is_due(epoch + 1, self.every, (self.params or {}).get("epochs")):
            self._first, self._last = False, None
            with self._guard.block(self._task, "training continues without its figures"):
                self._last = self.results[epoch + 1] = self._measured()
            self._write(epoch)
            if self._last is not None:
                self._sinks.scalars({self._prefix + name: value for name, value in self._last.items()}, epoch + 1)
        if logs is not None and self._last is not None:
            logs.update({self._prefix + name: value for name, value in self._last.items()})

    def _begin(self) -> None:
        """Begin a training, whose first epoch is measured and decides about the results so far."""
        self._guard = WarnOnce(self.who)
        self._last, self._first, self._begun = None, True, False
        self._sinks.begin()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the sinks."""
        self._sinks.close()

    def _measured(self) -> dict[str, float]:
        """Return the figures."""
        raise NotImplementedError

    def _write(self, epoch: int) -> None:
        """Write the figures elsewhere too."""

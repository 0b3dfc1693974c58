"""CallReport, the state of one call of an explainer: its diagnostics and its progress."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeAlias

import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.engine.map_layout import MapLayout
from kerasxai.tools.progress import Bar

Diagnostic: TypeAlias = "tf.Tensor | NDArray[Any] | list[NDArray[Any]] | tuple[int, ...] | str | float | bool"
"""What a method reports besides its maps."""


class CallReport:
    """What one call of an explainer reports, and what its passes learn of the model for later passes.

    Args:
        count: How many images the call has; None outside a call.
        progress: Shows how many of them are done.

    Attributes:
        diagnostics: What methods record about the current batch, by name.
        layouts: The layers whose maps methods see in another layout than the model, by path.
        trace_size: The size of the input of the call's first query, under which all its traces are kept.
    """

    def __init__(self, count: int | None = None, progress: Bar | None = None) -> None:
        self.count = count
        self.progress = progress or Bar(0, "", shown=False)
        self.diagnostics: dict[str, Diagnostic] = {}
        self.layouts: dict[str, MapLayout] = {}
        self.trace_size: Hashable = None

    def record(self, **values: Diagnostic) -> None:
        """Record diagnostics; the first value in a batch wins."""
        for name, value in values.items():
            self.diagnostics.setdefault(name, value)

    def replace(self, **values: Diagnostic) -> None:
        """Record diagnostics in place of earlier ones."""
        self.diagnostics.update(values)

    def drop(self, name: str) -> Diagnostic | None:
        """Removes a diagnostic and returns it, None if there is none."""
        return self.diagnostics.pop(name, None)

    def for_copies(self) -> CallReport:
        """Returns a report for passes on changed copies of the batch, which show no progress."""
        report = CallReport(self.count)
        report.layouts, report.trace_size = self.layouts, self.trace_size
        return report

    def adopt(self, copies: CallReport) -> None:
        """Keeps what holds for all copies of the batch: single values, and which part of the input the maps cover."""
        kept = {n: x for n, x in copies.diagnostics.items() if n == "extents" or isinstance(x, (str, int, float))}
        self.record(**kept)

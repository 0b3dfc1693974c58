"""The base class of metrics: totals that are added up, merged, saved and loaded."""

import copy
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.tools.errors import KerasxaiError

if TYPE_CHECKING:
    from kerasxai.metrics.batch import BatchMeasure


class Result(dict[str, Any]):
    """The result of a metric: a plain dict, ready for JSON, whose `float(...)` is the first entry, the headline."""

    def __float__(self) -> float:
        return float(next(iter(self.values())))


class Metric:
    """A metric that is updated batch by batch.

    All counts are in `totals`, arrays that are added up: two metrics with the same options that counted two halves of
    a data set merge to the metric of the whole.

    Attributes:
        options: The arguments of the metric.
        totals: Name -> array of sums and counts.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.totals: dict[str, NDArray] = {}

    def add(self, **amounts: ArrayLike) -> None:
        """Add to the totals; arrays may grow along the first axis, and new names start at zero."""
        for name, amount in amounts.items():
            one, two = np.atleast_1d(self.totals.get(name, 0)), np.atleast_1d(amount)
            # Counts by class grow when a batch contains a class of a higher number.
            if name in self.totals and len(one) != len(two):
                length = max(len(one), len(two))
                one, two = (np.pad(x, [(0, length - len(x)), *[(0, 0)] * (x.ndim - 1)]) for x in (one, two))
            self.totals[name] = one + two if name in self.totals else two

    def count_batch(self, batch: "BatchMeasure") -> None:
        """Count a batch that was checked before."""
        raise NotImplementedError

    def merge(self, other: "Metric") -> Self:
        """Add the counts of another metric, and return this one.

        Args:
            other: A metric of the same class with the same options; it is not changed.

        Raises:
            KerasxaiError: The classes or the options differ.
        """
        if type(other) is not type(self) or other.options != self.options:
            raise KerasxaiError(
                f"other must be a {type(self).__name__} with {self.options}, got {type(other).__name__} with "
                f"{getattr(other, 'options', None)}"
            )
        self.add(**other.totals)
        return self

    def state(self) -> dict[str, Any]:
        """Return everything as plain numbers, lists and strings, ready for JSON."""
        return {
            "metric": type(self).__name__,
            "options": copy.deepcopy(self.options),
            "totals": {name: total.tolist() for name, total in self.totals.items()},
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Make a metric from its `state()`.

        Raises:
            KerasxaiError: It is the state of another class.
        """
        if not isinstance(state, dict) or state.get("metric") != cls.__name__:
            given = state.get("metric") if isinstance(state, dict) else type(state).__name__
            raise KerasxaiError(f"state must be one of {cls.__name__}, got {given!r}")
        metric = cls(**state["options"])
        metric.totals |= {name: np.asarray(total) for name, total in state["totals"].items()}
        return metric

    def result(self) -> Result:
        """Return the figures so far."""
        raise NotImplementedError

    def counted(self, name: str = "images", unit: str = "image with a box") -> int:
        """Return a count that must not be zero, since the results are divided by it."""
        count = int(np.sum(self.totals.get(name, 0)))
        if not count:
            raise KerasxaiError(f"{type(self).__name__}: expected at least one {unit}, got none; there is no result")
        return count


class CollectingMetric(Metric):
    """A metric that keeps single values until its result, which depends on their order by score.

    Attributes:
        kept: Names of the totals that are joined along the first axis; all others are added up.
    """

    kept: tuple[str, ...] = ()

    def add(self, **amounts: ArrayLike) -> None:
        """Join the rows of kept totals to the former ones, and add to the others."""
        super().add(**{name: amount for name, amount in amounts.items() if name not in self.kept})
        for name in self.kept:
            if name in amounts:
                rows = np.asarray(amounts[name])
                self.totals[name] = np.concatenate([self.totals[name], rows]) if name in self.totals else rows

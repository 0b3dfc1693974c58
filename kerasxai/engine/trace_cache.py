"""The traced questions that a view keeps, for so many sizes of input at most."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kerasxai.engine.fast import largest_map
from kerasxai.engine.keras_internals import forget_custom_gradients
from kerasxai.engine.map_layout import MapLayout

MOST_SIZES = 8
"""For how many sizes of input traces are kept; a trace of a large model holds some ten megabytes."""


@dataclass(eq=False)
class Trace:
    """A traced question, and what tracing it found out.

    Attributes:
        concrete: The traced question, a `ConcreteFunction`.
        layer_name: The path of the layer whose map it takes, or None.
        num_classes: How many classes the model has, if it is known.
        forms: See `kerasxai.engine.traced_model.TracedModel`.
        ablation_points: See `kerasxai.engine.traced_model.TracedModel`.
    """

    concrete: Any
    layer_name: str | None = None
    num_classes: int | None = None
    forms: dict[str, MapLayout] = field(default_factory=dict)
    ablation_points: dict[str, str] = field(default_factory=dict)


class Traces:
    """Traces by question, kept for the sizes of input that were asked about last; threads may share it.

    Args:
        dropped: Called with the `ConcreteFunction` of each trace that is no longer kept.
        most: For how many sizes traces are kept.

    Attributes:
        largest: How many bytes the largest map of one image has in any trace so far.
        lock: Held while a question is traced; what traces depend on may change under it alone.
    """

    def __init__(self, dropped: Callable[[Any], None] = lambda concrete: None, most: int = MOST_SIZES) -> None:
        self._dropped = dropped
        self._most = most
        self.largest = 0
        self._by_size: OrderedDict[Any, dict[Any, Trace]] = OrderedDict()
        # Threads that ask the same at once trace it once.
        self.lock = threading.RLock()

    def get(self, size: Any, question: Any, trace: Callable[[], Trace]) -> Trace:
        """Returns the trace of a question, traced now if it is not kept.

        Args:
            size: The size of the input, hashable; all questions about the size asked longest ago are dropped first.
            question: What tells questions about one size apart, hashable.
            trace: Traces the question.
        """
        with self.lock:
            found = self._by_size.get(size, {}).get(question)
            if found is None:
                found = trace()
                forget_custom_gradients(found.concrete.graph)
                self.largest = max(self.largest, largest_map(found.concrete))
                self._by_size.setdefault(size, {})[question] = found
            self._by_size.move_to_end(size)
            while len(self._by_size) > self._most:
                _, old = self._by_size.popitem(last=False)
                for one in old.values():
                    self._dropped(one.concrete)
            return found

    def items(self) -> Iterator[tuple[Any, Trace]]:
        """Yields each question with its trace."""
        with self.lock:
            return iter([pair for one in self._by_size.values() for pair in one.items()])

    def __len__(self) -> int:
        return sum(map(len, self._by_size.values()))

"""The traced queries of a model, kept for the sizes of input that were used last."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from kerasxai.engine.fast import largest_map
from kerasxai.engine.keras_internals import forget_custom_gradients
from kerasxai.engine.map_layout import MapLayout

MOST_SIZES = 8
"""For how many sizes of input traces are kept; a trace of a large model takes some ten megabytes."""


@dataclass(eq=False)
class Trace:
    """A traced query, and what its first pass found out.

    Attributes:
        concrete: The traced query, a `ConcreteFunction`.
        layer_name: See `kerasxai.engine.forward_pass.ForwardPass`.
        num_classes: See `kerasxai.engine.forward_pass.ForwardPass`.
        layouts: See `kerasxai.engine.forward_pass.ForwardPass`.
    """

    concrete: tf.types.experimental.ConcreteFunction
    layer_name: str | None = None
    num_classes: int | None = None
    layouts: dict[str, MapLayout] = field(default_factory=dict)


class Traces:
    """Traces by query, kept for the sizes of input that were used last; threads may share it.

    Args:
        dropped: Called with the `ConcreteFunction` of each trace that is no longer kept.
        most: For how many sizes traces are kept.

    Attributes:
        largest: How many bytes the largest map of one image has in any trace so far.
        lock: Held while a query is traced; whatever traces depend on may change only under it.
    """

    def __init__(
        self,
        dropped: Callable[[tf.types.experimental.ConcreteFunction], None] = lambda concrete: None,
        most: int = MOST_SIZES,
    ) -> None:
        self._dropped = dropped
        self._most = most
        self.largest = 0
        self._by_size: OrderedDict[Hashable, dict[Any, Trace]] = OrderedDict()
        # Threads with the same query at once trace it once.
        self.lock = threading.RLock()

    def get(self, size: Hashable, query: Hashable, trace: Callable[[], Trace]) -> Trace:
        """Returns the trace of a query, traced now if it is not kept.

        Args:
            size: The size of the input; all queries about the size used longest ago are dropped first.
            query: The key of the query among those of one size.
            trace: Traces the query.
        """
        with self.lock:
            found = self._by_size.get(size, {}).get(query)
            if found is None:
                found = trace()
                forget_custom_gradients(found.concrete.graph)
                self.largest = max(self.largest, largest_map(found.concrete))
                self._by_size.setdefault(size, {})[query] = found
            self._by_size.move_to_end(size)
            while len(self._by_size) > self._most:
                _, old = self._by_size.popitem(last=False)
                for one in old.values():
                    self._dropped(one.concrete)
            return found

    def items(self) -> Iterator[tuple[Any, Trace]]:
        """Yields each query with its trace."""
        with self.lock:
            return iter([pair for one in self._by_size.values() for pair in one.items()])

    def __len__(self) -> int:
        return sum(map(len, self._by_size.values()))

"""Observer, a second query that is answered by a pass which another query needs anyway."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward, ForwardPass, Override
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.score_model import Alteration, Query

_PREFIX = "observed_"

Reader: TypeAlias = "Callable[[ForwardPass], dict[str, tf.Tensor]]"
"""From a pass to tensors by name."""


class Observer:
    """Reads a pass of given images whenever some method makes one, so that it need not be made again.

    Args:
        reader: What to read; it must be the same object from call to call, or it is traced again.
        images: `(B, H, W, C)`, the images of the pass, which are recognized by their values.
        alterations: Changes of the model in that pass.

    Attributes:
        found: The tensors that were read, by name; empty until then.
    """

    def __init__(self, reader: Reader, images: NDArray[Any], alterations: Sequence[Alteration] = ()) -> None:
        self.reader, self.images = reader, images
        self.alterations = [alteration.name for alteration in alterations]
        self.found: dict[str, tf.Tensor] = {}

    def awaits(self, batch: Samples, alterations: Sequence[Alteration]) -> bool:
        """Whether a pass is of the images, through the model with the same changes, and nothing has been read yet."""
        return (
            not self.found
            and self.alterations == [alteration.name for alteration in alterations]
            and tuple(batch.images.shape) == self.images.shape
            and np.array_equal(batch.images, self.images)
        )

    def with_query(self, query: Query) -> Query:
        """Return a query whose answer also contains what is read from its first pass."""
        return _both(query, self.reader)

    def take(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Keep what was read, and return the answer without it."""
        found = {name.removeprefix(_PREFIX): answer[name] for name in answer if name.startswith(_PREFIX)}
        self.found = found or self.found
        return {name: value for name, value in answer.items() if not name.startswith(_PREFIX)}


@functools.lru_cache(maxsize=64)
def _both(query: Query, reader: Reader) -> Query:
    # Cached, because traces are found by the identity of their query.
    def both(forward: Forward, batch: Samples, *tensors: tf.Tensor, **options: Any) -> dict[str, Any]:
        passes: list[ForwardPass] = []

        def kept(given: Samples, override: Override = None, as_floats: bool = False) -> ForwardPass:
            passes.append(forward(given, override, as_floats))
            return passes[-1]

        answer = query(kept, batch, *tensors, **options)
        # A pass of changed images is not what the observer is to read.
        read = reader(passes[0]) if passes and passes[0].clean else {}
        return answer | {_PREFIX + name: tensor for name, tensor in read.items()}

    return both

"""FunctionModel, a classifier that can only be called: no layers, no gradients, perhaps not even Keras."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.engine.forward_pass import ForwardPass, first_reported
from kerasxai.engine.outputs.checks import needs_new_trace
from kerasxai.engine.samples import Samples
from kerasxai.engine.score_model import Answer, Query, ScoreModel
from kerasxai.tools.errors import KerasxaiError

if TYPE_CHECKING:
    from kerasxai.engine.scores import Score


class FunctionModel(ScoreModel):
    """Any function `(N, H, W, C) -> (N, classes)` that answers queries about its scores.

    A function of several inputs is given the structure that the user gave, with changed images in their place.

    Queries run eagerly. The outputs of the function are explained unchanged. Nothing shows whether they are logits or
    probabilities; where the answer depends on it, as for a single column (class 1 is above logit 0, but above
    probability 1/2), values outside [0, 1] are taken for logits and others for probabilities, with a warning.

    Args:
        function: Takes a float32 array and returns an array or a tensor; torch, scikit-learn or a remote service.
        score: As for `ScoreModel`.
        batch_size: The most images per call of the function.
        outputs: `"logits"` or `"probabilities"`, what the function returns, or None.

    Example:
        >>> model = FunctionModel(lambda images: images.mean((1, 2)))
    """

    has_graph = False

    def __init__(
        self,
        function: Callable[[NDArray[Any]], Any],
        score: Score | str | None = None,
        batch_size: int = 32,
        outputs: str | None = None,
    ) -> None:
        super().__init__(function, score, batch_size, outputs)
        self.outputs.of_function = True
        self._lock = threading.RLock()

    def evaluate(self, query: Query, batch: Samples, *tensors: tf.Tensor | NDArray[Any], **options: Any) -> Answer:
        """Answers a query about one batch; see `ScoreModel.evaluate`."""
        taken = self.outputs.taken
        answer = self._answer(query, batch, *tensors, **options)
        with self._lock:
            # Another thread may have settled what the outputs are meanwhile.
            again = needs_new_trace(self, answer, batch, options.get("explain")) or self.outputs.taken != taken
        if again:
            answer = self._answer(query, batch, *tensors, **options)
        return self.reported(answer, None)

    def evaluate_each(
        self, query: Query, batches: Iterable[tuple[Samples, *tuple[Any, ...]]], **options: Any
    ) -> Iterator[Answer]:
        """Answers a query about one batch after the other; see `ScoreModel.evaluate_each`."""
        return (self.reported(self._answer(query, *arguments, **options), None) for arguments in batches)

    def _answer(
        self, query: Query, batch: Samples, *tensors: tf.Tensor | NDArray[Any], **options: Any
    ) -> dict[str, Any]:
        passes: list[ForwardPass] = []
        whole = batch.as_tensors()

        def forward(batch: Samples, override: None = None, as_floats: bool = False) -> ForwardPass:
            passes.append(ForwardPass(self, batch, self._outputs(batch), []))
            passes[-1].clean = batch is whole
            return passes[-1]

        return first_reported(passes, query(forward, whole, *map(tf.convert_to_tensor, tensors), **options))

    def _outputs(self, batch: Samples) -> Any:
        outputs = self.model(self.join(batch.images.numpy(), [x.numpy() for x in batch.other_inputs]))
        several = isinstance(outputs, (dict, tuple))
        outputs = tf.nest.map_structure(tf.convert_to_tensor, outputs) if several else tf.convert_to_tensor(outputs)
        are_scores = isinstance(outputs, tf.Tensor) and outputs.shape.rank == 2 and len(outputs) == len(batch)
        if self.score is None and not are_scores:
            raise KerasxaiError(
                f"expected the function to return scores of shape ({len(batch)}, classes) for {len(batch)} images, "
                f"got {tf.nest.map_structure(lambda x: tuple(x.shape), outputs)}"
            )
        if are_scores:
            self.check_targets(np.asarray(batch.targets), max(2, outputs.shape[1]))
        return outputs

"""A view of a classifier that can only be called: no layers, no gradients, perhaps not even Keras."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from kerasxai.engine.forward_pass import ForwardPass, first_told
from kerasxai.engine.outputs.checks import found_out
from kerasxai.engine.samples import Sample
from kerasxai.engine.scores import Score
from kerasxai.engine.traced_model import TracedModel
from kerasxai.tools.errors import KerasxaiError


class FunctionModel(TracedModel):
    """The face of a `TracedModel` on any function `(N, H, W, C) -> (N, classes)`.

    A function of several inputs is given the structure that the user gave, with the explained images in their place.

    Questions run eagerly. What the function returns is explained as it is. Nothing shows whether it gives logits or
    probabilities; where the answer depends on it, as it does for a single column (class 1 lies above logit 0, but above
    probability 1/2), values outside [0, 1] are taken for logits and others for probabilities, with a warning.

    Args:
        function: Takes a float32 array and returns an array or a tensor; torch, scikit-learn or a remote service.
        layer: None; a function has no layers.
        score: `(outputs, targets) -> (B,)`, or None for the output of the target class.
        batch_size: The most images that the function is given at once.
        outputs: `"logits"` or `"probabilities"`, what the function gives, or None.

    Raises:
        KerasxaiError: A layer was given.

    Example:
        >>> view = FunctionModel(lambda images: images.mean((1, 2)))
    """

    def __init__(
        self,
        function: Callable[[np.ndarray], Any],
        layer: Any = None,
        score: Score | None = None,
        batch_size: int = 32,
        outputs: str | None = None,
    ) -> None:
        super().__init__(lambda images: function(images), None, score, batch_size, outputs=outputs)
        self.outputs.of_function = True
        if layer is not None:
            raise KerasxaiError("a function of images has no layers; leave layer= out")

    def evaluate(
        self, question: Callable[..., dict[str, Any]], images: Any, targets: Any, *tensors: Any, **options: Any
    ) -> Any:
        """Answers a question for one batch; see `TracedModel.evaluate`."""
        taken = self.outputs.taken
        answer = self._answered(question, images, targets, *tensors, **options)
        with self._traced.lock:
            # Another thread may have found out meanwhile.
            again = found_out(self, answer, targets, options.get("explain")) or self.outputs.taken != taken
        if again:
            answer = self._answered(question, images, targets, *tensors, **options)
        return self._told(answer, None)

    def evaluate_each(
        self, question: Callable[..., dict[str, Any]], batches: Iterable[tuple[Any, ...]], **options: Any
    ) -> Iterator[Any]:
        """Answers a question for one batch after the other; see `TracedModel.evaluate_each`."""
        return (self._told(self._answered(question, *batch, **options), None) for batch in batches)

    def _answered(
        self, question: Callable[..., dict[str, Any]], images: Any, targets: Any, *tensors: Any, **options: Any
    ) -> dict[str, Any]:
        self._check_targets(targets)
        first: list[ForwardPass] = []
        held = [*self.others, *([] if self.wanted is None else [self.wanted])]

        def run(images: Any, targets: Any, fed: None = None, behind_cast: bool = False) -> ForwardPass:
            sample = Sample.gathered(targets, held, self.wanted is not None)
            first.append(ForwardPass(self, images, self._outputs(images, sample), sample, []))
            return first[-1]

        tensors = tuple(map(tf.convert_to_tensor, tensors))
        answer = question(run, tf.convert_to_tensor(images), tf.convert_to_tensor(targets), *tensors, **options)
        return first_told(first, answer)

    def _outputs(self, images: Any, sample: Sample) -> Any:
        given = self.model_inputs(images.numpy(), [x.numpy() for x in sample.others])
        outputs = self.model(given)
        several = isinstance(outputs, (dict, tuple))
        outputs = tf.nest.map_structure(tf.convert_to_tensor, outputs) if several else tf.convert_to_tensor(outputs)
        if self.score is None and not _are_class_scores(outputs, len(images)):
            raise KerasxaiError(
                f"the function must return scores of shape ({len(images)}, classes) for {len(images)} images; "
                f"it returned {tf.nest.map_structure(lambda x: tuple(x.shape), outputs)}"
            )
        if self.num_classes is None and _are_class_scores(outputs, len(images)):
            self.num_classes = max(2, outputs.shape[1])
            self._check_targets(sample.classes)
        return outputs

    def takes_channels_first(self, shape: tuple[int, ...]) -> bool:
        """Returns False: a function is given images as the user gives them."""
        return False

    def chosen_places(self, choice: Any) -> Any:
        """Refuses: a function has no layers."""
        raise KerasxaiError("this method looks at a layer; a function of images has none, a Keras model is needed")


def _are_class_scores(outputs: Any, count: int) -> bool:
    return isinstance(outputs, tf.Tensor) and outputs.shape.rank == 2 and len(outputs) == count

"""ScoreModel, a model that answers queries about its scores: all that black-box methods need."""

from __future__ import annotations

import abc
import contextlib
import copy
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.engine.call_report import CallReport, Diagnostic
from kerasxai.engine.inputs import InputLayout, InputName, Inputs, Specs, checked_rank, spec_of, split_inputs
from kerasxai.engine.outputs.checks import clean
from kerasxai.engine.outputs.finite import check_inputs
from kerasxai.engine.outputs.kinds import OutputKind
from kerasxai.engine.samples import Samples
from kerasxai.engine.scores import PREDICTED
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.model_settings import CLASS_SCORES
from kerasxai.tools.options import choice

if TYPE_CHECKING:
    from kerasxai.engine.scores import Score

Answer: TypeAlias = SimpleNamespace
"""The tensors of a query's answer by name, with `targets` and `scores` of its first pass, and the `layer` it reads."""
Query: TypeAlias = Callable[..., dict[str, Any]]
"""`query(forward, batch, *tensors, **options) -> dict of tensors`; see `kerasxai.engine.traced_model.TracedModel`."""


@dataclass(frozen=True)
class Alteration:
    """A change of the model while a pass is traced.

    Attributes:
        name: Hashable; traces are kept under it.
        change: Returns the context in which the model is changed, and after which it is as before.
        any_size: Whether the model then takes images of any size.
    """

    name: Hashable
    change: Callable[[], contextlib.AbstractContextManager[Any]]
    any_size: bool = False


class ScoreModel(abc.ABC):
    """A model that answers queries about its scores.

    It is a value: `for_call` and the like return a copy, which shares the caches, so that threads may share a model.

    Args:
        model: A Keras model, or a function of images.
        score: `(outputs, targets) -> (B,)`, or a name of a score of the target class, see `class_score`.
        batch_size: The most images per pass; see `effective_batch_size`.
        outputs: `"logits"` or `"probabilities"`, what the model returns; None finds out.

    Attributes:
        score: A custom score, or None where a class is explained.
        class_score: The score of the target class: `"relative"`, `"logit"`, or None for the relative logit where the
            model ends in a softmax, and the logit elsewhere; see `kerasxai.engine.scores`.
        outputs: What the outputs are taken for; shared by all copies.
        report: The diagnostics and the progress of one call.
        layout: The structure of the inputs of one call; None where the images are the only input.
        channels_first: Whether the model takes `(B, C, H, W)`; methods see `(B, H, W, C)` all the same.
        has_graph: Whether passes are traced, so that layers, gradients and logits can be found.
        alterations: Changes of the model while a pass is traced, the outermost first.
        accelerated: Whether passes may be rewritten to be faster; results differ by rounding at most.
        specs: The specs of all inputs, in their structure; None where the model has none.
        input_names: The names of all inputs, in their order; empty where the model has none.
        output_names: The names of all outputs; empty where the model has none.
        input_spec: The spec of the explained input; None where the model has none.
    """

    has_graph = True
    accelerated = False
    alterations: tuple[Alteration, ...] = ()
    input_spec: tf.TensorSpec | None = None
    specs: Specs = None
    input_names: Sequence[str] = ()
    output_names: Sequence[str] = ()

    def __init__(
        self, model: Callable[..., Any], score: Score | str | None, batch_size: int, outputs: str | None
    ) -> None:
        self.model: Any = model
        self.score = None if isinstance(score, str) else score
        self.class_score = choice("score", score, CLASS_SCORES) if isinstance(score, str) else None
        self.batch_size = batch_size
        self.outputs = OutputKind(outputs)
        self.report = CallReport()
        self.layout: InputLayout | None = None
        self.channels_first = False

    def for_call(self, report: CallReport, layout: InputLayout | None = None, channels_first: bool = False) -> Self:
        """Returns a copy for one call.

        Args:
            report: The state of the call.
            layout: See the class.
            channels_first: See the class.
        """
        own = copy.copy(self)
        own.report, own.layout, own.channels_first = report, layout, channels_first
        return own

    def for_inputs(self, inputs: Inputs, image_input: InputName = None) -> tuple[Self, Samples]:
        """Returns a copy for one call, and its inputs as one batch with the predicted classes as targets.

        Args:
            inputs: Images, or all inputs of the model in its structure.
            image_input: The input to explain, of several.

        Raises:
            KerasxaiError: Inputs of another structure, rank or number of rows, or NaN or infinity in them.
        """
        layout, images, other_inputs = split_inputs(inputs, self.specs, self.input_names, image_input)
        images = checked_rank(images, spec_of(layout, self.specs, self.input_names))
        check_inputs("images", images)
        for values in other_inputs:
            check_inputs("the other inputs", values)
        channels_first = self.takes_channels_first(images.shape)
        images = np.moveaxis(images, 1, -1) if channels_first else images
        count = len(images)
        batch = Samples(images, np.full(count, PREDICTED), tuple(other_inputs), None, np.arange(count))
        return self.for_call(CallReport(count), layout, channels_first), batch

    def for_copies(self) -> Self:
        """Returns a copy that explains changed copies of a batch; see `CallReport.for_copies`."""
        own = copy.copy(self)
        own.report = self.report.for_copies()
        return own

    def takes_channels_first(self, shape: Sequence[int]) -> bool:
        """Whether inputs of a shape are `(N, C, ...)`; a function is given images as the user gives them."""
        return False

    @property
    def takes_images_only(self) -> bool:
        """Whether images `(B, H, W, C)` are all that the model takes."""
        return self.layout is None and not self.channels_first

    @property
    def effective_batch_size(self) -> int:
        """How many images to send through the model at once: `batch_size`, or fewer if that is faster."""
        return self.batch_size

    @abc.abstractmethod
    def evaluate(self, query: Query, batch: Samples, *tensors: tf.Tensor | NDArray[Any], **options: Any) -> Answer:
        """Answers a query about one batch.

        Args:
            query: See `Query`. It must be the same object from call to call, or it is traced again.
            batch: The batch.
            *tensors: More tensors for the query, each `(n, ...)` with any `n`.
            **options: Hashable settings of the query; another value is another trace.
        """

    @abc.abstractmethod
    def evaluate_each(
        self, query: Query, batches: Iterable[tuple[Samples, *tuple[Any, ...]]], **options: Any
    ) -> Iterator[Answer]:
        """Answers a query about one batch after the other, as a loop of `evaluate` would.

        Args:
            query: See `evaluate`.
            batches: The arguments of `evaluate` for each, `(batch, *tensors)`; drawn a little ahead of the answers.
            **options: See `evaluate`.
        """

    def parts(self, batch: Samples) -> Iterator[Samples]:
        """Cuts the images of a call into batches; their size is known after the first has been evaluated."""
        start = 0
        while start < len(batch):
            stop = start + self.effective_batch_size
            yield batch.take(slice(start, stop))
            start = stop

    def chunks(self, count: int, images: int = 1, size: int | None = None) -> Iterator[slice]:
        """Cuts changed copies of images into batches, and reports the progress after each.

        Args:
            count: How many copies of each image.
            images: How many images.
            size: How many copies make a batch, `effective_batch_size` by default.
        """
        size = size or self.effective_batch_size
        for start in range(0, count, size):
            stop = min(start + size, count)
            yield slice(start, stop)
            self.report.progress.advance(images * (stop - start) / count)

    def resolve(self, batch: Samples, explain: str = "logit") -> Answer:
        """Runs one clean pass, which finds the predicted classes and reports targets and scores.

        Args:
            batch: The batch.
            explain: `"logit"` for the score, `"probability"` for the probability of the target class.

        Returns:
            An answer with `targets` `(B,)` int64 and `scores` `(B,)` float32.
        """
        return self.evaluate(clean, batch, explain=explain)

    def record(self, **values: Diagnostic) -> None:
        """Record diagnostics; the first value in a batch wins."""
        self.report.record(**values)

    def join(self, images: tf.Tensor | NDArray[Any], other_inputs: Sequence[tf.Tensor | NDArray[Any]]) -> Inputs:
        """Returns the inputs of the model: the explained images among the other inputs."""
        return images if self.layout is None else self.layout.join(images, other_inputs)

    def check_targets(self, targets: tf.Tensor | NDArray[Any], num_classes: int | None) -> None:
        """Checks that classes are among those of the model, where it is known how many there are.

        Raises:
            KerasxaiError: A class is out of range.
        """
        own = self.score is not None and not hasattr(self.score, "chosen")
        highest = int(np.max(targets)) if len(targets) else 0
        if num_classes is not None and not own and highest >= num_classes:
            raise KerasxaiError(
                f"target must be from 0 to {num_classes - 1}, got {highest}; the model has {num_classes} classes"
            )

    def reported(self, answer: dict[str, Any], layer: str | None) -> Answer:
        """Returns an answer, after its targets and scores were recorded."""
        found = {name: answer[name] for name in ("targets", "scores", "all_scores", "probabilities") if name in answer}
        self.report.record(**found)
        if "extents" in answer:
            self.report.replace(extents=answer["extents"])  # Those of the last maps.
        if self.outputs.guessed and "inside" in answer:
            self.outputs.check(np.asarray(answer["inside"]), chooses=False)
        return SimpleNamespace(layer=layer, **answer)

"""TracedModel, a live Keras model whose passes are traced once and run for any number of batches."""

from __future__ import annotations

import collections
import concurrent.futures
import copy
import functools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import keras
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.engine import fast
from kerasxai.engine.call_report import CallReport
from kerasxai.engine.fast import ConstantWeights, fitting, max_concurrent
from kerasxai.engine.forward_pass import ForwardPass, Override, first_reported, located
from kerasxai.engine.images.image_input import takes_channels_first
from kerasxai.engine.inputs import InputLayout, spec_of
from kerasxai.engine.keras_internals import recording_gradients
from kerasxai.engine.layers import LayerName, find_call, input_names, input_specs, listed_layers
from kerasxai.engine.map_layout import spatial_shape
from kerasxai.engine.model_call import call_model
from kerasxai.engine.observer import Observer
from kerasxai.engine.outputs.checks import needs_new_trace
from kerasxai.engine.samples import Samples
from kerasxai.engine.score_model import Alteration, Answer, Query, ScoreModel
from kerasxai.engine.trace_cache import Trace, Traces
from kerasxai.engine.tracing import build
from kerasxai.tools.errors import KerasxaiError

if TYPE_CHECKING:
    from kerasxai.engine.scores import Score


class TracedModel(ScoreModel):
    """A live Keras model that answers queries from traced forward passes.

    A query is a function `query(forward, batch, *tensors, **options)` that calls `forward(batch)`, which returns a
    `ForwardPass`, as often as it needs, and returns a dict of tensors. It is traced once for each shape beyond the
    batch; weights are read live, so that one traced model stays valid throughout training. With
    `forward(batch, override=(path, tensor))` a layer returns that tensor, and nothing below it is computed; with a
    function in place of the tensor, what that makes of the layer's output; `as_floats`: see `integer_images`.

    Args:
        model: Any Keras model. It is left unchanged after each trace.
        layer: A path, a name or a layer object, or a list of them; None chooses the map that feeds the head.
        score: As for `ScoreModel`.
        batch_size: The most images per pass; see `effective_batch_size`.
        accelerated: Whether batch normalizations are folded into convolutions, see `batchnorm_folding`, and long loops
            run on constant weights, see `constant_weights`.
        outputs: `"logits"` or `"probabilities"`, what the model returns; None reads it from the graph.
        fuse: How the maps of several layers become one, `"mean"` or `"max"`.
        token_grid: The grid of the tokens of a layer `(B, T, K)`, where it cannot be found.

    Attributes:
        layers: The explained layers, pairs of path and layer; empty for the default.
        checked: Facts that were found to hold for the model, by name; shared by all copies.
        learned: What was learned of the model in earlier calls, by name; shared by all copies.
    """

    def __init__(
        self,
        model: keras.Model,
        layer: LayerName | Sequence[LayerName] | None = None,
        score: Score | str | None = None,
        batch_size: int = 32,
        accelerated: bool = True,
        outputs: str | None = None,
        fuse: str = "mean",
        token_grid: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(model, score, batch_size, outputs)
        self.accelerated = accelerated
        self.fuse = fuse
        self.token_grid = token_grid
        self.layers = [find_call(model, one)[:2] for one in listed_layers(layer)]
        self.specs = input_specs(model)
        self.input_names = input_names(model)
        self.output_names = getattr(model, "output_names", ())
        self.checked: set[str] = set()
        self.learned: dict[Hashable, object] = {}
        self.observer: Observer | None = None
        self._constant_weights = ConstantWeights()
        self._traces = Traces(self._constant_weights.forget)

    def for_call(self, report: CallReport, layout: InputLayout | None = None, channels_first: bool = False) -> Self:
        """Returns a copy for one call; see `ScoreModel.for_call`."""
        own = super().for_call(report, layout, channels_first)
        own._constant_weights = self._constant_weights.for_call()
        return own

    def at(self, layer: tuple[str, keras.Layer | None]) -> Self:
        """Returns a copy that explains one layer."""
        own = copy.copy(self)
        own.layers = [layer]
        return own

    def altered(self, alteration: Alteration) -> Self:
        """Returns a copy whose passes are traced inside one more change of the model."""
        own = copy.copy(self)
        own.alterations = (*self.alterations, alteration)
        return own

    def observed(self, observer: Observer) -> Self:
        """Returns a copy whose passes of the observer's images answer its query as well, until it has an answer."""
        own = copy.copy(self)
        own.observer = observer
        return own

    @property
    def input_spec(self) -> tf.TensorSpec | None:  # type: ignore[override]
        """The spec of the explained input, or None where the model has none."""
        return spec_of(self.layout, self.specs, self.input_names)

    @property
    def effective_batch_size(self) -> int:
        """How many images to send through the model at once: `batch_size`, or as many as fit; known after one pass."""
        return fitting(self.batch_size, self._traces.largest)

    def chunks(self, count: int, images: int = 1, size: int | None = None) -> Iterator[slice]:
        """Cuts changed copies of images into batches; passes between them may run on constant weights."""
        left = (self.report.count or 0) - self.report.progress.done
        with self._constant_weights.loop(math.ceil(count * max(images, left)) if self.accelerated else 0):
            yield from super().chunks(count, images, size)

    def evaluate(self, query: Query, batch: Samples, *tensors: tf.Tensor | NDArray[Any], **options: Any) -> Answer:
        """Answers a query about one batch; see `ScoreModel.evaluate`."""
        taken, observer = self.outputs.taken, self.observer
        if observer is not None and observer.awaits(batch, self.alterations):
            query = observer.with_query(query)
        function, given, layer_name = self._prepare(query, batch, *tensors, **options)
        answer = function(*given)
        with self._traces.lock:
            # Another thread may have settled what the outputs are meanwhile.
            again = needs_new_trace(self, answer, batch, options.get("explain")) or self.outputs.taken != taken
        if again:
            return self.evaluate(query, batch, *tensors, **options)
        if observer is not None:
            answer = observer.take(answer)
        return self.reported(answer, layer_name)

    def evaluate_each(
        self, query: Query, batches: Iterable[tuple[Samples, *tuple[Any, ...]]], **options: Any
    ) -> Iterator[Answer]:
        """Answers a query about one batch after the other; see `ScoreModel.evaluate_each`.

        With constant weights several batches are computed at a time, which leaves no core idle between the small
        operations of one batch; only the time depends on it.
        """
        at_once = max_concurrent()
        answers: collections.deque[tuple[Callable[[], Any], str | None]] = collections.deque()
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            for arguments in batches:
                function, given, layer_name = self._prepare(query, *arguments, **options)
                if at_once > 1 and self._constant_weights.is_constant(function):
                    answers.append((pool.submit(function, *given).result, layer_name))
                else:
                    answers.append((functools.partial(function, *given), layer_name))
                if len(answers) > at_once:
                    answer, layer_name = answers.popleft()
                    yield self.reported(answer(), layer_name)
            for answer, layer_name in answers:
                yield self.reported(answer(), layer_name)

    def layer_names(self, batch: Samples) -> list[str]:
        """Returns the paths of the explained layers, from a trace alone."""
        return (self._prepare(located, batch)[2] or "").split(", ")

    def reported(self, answer: dict[str, Any], layer: str | None) -> Answer:
        """Returns an answer, after its targets, scores and layer were recorded."""
        if layer is not None:
            self.record(layer=layer)
            if ", " in layer and not self.layers:
                self.record(parallel_layers=layer)
        return super().reported(answer, layer)

    def _prepare(
        self, query: Query, batch: Samples, *tensors: tf.Tensor | NDArray[Any], **options: Any
    ) -> tuple[Callable[..., dict[str, Any]], list[tf.Tensor], str | None]:
        """Returns the function that answers a query about one batch, its arguments, and the path of the layer."""
        with self._traces.lock:
            trace = self._trace_for(query, options, batch, tensors)
        self.report.layouts |= trace.layouts
        self.check_targets(batch.targets, trace.num_classes)
        function = self._constant_weights.fastest(trace.concrete, math.prod(spatial_shape(batch.images.shape)))
        given = (batch.images, batch.targets, *batch.extra, *tensors)
        return function, [tf.convert_to_tensor(x) for x in given], trace.layer_name

    def _trace_for(
        self, query: Query, options: dict[str, Any], batch: Samples, tensors: tuple[tf.Tensor | NDArray[Any], ...]
    ) -> Trace:
        settings = (
            self.layout.key if self.layout else None,
            batch.custom_targets is not None,
            self.channels_first,
            self.outputs.taken,
            fast.enabled(),
            *(alteration.name for alteration in self.alterations),
            *(path for path, _ in self.layers),
            *sorted(options.items()),
        )
        inputs = tuple(_batch_spec(x) for x in (batch.images, *batch.extra))
        key = (query, settings, *inputs, *(_batch_spec(x) for x in tensors))
        # All traces of a call go with its first one: a method that resizes its images must not push its own out.
        self.report.trace_size = self.report.trace_size or inputs
        return self._traces.get(self.report.trace_size, key, lambda: self._trace(query, options, batch, tensors))

    def _trace(
        self, query: Query, options: dict[str, Any], batch: Samples, tensors: tuple[tf.Tensor | NDArray[Any], ...]
    ) -> Trace:
        build(self.model, self.join(batch.images[:1], [x[:1] for x in batch.other_inputs]))
        passes: list[ForwardPass] = []
        other = len(batch.other_inputs)
        extra = len(batch.extra)

        def traced(images: tf.Tensor, targets: tf.Tensor, *rest: tf.Tensor) -> dict[str, Any]:
            whole = Samples(images, targets, rest[:other], rest[other] if extra > other else None)

            def forward(batch: Samples, override: Override = None, as_floats: bool = False) -> ForwardPass:
                passes.append(self._forward(batch, override, as_floats))
                passes[-1].clean = batch is whole
                return passes[-1]

            return first_reported(passes, query(forward, whole, *rest[extra:], **options))

        specs = [
            self._image_spec(batch.images),
            tf.TensorSpec((None,), tf.int64),
            *(_batch_spec(x) for x in (*batch.extra, *tensors)),
        ]
        with recording_gradients():
            concrete = tf.function(traced, autograph=False).get_concrete_function(*specs)
        first = passes[0]
        return Trace(concrete, first.layer_name, first.num_classes, first.layouts)

    def _image_spec(self, images: tf.Tensor | NDArray[Any]) -> tf.TensorSpec:
        """Returns the spec of images in a trace, with their spatial shape even if the model leaves it open.

        Whatever depends on the size (which layer gives a map, how windows and paddings fall) is then decided as for a
        model that was built for images of this size.
        """
        spec = self.input_spec
        if spec is not None and not any(alteration.any_size for alteration in self.alterations):
            shape = tuple(images.shape[1:])
            shape = (shape[-1], *shape[:-1]) if self.channels_first else shape
            if not spec.shape.is_compatible_with((None, *shape)):
                raise KerasxaiError(
                    f"expected images of shape {tuple(spec.shape[1:])} for the model {self.model.name!r}, got {shape}"
                )
        return _batch_spec(images)

    def _forward(self, batch: Samples, override: Override, as_floats: bool) -> ForwardPass:
        # Persistent, because a query may take several gradients. What is recorded but not needed is pruned.
        tape = tf.GradientTape(persistent=True, watch_accessed_variables=False)
        with tape:
            if batch.images.dtype.is_floating:
                tape.watch(batch.images)
            outputs, calls = call_model(self, batch, override, as_floats, tape)
            return ForwardPass(self, batch, outputs, calls, tape)

    def takes_channels_first(self, shape: Sequence[int]) -> bool:
        """Whether inputs of a shape are `(N, C, ...)`, for a model that works with channels first."""
        return takes_channels_first(self.model, tuple(shape))


def _batch_spec(tensor: tf.Tensor | NDArray[Any]) -> tf.TensorSpec:
    """Returns the spec of a tensor or array with any batch size."""
    return tf.TensorSpec((None, *tensor.shape[1:]), tf.as_dtype(tensor.dtype))

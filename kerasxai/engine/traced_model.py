"""A view of a model: questions that are traced once and asked for any number of batches."""

import collections
import concurrent.futures
import contextlib
import copy
import functools
import math
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import tensorflow as tf

from kerasxai.engine import fast
from kerasxai.engine.fast import ConstantWeights, fitting, max_concurrent
from kerasxai.engine.feature_layer.choice import Choice, ExplainedMap
from kerasxai.engine.forward_pass import Fed, ForwardPass, first_told, located
from kerasxai.engine.images.image_input import takes_channels_first
from kerasxai.engine.keras_internals import recording_gradients
from kerasxai.engine.layers import find_call, input_names, input_specs, listed_layers
from kerasxai.engine.map_layout import MapLayout, sides_of
from kerasxai.engine.model_call import call_model
from kerasxai.engine.outputs.checks import clean, found_out
from kerasxai.engine.outputs.kinds import OutputKind
from kerasxai.engine.samples import Layout, Sample, spec_of, unpacked
from kerasxai.engine.scores import Score
from kerasxai.engine.trace_cache import Trace, Traces
from kerasxai.engine.tracing import build
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.progress import Bar


class TracedModel:
    """What methods may ask of a model.

    A question is a function `question(run, images, targets, *tensors, **options)` that calls `run(images, targets)`,
    which gives a `ForwardPass`, as often as it needs and returns a dict of tensors. It is traced once for each shape
    beyond the batch; weights are read live, so that one traced model stays valid throughout training. With
    `run(images, targets, fed=(path, tensor))` a layer gives that tensor, and what lies below it is not computed; or,
    with a function in place of the tensor, what that makes of the layer's output; `behind_cast`: see `whole_numbers`.

    Args:
        model: Any Keras model. It is left exactly as it was after each trace.
        layer: A path, a name or a layer object, or a list of them; None chooses the map that feeds the head.
        score: `(outputs, targets) -> (B,)`, or None for the logit of the target class.
        batch_size: How many images at most go through the model at once; see `effective_batch_size`.
        fold: Whether batch normalizations are folded into the convolutions before them, see `batchnorm_folding`;
            and whether long loops may freeze the weights, see `constant_weights`.
        outputs: `"logits"` or `"probabilities"`, what the model gives; None reads it from the graph.

    Attributes:
        outputs: What the model's outputs are taken for.
        fuse: How the maps of several layers become one, `"mean"` or `"max"`.
        notes: What the methods told of this batch beside their maps.
        rows: Which of all the call's images this batch is.
        total: How many images the call has; None where there is no call around the batch.
        bar: Shows how far the call is.
        layout: How the explained images and the `others` lie in what the model takes; None where it takes images alone.
        others: The other inputs of this batch, which each pass gathers for its samples.
        wanted: Targets of this batch that are no classes, `(B, ...)`, gathered likewise for the score; else None.
        channels_first: Whether the model takes `(B, C, H, W)`; methods see `(B, H, W, C)` all the same.
        token_grid: On which grid the tokens of a layer `(B, T, K)` lie, where it cannot be found.
        forms: The layers whose maps methods see in another form than the model, by path.
        ablation_points: For the path of an explained layer, which layer is fed where whole channels change; see
            `ForwardPass.ablation_point`.
        checked: What is known to hold for the model, for the views of all calls.
        altered: None, or a hashable name, what changes the model while a pass is traced, and whether it then takes any
            size; see `altering`.
    """

    def __init__(
        self,
        model: Any,
        layer: Any = None,
        score: Score | None = None,
        batch_size: int = 32,
        fold: bool = True,
        outputs: str | None = None,
    ) -> None:
        self.model = model
        self.outputs = OutputKind(outputs)
        self.fold = fold
        self.score = score
        self.batch_size = batch_size
        self.fuse = "mean"
        self.layers = [find_call(model, one)[:2] for one in listed_layers(layer)]
        self.num_classes: int | None = None
        self.notes: dict[str, Any] = {}
        self.rows: Any = slice(None)
        self.total: int | None = None
        self.bar = Bar(0, "", shown=False)
        self.layout: Layout | None = None
        self.others: list[Any] = []
        self.wanted: Any = None
        self.channels_first = False
        self.token_grid: tuple[int, ...] | None = None
        self.forms: dict[str, MapLayout] = {}
        self.ablation_points: dict[str, str] = {}
        self.altered: tuple[Any, Callable[[], Any], bool] | None = None
        self.specs = input_specs(model)
        self.names = input_names(model)
        self.output_names = getattr(model, "output_names", ())
        self._constant_weights = ConstantWeights()
        self._traced = Traces(self._constant_weights.forget)
        # Of a call: the size of its first question, under which all its traces are kept.
        self._size: list[Any] | None = None
        self.checked: set[str] = set()

    def for_call(self) -> Self:
        """Returns a view for one call: with a state of its own, and the traces and frozen weights of this one."""
        own = copy.copy(self)
        own.notes, own.forms, own.ablation_points, own._size = {}, {}, {}, []
        own._constant_weights = self._constant_weights.for_call()
        return own

    def note(self, **values: Any) -> None:
        """Keeps what a method tells beside its maps; what was noted first in a batch stays."""
        for name, value in values.items():
            self.notes.setdefault(name, value)

    @contextlib.contextmanager
    def at(self, layer: tuple[str, Any]) -> Iterator[None]:
        """Lets a method explain at one of several layers, as if it were the only one."""
        layers, self.layers = self.layers, [layer]
        self.notes.pop("layer", None)
        try:
            yield
        finally:
            self.layers = layers

    @contextlib.contextmanager
    def repeated(self, times: int, images: int) -> Iterator[None]:
        """Lets a method explain changed copies of a batch of images, one batch of copies after the other.

        What the method tells of each copy is dropped, what it tells once is kept, and the bar stands still.
        """
        kept = self.notes, self.rows, self.bar
        first = 0 if isinstance(self.rows, np.ndarray) else self.rows.start or 0
        rows = self.rows if isinstance(self.rows, np.ndarray) else np.arange(first, first + images)
        self.notes, self.rows, self.bar = {}, np.tile(rows, times), Bar(0, "", shown=False)
        try:
            yield
        finally:
            told, (self.notes, self.rows, self.bar) = self.notes, kept
            self.note(**{n: x for n, x in told.items() if n == "extents" or isinstance(x, (str, int, float))})

    @contextlib.contextmanager
    def altering(
        self, name: Any, change: Callable[[], contextlib.AbstractContextManager[Any]], any_size: bool = False
    ) -> Iterator[None]:
        """Asks an altered model for the length of a block: each pass is traced inside `change()`.

        Args:
            name: Hashable; passes are kept under it.
            change: Gives the context in which the model is altered; it puts everything back.
            any_size: Whether the model then takes images of any size.
        """
        before, self.altered = self.altered, (name, change, any_size)
        try:
            yield
        finally:
            self.altered = before

    def chunks(self, count: int, images: int = 1, size: int | None = None) -> Iterator[slice]:
        """Cuts `count` samples that explain so many images into batches, and tells the bar of each one done.

        What is asked between them may be answered by a graph with frozen weights; see `constant_weights`.

        Args:
            count: How many samples of each image.
            images: How many images they explain.
            size: How many samples make a batch, if not `effective_batch_size`.
        """
        size = size or self.effective_batch_size
        with self._constant_weights.loop(count * max(images, self._images_left()) if self.fold else 0):
            for start in range(0, count, size):
                stop = min(start + size, count)
                yield slice(start, stop)
                self.bar.advance(images * (stop - start) / count)

    @property
    def effective_batch_size(self) -> int:
        """How many images to send through the model at once: `batch_size`, or as many as fit; known after one pass."""
        return fitting(self.batch_size, self._traced.largest)

    def _images_left(self) -> int:
        """Returns how many images of the call are not explained yet."""
        first = 0 if isinstance(self.rows, np.ndarray) else self.rows.start or 0
        return (self.total or 0) - first

    def evaluate(
        self, question: Callable[..., dict[str, Any]], images: Any, targets: Any, *tensors: Any, **options: Any
    ) -> Any:
        """Answers a question for one batch.

        Args:
            question: See the class. It must be the same object from call to call, or it is traced again.
            images: `(B, H, W, C)` float32.
            targets: `(B,)` int64; `PREDICTED` where the predicted class is meant.
            *tensors: More tensors for the question, each `(n, ...)` with any `n`.
            **options: Hashable settings of the question; another value is another trace.

        Returns:
            A namespace of the question's tensors, with the `targets` and `scores` of its first pass, and the path of
            the `layer` whose map it took, or None.
        """
        taken = self.outputs.taken
        function, given, layer_name = self._posed(question, images, targets, *tensors, **options)
        answer = function(*given)
        with self._traced.lock:
            # Another thread may have found out meanwhile.
            again = found_out(self, answer, targets, options.get("explain")) or self.outputs.taken != taken
        if again:
            return self.evaluate(question, images, targets, *tensors, **options)
        return self._told(answer, layer_name)

    def evaluate_each(
        self, question: Callable[..., dict[str, Any]], batches: Iterable[tuple[Any, ...]], **options: Any
    ) -> Iterator[Any]:
        """Answers a question for one batch after the other, as a loop of `evaluate` would.

        With frozen weights several batches are computed at a time, which leaves no core idle between the small
        operations of one batch; nothing but the time depends on it.

        Args:
            question: See the class.
            batches: What `evaluate` takes for each, `(images, targets, *tensors)`; drawn a little ahead of the answers.
            **options: Hashable settings of the question.

        Yields:
            What `evaluate` returns for each batch, in their order.
        """
        at_once = max_concurrent()
        answers: collections.deque[tuple[Callable[[], Any], str | None]] = collections.deque()
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            for batch in batches:
                function, given, layer_name = self._posed(question, *batch, **options)
                if at_once > 1 and self._constant_weights.is_constant(function):
                    answers.append((pool.submit(function, *given).result, layer_name))
                else:
                    answers.append((functools.partial(function, *given), layer_name))
                if len(answers) > at_once:
                    answer, layer_name = answers.popleft()
                    yield self._told(answer(), layer_name)
            for answer, layer_name in answers:
                yield self._told(answer(), layer_name)

    def layer_names(self, images: Any, targets: Any) -> list[str]:
        """Returns the names of the layers that are explained, from a trace alone."""
        return (self._posed(located, images, targets)[2] or "").split(", ")

    def _posed(
        self, question: Callable[..., dict[str, Any]], images: Any, targets: Any, *tensors: Any, **options: Any
    ) -> tuple[Callable[..., Any], list[Any], str | None]:
        """Returns what answers a question for one batch, what it is to be given, and the path of the layer it takes."""
        held = [*self.others, *([] if self.wanted is None else [self.wanted])]
        with self._traced.lock:
            trace = self._kept(question, options, images, held, *tensors)
        self.num_classes = trace.num_classes
        self.forms |= trace.forms
        self.ablation_points |= trace.ablation_points
        self._check_targets(targets)
        function = self._constant_weights.fastest(trace.concrete, math.prod(sides_of(images.shape)))
        return function, [*map(tf.convert_to_tensor, (images, targets, *held, *tensors))], trace.layer_name

    def _kept(
        self, question: Callable[..., dict[str, Any]], options: dict[str, Any], images: Any, held: Any, *tensors: Any
    ) -> Trace:
        settings = (
            *(self.layout.key if self.layout else None, self.wanted is not None, self.channels_first),
            self.outputs.taken,
            fast.enabled(),
            self.altered and self.altered[0],
            *(path for path, _ in self.layers),
            *sorted(options.items()),
        )
        key = (question, settings, *(_open(x) for x in (images, *held, *tensors)))
        size = tuple(_open(x) for x in (images, *held))
        if self._size is not None:
            size = (self._size or [size])[0]
            self._size = [size]
        return self._traced.get(size, key, lambda: self._trace(question, options, images, held, *tensors))

    def _told(self, answer: dict[str, Any], layer_name: str | None) -> Any:
        """Notes what every question tells of a batch, and returns its answer."""
        self.note(targets=unpacked(answer["targets"])[0], scores=answer["scores"])
        self.notes |= {name: answer[name] for name in ("extents",) if name in answer}  # Those of the last maps.
        if self.outputs.guessed and "inside" in answer:
            self.outputs.check(np.asarray(answer["inside"]), chooses=False)
        if layer_name is not None:
            self.note(layer=layer_name)
            if ", " in layer_name and not self.layers:
                self.note(parallel_layers=layer_name)
        return SimpleNamespace(layer=layer_name, **answer)

    def resolve(self, images: Any, targets: Any, explain: str = "logit") -> Any:
        """Runs one clean pass: puts the predicted classes in, and notes targets and scores.

        Args:
            images: `(B, H, W, C)` float32.
            targets: `(B,)` int64; `PREDICTED` where the predicted class is meant.
            explain: `"logit"` for the score, `"probability"` for the probability of the target class.

        Returns:
            A namespace with `targets` `(B,)` int64 and `scores` `(B,)` float32.
        """
        return self.evaluate(clean, images, targets, explain=explain)

    def _check_targets(self, targets: Any) -> None:
        highest = int(tf.reduce_max(unpacked(targets)[0])) if len(targets) else 0
        own = self.score is not None and not hasattr(self.score, "chosen")
        if self.num_classes is not None and not own and highest >= self.num_classes:
            classes = f"{self.num_classes} classes, 0 to {self.num_classes - 1}"
            raise KerasxaiError(f"target {highest} is out of range: the model has {classes}")

    def _trace(
        self, question: Callable[..., dict[str, Any]], options: dict[str, Any], images: Any, held: Any, *tensors: Any
    ) -> Trace:
        build(self.model, self.model_inputs(images[:1], [x[:1] for x in self.others]))
        first: list[ForwardPass] = []

        def traced(images: Any, targets: Any, *tensors: Any) -> dict[str, Any]:
            count = len(held)

            def run(images: Any, targets: Any, fed: Fed = None, behind_cast: bool = False) -> ForwardPass:
                first.append(self._run(images, targets, list(tensors[:count]), fed, behind_cast))
                return first[-1]

            return first_told(first, question(run, images, targets, *tensors[count:], **options))

        specs = [self._image_spec(images), tf.TensorSpec((None,), tf.int64), *map(_open, (*held, *tensors))]
        with recording_gradients():
            concrete = tf.function(traced, autograph=False).get_concrete_function(*specs)
        return Trace(concrete, first[0].layer_name, self.num_classes, dict(self.forms), dict(self.ablation_points))

    def model_inputs(self, images: Any, others: Any) -> Any:
        """Returns what the model takes, of the explained images and the other inputs."""
        return images if self.layout is None else self.layout.joined(images, others)

    def _image_spec(self, images: Any) -> Any:
        """Returns the spec of images in a trace: with their sides, also where the model leaves these open.

        What depends on sizes (which layer gives a map, how windows and paddings lie) is then decided as for a model
        that was built for images of this size.
        """
        known = self.known
        if known is not None and not (self.altered and self.altered[2]):
            came = tuple(images.shape[1:])
            came = (came[-1], *came[:-1]) if self.channels_first else came
            if not known.shape.is_compatible_with((None, *came)):
                takes = tuple(known.shape[1:])
                raise KerasxaiError(f"the model {self.model.name!r} takes images of shape {takes}, not {came}")
        return _open(images)

    @property
    def known(self) -> Any:
        """What the model says of the explained input, a `tf.TensorSpec` or None."""
        return spec_of(self.layout, self.specs, self.names)

    def _run(self, images: Any, targets: Any, held: list[Any], fed: Fed, behind_cast: bool) -> ForwardPass:
        sample = Sample.gathered(targets, held, self.wanted is not None)
        # Persistent, because a question may take several gradients. What is recorded and not asked for leaves no trace.
        tape = tf.GradientTape(persistent=True, watch_accessed_variables=False)
        with tape:
            if images.dtype.is_floating:
                tape.watch(images)
            outputs, calls = call_model(self, images, sample, fed, behind_cast, tape)
            return ForwardPass(self, images, outputs, sample, calls, tape)

    def takes_channels_first(self, shape: tuple[int, ...]) -> bool:
        """Tells whether inputs of a shape are `(N, C, *sides)`, for a model that works with channels first."""
        return takes_channels_first(self.model, shape)

    def chosen_places(self, choice: Choice) -> list[ExplainedMap]:
        """Returns where methods explain an input: at the named layers, or at those that `Choice` takes by default."""
        return [choice.named(path) for path, _ in self.layers] or choice.default()


def _open(tensor: Any) -> Any:
    """Returns the spec of a tensor or array with its first dimension left open."""
    return tf.TensorSpec((None, *tensor.shape[1:]), tf.as_dtype(tensor.dtype))

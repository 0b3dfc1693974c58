"""ForwardPass, one traced pass of a model and everything that a query may read from it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast, overload

import keras
import tensorflow as tf

from kerasxai.engine.coverage.map_extents import MapExtents
from kerasxai.engine.feature_layer.choice import Choice, ExplainedMap
from kerasxai.engine.graph import ancestors, origin
from kerasxai.engine.images.integer_images import no_gradient, takes_whole_numbers
from kerasxai.engine.map_layout import MapLayout
from kerasxai.engine.overrides import Value
from kerasxai.engine.rectifiers import ruled_gradients
from kerasxai.engine.scores import ClassScores, checked_score, described_outputs, read_classes
from kerasxai.engine.tracing import Call
from kerasxai.tools.errors import KerasxaiError

if TYPE_CHECKING:
    from kerasxai.engine.inputs import Inputs
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.score_model import ScoreModel
    from kerasxai.engine.traced_model import TracedModel

Override: TypeAlias = tuple[str, Value] | None
"""The path of a layer, or the name of an operation, and the value in place of its output."""

# Gradients of a float16 pass leave its range at the lower end; see `ForwardPass.gradient`.
_HALF_PRECISION_SCALE = 1024.0
_POOLINGS = tuple(
    getattr(keras.layers, f"Global{kind}Pooling{rank}D") for kind in ("Average", "Max") for rank in (1, 2, 3)
)


class Forward(Protocol):
    """Runs the model in a query; see `kerasxai.engine.traced_model.TracedModel`."""

    def __call__(self, batch: Samples, override: Override = None, as_floats: bool = False) -> ForwardPass:
        """Returns one pass.

        Args:
            batch: The batch, of any size.
            override: What a layer returns in place of its output.
            as_floats: Whether a model of whole numbers is given floating images; see `integer_images`.
        """


class ForwardPass:
    """One traced pass of a model and everything that a query may read from it.

    Attributes:
        batch: The batch, with the targets that were requested.
        images: Its images, `(B, H, W, C)` float32; for a series `(B, T, C)`, for volumes `(B, D, H, W, C)`.
        outputs: What the model returned, in its structure.
        targets: `(B,)` int64, the explained classes, with the predicted ones filled in.
        score: `(B,)` float32, what is explained.
        calls: Every call of every layer, in the order in which they finished.
        num_classes: How many classes the model has, None if that is not known.
        relative: Whether the explained score is the logit minus its mean over all classes; see `engine.scores`.
        layer_name: The path of the layer whose map was read, if any was; of several, joined by commas.
        layouts: The layers whose maps were read in another layout than the model's, by path.
        rectifiers: How many rectifiers the last gradient with a rule met.
        clean: Whether the pass is of the query's own batch, unchanged.
    """

    def __init__(
        self,
        model: ScoreModel,
        batch: Samples,
        outputs: Inputs,
        calls: list[Call],
        tape: tf.GradientTape | None = None,
    ) -> None:
        self._model = model
        self._tape = tape
        self.batch = batch
        self.images = batch.images
        self.outputs = outputs
        self.calls = calls
        self.layer_name: str | None = None
        self.layouts: dict[str, MapLayout] = {}
        self.rectifiers = 0
        self.clean = False
        self._read: dict[Any, tuple[tf.Tensor, MapLayout]] = {}
        self._extents = MapExtents(self.images)
        self.classes: ClassScores | None = None
        self.num_classes: int | None = None
        self.relative = False
        self.targets = self._resolved_targets()
        self.score = self._score()

    def _resolved_targets(self) -> tf.Tensor:
        """Returns the targets with the predicted classes filled in, and finds out what the outputs are."""
        targets, known = self.batch.targets, self._model.outputs
        flat = tf.nest.flatten(self.outputs)
        choose = getattr(self._model.score, "chosen", None)
        if choose is not None and self.batch.custom_targets is None:
            with self._described():
                targets, self.num_classes = choose(self.outputs, targets)
        elif len(flat) == 1 and isinstance(flat[0], tf.Tensor) and flat[0].shape.rank == 2:
            self.classes = read_classes(flat[0], known.taken)
            known.kind, known.units = self.classes.kind, flat[0].shape[-1]
            targets = self.classes.chosen(targets)
            self.relative = self.classes.is_relative(self._model.class_score, known.declared)
            self.num_classes = max(2, flat[0].shape[-1])
        return targets

    def _score(self) -> tf.Tensor:
        if self._model.score is not None:
            custom = self.batch.custom_targets
            with self._described():
                score = self._model.score(self.outputs, self.targets if custom is None else custom)
                return checked_score(score, self.outputs)
        if self.classes is None:
            shapes = tf.nest.map_structure(lambda x: tuple(x.shape), self.outputs)
            raise KerasxaiError(
                f"expected a model with one output (batch, classes), got {shapes}; pass what to explain as score=, a "
                "function (outputs, targets) -> (batch,)"
            )
        return self.classes.of(self.targets, self.relative)

    def _described(self) -> contextlib.AbstractContextManager[None]:
        return described_outputs(self._model.output_names, self._model.outputs.declared)

    @property
    def logits(self) -> tf.Tensor | None:
        """The class scores that are explained, `(B, C)`, or None where the model has no such output."""
        return None if self.classes is None else self.classes.scores

    @property
    def reported(self) -> dict[str, tf.Tensor]:
        """What every answer reports: targets, scores, and what to check."""
        answer = {"targets": self.targets, "scores": self.score, **self._extents.diagnostics}
        if self.classes is None:
            return answer
        if self.clean and self.classes.kind != "unknown" and self._model.score is None:
            # For `Explanation.outputs`, so that nobody needs to predict a second time.
            answer |= {"all_scores": self.classes.all_classes(), "probabilities": self.classes.probabilities()}
        return answer | self.classes.evidence()

    def explained(self, explain: str) -> tf.Tensor:
        """Returns the score, or for `"probability"` the probability of the target class, `(B,)` float32."""
        if explain == "probability" and self.classes is not None:
            return tf.gather(self.classes.probabilities(), self.targets, batch_dims=1)
        return self.score

    def feature_map(self) -> tf.Tensor:
        """Returns the output of the explained layer, `(B, h, w, K)`, in the dtype of the model.

        Raises:
            KerasxaiError: The layer was not called, was called several times, gives no map, does not feed the score, or
                is one of several.
        """
        maps = self.feature_maps()
        if len(maps) > 1:
            raise KerasxaiError(f"layer must be one layer for this method, got {len(maps)}")
        return maps[0]

    def ablation_point(self, feature_map: tf.Tensor) -> tuple[tf.Tensor, str]:
        """Returns the cheapest tensor at which whole channels of a map can be ablated, and the path of its layer.

        A channel of zeros stays zero in its mean and maximum. So a global pooling through which the score sees all of
        the map will do, with one number per channel; else it is the map itself.
        """
        for call in self.calls:
            if not isinstance(call.layer, _POOLINGS) or not tf.is_tensor(call.output):
                continue
            pooled = origin(call.output).op
            if not pooled.inputs or origin(pooled.inputs[0]) is not feature_map:
                continue
            once = sum(other.layer is call.layer for other in self.calls) == 1
            if once and feature_map.ref() not in ancestors(self.score, without=call.output):
                return call.output, call.path
        return feature_map, self.layer_name or ""

    def feature_maps(self) -> list[tf.Tensor]:
        """Returns the output `(B, h, w, K)` of each explained layer; see `feature_map`."""
        if not self._model.has_graph:
            raise KerasxaiError("expected a Keras model for a method that reads a layer, got a function of images")
        layers = cast("TracedModel", self._model).layers
        chosen = [self.choice.named(path) for path, _ in layers] or self.choice.default()
        self.layer_name = ", ".join(one.path for one in chosen)
        return [self._as_map(one) for one in chosen]

    @functools.cached_property
    def choice(self) -> Choice:
        """Chooses the explained tensors of this pass, and names tensors."""
        model = cast("TracedModel", self._model)
        return Choice(model.model, self.calls, self.score, self.images, model.token_grid)

    def read_map(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns a tensor of this pass as a map `(B, h, w, K)`, tokens on their grid.

        Raises:
            KerasxaiError: It is not a map of this input.
        """
        layout = self.choice.layout(tensor)
        if layout is None:
            raise KerasxaiError(
                f"expected a map that covers inputs of shape {tuple(self.images.shape)}, got shape "
                f"{tuple(tensor.shape)}; if it is made of tokens, pass their grid, token_grid=(rows, columns)"
            )
        return self._to_method(layout, tensor)

    def _as_map(self, explained: ExplainedMap) -> tf.Tensor:
        if not explained.layout.plain:
            self.layouts[explained.path] = explained.layout
        return self._to_method(explained.layout, explained.tensor)

    def located(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns a map of this pass, and reports with the answer which part of the input it covers."""
        self._extents.add(tensor)
        return tensor

    def _to_method(self, layout: MapLayout, tensor: tf.Tensor) -> tf.Tensor:
        self.located(tensor)
        if layout.plain:
            return tensor
        converted = layout.to_method(tensor)
        self._read[converted.ref()] = (tensor, layout)
        return converted

    def explained_inputs(self) -> list[tf.Tensor]:
        """Returns the tensors for gradients at the input: the images, or for tokens `(B, T)` their embeddings.

        Raises:
            KerasxaiError: The explained input is made of whole numbers, and no embedding reads it.
        """
        if self.images.shape.rank > 2:
            return [self.images]
        found = [call.output for call in self.calls if isinstance(call.layer, keras.layers.Embedding)]
        found = [x for x in found if self.images.ref() in ancestors(x, shapes=False) and x.shape.rank == 3]
        spec = self._model.input_spec
        if not found and spec is not None and not spec.dtype.is_floating:
            raise KerasxaiError(
                "expected a keras.layers.Embedding that reads the tokens, got none; gradients of tokens are taken at "
                "their embedding, use occlusion, which needs none"
            )
        return found or [self.images]

    def name_of(self, tensor: tf.Tensor) -> str | None:
        """Returns the path of the innermost layer that returned a tensor, the name of its operation, or None."""
        return self.choice.names.name_of(origin(tensor, {"Transpose"}))

    @overload
    def gradient(self, source: Sequence[tf.Tensor], rectifier: str | None = None) -> list[tf.Tensor]: ...

    @overload
    def gradient(self, source: tf.Tensor, rectifier: str | None = None) -> tf.Tensor: ...

    def gradient(
        self, source: tf.Tensor | Sequence[tf.Tensor], rectifier: str | None = None
    ) -> tf.Tensor | list[tf.Tensor]:
        """Returns the gradient of the score with respect to a tensor of this pass, float32, of the tensor's shape.

        Args:
            source: `images`, a feature map or any other tensor of this pass, or a list of them.
            rectifier: None, or the backward rule for rectifiers, see `kerasxai.engine.rectifiers`.

        Returns:
            The gradient; for a list a list.

        The scores of a batch are summed, because with `training=False` no image depends on another. For a float16 pass
        the score is scaled up, and the gradient down again in float32, or small gradients would be rounded to zero.

        Raises:
            KerasxaiError: The score does not depend on `source`, or the rule does not reach all rectifiers.
        """
        several = isinstance(source, (list, tuple))
        maps: list[tf.Tensor] = list(source) if several else [source]
        sources = [self._read[x.ref()][0] if x.ref() in self._read else x for x in maps]
        scale = _HALF_PRECISION_SCALE if any(x.dtype == tf.float16 for x in _floating(self.calls)) else 1.0
        upstream = tf.fill(tf.shape(self.score), scale)
        reached: list[tf.Operation] = []
        with _missing_gradients_explained():
            if rectifier is None:
                assert self._tape is not None, "a function of images has no gradients"
                gradients = self._tape.gradient(self.score, sources, output_gradients=upstream)
            else:
                gradients, reached = ruled_gradients(self.score, sources, upstream, rectifier)
        if any(gradient is None for gradient in gradients):
            spec = self._model.input_spec
            if takes_whole_numbers(spec) and any(x is self.images for x in sources):
                raise no_gradient(spec, "an operation on them that has no gradient")
            raise KerasxaiError("expected a score that depends on the explained tensor, got one without gradient")
        if rectifier is not None:
            self.rectifiers = len(reached)
        gradients = [tf.cast(tf.convert_to_tensor(gradient), tf.float32) / scale for gradient in gradients]
        for i, x in enumerate(maps):
            if x.ref() in self._read:
                gradients[i] = self._read[x.ref()][1].to_method(gradients[i])
        return gradients if several else gradients[0]


@contextlib.contextmanager
def _missing_gradients_explained() -> Iterator[None]:
    try:
        yield
    except LookupError as error:
        # A SavedModel may have been written without them.
        raise KerasxaiError(
            f"expected operations with gradients, got one without ({error}); use a method that only needs scores, such "
            "as occlusion, rise, lime or kernelshap"
        ) from error


def located(forward: Forward, batch: Samples) -> dict[str, tf.Tensor]:
    """Query: finds the explained layers without computing them."""
    forward(batch).feature_maps()
    return {}


def first_reported(passes: list[ForwardPass], answer: dict[str, Any]) -> dict[str, Any]:
    """Returns an answer with the report of its first pass; names of the answer itself win."""
    return passes[0].reported | answer


def _floating(calls: list[Call]) -> list[tf.Tensor]:
    return [
        x for call in calls for x in tf.nest.flatten(call.output) if isinstance(x, tf.Tensor) and x.dtype.is_floating
    ]

"""One traced forward pass, and what a question may ask of it."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from kerasxai.engine.coverage.map_extents import MapExtents
from kerasxai.engine.feature_layer.choice import Choice, ExplainedMap
from kerasxai.engine.graph import ancestors, origin
from kerasxai.engine.images.integer_images import no_gradient, takes_whole_numbers
from kerasxai.engine.map_layout import MapLayout
from kerasxai.engine.rectifiers import ruled_gradients
from kerasxai.engine.samples import Sample, packed
from kerasxai.engine.scores import ClassScores, checked_score, described_outputs, read_classes
from kerasxai.engine.tracing import Call
from kerasxai.tools.errors import KerasxaiError

Fed = tuple[str, Any] | None
"""The path of a layer, or the name of an operation, and what it gives in place of its own output."""

# Gradients of a float16 pass leave its range at the lower end; see `ForwardPass.gradient`.
_HALF_PRECISION_SCALE = 1024.0
_POOLINGS = tuple(
    getattr(keras.layers, f"Global{kind}Pooling{sides}D") for kind in ("Average", "Max") for sides in (1, 2, 3)
)


class ForwardPass:
    """One traced forward pass: everything that a question may want to look at.

    Attributes:
        images: What went in, `(B, H, W, C)` float32; for a series `(B, T, C)`, for volumes `(B, D, H, W, C)`.
        outputs: What came out, as the model's structure.
        targets: `(B,)` int64, the classes explained, predicted ones put in.
        score: `(B,)` float32, what is explained.
        calls: Every call of every layer, in the order in which they finished.
        layer_name: The path of the layer whose map was asked for, if any was; of several, with commas between.
        rectifiers: How many rectifiers a gradient with a rule of its own went through.
    """

    def __init__(
        self,
        view: Any,
        images: Any,
        outputs: Any,
        sample: Sample,
        calls: list[Call],
        tape: tf.GradientTape | None = None,
    ) -> None:
        self._view = view
        self._tape = tape
        self._sample = sample
        targets = sample.classes
        self.images = images
        self.outputs = outputs
        self.calls = calls
        self.layer_name: str | None = None
        self.rectifiers = 0
        self._read: dict[Any, tuple[Any, MapLayout]] = {}
        self._extents = MapExtents(images, tape)
        self.classes: ClassScores | None = None
        flat = tf.nest.flatten(outputs)
        choose = getattr(view.score, "chosen", None)
        if choose is not None and sample.wanted is None:
            with described_outputs(view.output_names, view.outputs.declared):
                targets, view.num_classes = choose(outputs, targets)
        elif len(flat) == 1 and isinstance(flat[0], tf.Tensor) and flat[0].shape.rank == 2:
            self.classes = read_classes(flat[0], view.outputs.taken)
            view.outputs.kind, view.outputs.units = self.classes.kind, flat[0].shape[-1]
            targets = self.classes.chosen(targets)
            view.num_classes = max(2, flat[0].shape[-1])
        self.targets = targets
        self.score = self._score()

    def _score(self) -> Any:
        if self._view.score is not None:
            wanted = self.targets if self._sample.wanted is None else self._sample.wanted
            with described_outputs(self._view.output_names, self._view.outputs.declared):
                return checked_score(self._view.score(self.outputs, wanted), self.outputs)
        if self.classes is None:
            shapes = tf.nest.map_structure(lambda x: tuple(x.shape), self.outputs)
            raise KerasxaiError(
                f"the model's output is not (batch, classes) but {shapes}; say what to explain with "
                "score=, a function (outputs, targets) -> (batch,)"
            )
        return self.classes.of(self.targets)

    @property
    def logits(self) -> Any:
        """The class scores that are explained, `(B, C)`, or None where the model has no such output."""
        return None if self.classes is None else self.classes.scores

    @property
    def told(self) -> dict[str, Any]:
        """What every question tells: targets that carry the numbers of their samples, scores, and what to check."""
        rows = self._sample.rows
        targets = self.targets if rows is None else packed(self.targets, rows)
        answer = {"targets": targets, "scores": self.score, **self._extents.diagnostics}
        return answer if self.classes is None else answer | self.classes.evidence()

    def explained(self, explain: str) -> Any:
        """Returns the score, or for `"probability"` the probability of the target class, `(B,)` float32."""
        if explain == "probability" and self.classes is not None:
            return tf.gather(self.classes.probabilities(), self.targets, batch_dims=1)
        return self.score

    def feature_map(self) -> Any:
        """Returns the explained layer's output `(B, h, w, K)`, in the model's own dtype.

        Raises:
            KerasxaiError: The layer was not called, was called several times, gives no map, does not feed the score, or
                is one of several.
        """
        maps = self.feature_maps()
        if len(maps) > 1:
            raise KerasxaiError(f"this method explains at one layer; {len(maps)} were given")
        return maps[0]

    def ablation_point(self, feature_map: Any) -> Any:
        """Returns where a change of whole channels of a map is soonest made: the map, or what a global pooling made.

        A channel of zeros stays one in its mean and maximum, so that a pooling through which the score sees all of the
        map serves as well, with a number for each channel. Its path is kept in the view's `ablation_points`.
        """
        path = self.layer_name or ""
        self._view.ablation_points[path] = path
        for call in self.calls:
            if not isinstance(call.layer, _POOLINGS) or not tf.is_tensor(call.output):
                continue
            pooled = origin(call.output).op
            if not pooled.inputs or origin(pooled.inputs[0]) is not feature_map:
                continue
            once = sum(other.layer is call.layer for other in self.calls) == 1
            if once and feature_map.ref() not in ancestors(self.score, without=call.output):
                self._view.ablation_points[path] = call.path
                return call.output
        return feature_map

    def feature_maps(self) -> list[Any]:
        """Returns the output `(B, h, w, K)` of each explained layer; see `feature_map`."""
        chosen = self._view.chosen_places(self.choice)
        self.layer_name = ", ".join(place.path for place in chosen)
        return [self._shown(place) for place in chosen]

    @functools.cached_property
    def choice(self) -> Choice:
        """Chooses the explained tensors of this pass, and names tensors."""
        return Choice(self._view.model, self.calls, self.score, self.images, self._view.token_grid)

    def read_map(self, tensor: Any) -> Any:
        """Returns a tensor of this pass as a map `(B, h, w, K)`, tokens on their grid.

        Raises:
            KerasxaiError: It is no map of this input.
        """
        form = self.choice.layout(tensor)
        if form is None:
            raise KerasxaiError(
                f"a map of shape {tuple(tensor.shape)} cannot be laid over inputs of shape {tuple(self.images.shape)}; "
                "if it is made of tokens, say on which grid they lie: token_grid=(rows, columns)"
            )
        return self._kept(form, tensor)

    def _shown(self, place: ExplainedMap) -> Any:
        if not place.layout.plain:
            self._view.forms[place.path] = place.layout
        return self._kept(place.layout, place.tensor)

    def located(self, tensor: Any) -> Any:
        """Returns a map of this pass, after which every answer tells which part of the input it covers."""
        self._extents.add(tensor)
        return tensor

    def _kept(self, form: MapLayout, tensor: Any) -> Any:
        self.located(tensor)
        if form.plain:
            return tensor
        shown = form.to_method(tensor)
        self._read[shown.ref()] = (tensor, form)
        return shown

    def explained_inputs(self) -> list[Any]:
        """Returns what gradients at the input are taken of: the images, or for tokens `(B, T)` their embeddings.

        Raises:
            KerasxaiError: The explained input is made of whole numbers, and no embedding looks at it.
        """
        if self.images.shape.rank > 2:
            return [self.images]
        found = [call.output for call in self.calls if isinstance(call.layer, keras.layers.Embedding)]
        found = [x for x in found if self.images.ref() in ancestors(x, shapes=False) and x.shape.rank == 3]
        known = self._view.known
        if not found and known is not None and not known.dtype.is_floating:
            raise KerasxaiError(
                "tokens are explained by the gradient at their embedding, and no keras.layers.Embedding looks at this "
                "input; occlusion needs none"
            )
        return found or [self.images]

    def name_of(self, tensor: Any) -> str | None:
        """Returns the path of the innermost layer that returned a tensor, the name of its operation, or None."""
        return self.choice.names.name_of(origin(tensor, {"Transpose"}))

    def gradient(self, source: Any, rectifier: str | None = None) -> Any:
        """Returns the gradient of the score with respect to a tensor of this pass, float32, of the tensor's shape.

        Args:
            source: `images`, a feature map or any other tensor of this pass, or a list of them.
            rectifier: None, or the rule of `rectifiers` for the way back through rectifiers; how many the
                rule acted on is then in `rectifiers`.

        Returns:
            The gradient; for a list a list.

        Scores of a batch are summed: with `training=False` a model treats the images apart. For a float16 pass the
        score is scaled up, and the gradient down again in float32, because small gradients would be rounded to zero.

        Raises:
            KerasxaiError: The score does not depend on `source`, or the rule does not reach all rectifiers.
        """
        shown = source if isinstance(source, list) else [source]
        sources = [self._read[x.ref()][0] if x.ref() in self._read else x for x in shown]
        scale = _HALF_PRECISION_SCALE if any(x.dtype == tf.float16 for x in _floating(self.calls)) else 1.0
        upstream = tf.fill(tf.shape(self.score), scale)
        reached: list[tf.Operation] = []
        with _missing_gradients_explained():
            if rectifier is None:
                assert self._tape is not None, "a function has no gradients, and no method asks for them"
                gradients = self._tape.gradient(self.score, sources, output_gradients=upstream)
            else:
                gradients, reached = ruled_gradients(self.score, sources, upstream, rectifier)
        if any(gradient is None for gradient in gradients):
            known = self._view.known
            if takes_whole_numbers(known) and any(x is self.images for x in sources):
                raise no_gradient(known, "an operation on them that has no gradient")
            raise KerasxaiError("the score does not depend on the explained tensor: there is no gradient")
        if rectifier is not None:
            self.rectifiers = len(reached)
        gradients = [tf.cast(tf.convert_to_tensor(gradient), tf.float32) / scale for gradient in gradients]
        for i, x in enumerate(shown):
            if x.ref() in self._read:
                gradients[i] = self._read[x.ref()][1].to_method(gradients[i])
        return gradients if isinstance(source, list) else gradients[0]


@contextlib.contextmanager
def _missing_gradients_explained() -> Iterator[None]:
    try:
        yield
    except LookupError as error:
        # As for a SavedModel that was written without them.
        raise KerasxaiError(
            f"an operation of the model has no gradient ({error}); explain it with a method that only asks for scores, "
            "such as occlusion, rise, lime or kernelshap"
        ) from error


def located(run: Any, images: Any, targets: Any) -> dict[str, Any]:
    """Finds the explained layers without computing anything of them."""
    run(images, targets).feature_maps()
    return {}


def first_told(passes: list[ForwardPass], answer: dict[str, Any]) -> dict[str, Any]:
    """Returns an answer with what its first pass tells; what the question says itself goes before."""
    return passes[0].told | answer


def _floating(calls: list[Call]) -> list[Any]:
    return [
        x for call in calls for x in tf.nest.flatten(call.output) if isinstance(x, tf.Tensor) and x.dtype.is_floating
    ]

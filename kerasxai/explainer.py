"""The front door: any Keras classifier, any method, any number of images."""

import copy
import functools
import inspect
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from kerasxai.engine.coverage.extents import map_extent, over_input
from kerasxai.engine.function_model import FunctionModel
from kerasxai.engine.images.integer_images import check_whole
from kerasxai.engine.map_layout import checked_grid, sides_of
from kerasxai.engine.outputs.checks import all_classes
from kerasxai.engine.outputs.finite import check_inputs, check_maps, outputs_error
from kerasxai.engine.outputs.kinds import UNDOABLE, Predictions
from kerasxai.engine.samples import checked_rank, laid_out, numbered
from kerasxai.engine.scores import PREDICTED, Score
from kerasxai.engine.traced_model import TracedModel
from kerasxai.methods import METHODS, Method
from kerasxai.methods.smoothing import noise_options, smoothed
from kerasxai.refinements.chain import checked_for, parsed, refined
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.foreign_models import check_keras_model
from kerasxai.tools.input_range import Preprocess, preprocessed, preprocessing
from kerasxai.tools.options import choice
from kerasxai.tools.progress import Bar

_R = TypeVar("_R")


@dataclass(frozen=True)
class Explanation:
    """Heatmaps and what they explain.

    Attributes:
        heatmaps: `(N, H, W)` float32, at image size unless `resize=False`, as the method defines them: signed where it
            is, never normalized.
        targets: `(N,)` int64, the class explained.
        scores: `(N,)` float32, the score explained, by default the logit of that class.
        method: The method's name.
        layer: The path of the explained layer or the name of the operation, None if the method uses no layer.
        notes: What the method tells beside its maps, by name.
    """

    heatmaps: np.ndarray
    targets: np.ndarray
    scores: np.ndarray
    method: str
    layer: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)


def _own_state(function: Callable[..., _R]) -> Callable[..., _R]:
    """Lets each call of a method work on a shallow copy that has a view for this call, so threads can share one."""

    @functools.wraps(function)
    def called(self: "Explainer", *args: Any, **kwargs: Any) -> _R:
        if not tf.executing_eagerly():
            raise KerasxaiError(
                "expected an explainer to be called eagerly, got a call inside a tf.function; call it outside, or "
                "through tf.py_function"
            )
        own = copy.copy(self)
        own._view = self._view.for_call()
        own._classes = own._view if self._classes is self._view else self._classes.for_call()
        return function(own, *args, **kwargs)

    return called


class Explainer:
    """Explains decisions of an image classifier with one method.

    The model is traced at the first call and asked from then on; its weights are read live and nothing in it is
    changed, so that one explainer made before training serves until after it. Batch normalization and dropout always
    run as at inference.

    Threads may share an explainer, and explain one model with several. A model that takes images of any size is traced
    for each size, and traces are kept for the 8 sizes explained last: images of many sizes are explained fastest when
    they are brought to few.

    Args:
        model: Any Keras model: functional, sequential, nested, subclassed, under any dtype policy. For the methods
            that only ask for scores also any function from `(N, H, W, C)` to `(N, classes)`, both NumPy; what it
            returns is explained as it is.
        method: A name in `kerasxai.METHODS`.
        layer: The layer to explain, for layer-based methods: a path such as `"backbone/top_activation"`, a name that
            only one layer has, the layer itself, or the name of an operation such as `"stage3/add (operation)"`. None
            takes the last map with more than one position that every path from the image to the score passes, and
            names it in `Explanation.layer`. Where branches run in parallel to the end, the last maps of all branches
            are fused like those of a list of layers, and `notes["parallel_layers"]` names them. For VGG16 the default
            is the last pooling, `"block5_pool"`; the literature explains `"block5_conv3"`, which is twice as fine.
            For a list of layers, one pass gives all maps; each map is resized to the image and divided by its maximum,
            then `fuse` takes the `"mean"` or `"max"`.
        score: What is explained: a function `(outputs, targets) -> (B,)` of the model's outputs, or None for the logit
            of the target class, before a final softmax or sigmoid. A single output unit means two classes: 1 is
            explained by its logit, 0 by minus it.
        image_input: Of a model with several inputs the one that is explained: its name or path (`"picture"`,
            `"scene/0"`) or index. None takes the only one of four dimensions (of five or three, where there are
            no images). The others go along with their images.
        batch_size: How many images are explained at once, at most, and how many of their own making methods run at
            once. After the first batch a CPU takes as many as its memory serves best.
        progress: Whether long calls show a bar on stderr; None shows it where stderr is a terminal.
        smooth: None, or the average over noisy copies of each image that any method can be put under: `"smoothgrad"`,
            `"squaregrad"` or `"vargrad"`; see `kerasxai.methods.smoothing`. Its settings `samples=50`, `sigma=0.15` and
            `seed=0` stand beside it; where the method has options of these names, in a dict:
            `smooth={"average": "smoothgrad", "samples": 20}`.
        fuse: How the maps of several layers become one; see `layer`.
        fold: Whether batch normalizations are folded, in the traced pass alone, into the convolutions before them: up
            to a third less time, and logits that differ by rounding (about 1e-6 of their size). Methods of many passes
            are then also asked of a copy of the graph whose weights are constants, where that pays; the copy is
            compared with the model before each loop, and never stale. And occlusion computes early layers anew only
            around the patch. False leaves all passes as the model has them.
        resize: Whether heatmaps are brought to image size, bilinearly; False leaves them as the method makes them, for
            a layer's maps at the layer's size, as measures want them that resize in their own way. The maps of a model
            that crops or pads its input cover a part of the image, or more than it: with True they are laid where they
            belong, 0 outside; with False they stay as they are, and `map_extent` in the notes says where they belong.
        refine: What is done to the heatmaps after the method: a chain of `kerasxai.REFINEMENTS` such as
            `"flip,walker:beta=90"`, a list of names, a dict `{name: options}`, or a preset such as `"best"`.
        preprocess: What becomes of the images before all else, for a model without rescaling of its own, so that images
            in [0, 255] can be given: `"0,1"`, `"-1,1"`, `"caffe"`, `"imagenet"`, `"module:function"`, or a function of
            images `(N, H, W, C)` that keeps their shape. Everything is explained at the preprocessed images: gradients
            are taken there, and values that options name, such as the fill of a perturbation, are in their range.
            None hands images to the model unchanged.
        outputs: What the model's outputs are, `"logits"` or `"probabilities"`. None reads it from the model: a final
            softmax or sigmoid is undone, and averages, clips and other mixtures of such are probabilities. Where the
            model does not show it, as a function does not, and it matters, the values suggest it, and a warning asks
            for this argument.
        **options: The method's own options.

    Raises:
        KerasxaiError: An unknown method, layer or option.

    Example:
        >>> explainer = kerasxai.Explainer(model, "gradcam")
        >>> explanation = explainer(images)
        >>> explanation.heatmaps.shape, explanation.targets
        ((2, 224, 224), array([282, 967]))
    """

    def __init__(
        self,
        model: Any,
        method: str = "gradcam",
        *,
        layer: Any = None,
        score: Score | None = None,
        token_grid: tuple[int, ...] | None = None,
        image_input: Any = None,
        batch_size: int = 32,
        progress: bool | None = None,
        smooth: str | dict[str, Any] | None = None,
        fuse: str = "mean",
        fold: bool = True,
        resize: bool = True,
        refine: Any = None,
        preprocess: str | Preprocess | None = None,
        outputs: str | None = None,
        **options: Any,
    ) -> None:
        if method not in METHODS:
            raise unknown("method", method, METHODS)
        self.method = METHODS[method]
        if layer is not None and not self.method.takes_layer:
            raise KerasxaiError(f"{method} does not explain at a layer of one's choice; leave layer= out")
        if score is not None and not self.method.takes_score:
            raise KerasxaiError(f"{method} explains the logit of a class and no other score; leave score= out")
        if batch_size < 1:
            raise KerasxaiError(f"batch_size must be 1 or more, not {batch_size}")
        self.batch_size = int(batch_size)
        self.image_input = image_input
        self.progress = progress
        options, self.noise = noise_options(smooth, options, _own_options(self.method))
        self.options = _checked_options(self.method, options)
        self._view = _view_of(model, self.method, layer, score, self.batch_size, outputs)
        self._resize = resize
        self._preprocess = None if preprocess is None else preprocessing(preprocess)
        self._view.fold = fold
        self._view.token_grid = checked_grid(token_grid)
        self._view.fuse = choice("fuse", fuse, ("mean", "max"))
        self._steps = checked_for(model, parsed(refine))
        if self._steps and not resize:
            raise KerasxaiError("refine works on heatmaps of image size; leave resize= out")
        self._refine = refine
        # Predictions are of classes, also where a score of another kind is explained.
        self._classes = (
            self._view if score is None else _view_of(model, self.method, None, None, self.batch_size, outputs)
        )
        self._warned: set[str] = set()

    @_own_state
    def __call__(self, images: Any, targets: Any = None) -> Explanation:
        """Explains images.

        Args:
            images: `(N, H, W, C)`, or `(N, C, H, W)` for a model that takes it, NumPy or tensor, with the pixel range
                that the model takes (0 to 255 for models made by `build_classifier`), or that `preprocess=` takes.
                Without it nothing is rescaled. For a model of several inputs the list, tuple or dict that it takes,
                also nested; of what is not explained one for each image, or one, with a batch of 1, for all.
            targets: The classes to explain: None for the predicted ones, one int for all, or `(N,)` ints. With `score=`
                also any array `(N, ...)`, such as masks or the words of a sentence, which the score is given.

        Returns:
            An `Explanation` of `N` heatmaps at image size.

        Raises:
            KerasxaiError: Images or targets of the wrong shape or range, a model that the method cannot explain, or a
                call inside a `tf.function`.
        """
        view = self._view
        images, others = self._given(view, images)
        self._check_kind(images.ndim)
        wanted = None
        if self._view.score is not None and _are_rich(targets):
            wanted, targets = _checked_wanted(targets, len(images)), None
        classes = _checked_targets(targets, len(images))
        parts = []
        with Bar(len(images), self.method.name, self.progress) as bar:
            view.bar, view.total = bar, len(images)
            for rows in _batches(view, len(images)):
                view.others = [tf.convert_to_tensor(x[rows]) for x in others]
                view.wanted = None if wanted is None else tf.convert_to_tensor(wanted[rows])
                batch = images[rows] if self._preprocess is None else preprocessed(self._preprocess, images[rows])
                check_whole(batch, view.known)
                parts.append(self._explain(batch, classes[rows]))
                bar.reach(rows.stop)
        joined = {name: _join([part[name] for part in parts]) for name in parts[0]}
        return Explanation(
            heatmaps=joined.pop("heatmaps"),
            targets=joined.pop("targets") if wanted is None else wanted,
            scores=joined.pop("scores"),
            method=self.method.name,
            layer=joined.pop("layer", None),
            notes=joined,
        )

    @_own_state
    def predict(self, images: Any) -> Predictions:
        """Predicts the classes of images, as they are explained: `classes` holds the targets that None stands for.

        Args:
            images: As for a call.

        Returns:
            The scores and the probabilities of all classes.

        Raises:
            KerasxaiError: The model has other outputs than `(batch, classes)`, or gives no finite numbers.

        Example:
            >>> explainer.predict(images).probabilities.round(2)
            array([[0.9, 0.1], [0.2, 0.8]], dtype=float32)
        """
        view = self._classes
        images, others = self._given(view, images)
        found = []
        for rows in _batches(view, len(images)):
            view.notes, view.others, view.wanted = {}, [tf.convert_to_tensor(x[rows]) for x in others], None
            targets = numbered(view, np.full(len(images[rows]), PREDICTED, np.int64))
            batch = images[rows] if self._preprocess is None else preprocessed(self._preprocess, images[rows])
            answer = view.evaluate(
                all_classes,
                tf.convert_to_tensor(batch, tf.float32),
                tf.convert_to_tensor(targets),
                explain="probability",
            )
            found.append((answer.all_scores.numpy(), answer.probabilities.numpy()))
        self._warn(view, stacklevel=4, without=(UNDOABLE,))  # Which is about gradients.
        scores, probabilities = zip(*found, strict=True)
        return Predictions(np.concatenate(scores), np.concatenate(probabilities))

    def _given(self, view: TracedModel, images: Any) -> tuple[np.ndarray, list[np.ndarray]]:
        """Returns the explained input, with its channels last, and the other inputs, checked."""
        view.layout, given, others = laid_out(images, view.specs, view.names, self.image_input)
        array = checked_rank(given, view.known)
        for name, values in [("images", array), *(("the other inputs", x) for x in others)]:
            check_inputs(name, values)
        view.channels_first = view.takes_channels_first(array.shape)
        return np.moveaxis(array, 1, -1) if view.channels_first else array, others

    def _check_kind(self, rank: int) -> None:
        if rank == 2 and not self.method.takes_tokens:
            able = ", ".join(row.name for row in METHODS.values() if row.takes_tokens)
            raise KerasxaiError(f"{self.method.name} does not explain tokens (N, T); methods that do: {able}")
        if rank == 2 and self.noise is not None:
            raise KerasxaiError("smooth adds noise to values, and tokens (N, T) have none; leave it out")
        if rank != 4 and self._steps:
            raise KerasxaiError("refine works on heatmaps of images (N, H, W, C) alone; leave it out")

    def _explain(self, images: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
        self._view.notes = {}
        heatmaps = refined(self._steps, self._view, self._heatmaps, images, targets)
        notes = dict(self._view.notes)
        notes |= map_extent(notes.pop("extents", None), sides_of(images.shape))
        self._check_finite(heatmaps, np.asarray(notes["scores"]))
        if self._view.score is None:
            self._warn(self._view, stacklevel=5)
        return {"heatmaps": heatmaps, **{name: _to_numpy(value) for name, value in notes.items()}}

    def _heatmaps(self, images: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Returns the method's own heatmaps of a batch, `(B, h, w)`, at image size where they are resized."""
        batch = tf.convert_to_tensor(images, tf.float32)
        wanted = tf.convert_to_tensor(numbered(self._view, targets))
        if self.noise is None:
            maps = self.method.function(self._view, batch, wanted, **self.options)
        else:
            maps = smoothed(self._view, batch, wanted, self.method, self.options, **self.noise)
        heatmaps = tf.cast(maps, tf.float32)
        if self._resize:
            heatmaps = over_input(heatmaps, sides_of(images.shape), self._view.notes.get("extents"))
        return heatmaps.numpy()

    def _check_finite(self, heatmaps: np.ndarray, scores: np.ndarray) -> None:
        first = self._view.rows.start
        if not np.isfinite(scores).all():
            image = first + int(np.argmin(np.isfinite(scores)))
            raise outputs_error(self._view.model, image, "scores")
        settings = {"layer": self._view.notes.get("layer"), **self.options, "refine": self._refine}
        check_maps(heatmaps, first, self.method.name, settings)

    def _warn(self, view: TracedModel, stacklevel: int, without: tuple[str, ...] = ()) -> None:
        """Warns of what the model's outputs are taken for, once."""
        for text in view.outputs.warnings:
            if text not in self._warned and text not in without:
                self._warned.add(text)
                warnings.warn(text, stacklevel=stacklevel)


def _batches(view: TracedModel, count: int) -> Iterator[slice]:
    """Yields which images make each batch, and sets the view's rows to them."""
    start = 0
    while start < count:
        view.rows = slice(start, start + view.effective_batch_size)
        yield view.rows
        start = view.rows.stop


def _to_numpy(value: Any) -> Any:
    return value.numpy() if isinstance(value, tf.Tensor) else value


def _view_of(
    model: Any, method: Method, layer: Any, score: Score | None, batch_size: int, outputs: str | None
) -> TracedModel:
    if isinstance(model, keras.layers.Layer):
        return TracedModel(model, layer=layer, score=score, batch_size=batch_size, outputs=outputs)
    if not callable(model):
        raise KerasxaiError(f"a Keras model or a function of images is needed, not {type(model).__name__}")
    if not method.takes_function:
        check_keras_model(model, method.name)
        able = ", ".join(row.name for row in METHODS.values() if row.takes_function)
        raise KerasxaiError(
            f"{method.name} looks inside a Keras model, and {type(model).__name__} is none; "
            f"methods that explain any function of images: {able}"
        )
    return FunctionModel(model, layer=layer, score=score, batch_size=batch_size, outputs=outputs)


def _join(values: list[Any]) -> Any:
    if isinstance(values[0], list):
        return [one for value in values for one in value]
    return np.concatenate(values) if isinstance(values[0], np.ndarray) else values[0]


def _checked_options(method: Method, options: dict[str, Any]) -> dict[str, Any]:
    known = _own_options(method) if options else []
    for name in options:
        if name not in known:
            raise unknown(f"option of {method.name}", name, known or ["none"])
    return options


def _own_options(method: Method) -> list[str]:
    parameters = inspect.signature(method.function).parameters.values()
    return [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]


def _are_rich(targets: Any) -> bool:
    """Tells whether targets for a score of one's own are more than one whole number for each image."""
    if targets is None:
        return False
    targets = np.asarray(targets)
    return targets.ndim > 1 or not np.issubdtype(targets.dtype, np.integer)


def _checked_wanted(targets: Any, count: int) -> np.ndarray:
    targets = np.asarray(targets)
    if targets.ndim == 0 or len(targets) != count:
        raise KerasxaiError(
            f"targets for a score of your own must be an array with one entry for each of {count} images, "
            f"not of shape {targets.shape}"
        )
    return targets.astype(np.float32) if targets.dtype == np.float64 else targets


def _checked_targets(targets: Any, count: int) -> np.ndarray:
    if targets is None:
        return np.full(count, PREDICTED, np.int64)
    targets = np.asarray(targets)
    if not np.issubdtype(targets.dtype, np.integer):
        raise KerasxaiError(f"targets must be class indices (integers), not {targets.dtype}")
    if targets.ndim == 0:
        targets = np.full(count, targets)
    if targets.shape != (count,):
        raise KerasxaiError(
            f"targets must be None, one class, or one class for each of {count} images, not {targets.shape}"
        )
    if targets.min() < 0:
        raise KerasxaiError(f"target {targets.min()} is out of range: classes are counted from 0")
    return targets.astype(np.int64)

"""Explainer: any Keras classifier, any method, any number of images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from kerasxai.engine.coverage.extents import map_extent, over_input
from kerasxai.engine.function_model import FunctionModel
from kerasxai.engine.images.builtin_preprocessing import warn_of_values
from kerasxai.engine.images.integer_images import check_whole
from kerasxai.engine.inputs import InputName, Inputs
from kerasxai.engine.layers import LayerName
from kerasxai.engine.map_layout import checked_grid, spatial_shape
from kerasxai.engine.outputs.checks import all_classes
from kerasxai.engine.outputs.finite import check_maps, outputs_error
from kerasxai.engine.outputs.kinds import UNDOABLE, Predictions
from kerasxai.engine.samples import Samples
from kerasxai.engine.score_model import ScoreModel
from kerasxai.engine.scores import Score
from kerasxai.engine.targets import are_custom, checked_classes, checked_custom
from kerasxai.engine.traced_model import TracedModel
from kerasxai.explanation import Explanation
from kerasxai.methods import METHODS, Method
from kerasxai.methods.cam import FUSIONS
from kerasxai.methods.smoothing import smoothed, split_options
from kerasxai.models.names import class_names
from kerasxai.refinements import RefinementChoice
from kerasxai.refinements.automatic import choice_of, observe, set_choice
from kerasxai.refinements.chain import Refine, checked_for, parsed, refined
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.foreign_models import check_keras_model
from kerasxai.tools.input_range import Preprocess, preprocessed, preprocessing
from kerasxai.tools.options import choice
from kerasxai.tools.progress import Bar

Classifier: TypeAlias = "keras.Model | Callable[[NDArray[Any]], Any]"
"""A Keras model, or any function from images to class scores."""

_M = TypeVar("_M", bound=ScoreModel)


@dataclass(frozen=True)
class _ModelSettings:
    """The arguments of a `TracedModel` besides the model and the score."""

    layer: LayerName | Sequence[LayerName] | None
    batch_size: int
    accelerated: bool
    outputs: str | None
    fuse: str
    token_grid: tuple[int, ...] | None


class Explainer:
    """Explains decisions of an image classifier with one method.

    The model is traced at the first call. Weights are read live and the model is never changed, so one explainer stays
    valid throughout training. Batch normalization and dropout always run in inference mode.

    Threads may share an explainer, and explain one model with several. A model that takes images of any size is traced
    once per size, and traces are kept for the last 8 sizes: bring images to a few sizes for speed.

    Args:
        model: Any Keras model: functional, sequential, nested, subclassed, under any dtype policy. For methods that
            only need scores also any function from `(N, H, W, C)` to `(N, classes)`, both NumPy; its outputs are
            explained unchanged.
        method: A name in `kerasxai.METHODS`.
        layer: The layer to explain, for layer-based methods: a path such as `"backbone/top_activation"`, a name that
            only one layer has, the layer itself, or the name of an operation such as `"stage3/add (operation)"`. None
            takes the last map with more than one position on every path from the image to the score, and names it in
            `Explanation.layer`. If branches run in parallel to the end, the last maps of all branches are fused like
            those of a list of layers, and `notes["parallel_layers"]` names them. For VGG16 the default is the last
            pooling, `"block5_pool"`; the literature explains `"block5_conv3"`, which is twice as fine. For a list of
            layers, one pass computes all maps; each map is resized to the image and divided by its maximum, then `fuse`
            takes the `"mean"` or `"max"`.
        score: The score to explain. `"logit"`: the logit of the target class, before a final softmax or sigmoid.
            `"relative"`: this logit minus the mean over all classes, because a softmax does not see what all logits
            share; see `kerasxai.scores.relative_logit`. None: the relative logit if the model ends in a softmax over
            several classes, or if `outputs="logits"` declares that one follows; else the logit. A single output unit
            means two classes: 1 is explained by its logit, 0 by minus its logit. Any other score is a function
            `(outputs, targets) -> (B,)` of the model's outputs, see `kerasxai.scores`.
        token_grid: The grid of tokens, `(rows, columns)`, for a layer of tokens whose grid cannot be found.
        image_input: The explained input of a model with several inputs: its name or path (`"picture"`, `"scene/0"`) or
            index. None takes the only input with four dimensions (or five or three, if there are no images). Every
            other input has one row per image, or one row shared by all.
        batch_size: The most images per pass. After the first batch, a CPU uses the size that suits its memory best.
        progress: Whether long calls show a progress bar on stderr; None: in a terminal, else a line every 30 seconds.
        smooth: None, or an average over noisy copies of each image, for any method: `"smoothgrad"`, `"squaregrad"` or
            `"vargrad"`; see `kerasxai.methods.smoothing`. Its settings `samples=50`, `sigma=0.15` and `seed=0` are
            keywords as well; if the method has options of these names, pass a dict:
            `smooth={"average": "smoothgrad", "samples": 20}`.
        fuse: How the maps of several layers become one; see `layer`.
        fold: Whether passes may be rewritten to be faster. Batch normalizations are folded into the convolutions before
            them: up to a third less time, and logits that differ by rounding (about 1e-6 of their size). Methods of
            many passes also use a copy of the graph with constant weights if that pays; it is compared with the model
            before each loop and never stale. Occlusion recomputes early layers only around the patch.
        resize: Whether heatmaps are resized to the image, bilinearly; False keeps the size of the layer, for measures
            that resize in their own way. The maps of a model that crops or pads its input cover a part of the image,
            or more than it: with True they are placed where they belong, 0 outside; with False `map_extent` in the
            notes is the part that they cover.
        refine: Refinements of the heatmaps: a chain of `kerasxai.REFINEMENTS` such as `"flip,walker:beta=90"`, a list
            of names, a dict `{name: options}`, or a preset such as `"best"`; `"auto"` takes `"best"` only for models
            that recognize enlarged images, and the graph cut alone for others.
        preprocess: Preprocessing of the images, for a model without rescaling layers, so that images in [0, 255] can be
            given: `"0,1"`, `"-1,1"`, `"caffe"`, `"imagenet"`, `"module:function"`, or a function of images
            `(N, H, W, C)` that keeps their shape. The preprocessed images are explained: gradients are taken there, and
            options such as the fill of a perturbation are in their range. None passes images to the model unchanged.
        outputs: The kind of the model's outputs, `"logits"` or `"probabilities"`. None reads it from the model: a final
            softmax or sigmoid is undone, and averages, clips and other mixtures of these are probabilities. If the
            model does not show its kind, as a function does not, and it matters, the values suggest it, with a warning.
        **options: Options of the method.

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
        model: Classifier,
        method: str = "gradcam",
        *,
        layer: LayerName | Sequence[LayerName] | None = None,
        score: Score | str | None = None,
        token_grid: tuple[int, ...] | None = None,
        image_input: InputName = None,
        batch_size: int = 32,
        progress: bool | None = None,
        smooth: str | dict[str, Any] | None = None,
        fuse: str = "mean",
        fold: bool = True,
        resize: bool = True,
        refine: Refine = None,
        preprocess: str | Preprocess | None = None,
        outputs: str | None = None,
        **options: Any,
    ) -> None:
        if method not in METHODS:
            raise unknown("method", method, METHODS)
        self.method = METHODS[method]
        if layer is not None and not self.method.takes_layer:
            raise KerasxaiError(f"expected no layer= for {method}, got {layer!r}; it uses no layer of your choice")
        if not isinstance(score, str | None) and not self.method.takes_score:
            raise KerasxaiError(
                f'score must be "relative" or "logit" for {method}, which explains a class, got {score!r}'
            )
        if batch_size < 1:
            raise KerasxaiError(f"batch_size must be 1 or more, got {batch_size}")
        self.batch_size = int(batch_size)
        self.image_input = image_input
        self.progress = progress
        self.options, self.noise = split_options(smooth, options, self.method.option_names)
        self.method.check_options(self.options)
        settings = _ModelSettings(
            layer, self.batch_size, fold, outputs, choice("fuse", fuse, FUSIONS), checked_grid(token_grid)
        )
        self._model = _score_model(model, self.method, score, settings)
        # Predictions are of classes, also if another kind of score is explained.
        self._classifier = self._model
        if self._model.score is not None:
            self._classifier = _score_model(model, self.method, None, settings)
        self._resize = resize
        self._preprocess = None if preprocess is None else preprocessing(preprocess)
        self._steps = checked_for(model, parsed(refine))
        if self._steps and not resize:
            raise KerasxaiError("expected resize=True with refine=, got False; refinements work at image size")
        self._refine = refine
        names = class_names(model)
        self._class_names = None if names is None else tuple(names)
        self._warned: set[str] = set()

    def __call__(self, images: Inputs, targets: ArrayLike | None = None) -> Explanation:
        """Explains images.

        Args:
            images: `(N, H, W, C)`, or `(N, C, H, W)` for a model with channels first, NumPy or tensor, in the pixel
                range of the model (0 to 255 for models made by `build_classifier`), or of `preprocess=`. For a model
                with several inputs the list, tuple or dict of inputs, also nested; every input that is not explained
                has one row per image, or one row shared by all.
            targets: The classes to explain: None for the predicted ones, one int for all, or `(N,)` ints. With `score=`
                also any array `(N, ...)`, such as masks or the words of a sentence, which are passed to the score.

        Returns:
            An `Explanation` of `N` heatmaps at image size.

        Raises:
            KerasxaiError: Images or targets of the wrong shape or range, a model that the method cannot explain, or a
                call inside a `tf.function`.
        """
        _check_eager()
        model, batch = self._model.for_inputs(images, self.image_input)
        self._check_kind(len(batch.images.shape))
        if model.score is not None and are_custom(targets):
            batch = replace(batch, custom_targets=checked_custom(targets, len(batch)))
        else:
            batch = batch.with_targets(checked_classes(targets, len(batch)))
        with Bar(len(batch), self.method.name, self.progress) as bar:
            model.report.progress = bar
            parts = []
            for part in model.parts(batch):
                parts.append(self._explain(model, part))
                bar.reach(part.first_index + len(part))
        self._warn_of_range(batch)
        joined = {name: _join([part[name] for part in parts]) for name in parts[0]}
        classes = joined.pop("targets")
        scores, probabilities = joined.pop("all_scores", None), joined.pop("probabilities", None)
        return Explanation(
            heatmaps=joined.pop("heatmaps"),
            targets=classes if batch.custom_targets is None else batch.custom_targets,
            scores=joined.pop("scores"),
            method=self.method.name,
            layer=joined.pop("layer", None),
            notes=joined,
            outputs=None if scores is None else Predictions(scores, probabilities),
            images=None if batch.images.ndim < 3 else np.asarray(batch.images),
            class_names=self._class_names,
        )

    def predict(self, images: Inputs) -> Predictions:
        """Predicts the classes of images; `classes` are the targets that a call uses for None.

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
        _check_eager()
        model, batch = self._classifier.for_inputs(images, self.image_input)
        answers = [
            model.evaluate(all_classes, self._preprocessed(part).as_floats(), explain="probability")
            for part in model.parts(batch)
        ]
        self._warn(model, stacklevel=3, without=(UNDOABLE,))  # That warning is about gradients.
        self._warn_of_range(batch)
        return Predictions(
            np.concatenate([answer.all_scores.numpy() for answer in answers]),
            np.concatenate([answer.probabilities.numpy() for answer in answers]),
        )

    @property
    def chooses_refinement(self) -> bool:
        """Whether `refine="auto"` chooses a refinement on images."""
        return any(step.row.name == "auto" for step in self._steps)

    def choose_refinement(self, images: Inputs) -> None:
        """Makes the choice of `refine="auto"` for all later calls, in place of their first images.

        Args:
            images: As for a call, 32 of all classes for example: the first ones of a folder are of few. Those of
                several calls of this method count together.

        Example:
            >>> explainer = kerasxai.Explainer(model, "cam", refine="auto")
            >>> explainer.choose_refinement(images[:: len(images) // 32])
        """
        if not self.chooses_refinement:
            return
        _check_eager()
        model, batch = self._model.for_inputs(images, self.image_input)
        self._check_kind(len(batch.images.shape))
        assert isinstance(model, TracedModel)
        for part in model.parts(batch):
            observe(model, self._preprocessed(part))

    @property
    def refinement_choice(self) -> RefinementChoice | None:
        """The choice of `refine="auto"` on given images, as in the notes; None before. Set it to repeat an earlier one.

        Example:
            >>> explainer.refinement_choice = {"auto": "best", "agreement": 0.9}
        """
        return choice_of(self._model) if isinstance(self._model, TracedModel) and self.chooses_refinement else None

    @refinement_choice.setter
    def refinement_choice(self, choice: RefinementChoice) -> None:
        if isinstance(self._model, TracedModel):
            set_choice(self._model, choice)

    @property
    def model(self) -> Classifier:
        """The explained model."""
        return self._model.model

    def _check_kind(self, rank: int) -> None:
        if rank == 2 and not self.method.takes_tokens:
            able = ", ".join(row.name for row in METHODS.values() if row.takes_tokens)
            raise KerasxaiError(
                f"expected a method that explains tokens (N, T), got {self.method.name}; use one of {able}"
            )
        if rank == 2 and self.noise is not None:
            raise KerasxaiError("expected values (N, ..., C) to add noise to, got tokens (N, T); omit smooth=")
        if rank != 4 and self._steps:
            raise KerasxaiError(f"expected images (N, H, W, C) for refine=, got {rank} dimensions; omit refine=")

    def _preprocessed(self, batch: Samples) -> Samples:
        return batch if self._preprocess is None else batch.with_images(preprocessed(self._preprocess, batch.images))

    def _explain(self, model: ScoreModel, batch: Samples) -> dict[str, Any]:
        """Returns the heatmaps and the diagnostics of one batch, by name."""
        report = model.report
        report.diagnostics = {}
        batch = self._preprocessed(batch)
        check_whole(batch.images, model.input_spec)
        heatmaps = refined(self._steps, self._heatmaps, model, batch)
        notes = dict(report.diagnostics)
        notes |= map_extent(notes.pop("extents", None), spatial_shape(batch.images.shape))
        self._check_finite(model, batch, heatmaps)
        if model.score is None:
            self._warn(model, stacklevel=4)
        return {"heatmaps": heatmaps, **{name: _to_numpy(value) for name, value in notes.items()}}

    def _heatmaps(self, model: ScoreModel, batch: Samples) -> NDArray[np.float32]:
        """Returns the unrefined heatmaps of a batch, `(B, h, w)`, at image size if they are resized."""
        batch = batch.as_floats()
        if self.noise is None:
            maps = self.method.function(model, batch, **self.options)
        else:
            maps = smoothed(model, batch, self.method, self.options, self.noise)
        heatmaps = tf.cast(maps, tf.float32)
        if self._resize:
            shape = spatial_shape(batch.images.shape)
            heatmaps = over_input(heatmaps, shape, model.report.diagnostics.get("extents"))
        return heatmaps.numpy()

    def _check_finite(self, model: ScoreModel, batch: Samples, heatmaps: NDArray[Any]) -> None:
        first = batch.first_index
        scores = np.asarray(model.report.diagnostics["scores"])
        if not np.isfinite(scores).all():
            raise outputs_error(model.model, first + int(np.argmin(np.isfinite(scores))), "scores")
        settings = {"layer": model.report.diagnostics.get("layer"), **self.options, "refine": self._refine}
        check_maps(heatmaps, first, self.method.name, settings)

    def _warn_of_range(self, batch: Samples) -> None:
        if self._preprocess is None:
            warn_of_values(self.model, np.asarray(batch.images))

    def _warn(self, model: ScoreModel, stacklevel: int, without: tuple[str, ...] = ()) -> None:
        """Warns about the assumed kind of the model's outputs, once."""
        for text in model.outputs.warnings:
            if text not in self._warned and text not in without:
                self._warned.add(text)
                warnings.warn(text, stacklevel=stacklevel)


def _check_eager() -> None:
    if not tf.executing_eagerly():
        raise KerasxaiError(
            "expected an explainer to be called eagerly, got a call inside a tf.function; call it outside, or "
            "through tf.py_function"
        )


def _to_numpy(value: Any) -> Any:
    return value.numpy() if isinstance(value, tf.Tensor) else value


def _score_model(model: Classifier, method: Method, score: Score | str | None, settings: _ModelSettings) -> ScoreModel:
    if isinstance(model, keras.layers.Layer):
        return TracedModel(model, score=score, **vars(settings))
    if not callable(model):
        raise KerasxaiError(f"expected a Keras model or a function of images, got {type(model).__name__}")
    if not method.takes_function:
        check_keras_model(model, method.name)
        able = ", ".join(row.name for row in METHODS.values() if row.takes_function)
        raise KerasxaiError(
            f"expected a Keras model for {method.name}, got {type(model).__name__}; methods that explain any function "
            f"of images: {able}"
        )
    if settings.layer is not None:
        raise KerasxaiError(f"expected no layer= for a function of images, got {settings.layer!r}; it has no layers")
    return FunctionModel(model, score, settings.batch_size, settings.outputs)


def _join(values: list[Any]) -> Any:
    if isinstance(values[0], list):
        return [one for value in values for one in value]
    return np.concatenate(values) if isinstance(values[0], np.ndarray) else values[0]

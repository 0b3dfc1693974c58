"""The score of a class for changed copies of images, computed in traced batches."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypedDict

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from kerasxai.engine.function_model import FunctionModel
from kerasxai.engine.images.builtin_preprocessing import warn_of_values
from kerasxai.engine.images.integer_images import check_whole
from kerasxai.engine.inputs import InputName, Inputs
from kerasxai.engine.outputs.kinds import UNDOABLE
from kerasxai.engine.samples import Samples
from kerasxai.engine.targets import checked_classes
from kerasxai.engine.traced_model import TracedModel
from kerasxai.metrics.faithfulness.fills import Fill, copies_scores
from kerasxai.metrics.inputs import Heatmaps, checked_count, checked_heatmaps
from kerasxai.metrics.resizing import resize
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.input_range import Preprocess, preprocessed, preprocessing
from kerasxai.tools.options import choice, whole
from kerasxai.tools.progress import Bar

if TYPE_CHECKING:
    from kerasxai.engine.score_model import Query, ScoreModel
    from kerasxai.explainer import Classifier

EXPLAINED = ("probability", "logit", "relative")
Visible: TypeAlias = Callable[[int, slice], NDArray[np.bool_]]
"""`(image, copies) -> (n, d) bool`: which regions of an image are visible in each of some of its copies."""


class ModelSettings(TypedDict, total=False):
    """How a model is scored; every measure takes these keywords.

    Attributes:
        explain: `"probability"` of the class (the default), its `"logit"`, or `"relative"`, the logit minus the mean
            over all classes.
        preprocess: Preprocessing of images in [0, 255], as for `kerasxai.Explainer`; baselines are in the range after
            it. None passes images to the model unchanged.
        outputs: `"logits"` or `"probabilities"`, what the model returns; None reads it from the model.
        image_input: The perturbed input of a model with several inputs, as for `kerasxai.Explainer`.
        batch_size: The most images per pass, 32 by default.
        progress: Whether long calls show a progress bar; None: in a terminal, else a line every
            30 seconds.
    """

    explain: str
    preprocess: str | Preprocess | None
    outputs: str | None
    image_input: InputName
    batch_size: int
    progress: bool | None


def checked_settings(settings: ModelSettings) -> ModelSettings:
    """Return settings of a model; Python checks no names of keywords that are collected.

    Raises:
        KerasxaiError: A name is none of `ModelSettings`.
    """
    for name in settings:
        if name not in ModelSettings.__annotations__:
            raise unknown("setting", name, ModelSettings.__annotations__)
    return settings


class Measured(NamedTuple):
    """The values `(B,)` of a measure, and the scores or correlations `(B, ...)` behind them, if there are several."""

    values: NDArray[np.float64]
    curves: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Trial:
    """One batch of images to perturb.

    Attributes:
        model: Scores the copies.
        batch: The images, preprocessed, with the explained classes filled in.
        maps: `(B, H, W)` heatmaps at image size.
        scores: `(B,)` of the unchanged images.
        explain: `"probability"` or `"logit"`.
    """

    model: ScoreModel
    batch: Samples
    maps: NDArray[np.float64]
    scores: NDArray[np.float64]
    explain: str

    @property
    def images(self) -> NDArray[np.float32]:
        """The images, `(B, H, W, C)` float32."""
        return np.asarray(self.batch.images)

    def visible(self, regions: list[NDArray[np.int64]], count: int, visible: Visible, fill: Fill) -> NDArray:
        """Return the scores `(B, count)` of copies in which only some regions are visible.

        Args:
            regions: For each image `(H, W)`, regions from 0 to d - 1.
            count: How many copies of each image.
            visible: See `Visible`.
            fill: What replaces the other regions.
        """

        def tensors(b: int, part: slice) -> tuple[NDArray[Any], ...]:
            shown = visible(b, part)
            # Flat, because only the length of a tensor may differ from image to image without another trace.
            rows = np.full(1, len(shown), np.int32)
            return regions[b][None].astype(np.int32), fill.values[b : b + 1], shown.ravel(), rows

        return self.copies(copies_scores, count, tensors, inpaint=fill.inpaint)

    def copies(
        self, query: Query, count: int, tensors: Callable[[int, slice], tuple[NDArray[Any], ...]], **options: Any
    ) -> NDArray[np.float64]:
        """Return the scores `(B, count)` of changed copies, which a query makes of one image after the other.

        Args:
            query: Answers `copies`, the scores of some copies of one image.
            count: How many copies of each image.
            tensors: `(image, copies) -> tensors` of the query; only those of one batch exist at a time.
            **options: Settings of the query.
        """

        def batches() -> Iterator[tuple[Any, ...]]:
            for b in range(len(self.batch)):
                for part in self.model.chunks(count):
                    yield self.batch.take(slice(b, b + 1)), *tensors(b, part)

        answers = self.model.evaluate_each(query, batches(), explain=self.explain, **options)
        scores = np.concatenate([answer.copies for answer in answers])
        return scores.astype(np.float64).reshape(len(self.batch), count)


class Scorer:
    """A classifier whose traces several measures share.

    Args:
        model: A Keras model, or a function from `(N, H, W, C)` to `(N, classes)`.
        settings: See `ModelSettings`.

    Raises:
        KerasxaiError: Something else than a model or a function, or a setting out of range.

    Example:
        >>> scorer = Scorer(model, {"preprocess": "imagenet"})
        >>> deletion, insertion = Deletion(scorer), Insertion(scorer)
    """

    def __init__(self, model: Classifier, settings: ModelSettings | None = None) -> None:
        given = checked_settings(settings or {})
        self.explain = choice("value of explain", given.get("explain", "probability"), EXPLAINED)
        size, outputs = whole("batch_size", given.get("batch_size", 32), 1), given.get("outputs")
        score = "relative" if self.explain == "relative" else "logit"
        if isinstance(model, keras.layers.Layer):
            self._model: ScoreModel = TracedModel(model, score=score, batch_size=size, outputs=outputs)
        elif callable(model):
            self._model = FunctionModel(model, score, size, outputs)
        else:
            raise KerasxaiError(f"expected a Keras model or a function of images, got {type(model).__name__}")
        preprocess = given.get("preprocess")
        self._preprocess = None if preprocess is None else preprocessing(preprocess)
        self._image_input = given.get("image_input")
        self._progress = given.get("progress")
        self._warned: set[str] = set()

    def trials(self, images: Inputs, targets: ArrayLike | None, heatmaps: Heatmaps, name: str) -> Iterator[Trial]:
        """Yield the batches of a call, checked and with the score of each unchanged image.

        Args:
            images: `(N, H, W, C)`, or the inputs of a model with several.
            targets: Classes; None for those that the model predicts for the unchanged images.
            heatmaps: `(N, h, w)` or a list of `(h, w)`.
            name: Of the measure, for the progress bar.
        """
        if not tf.executing_eagerly():
            raise KerasxaiError("expected an eager call, got a call inside a tf.function; call it outside")
        model, whole_call = self._model.for_inputs(images, self._image_input)
        shape = whole_call.images.shape
        if len(shape) != 4:
            raise KerasxaiError(f"expected images (N, H, W, C), got shape {shape}")
        whole_call = whole_call.with_targets(checked_classes(targets, len(whole_call)))
        maps = image_size_maps(heatmaps, len(whole_call))
        explain = "probability" if self.explain == "probability" else "logit"
        with Bar(len(whole_call), name, self._progress) as bar:
            model.report.progress = bar
            for part in model.parts(whole_call):
                start, stop = part.first_index, part.first_index + len(part)
                if self._preprocess is not None:
                    part = part.with_images(preprocessed(self._preprocess, part.images))
                check_whole(part.images, model.input_spec)
                part = part.as_floats()
                clean = model.resolve(part, explain)
                part = part.with_targets(clean.targets)
                scores = np.asarray(clean.scores, np.float64)
                shape = part.images.shape[1:3]
                sized = np.stack([resize(one, tuple(shape)) for one in maps[start:stop]])
                yield Trial(model, part, sized, scores, explain)
                bar.reach(stop)
        self._warn(model, whole_call)

    def _warn(self, model: ScoreModel, batch: Samples) -> None:
        """Warn of the range of the images and of the assumed kind of the outputs, in the line of a metric's call."""
        if self._preprocess is None:
            warn_of_values(model.model, np.asarray(batch.images), stacklevel=5)
        for text in model.outputs.warnings:
            if text not in self._warned and text != UNDOABLE:  # That warning is about gradients.
                self._warned.add(text)
                warnings.warn(text, stacklevel=4)


def image_size_maps(heatmaps: Heatmaps, count: int) -> list[NDArray[np.float64]]:
    """Return the heatmaps of a call, checked; they are resized batch by batch, so that memory stays bounded.

    Raises:
        KerasxaiError: Their number is not that of the images, or they are not finite real numbers.
    """
    maps = checked_heatmaps(heatmaps)
    checked_count("images", range(count), len(maps))
    for index, one in enumerate(maps):
        if not np.isfinite(one).all():
            bad = "NaN" if np.isnan(one).any() else "infinity"
            raise KerasxaiError(f"heatmaps must be finite numbers, got {bad} in heatmap {index}")
    return maps

"""Scores to explain other than the logit of a class, for `Explainer(model, ..., score=...)`.

A score is any function `(outputs, targets) -> (B,)` of the outputs of a model and the targets of the call. If an output
ends in a softmax or a sigmoid, the scores of this module use the logits before it.

Every `output=` names one of several outputs: its key, its path (`"heads/size"`), its index, or, in a functional model,
the name of its layer.

An answer chosen from a list is a class: `class_logit` or `log_probability`. An answer of several words is a `sentence`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import tensorflow as tf

from kerasxai.engine.inputs import Inputs
from kerasxai.engine.scores import (
    PREDICTED,
    OutputName,
    Score,
    checked_kind,
    chosen_output,
    in_range,
    log_probabilities,
    logits_of,
    mean_within,
    of_pixels,
    of_rank,
    pixel_logits,
    predicted_class,
    word_log_probabilities,
)
from kerasxai.engine.scores import class_logit as logit_of_class
from kerasxai.engine.scores import relative_logit as relative_logit_of_class
from kerasxai.engine.targets import repeated as repeated
from kerasxai.tools.errors import KerasxaiError


@dataclass(frozen=True)
class _OfClass:
    """A score of one class of one output, by default the predicted class."""

    output: OutputName = None

    def chosen(self, outputs: Inputs, targets: tf.Tensor) -> tuple[tf.Tensor, int]:
        """Returns the classes `(B,)` with the predicted ones filled in, and the number of classes."""
        logits = self._logits(outputs)
        checked_kind(chosen_output(outputs, self.output), targets)
        classes = max(2, logits.shape[-1])
        predicted = tf.cast(self._predicted(logits), tf.int64)
        return in_range(tf.where(targets == PREDICTED, predicted, targets), classes), classes

    def _logits(self, outputs: Inputs) -> tf.Tensor:
        return of_rank(2, "(batch, classes)", logits_of(chosen_output(outputs, self.output)))

    def _predicted(self, logits: tf.Tensor) -> tf.Tensor:
        return predicted_class(logits)


@dataclass(frozen=True)
class _ClassLogit(_OfClass):
    def __call__(self, outputs: Inputs, targets: tf.Tensor) -> tf.Tensor:
        return logit_of_class(self._logits(outputs), targets)


def class_logit(output: OutputName = None) -> Score:
    """The logit of the target class, of a model with one output or several; also of one label of several.

    Args:
        output: Which output, see the module.

    Returns:
        A score whose targets are classes `(N,)`; None explains the predicted ones.

    Example:
        >>> kerasxai.Explainer(model, "gradcam", score=kerasxai.scores.class_logit("species"))(images, targets=3)
    """
    return _ClassLogit(output)


@dataclass(frozen=True)
class _RelativeLogit(_OfClass):
    def __call__(self, outputs: Inputs, targets: tf.Tensor) -> tf.Tensor:
        return relative_logit_of_class(self._logits(outputs), targets)


def relative_logit(output: OutputName = None) -> Score:
    """The logit of the target class minus the mean over all classes, which is what a softmax sees of it.

    The default for models that end in a softmax. A softmax does not change if one number is added to all logits, but
    maps of the logit may show such a common part. For labels with a sigmoid each, use `class_logit`.

    Args:
        output: Which output, see the module.

    Returns:
        A score whose targets are classes `(N,)`; None explains the predicted ones.

    Example:
        >>> kerasxai.Explainer(model, "gradcam", score=kerasxai.scores.relative_logit("species"))(images, targets=3)
    """
    return _RelativeLogit(output)


@dataclass(frozen=True)
class _LogProbability(_OfClass):
    def __call__(self, outputs: Inputs, targets: tf.Tensor) -> tf.Tensor:
        logs = log_probabilities(chosen_output(outputs, self.output))
        return tf.gather(logs, targets, batch_dims=1)


def log_probability(output: OutputName = None) -> Score:
    """The logarithm of the target class's probability: unlike the logit it also rises when other classes fall.

    Args:
        output: Which output, see the module. If neither the model nor `outputs=` shows its kind, rows that are a
            distribution are taken for probabilities and others for logits of a softmax.

    Returns:
        A score whose targets are classes `(N,)`; None explains the predicted ones.

    Example:
        >>> kerasxai.Explainer(model, "gradcam", score=kerasxai.scores.log_probability())(images)
    """
    return _LogProbability(output)


@dataclass(frozen=True)
class _Margin(_OfClass):
    other: int | None = None

    def __call__(self, outputs: Inputs, targets: tf.Tensor) -> tf.Tensor:
        logits = tf.cast(self._logits(outputs), tf.float32)
        if logits.shape[-1] == 1:
            return 2 * logit_of_class(logits, targets)
        if self.other is None:
            mine = tf.one_hot(targets, logits.shape[-1], on_value=True, off_value=False)
            return logit_of_class(logits, targets) - tf.reduce_max(tf.where(mine, logits.dtype.min, logits), -1)
        against = in_range(tf.fill(tf.shape(targets), tf.constant(self.other, tf.int64)), logits.shape[-1])
        return logit_of_class(logits, targets) - logit_of_class(logits, against)


def margin(other: int | None = None, output: OutputName = None) -> Score:
    """The logit of the target class minus the logit of another class.

    Args:
        other: The other class; None takes the strongest other class. With a single unit it is the other of two.
        output: Which output, see the module.

    Returns:
        A score whose targets are classes `(N,)`; None explains the predicted ones.

    Example:
        >>> kerasxai.Explainer(model, "gradcam", score=kerasxai.scores.margin(other=7))(images, targets=3)
    """
    return _Margin(output, other)


@dataclass(frozen=True)
class _Negative:
    score: Score

    def __call__(self, outputs: Inputs, targets: tf.Tensor) -> tf.Tensor:
        return -self.score(outputs, targets)


@dataclass(frozen=True)
class _NegativeOfClass(_Negative):
    def chosen(self, outputs: Inputs, targets: tf.Tensor) -> tuple[tf.Tensor, int]:
        """Returns the classes that the score chooses."""
        return cast(_OfClass, self.score).chosen(outputs, targets)


def negative(score: Score) -> Score:
    """Minus a score: Grad-CAM then shows the regions whose removal would raise the score (counterfactual).

    Args:
        score: Any score, also a custom one.

    Returns:
        A score with the same targets.

    Example:
        >>> kerasxai.Explainer(model, "gradcam", score=kerasxai.scores.negative(kerasxai.scores.class_logit()))(images)

    Paper: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks", arXiv:1610.02391, section 3.3.
    """
    return _NegativeOfClass(score) if hasattr(score, "chosen") else _Negative(score)


@dataclass(frozen=True)
class _Value:
    output: OutputName
    unit: int

    def __call__(self, outputs: Inputs, targets: tf.Tensor) -> tf.Tensor:
        values = chosen_output(outputs, self.output)
        if values.shape.rank == 1:
            return values
        units = of_rank(2, "(batch,) or (batch, units)", values).shape[-1]
        if not -units <= self.unit < units:
            raise KerasxaiError(f"unit must be from {-units} to {units - 1}, got {self.unit}")
        return values[:, self.unit]


def value(output: OutputName = None, unit: int = 0) -> Score:
    """The value of one output unit: a regression, an age, a coordinate.

    Args:
        output: Which output, see the module.
        unit: Which of its units.

    Returns:
        A score that needs no targets.

    Example:
        >>> kerasxai.Explainer(model, "occlusion", score=kerasxai.scores.value("age"))(images)
    """
    return _Value(output, unit)


@dataclass(frozen=True)
class _MaskMean:
    class_index: int
    output: OutputName

    def __call__(self, outputs: Inputs, targets: tf.Tensor) -> tf.Tensor:
        logits = pixel_logits(outputs, self.output)
        if targets.shape.rank != logits.shape.rank - 1:
            raise KerasxaiError(f"targets must be masks (N, height, width) for mask_mean, got {targets.shape}")
        in_range(tf.constant([self.class_index], tf.int64), max(2, logits.shape[-1]))
        masks = tf.cast(targets, tf.float32)
        if logits.shape.rank == 4:
            masks = tf.image.resize(masks[..., None], tf.shape(logits)[1:3])[..., 0]
        classes = tf.fill(tf.shape(logits)[:1], tf.constant(self.class_index, tf.int64))
        return mean_within(of_pixels(logits, classes), masks)


def mask_mean(class_index: int = 1, output: OutputName = None) -> Score:
    """The mean logit of a class over the pixels of a mask: why is this region labeled as that class?

    Args:
        class_index: The class. With a single output channel, 1 is the foreground and 0 the background.
        output: Which output `(B, h, w, classes)`, see the module.

    Returns:
        A score whose targets are masks `(N, H, W)`, weights of 0 and above, resized to the output. An empty mask
        scores 0.

    Example:
        >>> kerasxai.Explainer(model, "gradcam", score=kerasxai.scores.mask_mean(4))(images, targets=masks)
    """
    return _MaskMean(class_index, output)


@dataclass(frozen=True)
class _PredictedRegion(_OfClass):
    def _logits(self, outputs: Inputs) -> tf.Tensor:
        return pixel_logits(outputs, self.output)

    def _predicted(self, logits: tf.Tensor) -> tf.Tensor:
        """Returns the class of most pixels."""
        votes = tf.one_hot(predicted_class(logits), max(2, logits.shape[-1]))
        return tf.argmax(tf.reduce_sum(votes, list(range(1, votes.shape.rank - 1))), -1)

    def __call__(self, outputs: Inputs, targets: tf.Tensor) -> tf.Tensor:
        logits = self._logits(outputs)
        ones = [-1] + [1] * (logits.shape.rank - 2)
        region = tf.cast(predicted_class(logits), tf.int64) == tf.reshape(targets, ones)
        return mean_within(of_pixels(logits, targets), tf.stop_gradient(tf.cast(region, tf.float32)))


def predicted_region(output: OutputName = None) -> Score:
    """The mean logit of a class over the pixels that the model assigns to the class.

    Args:
        output: Which output `(B, h, w, classes)`, see the module.

    Returns:
        A score whose targets are classes `(N,)`; None explains the class of most pixels. A class without pixels
        scores 0.

    Example:
        >>> kerasxai.Explainer(model, "gradcam", score=kerasxai.scores.predicted_region())(images, targets=4)

    Paper: Vinogradova et al. 2020, "Towards Interpretable Semantic Segmentation via Gradient-Weighted Class Activation
    Mapping", arXiv:2002.11434. Departure: the mean, not the sum, so that a score does not grow with its region.
    """
    return _PredictedRegion(output)


@dataclass(frozen=True)
class _Box(_OfClass):
    def _logits(self, outputs: Inputs) -> tf.Tensor:
        logits = logits_of(chosen_output(outputs, self.output))
        if logits.shape.rank is None or logits.shape.rank < 3:
            raise KerasxaiError(f"expected an output (batch, boxes, classes) for box, got {tuple(logits.shape)}")
        return tf.reshape(logits, (tf.shape(logits)[0], -1, logits.shape[-1]))

    def _predicted(self, logits: tf.Tensor) -> tf.Tensor:
        best = tf.reduce_max(logits, 1)
        return tf.ones_like(best[:, 0], tf.int64) if best.shape[-1] == 1 else tf.argmax(best, -1)

    def __call__(self, outputs: Inputs, targets: tf.Tensor) -> tf.Tensor:
        logits = tf.cast(self._logits(outputs), tf.float32)
        if targets.shape.rank == 1:
            return tf.reduce_max(of_pixels(logits, targets), 1)
        if targets.shape.rank != 2 or targets.shape[1] != 2:
            raise KerasxaiError(
                f"targets must be classes (N,) or pairs (box, class) (N, 2) for box, got {targets.shape}"
            )
        return logit_of_class(tf.gather(logits, targets[:, 0], batch_dims=1), tf.cast(targets[:, 1], tf.int64))


def box(output: OutputName = None) -> Score:
    """The class logit of one box of a detector, or of one of its queries.

    Args:
        output: Which output, see the module: class scores `(B, boxes, classes)`, or `(B, h, w, classes)`, whose
            positions are then counted row by row.

    Returns:
        A score whose targets are pairs (number of the box, class) `(N, 2)`, or classes `(N,)`, which stand for the box
        where the class scores highest; None explains the strongest box and class of all.

    Example:
        >>> kerasxai.Explainer(model, "gradcam", score=kerasxai.scores.box("classes"))(images, targets=[[17, 2]])
    """
    return _Box(output)


@dataclass(frozen=True)
class _Token:
    output: OutputName

    def __call__(self, outputs: Inputs, targets: tf.Tensor) -> tf.Tensor:
        logs = word_log_probabilities(outputs, self.output)
        if targets.shape.rank != 2 or targets.shape[1] != 2:
            raise KerasxaiError(f"targets must be pairs (position, word) (N, 2) for token, got {targets.shape}")
        here = tf.gather(logs, targets[:, 0], batch_dims=1)
        word = tf.cast(targets[:, 1], tf.int64)
        word = tf.where(word == PREDICTED, tf.argmax(here, -1), word)
        return tf.gather(here, word, batch_dims=1)


def token(output: OutputName = None) -> Score:
    """The log-probability of one word at one position of a sentence.

    Args:
        output: Which output `(B, T, words)`, see the module.

    Returns:
        A score whose targets are pairs (position, word) `(N, 2)`, both counted from 0; word -1 is the most probable.
        Because position and word are targets, one explainer serves all words of all captions; see `repeated`.

    Example:
        >>> explain = kerasxai.Explainer(captioner, "gradcam", score=kerasxai.scores.token(), image_input="image")
        >>> explain([images, captions], targets=[[3, 17], [2, 5]])
    """
    return _Token(output)


@dataclass(frozen=True)
class _Sentence:
    padding: int | None
    output: OutputName

    def __call__(self, outputs: Inputs, targets: tf.Tensor) -> tf.Tensor:
        logs = word_log_probabilities(outputs, self.output)
        if targets.shape.rank != 2 or targets.shape[1] != logs.shape[1]:
            raise KerasxaiError(
                f"targets must be words (N, {logs.shape[1]}), one per position, for sentence, got {targets.shape}"
            )
        of_words = tf.gather(logs, targets, batch_dims=2)
        counts = tf.ones_like(of_words) if self.padding is None else tf.cast(targets != self.padding, tf.float32)
        return tf.reduce_sum(of_words * counts, 1)


def sentence(padding: int | None = 0, output: OutputName = None) -> Score:
    """The log-probability of a whole sentence, a caption or an answer: the sum over its words.

    Args:
        padding: The word that pads short sentences, which does not count; None counts all words.
        output: Which output `(B, T, words)`, see the module; position t predicts word t of the targets.

    Returns:
        A score whose targets are words `(N, T)`.

    Example:
        >>> explain = kerasxai.Explainer(captioner, "gradcam", score=kerasxai.scores.sentence(), image_input="image")
        >>> explain([images, captions[:, :-1]], targets=captions[:, 1:])
    """
    return _Sentence(padding, output)

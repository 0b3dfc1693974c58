"""What is explained: one number for each image, by default the logit of one class.

A softmax does not change if one number is added to all logits. So the logit of a class, and the weights behind it, are
known only up to a part that all classes share. After a short training from random weights that part is as large as the
rest, and maps of logits show it. The relative logit, which is the logit minus the mean over all classes, has no such
part: models with equal predictions have equal relative logits. It is the default for models that end in a softmax.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias

import tensorflow as tf

from kerasxai.engine.graph import before_last_activation, last_activation
from kerasxai.engine.inputs import Inputs, paths_of
from kerasxai.engine.outputs.bounds import bounds_of
from kerasxai.tools.errors import KerasxaiError

Score: TypeAlias = Callable[..., tf.Tensor]
"""`(outputs, targets) -> (B,)`: what is explained of each image."""
OutputName: TypeAlias = "int | str | Sequence[int | str] | None"
"""One of several outputs: its key, path, index or name; None for the only one."""
PREDICTED = -1
"""The target for the class that the model predicts."""

_LEAST = 1e-30
_ROUNDING = 1e-3
_output_names: ContextVar[Sequence[str]] = ContextVar("output_names", default=())
_declared: ContextVar[str | None] = ContextVar("declared", default=None)


@contextlib.contextmanager
def described_outputs(names: Sequence[str], declared: str | None) -> Iterator[None]:
    """Makes the names of the model's outputs, and their declared kind, known to the scores in a block."""
    tokens = _output_names.set(names), _declared.set(declared)
    try:
        yield
    finally:
        _output_names.reset(tokens[0])
        _declared.reset(tokens[1])


def chosen_output(outputs: Inputs, output: OutputName = None) -> tf.Tensor:
    """Returns one of a model's outputs.

    Args:
        outputs: The outputs of the model: a tensor, or a list, tuple or dict of tensors, also nested.
        output: Its key, path or index, or its name in the model; None for the only one.

    Raises:
        KerasxaiError: There is no such output, or there are several and none was named.
    """
    paths, leaves = paths_of(outputs)
    names = list(_output_names.get())
    names = names if len(names) == len(paths) and not isinstance(outputs, dict) else paths
    path = "/".join(map(str, output)) if isinstance(output, (tuple, list)) else str(output)
    found = [i for i, both in enumerate(zip(paths, names, strict=True)) if path in both]
    if output is None and len(leaves) == 1:
        return leaves[0]
    if len(found) == 1:
        return leaves[found[0]]
    if isinstance(output, int) and -len(leaves) <= output < len(leaves):
        return leaves[output]
    listed = ", ".join(
        f"{path!r} {'' if path == name else f'({name}) '}{tuple(leaf.shape)}"
        for path, name, leaf in zip(paths, names, leaves, strict=True)
    )
    name = "several" if output is None else repr(output)
    raise KerasxaiError(f"output must be one of the model's outputs, {listed}, got {name}")


def logits_of(outputs: tf.Tensor) -> tf.Tensor:
    """Returns the class scores before a final softmax or sigmoid, else the outputs; see `read_classes`.

    A single unit that is a probability gives those of class 0 and class 1, so that its threshold is 1/2.
    """
    classes = read_classes(outputs)
    return classes.all_classes() if classes.are_probabilities else classes.scores


def predicted_class(logits: tf.Tensor) -> tf.Tensor:
    """Returns the class that `(..., C)` logits predict; of a single unit whether it is above 0."""
    return logits[..., 0] > 0 if logits.shape[-1] == 1 else tf.argmax(logits, -1)


def checked_kind(outputs: tf.Tensor, targets: tf.Tensor) -> None:
    """Checks that it is known what a single unit is, where the class or its score depends on it.

    Raises:
        KerasxaiError: Neither the graph nor the user declares it.
    """
    known = tf.get_static_value(targets)
    if outputs.shape[-1] == 1 and read_classes(outputs).kind == "unknown" and (known is None or (known != 1).any()):
        raise KerasxaiError(
            "expected to know whether the single output is a logit or a probability, got nothing that shows it; "
            'give outputs="logits" or outputs="probabilities"'
        )


@dataclass(frozen=True)
class ClassScores:
    """The scores of all classes in one pass, and what they are.

    Attributes:
        outputs: `(B, ..., C)`, as the model gives them.
        scores: What is explained, of the same shape: logits, or probabilities where there are no logits to be had.
        kind: `"softmax"`, `"log_softmax"` or `"sigmoid"`, the activation behind the logits; `"logits"` or
            `"probabilities"` for outputs without one; `"unknown"` if neither the graph nor the user declares it.
    """

    outputs: tf.Tensor
    scores: Any
    kind: str

    @property
    def are_probabilities(self) -> bool:
        """Whether the scores are probabilities."""
        return self.kind == "probabilities"

    def predicted(self) -> tf.Tensor:
        """Returns the predicted class of `(..., C)`; of a single unit 1 above logit 0 or above probability 1/2."""
        if self.scores.shape[-1] != 1:
            return tf.argmax(self.scores, -1)
        if self.kind == "softmax":  # Over one unit it is always 1.
            return tf.ones_like(self.scores[..., 0], tf.int64)
        return tf.cast(self.scores[..., 0] > (0.5 if self.are_probabilities else 0), tf.int64)

    def chosen(self, targets: tf.Tensor) -> tf.Tensor:
        """Puts the predicted class where a target is `PREDICTED`; a single output unit means the classes 0 and 1."""
        return tf.where(targets == PREDICTED, self.predicted(), targets)

    def is_relative(self, requested: str | None, declared: str | None) -> bool:
        """Returns whether the relative logit is explained.

        Args:
            requested: A name in `kerasxai.tools.model_settings.CLASS_SCORES`; None for the relative logit of a softmax
                over several classes, else the logit.
            declared: As for `read_classes`. Logits that the user declares are those of a softmax.

        Raises:
            KerasxaiError: The relative logit is requested of outputs that are no softmax over several classes.
        """
        several, softmax = self.scores.shape[-1] != 1, self.kind in {"softmax", "log_softmax"}
        if requested is None:
            return several and (softmax or declared == "logits")
        if requested == "relative" and not (several and (softmax or self.kind in {"logits", "unknown"})):
            found = f"{self.kind} outputs" if several else "a single unit"
            raise KerasxaiError(
                f'expected a softmax over several classes for score="relative", got {found}; use score="logit"'
            )
        return requested == "relative"

    def of(self, targets: tf.Tensor, relative: bool = False) -> tf.Tensor:
        """Returns the score of each target class, `(B,)` float32; see `class_logit` and `relative_logit`."""
        if self.are_probabilities and self.scores.shape[-1] == 1:
            first = tf.cast(self.scores[:, 0], tf.float32)
            return tf.where(targets == 1, first, 1 - first)
        return relative_logit(self.scores, targets) if relative else class_logit(self.scores, targets)

    def all_classes(self) -> tf.Tensor:
        """Returns the scores of all classes, `(B, C)` float32; of a single unit those of class 0 and 1."""
        scores = tf.cast(self.scores, tf.float32)
        if scores.shape[-1] != 1:
            return scores
        if self.kind == "softmax":
            return tf.concat([tf.zeros_like(scores), tf.ones_like(scores)], -1)
        return tf.concat([1 - scores if self.are_probabilities else -scores, scores], -1)

    def probabilities(self) -> tf.Tensor:
        """Returns the probabilities of all classes, `(B, C)` float32; of a single unit those of class 0 and 1.

        Rows of an unknown kind are taken as they are where they are a distribution, and else for logits.
        """
        outputs = tf.cast(self.outputs, tf.float32)
        if outputs.shape[-1] == 1:
            first = outputs if self.kind in {"softmax", "sigmoid", "probabilities"} else tf.sigmoid(outputs)
            return tf.concat([1 - first, first], -1)
        if self.kind == "unknown":
            return tf.where(is_distribution(outputs)[..., None], outputs, tf.nn.softmax(outputs))
        if self.kind == "log_softmax":
            return tf.exp(outputs)
        return tf.nn.softmax(outputs) if self.kind == "logits" else outputs

    def evidence(self) -> dict[str, tf.Tensor]:
        """Returns for each row of `(B, C)`, `(B,)` bool, what shows whether its numbers are what they are taken for.

        `finite`: there is no NaN and no infinity but minus infinity, the logit of probability 0. `inside`: all lie in
        [0, 1]. `adds_up`: they could be a distribution over several classes.
        """
        outputs = tf.cast(self.outputs, tf.float32)
        bad = tf.math.is_nan(outputs) | (tf.math.is_inf(outputs) & (outputs > 0))
        inside = (outputs >= -_ROUNDING) & (outputs <= 1 + _ROUNDING)
        adds_up = is_distribution(outputs) & (outputs.shape[-1] > 1)
        return {
            "finite": ~tf.reduce_any(bad, -1), "inside": tf.reduce_all(inside, -1), "adds_up": adds_up
        }  # fmt: skip


def read_classes(outputs: tf.Tensor, declared: str | None = None) -> ClassScores:
    """Returns the scores of all classes, with the softmax or sigmoid at their end undone.

    Softmax saturates: at a probability of 1.0 its gradient is rounding noise, so logits are explained, read off the
    traced graph. Outputs without such an activation are probabilities if the graph keeps them in [0, 1] whatever the
    weights are, see `outputs.bounds`. There is no graph behind a plain
    function.

    Args:
        outputs: A model's output, `(B, ..., C)`.
        declared: `"logits"` or `"probabilities"`, declared by the user; None reads the graph.

    Raises:
        KerasxaiError: Logits are declared, and the graph ends in a softmax or sigmoid.
    """
    declared = declared or _declared.get()
    if tf.executing_eagerly():
        return ClassScores(outputs, outputs, declared or "unknown")
    activation = last_activation(outputs)
    if activation is None:
        return ClassScores(outputs, outputs, declared or _kind_of(outputs))
    if declared == "logits" and activation != "LogSoftmax":
        raise KerasxaiError(
            f'expected a model that returns logits, got one that ends in a {activation.lower()}; omit outputs="logits"'
        )
    kinds = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}
    return ClassScores(outputs, before_last_activation(outputs), kinds[activation])


def _kind_of(outputs: tf.Tensor) -> str:
    bounds = bounds_of(outputs)
    if bounds is None:
        return "unknown"
    low, high = bounds
    if low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return "probabilities"
    # A single number of one sign alone has no threshold at 0: a percentage, a count, a log-probability.
    endless = math.isinf(low) or math.isinf(high)
    return "logits" if low < 0 < high or (endless and outputs.shape[-1] != 1) else "unknown"


def in_range(targets: tf.Tensor, classes: int) -> tf.Tensor:
    """Returns targets `(B,)`; where their values are known already, they must be among so many classes.

    Raises:
        KerasxaiError: They are not.
    """
    known = tf.get_static_value(targets)
    if known is not None and known.size and known.max() >= classes:
        raise KerasxaiError(f"target must be from 0 to {classes - 1}, got {known.max()}; there are {classes} classes")
    return targets


def class_weights(kernel: tf.Tensor, targets: tf.Tensor, relative: bool = False) -> tf.Tensor:
    """Returns a kernel's `(K, C)` column for each target, `(B, K)` float32; for class 0 of a single unit, minus it.

    Args:
        kernel: `(K, C)`.
        targets: `(B,)` int64.
        relative: Whether the mean over the classes is subtracted, as from the logits of `relative_logit`.
    """
    columns = tf.transpose(tf.cast(kernel, tf.float32))
    if relative:
        columns -= tf.reduce_mean(columns, 0)
    if columns.shape[0] == 1:
        return tf.where(targets == 1, 1.0, -1.0)[:, None] * columns
    return tf.gather(columns, targets)


def class_logit(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Returns the logit of each target class, `(B,)` float32; for a single unit its logit or, for class 0, minus it.

    Args:
        logits: `(B, C)`, of any floating dtype.
        targets: `(B,)` int64.
    """
    logits = tf.cast(logits, tf.float32)
    if logits.shape[-1] == 1:
        return tf.where(targets == 1, 1.0, -1.0) * logits[:, 0]
    return tf.gather(logits, targets, batch_dims=1)


def relative_logit(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Returns the logit of each target class minus the mean over all classes, `(B,)` float32.

    Args:
        logits: `(B, C)`, of any floating dtype. Minus infinity, the logit of an excluded class, does not count in the
            mean.
        targets: `(B,)` int64.
    """
    logits = tf.cast(logits, tf.float32)
    if logits.shape[-1] == 1:
        raise KerasxaiError("expected several classes for a relative logit, got a single unit; explain its logit")
    finite = tf.math.is_finite(logits)
    total = tf.reduce_sum(tf.where(finite, logits, 0.0), -1)
    return class_logit(logits, targets) - total / tf.reduce_sum(tf.cast(finite, tf.float32), -1)


def log_probabilities(outputs: tf.Tensor) -> tf.Tensor:
    """Returns the logarithms of the probabilities of all classes, `(..., C)` float32, of a single unit those of two.

    Args:
        outputs: `(..., C)`, before or after a softmax or sigmoid. Where neither the graph nor the user says which, rows
            that are a distribution are taken for probabilities, and others for logits.
    """
    classes = read_classes(outputs)
    logits = tf.cast(classes.scores, tf.float32)
    if classes.are_probabilities:
        return tf.math.log(tf.maximum(classes.probabilities(), _LEAST))
    if logits.shape[-1] == 1:
        return tf.concat([tf.math.log_sigmoid(-logits), tf.math.log_sigmoid(logits)], -1)
    if classes.kind == "sigmoid":
        return tf.math.log_sigmoid(logits)
    if classes.kind != "unknown":
        return tf.nn.log_softmax(logits)
    sure = is_distribution(logits)[..., None]
    # Its gradient would be NaN even where the logarithm is not used.
    return tf.where(sure, tf.math.log(tf.maximum(tf.where(sure, logits, 1.0), _LEAST)), tf.nn.log_softmax(logits))


def is_distribution(outputs: tf.Tensor) -> tf.Tensor:
    """For each row of `(B, C)`, whether it could be a probability distribution, `(B,)` bool."""
    total = tf.reduce_sum(tf.cast(outputs, tf.float32), -1)
    return (tf.abs(total - 1) < 1e-3) & tf.reduce_all(outputs >= 0, -1)


def checked_score(score: tf.Tensor, outputs: Inputs) -> tf.Tensor:
    """Returns a user's score as float32 `(B,)`.

    Raises:
        KerasxaiError: The score is not a tensor of rank 1 with one number for each image.
    """
    if not isinstance(score, tf.Tensor) or score.shape.rank != 1 or not score.dtype.is_floating:
        got = f"{score.dtype.name} of shape {score.shape}" if isinstance(score, tf.Tensor) else type(score).__name__
        shapes = tf.nest.map_structure(lambda x: tuple(x.shape), outputs)
        raise KerasxaiError(
            f"score must return one floating number for each image, shape (batch,), got {got}; the model's outputs "
            f"have shapes {shapes}"
        )
    return tf.cast(score, tf.float32)


def of_rank(rank: int, form: str, tensor: tf.Tensor) -> tf.Tensor:
    """Returns a tensor, checked for its number of dimensions."""
    if tensor.shape.rank != rank:
        raise KerasxaiError(f"expected an output {form} for this score, got {tuple(tensor.shape)}")
    return tensor


def pixel_logits(outputs: Inputs, output: OutputName) -> tf.Tensor:
    """Returns the logits `(B, h, w, C)` float32 of an output with positions."""
    logits = logits_of(chosen_output(outputs, output))
    if logits.shape.rank is None or logits.shape.rank < 3:
        raise KerasxaiError(
            f"expected an output (batch, height, width, classes) for this score, got {tuple(logits.shape)}"
        )
    return tf.cast(logits, tf.float32)


def word_log_probabilities(outputs: Inputs, output: OutputName) -> tf.Tensor:
    """Returns the log-probabilities `(B, T, words)` float32 of an output with words."""
    return log_probabilities(of_rank(3, "(batch, positions, words)", chosen_output(outputs, output)))


def of_pixels(logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """Returns the logit of one class `(B,)` at all positions of `(B, ..., C)`; of a single channel plus or minus it."""
    if logits.shape[-1] == 1:
        sign = tf.where(classes == 1, 1.0, -1.0)
        return tf.reshape(sign, [-1] + [1] * (logits.shape.rank - 2)) * logits[..., 0]
    chosen = tf.one_hot(classes, logits.shape[-1])
    return tf.einsum("b...c,bc->b...", logits, chosen)


def mean_within(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns the weighted mean of `(B, ...)` over all positions, `(B,)`; 0 where all weights are."""
    axes = list(range(1, values.shape.rank))
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights, axes), tf.reduce_sum(weights, axes))

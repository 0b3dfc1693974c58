"""What is explained: one number for each image, by default the logit of one class."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import tensorflow as tf

from kerasxai.core.errors import KerasxaiError
from kerasxai.core.graph import before_last_activation, last_activation
from kerasxai.core.inputs import paths_of

Score = Callable[[Any, Any], Any]
PREDICTED = -1
"""Stands in a tensor of targets for "the class that the model predicts"."""

_output_names: ContextVar[Sequence[str]] = ContextVar("output_names", default=())


@contextlib.contextmanager
def named_outputs(names: Sequence[str]) -> Iterator[None]:
    """Tells scores in the block what the model calls its outputs."""
    token = _output_names.set(names)
    try:
        yield
    finally:
        _output_names.reset(token)


def chosen_output(outputs: Any, output: Any = None) -> Any:
    """Returns one of a model's outputs.

    Args:
        outputs: What the model gives: a tensor, or a list, tuple or dict of tensors, also nested.
        output: Its key, path or index, or the name that the model has for it; None for the only one.

    Raises:
        KerasxaiError: There is no such output, or there are several and none was named.
    """
    paths, leaves = paths_of(outputs)
    names = list(_output_names.get())
    names = names if len(names) == len(paths) and not isinstance(outputs, dict) else paths
    wanted = "/".join(map(str, output)) if isinstance(output, (tuple, list)) else str(output)
    found = [i for i, both in enumerate(zip(paths, names, strict=True)) if wanted in both]
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
    what = "which output is explained? Say output=" if output is None else f"there is no output {output!r}"
    raise KerasxaiError(f"{what}; the model's outputs are {listed}")


def logits_of(outputs: Any) -> tuple[Any, bool]:
    """Returns the class scores before a final softmax or sigmoid, and whether it is sure that they are logits.

    Softmax saturates: at a probability of 1.0 its gradient is rounding noise, so that logits are explained. They are
    read off the traced graph. Outputs without such an activation are taken to be logits unless their values, seen when
    the model runs, are those of probabilities. Where there is no graph, as behind a plain callable, nothing is undone.

    Args:
        outputs: A model's output in a traced pass, `(B, C)`.
    """
    if tf.executing_eagerly():
        return outputs, False
    logits = before_last_activation(outputs)
    return (outputs, False) if logits is None else (logits, True)


def chosen_class(logits: Any, targets: Any) -> Any:
    """Puts the predicted class where a target is `PREDICTED`; a single output unit means the classes 0 and 1."""
    return tf.where(targets == PREDICTED, tf.cast(predicted_class(logits), tf.int64), targets)


def predicted_class(logits: Any) -> Any:
    """Returns the class that `(..., C)` logits predict; of a single unit whether it is above 0."""
    return logits[..., 0] > 0 if logits.shape[-1] == 1 else tf.argmax(logits, -1)


def in_range(targets: Any, classes: int) -> Any:
    """Returns targets `(B,)`; where their values are known already, they must be among so many classes.

    Raises:
        KerasxaiError: They are not.
    """
    known = tf.get_static_value(targets)
    if known is not None and known.size and known.max() >= classes:
        raise KerasxaiError(f"target {known.max()} is out of range: there are {classes} classes, 0 to {classes - 1}")
    return targets


def class_weights(kernel: Any, targets: Any) -> Any:
    """Returns a kernel's `(K, C)` column for each target, `(B, K)` float32; for class 0 of a single unit, minus it."""
    columns = tf.transpose(tf.cast(kernel, tf.float32))
    if columns.shape[0] == 1:
        return tf.where(targets == 1, 1.0, -1.0)[:, None] * columns
    return tf.gather(columns, targets)


def class_logit(logits: Any, targets: Any) -> Any:
    """Returns the logit of each target class, `(B,)` float32; for a single unit its logit or, for class 0, minus it.

    Args:
        logits: `(B, C)`, of any floating dtype.
        targets: `(B,)` int64.
    """
    logits = tf.cast(logits, tf.float32)
    if logits.shape[-1] == 1:
        return tf.where(targets == 1, 1.0, -1.0) * logits[:, 0]
    return tf.gather(logits, targets, batch_dims=1)


def class_probability(outputs: Any, targets: Any, sure: bool) -> Any:
    """Returns the probability of each target class, `(B,)` float32.

    Args:
        outputs: A model's output `(B, C)`.
        targets: `(B,)` int64.
        sure: Whether `outputs` are known to be probabilities. If not, rows that are a distribution are taken as they
            are and others go through a softmax, or through a sigmoid where there is one unit.
    """
    outputs = tf.cast(outputs, tf.float32)
    if outputs.shape[-1] == 1:
        first = outputs[:, 0] if sure else tf.sigmoid(outputs[:, 0])
        return tf.where(targets == 1, first, 1 - first)
    if not sure:
        outputs = tf.where(is_distribution(outputs)[:, None], outputs, tf.nn.softmax(outputs))
    return tf.gather(outputs, targets, batch_dims=1)


def log_probabilities(outputs: Any) -> Any:
    """Returns the logarithms of the probabilities of all classes, `(..., C)` float32, of a single unit those of two.

    Args:
        outputs: `(..., C)`, before or after a softmax or sigmoid. Where there is no such activation at the end, rows
            that are a distribution are taken for probabilities, and others for logits.
    """
    kind = None if tf.executing_eagerly() else last_activation(outputs)
    logits = tf.cast(logits_of(outputs)[0], tf.float32)
    if logits.shape[-1] == 1:
        return tf.concat([tf.math.log_sigmoid(-logits), tf.math.log_sigmoid(logits)], -1)
    if kind == "Sigmoid":
        return tf.math.log_sigmoid(logits)
    if kind == "Softmax":
        return tf.nn.log_softmax(logits)
    sure = is_distribution(logits)[..., None]
    # The logarithm of what is no probability must not even be differentiated.
    return tf.where(sure, tf.math.log(tf.maximum(tf.where(sure, logits, 1.0), 1e-30)), tf.nn.log_softmax(logits))


def is_distribution(outputs: Any) -> Any:
    """Tells of each row of `(B, C)` whether its numbers could be the probabilities of `C` classes, `(B,)` bool."""
    total = tf.reduce_sum(tf.cast(outputs, tf.float32), -1)
    return (tf.abs(total - 1) < 1e-3) & tf.reduce_all(outputs >= 0, -1)


def checked_score(score: Any, outputs: Any) -> Any:
    """Returns a user's score as float32 `(B,)`, or says what came instead.

    Raises:
        KerasxaiError: The score is no tensor of rank 1 with one number for each image.
    """
    if not isinstance(score, tf.Tensor) or score.shape.rank != 1 or not score.dtype.is_floating:
        came = f"{score.dtype.name} of shape {score.shape}" if isinstance(score, tf.Tensor) else type(score).__name__
        shapes = tf.nest.map_structure(lambda x: tuple(x.shape), outputs)
        raise KerasxaiError(
            f"score must return one floating number for each image, shape (batch,); it returned {came} "
            f"(the model's outputs have shapes {shapes})"
        )
    return tf.cast(score, tf.float32)


def of_rank(rank: int, form: str, tensor: Any) -> Any:
    """Returns a tensor that must have so many dimensions, which the message describes."""
    if tensor.shape.rank != rank:
        raise KerasxaiError(f"this score needs an output {form}, not {tuple(tensor.shape)}")
    return tensor


def pixel_logits(outputs: Any, output: Any) -> Any:
    """Returns the logits `(B, h, w, C)` float32 of an output with places."""
    logits = logits_of(chosen_output(outputs, output))[0]
    if logits.shape.rank is None or logits.shape.rank < 3:
        raise KerasxaiError(f"this score needs an output (batch, height, width, classes), not {tuple(logits.shape)}")
    return tf.cast(logits, tf.float32)


def word_log_probabilities(outputs: Any, output: Any) -> Any:
    """Returns the log-probabilities `(B, T, words)` float32 of an output with words."""
    return log_probabilities(of_rank(3, "(batch, places, words)", chosen_output(outputs, output)))


def of_pixels(logits: Any, classes: Any) -> Any:
    """Returns the logit of one class `(B,)` at every place of `(B, ..., C)`; of a single channel plus or minus it."""
    if logits.shape[-1] == 1:
        sign = tf.where(classes == 1, 1.0, -1.0)
        return tf.reshape(sign, [-1] + [1] * (logits.shape.rank - 2)) * logits[..., 0]
    chosen = tf.one_hot(classes, logits.shape[-1])
    return tf.einsum("b...c,bc->b...", logits, chosen)


def mean_within(values: Any, weights: Any) -> Any:
    """Returns the weighted mean of `(B, ...)` over all places, `(B,)`; 0 where all weights are."""
    axes = list(range(1, values.shape.rank))
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights, axes), tf.reduce_sum(weights, axes))

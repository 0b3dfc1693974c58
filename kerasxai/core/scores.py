"""What is explained: one number for each image, by default the logit of one class."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kerasxai.core.errors import KerasxaiError
from kerasxai.core.graph import before_last_activation

Score = Callable[[Any, Any], Any]
PREDICTED = -1
"""Stands in a tensor of targets for "the class that the model predicts"."""


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
    predicted = logits[:, 0] > 0 if logits.shape[-1] == 1 else tf.argmax(logits, -1)
    return tf.where(targets == PREDICTED, tf.cast(predicted, tf.int64), targets)


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

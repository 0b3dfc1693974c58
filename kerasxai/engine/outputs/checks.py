"""Queries about the outputs of a model, and checks of the evidence in every answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from kerasxai.engine.outputs.finite import outputs_error
from kerasxai.engine.scores import PREDICTED
from kerasxai.tools.errors import KerasxaiError

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.score_model import ScoreModel


def all_classes(forward: Forward, batch: Samples, *, explain: str = "probability") -> dict[str, tf.Tensor]:
    """Query: the scores and the probabilities of all classes, `(B, classes)` float32."""
    classes = forward(batch).classes
    if classes is None:
        raise KerasxaiError("expected a model with one output (batch, classes), got another")
    return {"all_scores": classes.all_classes(), "probabilities": classes.probabilities()}


def clean(forward: Forward, batch: Samples, *, explain: str = "logit") -> dict[str, tf.Tensor]:
    """Query: the score of unchanged images, or the probability of their target classes."""
    return {"scores": forward(batch).explained(explain)}


def needs_new_trace(model: ScoreModel, answer: dict[str, tf.Tensor], batch: Samples, explain: str | None) -> bool:
    """Checks the outputs behind an answer; returns whether their kind was guessed just now, which changes the answer.

    Args:
        model: The model.
        answer: An answer, with the evidence of its first pass.
        batch: The batch of the query.
        explain: `"probability"` if probabilities were requested.

    Raises:
        KerasxaiError: The outputs are not finite, or not what they are taken for.
    """
    if "finite" not in answer:
        return False
    finite = answer["finite"].numpy()
    if not finite.all():
        row = int(np.argmin(finite))
        raise outputs_error(model.model, row if batch.indices is None else int(batch.indices[row % len(batch)]))
    classes = np.asarray(batch.targets)
    depends = explain == "probability" or (model.outputs.units == 1 and bool((classes != 1).any()))
    chooses = depends and bool((classes == PREDICTED).any())
    inside, adds_up = answer["inside"].numpy(), answer["adds_up"].numpy()
    return model.outputs.find_out(inside, adds_up, depends and model.score is None, chooses)

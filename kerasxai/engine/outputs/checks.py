"""Questions about what a model's outputs are, and checks of what the answers show of it."""

from typing import Any

import numpy as np
import tensorflow as tf

from kerasxai.engine.outputs.finite import outputs_error
from kerasxai.engine.samples import unpacked
from kerasxai.engine.scores import PREDICTED
from kerasxai.tools.errors import KerasxaiError


def all_classes(run: Any, images: Any, targets: Any, *, explain: str = "probability") -> dict[str, Any]:
    """Asks for the scores and the probabilities of all classes, `(B, classes)` float32."""
    classes = run(images, targets).classes
    if classes is None:
        raise KerasxaiError("expected a model with one output (batch, classes), got another")
    return {"all_scores": classes.all_classes(), "probabilities": classes.probabilities()}


def clean(run: Any, images: Any, targets: Any, *, explain: str = "logit") -> dict[str, Any]:
    """Asks for the score of images as they are, or for the probability of their target classes."""
    return {"scores": run(images, targets).explained(explain)}


def found_out(view: Any, answer: dict[str, Any], targets: Any, explain: Any) -> bool:
    """Checks the outputs behind an answer; returns whether their kind was guessed, so that the answer is another.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        answer: To the question, with the evidence of its first pass.
        targets: What the question was asked about.
        explain: `"probability"` where probabilities were asked for.

    Raises:
        KerasxaiError: The outputs are not finite, or not what they are taken for.
    """
    if "finite" not in answer:
        return False
    finite = answer["finite"].numpy()
    if not finite.all():
        raise outputs_error(view.model, _image(view.rows, int(np.argmin(finite))))
    classes = unpacked(targets)[0]
    depends = explain == "probability" or (view.outputs.units == 1 and bool(tf.reduce_any(classes != 1)))
    chooses = depends and bool(tf.reduce_any(classes == PREDICTED))
    inside, adds_up = answer["inside"].numpy(), answer["adds_up"].numpy()
    return view.outputs.find_out(inside, adds_up, depends and view.score is None, chooses)


def _image(rows: Any, index: int) -> int:
    """Returns which image of the call a sample of a pass belongs to."""
    if isinstance(rows, np.ndarray):
        return int(rows[index % len(rows)])
    return (rows.start or 0) + index

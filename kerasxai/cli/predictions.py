"""Classes and predictions as the commands read and print them."""

import numpy as np
from scipy.special import softmax

from kerasxai.core.errors import KerasxaiError, unknown


def class_index(text: str, classes: list[str] | None) -> int:
    """Returns the class that a number or a name means."""
    if text.isascii() and text.isdecimal():
        return int(text)
    if not classes:
        raise KerasxaiError(f"the model carries no class names; give --target as a number, not {text!r}")
    lowered = [name.lower() for name in classes]
    if text.lower() not in lowered:
        raise unknown("class", text, classes)
    return lowered.index(text.lower())


def name_of(target: int, classes: list[str] | None) -> str:
    """Returns a class's name, or "class 3" where the model carries no names."""
    return classes[target] if classes and target < len(classes) else f"class {target}"


def predictions_of(outputs: np.ndarray) -> np.ndarray:
    """Returns probabilities `(N, classes)` of a model's outputs: of logits, and of a single unit for both classes."""
    if outputs.shape[-1] == 1:
        outputs = np.concatenate([1 - outputs, outputs], -1)
    if outputs.min() < 0 or np.abs(outputs.sum(-1) - 1).max() > 1e-2:
        outputs = np.asarray(softmax(outputs, -1))
    return outputs


def top_predictions(outputs: np.ndarray, classes: list[str] | None, top: int) -> list[list[tuple[str, float]]]:
    """Returns the `top` most probable classes of each image with their probabilities."""
    outputs = predictions_of(outputs)
    order = np.argsort(-outputs, -1)[:, :top]
    return [[(name_of(k, classes), float(row[k])) for k in ks] for row, ks in zip(outputs, order, strict=True)]

"""Classes and predictions as the commands read and print them."""

import argparse

from kerasxai.engine.outputs.kinds import OUTPUTS, OUTPUTS_HELP, Predictions, class_index
from kerasxai.tools.arguments import section

__all__ = ["add_outputs", "class_index", "name_of", "top_predictions"]


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Adds the option that says what a model's outputs are."""
    section(parser, "model").add_argument("--outputs", choices=OUTPUTS, help=OUTPUTS_HELP)


def name_of(target: int, classes: list[str] | None) -> str:
    """Returns a class's name, or "class 3" where the model carries no names."""
    return classes[target] if classes and target < len(classes) else f"class {target}"


def top_predictions(predictions: Predictions, classes: list[str] | None, top: int) -> list[list[tuple[str, float]]]:
    """Returns the `top` most probable classes of each image with their probabilities."""
    rows = zip(predictions.probabilities, predictions.ranked(top), strict=True)
    return [[(name_of(k, classes), float(row[k])) for k in ranked] for row, ranked in rows]

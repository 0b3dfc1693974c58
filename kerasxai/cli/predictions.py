"""Predictions as the commands print them."""

from kerasxai.engine.outputs.kinds import Predictions, class_label


def top_predictions(predictions: Predictions, classes: list[str] | None, top: int) -> list[list[tuple[str, float]]]:
    """Return the `top` most probable classes of each image with their probabilities."""
    rows = zip(predictions.probabilities, predictions.ranked(top), strict=True)
    return [[(class_label(k, classes), float(row[k])) for k in ranked] for row, ranked in rows]

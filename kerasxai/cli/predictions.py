"""Classes and predictions as the commands print them."""

from kerasxai.engine.outputs.kinds import Predictions


def name_of(target: int, classes: list[str] | None) -> str:
    """Return a class's name, or "class 3" for a model without class names."""
    return classes[target] if classes and target < len(classes) else f"class {target}"


def top_predictions(predictions: Predictions, classes: list[str] | None, top: int) -> list[list[tuple[str, float]]]:
    """Return the `top` most probable classes of each image with their probabilities."""
    rows = zip(predictions.probabilities, predictions.ranked(top), strict=True)
    return [[(name_of(k, classes), float(row[k])) for k in ranked] for row, ranked in rows]

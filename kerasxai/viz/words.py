"""What is said of the colors of heatmaps, and of heatmaps without color."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from kerasxai.tools.printable import percent
from kerasxai.viz.overlays import is_constant, strengths


def are_signed(heatmaps: Iterable[ArrayLike], relative: bool = False) -> bool:
    """Return whether one of several heatmaps has evidence against its class, so that all are drawn in these colors.

    Args:
        heatmaps: Of any number of dimensions.
        relative: Whether only differences within a map are meaningful, as for `draw_heatmap`.

    Example:
        >>> are_signed([[0.0, 1.0], [-1.0, 1.0]])
        True
    """
    return not relative and any(strengths(np.atleast_2d(heatmap))[1] for heatmap in heatmaps)


def color_key(signed: bool) -> str:
    """Return the meaning of the default colors as a text."""
    return (
        "red: evidence for the class, blue: against it" if signed else "dark: no evidence for the class, bright: most"
    )


def with_probability(name: str, probability: float, digits: int = 0) -> str:
    """Return the caption of a class and its probability.

    Args:
        name: Of the class, which may end in a number.
        probability: 0.5 for half; NaN is unknown.
        digits: Of the percentage, after the decimal point.

    Example:
        >>> with_probability("class 2", 0.7), with_probability("cat", 0.999), with_probability("cat", np.nan)
        ('class 2, 70 %', 'cat, > 99 %', 'cat, probability unknown')
    """
    if np.isnan(probability):
        return f"{name}, probability unknown"
    return f"{name}, {percent(probability, digits)}"


def with_remark(text: str, heatmap: ArrayLike) -> str:
    """Return the caption of a heatmap, with the remark on it if there is one.

    Example:
        >>> with_remark("cat", np.ones((2, 2)))
        'cat, constant map'
    """
    return ", ".join(filter(None, (text, remark(heatmap))))


def remark(heatmap: ArrayLike) -> str:
    """Return a clause about a heatmap that leaves its image without color, for its caption, or an empty text.

    Args:
        heatmap: Of any number of dimensions.

    Example:
        >>> remark(np.zeros((2, 2))), remark(np.ones((2, 2))), remark(np.eye(2))
        ('empty map: no evidence', 'constant map', '')
    """
    values = np.asarray(heatmap).reshape(1, -1)
    if not values.any():
        return "empty map: no evidence"
    return "constant map" if is_constant(values) else ""

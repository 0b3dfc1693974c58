"""The settings of the cut of all labels of an image. Nothing here imports NumPy or TensorFlow."""

import argparse
from dataclasses import dataclass, fields, replace

from kerasxai.tools.arguments import parse_option
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.options import real, whole, within

NAME = "labelcut"


@dataclass(frozen=True)
class LabelCut:
    """The settings of `kerasxai.segmentation.cut_labels`.

    Attributes:
        smooth: The cost of a border through uniform color.
        trust: The weight of the probabilities relative to the colors.
        rounds: How often the colors of the labels are fitted.
        segments: The approximate number of superpixels of an image.
        low: Of class maps alone, see `joint_labels`: share of the maximum up to which a class is not supported.
        high: The share from which on it is fully supported.

    Raises:
        KerasxaiError: A number is out of range, or `low` is not below `high`.
    """

    smooth: float = 2.0
    trust: float = 0.4
    rounds: int = 2
    segments: int = 1000
    low: float = 0.5
    high: float = 0.9

    def __post_init__(self) -> None:
        real("smooth", self.smooth, above=0)
        real("trust", self.trust, above=0)
        whole("rounds", self.rounds, 1)
        whole("segments", self.segments, 2)
        within("low", self.low, 0, 1)
        within("high", self.high, 0, 1)
        if self.low >= self.high:
            raise KerasxaiError(f"low must be below high, {self.high}, got {self.low}")


def parsed_cut(text: str, default: LabelCut | None = None) -> LabelCut | None:
    """Parse the text of a setting.

    Args:
        text: "labelcut", perhaps with options, `"labelcut:trust=1:smooth=4"`; empty: no cut.
        default: The options that are not in the text; None for those of `LabelCut`.

    Returns:
        The settings of the cut, or None.

    Raises:
        KerasxaiError: Another name, or an unknown or wrong option.

    Example:
        >>> parsed_cut("labelcut:trust=1").trust
        1
    """
    if not text:
        return None
    name, *words = text.split(":")
    if name != NAME:
        raise KerasxaiError(f"expected {NAME}, perhaps with options, or an empty text, got {text!r}")
    known = [item.name for item in fields(LabelCut)]
    try:
        options = dict(parse_option(word) for word in words)
    except argparse.ArgumentTypeError as error:
        raise KerasxaiError(f"expected {NAME}:OPTION=VALUE, got {text!r}") from error
    for option in options:
        if option not in known:
            raise unknown("option", option, known)
    return replace(default or LabelCut(), **options)

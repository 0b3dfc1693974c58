"""Parsers of arguments: numbers with a range, lists, options of methods; and the groups of `--help`."""

import argparse
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from weakref import WeakKeyDictionary

_LARGEST = 2**31 - 1


def whole_number(least: int = 1, most: int = _LARGEST) -> Callable[[str], int]:
    """Return an argparse type for whole numbers from `least` to `most`, inclusive.

    Example:
        >>> whole_number(1)("16")
        16
    """
    span = f"{least} or more" if most == _LARGEST else f"from {least} to {most}"

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or not least <= number <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number, {span}, got {text!r}")
        return number

    return parse


def number(
    least: float = -math.inf, most: float = math.inf, above: float = -math.inf, below: float = math.inf
) -> Callable[[str], float]:
    """Return an argparse type for finite numbers in [least, most], and strictly between `above` and `below`.

    Example:
        >>> number(above=0)("3e-3")
        0.003
    """
    words = {"at least": least, "above": above, "at most": most, "below": below}
    span = " and ".join(f"{word} {end:g}" for word, end in words.items() if math.isfinite(end)) or "finite"

    def parse(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not (math.isfinite(found) and least <= found <= most and above < found < below):
            raise argparse.ArgumentTypeError(f"must be a number, {span}, got {text!r}")
        return found

    return parse


positive_int = whole_number(1)
natural_int = whole_number(0)
# The range that `keras.utils.set_random_seed` accepts.
seed_number = whole_number(0, 2**32 - 1)
positive_float = number(above=0)
fraction = number(least=0, most=1)
open_fraction = number(above=0, below=1)
box_threshold = number(least=0, below=1)


def auto_or_threshold(text: str) -> float | str:
    """Parse a threshold of boxes, or `auto`.

    Example:
        >>> auto_or_threshold("auto"), auto_or_threshold("0.3")
        ('auto', 0.3)
    """
    return text if text == "auto" else box_threshold(text)


def stride_or_layer(text: str) -> int | str:
    """Parse an output stride, or the name of a layer.

    Example:
        >>> stride_or_layer("16"), stride_or_layer("block5c_add")
        (16, 'block5c_add')
    """
    return int(text) if text.isdecimal() else text


def comma_separated(text: str) -> tuple[str, ...]:
    """Split text at commas, dropping empty parts.

    Example:
        >>> comma_separated("cam, gradcam,")
        ('cam', 'gradcam')
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())


def listed(text: str) -> list[str]:
    """Split names at commas; raise an error for an empty list.

    Example:
        >>> listed("cam, gradcam")
        ['cam', 'gradcam']
    """
    names = list(comma_separated(text))
    if not names:
        raise argparse.ArgumentTypeError(f"must be one or more names with commas between them, got {text!r}")
    return names


def parse_option(text: str) -> tuple[str, Any]:
    """Split `name=value`; the value is parsed as JSON if possible, else it is a string.

    Example:
        >>> parse_option("erase-threshold=0.6")
        ('erase_threshold', 0.6)
    """
    name, equals, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    # Numbers of many digits and deep nesting raise errors other than JSONDecodeError.
    except (ValueError, RecursionError):
        return name, value


# Parameters of `Explainer` and `evaluate` that have their own flag, or None if the command sets them.
_ELSEWHERE: Mapping[str, str | None] = {
    "model": None,
    "method": "--method",
    "layer": "--layer",
    "refine": "--refine",
    "batch_size": "--batch-size",
    "image_size": "--image-size",
    "fit": "--fit",
    "preprocess": "--input-range",
    "threshold": "--threshold",
    "protocol": "--protocol",
    "limit": "--limit",
    "split": "--split",
    "tune_split": "--tune-split",
    "data_dir": "--data-dir",
    "boxes_csv": "--boxes",
    "out": "--out",
    "outputs": "--outputs",
    "score": None,
    "progress": None,
    "oracle": None,
    "name_or_path": None,
}


class TakesArguments(Protocol):
    """A parser, or a group of its arguments."""

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action:
        """Add an argument, as `argparse.ArgumentParser.add_argument` does."""


# argparse has no public way to find a group by its title.
_SECTIONS: WeakKeyDictionary[argparse.ArgumentParser, dict[str, TakesArguments]] = WeakKeyDictionary()


def section(parser: argparse.ArgumentParser, title: str) -> TakesArguments:
    """Return the group of arguments under a heading of `--help`, creating it if needed."""
    groups = _SECTIONS.setdefault(parser, {})
    if title not in groups:
        groups[title] = parser.add_argument_group(title)
    return groups[title]


def method_option(text: str) -> tuple[str, Any]:
    """Split `name=value` for an option of a method; raise an error for parameters with their own flag.

    Example:
        >>> method_option("samples=100")
        ('samples', 100)
    """
    name, value = parse_option(text)
    if name in _ELSEWHERE:
        flag = _ELSEWHERE[name]
        remedy = f"; use {flag}" if flag else ""
        raise argparse.ArgumentTypeError(f"expected an option of the method, got {name!r}{remedy}")
    return name, value

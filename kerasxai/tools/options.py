"""Checking the options that a user gives: kind and range, with a message that says what came."""

import math
import numbers
from collections.abc import Iterable
from typing import Any

from kerasxai.tools.errors import KerasxaiError, unknown

BOX_THRESHOLD = 0.2
"""The usual share of a heatmap's maximum above which the object is, Zhou et al. (2016, arXiv:1512.04150)."""
SIDES = {1: "(steps,)", 2: "(height, width)", 3: "(depth, height, width)"}


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Return an option that must be a whole number from `least` to `most`, both allowed.

    Raises:
        KerasxaiError: It is no whole number, or out of range.

    Example:
        >>> whole("samples", 50, least=2)
        50
    """
    span = f"{least} or more" if most is None else f"from {least} to {most}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise KerasxaiError(f"{name} must be a whole number, {span}, not {value!r}")
    number = int(value)
    if number < least or (most is not None and number > most):
        raise KerasxaiError(f"{name} must be {span}, not {value}")
    return number


def real(name: str, value: Any, above: float = -math.inf, below: float = math.inf) -> float:
    """Return an option that must be a finite number strictly between `above` and `below`.

    Raises:
        KerasxaiError: It is no finite number, or out of range.
    """
    ends = [f"above {above:g}"] * (above > -math.inf) + [f"below {below:g}"] * (below < math.inf)
    span = " and ".join(ends) or "finite"
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise KerasxaiError(f"{name} must be a number, {span}, not {value!r}")
    number = float(value)
    if not above < number < below:
        raise KerasxaiError(f"{name} must be {span}, not {value}")
    return number


def within(name: str, value: Any, least: float, most: float) -> float:
    """Return an option that must be a finite number from `least` to `most`, both allowed.

    Raises:
        KerasxaiError: It is no number, or out of range.

    Example:
        >>> within("finetune_share", 0.5, 0, 1)
        0.5
    """
    numeric = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not numeric or not least <= float(value) <= most:
        raise KerasxaiError(f"{name} must be a number within {least:g} and {most:g}, got {value!r}")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """Return an option that must be True or False; text such as "no" would count as True.

    Raises:
        KerasxaiError: It is something else.

    Example:
        >>> flag("normalize", False)
        False
    """
    if isinstance(value, bool):
        return value
    import numpy as np  # Only here, so that commands answer `--help` without NumPy.

    if not isinstance(value, np.bool_):
        raise KerasxaiError(f"{name} must be true or false, got {value!r}")
    return bool(value)


def choice(name: str, value: Any, known: Iterable[str]) -> str:
    """Return an option that must be one of a few names.

    Raises:
        KerasxaiError: It is another name; the message lists the near ones.
    """
    known = list(known)
    if value not in known:
        raise unknown(name, value, known)
    return value


def per_side(name: str, value: Any, count: int, least: int = 1) -> tuple[int, ...]:
    """Return an option that is one whole number for all sides, or one for each of `count` sides.

    Raises:
        KerasxaiError: It is neither.

    Example:
        >>> per_side("patch", 32, count=2)
        (32, 32)
    """
    several = (value,) * count if isinstance(value, numbers.Integral) else value
    if not isinstance(several, (tuple, list)) or len(several) != count:
        raise KerasxaiError(f"{name} must be a whole number, or one for each side {SIDES[count]}, not {value!r}")
    return tuple(whole(name, one, least) for one in several)

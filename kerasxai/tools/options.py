"""Checks of options: type and range."""

import math
import numbers
from collections.abc import Iterable

from kerasxai.tools.errors import KerasxaiError, unknown

BOX_THRESHOLD = 0.2
"""The usual fraction of the maximum of a heatmap above which the object is, Zhou et al. (2016, arXiv:1512.04150)."""
CERTAIN_CLASS, CERTAIN_BACKGROUND = 0.1, 0.6
"""The share of the maximum above which a pseudo-mask has the class, and that up to which it has the background."""
SHAPES = {1: "(steps,)", 2: "(height, width)", 3: "(depth, height, width)"}


def whole(name: str, value: object, least: int, most: int | None = None) -> int:
    """Check that an option is a whole number from `least` to `most`, inclusive.

    Raises:
        KerasxaiError: It is not a whole number, or out of range.

    Example:
        >>> whole("samples", 50, least=2)
        50
    """
    span = f"{least} or more" if most is None else f"from {least} to {most}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise KerasxaiError(f"{name} must be a whole number, {span}, got {value!r}")
    number = int(value)
    if number < least or (most is not None and number > most):
        raise KerasxaiError(f"{name} must be {span}, got {value}")
    return number


def real(name: str, value: object, above: float = -math.inf, below: float = math.inf) -> float:
    """Check that an option is a finite number strictly between `above` and `below`.

    Raises:
        KerasxaiError: It is not a finite number, or out of range.
    """
    ends = [f"above {above:g}"] * (above > -math.inf) + [f"below {below:g}"] * (below < math.inf)
    span = " and ".join(ends) or "finite"
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise KerasxaiError(f"{name} must be a number, {span}, got {value!r}")
    number = float(value)
    if not above < number < below:
        raise KerasxaiError(f"{name} must be {span}, got {value}")
    return number


def within(name: str, value: object, least: float, most: float) -> float:
    """Check that an option is a finite number from `least` to `most`, inclusive.

    Raises:
        KerasxaiError: It is not a number, or out of range.

    Example:
        >>> within("finetune_share", 0.5, 0, 1)
        0.5
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not least <= float(value) <= most:
        raise KerasxaiError(f"{name} must be a number within {least:g} and {most:g}, got {value!r}")
    return float(value)


def flag(name: str, value: object) -> bool:
    """Check that an option is True or False; any other value would be taken by its truth, "no" for True.

    Raises:
        KerasxaiError: It is neither.

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


def choice(name: str, value: object, known: Iterable[str]) -> str:
    """Check that an option is one of a few names.

    Raises:
        KerasxaiError: It is not; the message lists the nearest names.
    """
    known = list(known)
    if value not in known:
        raise unknown(name, value, known)
    return str(value)


def per_axis(name: str, value: object, count: int, least: int = 1) -> tuple[int, ...]:
    """Check that an option is one whole number for all axes, or one for each of `count` axes.

    Raises:
        KerasxaiError: It is neither.

    Example:
        >>> per_axis("patch", 32, count=2)
        (32, 32)
    """
    several = (value,) * count if isinstance(value, numbers.Integral) else value
    if not isinstance(several, (tuple, list)) or len(several) != count:
        raise KerasxaiError(f"{name} must be a whole number, or one for each side {SHAPES[count]}, got {value!r}")
    return tuple(whole(name, one, least) for one in several)

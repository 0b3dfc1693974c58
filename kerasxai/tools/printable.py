"""Names of files and classes, and shares, as printable text."""

import math
import os
import re
import unicodedata

# Joiners required by emoji and by scripts such as Persian; Python does not count them as printable.
_JOINERS = frozenset("\u200c\u200d")
_IN_PERCENTAGES = re.compile(r"(?<=\d) (?=%)|(?<=[<>]) (?=-?[\d.]+ %)")


def printable(name: object) -> str:
    r"""Return a name as one line of printable text.

    Line breaks, control characters and bytes that are not UTF-8 are escaped, so that different names never look alike.

    Args:
        name: A string, a path, or anything else with a `str`.

    Example:
        >>> printable("a\nb")
        'a\\nb'
        >>> printable(os.fsdecode(b"caf\xe9.jpg"))
        'caf\\xe9.jpg'
    """
    text = os.fspath(name) if isinstance(name, os.PathLike) else name
    text = os.fsdecode(text) if isinstance(text, bytes) else str(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs":
        return character
    if "\udc80" <= character <= "\udcff":
        # A lone surrogate: how Python represents a byte that is not UTF-8.
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def percent(share: float, digits: int | None = 0) -> str:
    """Return a share as a text, with a space before the sign.

    Rounding makes no certainty: a share below 1 is never 100 %, and one above 0 never 0 %.

    Args:
        share: 0.5 for half; NaN is unknown.
        digits: After the decimal point; None for those of a number that was given, which is not rounded.

    Example:
        >>> percent(0.73), percent(0.0234, 1), percent(0.999, None)
        ('73 %', '2.3 %', '99.9 %')
        >>> percent(0.999), percent(0.001), percent(0.9999, 1), percent(math.nan)
        ('> 99 %', '< 1 %', '> 99.9 %', 'unknown')
    """
    if math.isnan(share):
        return "unknown"
    if digits is None:
        # Rounded, because the product is not exact: 99.9 and not 99.90000000000001.
        return f"{round(100 * share, 10):.12g} %"
    step, rounded = 10**-digits, abs(float(f"{100 * share:.{digits}f}"))
    sign = "-" if share < 0 else ""
    if rounded == 100 and abs(share) < 1:
        return f"{'<' if sign else '>'} {sign}{100 - step:.{digits}f} %"
    if rounded == 0 and share:
        return f"{'>' if sign else '<'} {sign}{step:.{digits}f} %"
    return f"{share:.{digits}%}".replace("%", " %")


def unbroken(text: str) -> str:
    """Return a text in which no line can break within a percentage, for HTML.

    Example:
        >>> unbroken("of 20 % or > 99 %")
        'of 20\\xa0% or >\\xa099\\xa0%'
    """
    return _IN_PERCENTAGES.sub("\u00a0", text)

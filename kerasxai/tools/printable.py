"""Names of files and classes, and shares, as printable text."""

import os
import unicodedata

# Joiners required by emoji and by scripts such as Persian; Python does not count them as printable.
_JOINERS = frozenset("\u200c\u200d")


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

    Args:
        share: 0.5 for half.
        digits: After the decimal point; None for those of a number that was given, which is not rounded to 100 %.

    Example:
        >>> percent(0.73), percent(0.0234, 1), percent(0.999, None)
        ('73 %', '2.3 %', '99.9 %')
    """
    if digits is None:
        # Rounded, because the product is not exact: 99.9 and not 99.90000000000001.
        return f"{round(100 * share, 10):.12g} %"
    return f"{share:.{digits}%}".replace("%", " %")

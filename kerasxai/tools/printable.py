"""Names of files and classes as text that a terminal, a table and a web page can show."""

import os
import unicodedata

# Joiners that scripts such as Persian and emoji need; Python counts them as not printable.
_JOINERS = frozenset("\u200c\u200d")


def printable(name: object) -> str:
    r"""Return a name as one line of text that can be encoded and printed.

    Line breaks and control characters are escaped, and so are bytes of a file name that are not UTF-8, so that two
    different names never look alike.

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
        # How Python keeps a byte that is not UTF-8.
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")

"""Parsers of `--image-size` and `--input-range`. Nothing here imports TensorFlow."""

import argparse
import re


def parse_size(text: str) -> int | tuple[int, int]:
    """Parse `--image-size`: one side, or height and width.

    Example:
        >>> parse_size("224"), parse_size("48x64")
        (224, (48, 64))
    """
    if not re.fullmatch(r"[1-9]\d{0,4}(x[1-9]\d{0,4})?", text):
        raise argparse.ArgumentTypeError(f"must be a side such as 224, or HEIGHTxWIDTH such as 240x320, got {text!r}")
    height, _, width = text.partition("x")
    return (int(height), int(width)) if width else int(height)


def joined_ranges(words: list[str]) -> list[str]:
    """Join `--input-range -1,1` to one word; argparse would take a value that begins with "-" for an option.

    Example:
        >>> joined_ranges(["--input-range", "-1,1"])
        ['--input-range=-1,1']
    """
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--input-range" and re.fullmatch(r"-\d.*", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined

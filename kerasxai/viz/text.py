"""Text in pictures: fonts, line wrapping and truncation."""

import functools
import unicodedata
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.font_manager import get_font
from PIL import Image, ImageDraw, ImageFont

from kerasxai.tools.printable import unbroken
from kerasxai.viz.pixels import Picture

INK = (33, 37, 41)
FAINT = (108, 117, 125)
PAPER = (255, 255, 255)

# Drawn for characters that the font lacks, as in browsers.
_MISSING = "\u25a1"
_LONGEST = 2000
_BLANK = {"Cc", "Zl", "Zp", "Zs"}
# Marks of writing direction, joiners and variation selectors have no glyph of their own.
_INVISIBLE = {"Cf", "Mn", "Me"}


def drawable(text: object, most: int = _LONGEST) -> str:
    """Return any text, such as a class name, as one line that the font can draw.

    White space and control characters are replaced by single spaces and characters without a glyph by a box; text
    longer than `most` characters is truncated with an ellipsis.

    Example:
        >>> drawable("tabby\\n\\tcat")
        'tabby cat'
    """
    # Composed, because letters and combining accents would be drawn side by side.
    composed = unicodedata.normalize("NFC", str(text)[: 4 * most])
    # Before spaces are stripped: a space next to an invisible character must not remain at an end of the line.
    visible = (letter for letter in composed if unicodedata.category(letter) not in _INVISIBLE)
    line = " ".join("".join(" " if unicodedata.category(letter) in _BLANK else letter for letter in visible).split())
    line = "".join(letter if ord(letter) in _glyphs() else _MISSING for letter in line)
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


@functools.cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(str(_font_file("DejaVuSans.ttf"))).get_charmap())


def _font_file(name: str) -> Path:
    return Path(matplotlib.get_data_path(), "fonts", "ttf", name)


@functools.cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which Matplotlib ships: Pillow's default font has no accents, Greek letters or arrows."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(_font_file(name)), size)


def shorten(text: str, width: int, size: int, bold: bool = False) -> str:
    """Truncate text with an ellipsis to at most `width` pixels."""
    text, letters = drawable(text), font(size, bold)
    if letters.getlength(text) <= width:
        return text
    # Binary search for the longest prefix that fits.
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if letters.getlength(text[:middle].rstrip() + "…") <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…"


def wrap(text: str, width: int, size: int, lines: int, bold: bool = False) -> list[str]:
    """Break `text` into at most `lines` lines of `width` pixels.

    Lines break at line breaks, at spaces outside of percentages, and within words that are too long after "_", "-",
    "/" and ","; text that still does not fit is truncated with an ellipsis.

    Example:
        >>> wrap("tabby cat", 1000, 12, lines=2)
        ['tabby cat']
    """
    letters = font(size, bold)
    wrapped: list[str] = []
    for paragraph in map(drawable, text.splitlines()):
        current = ""
        for word in _pieces(paragraph, width, letters):
            if current and letters.getlength((current + word).rstrip()) > width:
                wrapped.append(current.rstrip())
                current = ""
            current += word
        wrapped.append(current.rstrip())
    kept = wrapped[:lines]
    if len(wrapped) > lines and kept:
        kept[-1] += "…"
    return [shorten(line, width, size, bold) for line in kept]


def _pieces(paragraph: str, width: int, letters: ImageFont.FreeTypeFont) -> list[str]:
    pieces: list[str] = []
    for word in unbroken(paragraph).split(" "):
        if letters.getlength(word) > width:
            part = ""
            for letter in word:
                part += letter
                if letter in "_-/,":
                    pieces.append(part)
                    part = ""
            pieces.append(part + " ")
        else:
            pieces.append(word + " ")
    return pieces


def line_height(size: int) -> int:
    """Return the distance between two lines of text in pixels."""
    return round(size * 1.3)


def text_block(
    lines: list[str],
    width: int,
    size: int,
    bold: bool = False,
    align: str = "center",
    color: tuple[int, int, int] = INK,
) -> Picture:
    """Draw lines of text as a picture `width` pixels wide; `align` is "left", "center" or "right"."""
    step = line_height(size)
    image = Image.new("RGB", (width, step * len(lines)), PAPER)
    draw = ImageDraw.Draw(image)
    anchor, x = {"left": ("lm", 0), "center": ("mm", width // 2), "right": ("rm", width)}[align]
    for number, line in enumerate(lines):
        draw.text((x, round((number + 0.5) * step)), line, fill=color, font=font(size, bold), anchor=anchor)
    return np.asarray(image)

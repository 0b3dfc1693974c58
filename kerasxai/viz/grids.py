"""Labeled contact sheets: methods side by side, best and worst cases, a timeline of epochs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from kerasxai.tools.errors import KerasxaiError
from kerasxai.viz.overlays import (
    EVIDENCE_COLORMAP,
    PREDICTED_COLOR,
    SIGNED_COLORMAP,
    TRUE_COLOR,
    Color,
    lookup_table,
)
from kerasxai.viz.pixels import Picture, resize_picture, to_picture
from kerasxai.viz.text import FAINT, INK, PAPER, font, line_height, text_block, wrap

_EMPTY: Color = (245, 246, 248)
_LETTERS = 11, 22
"""Smallest and largest height of letters in pixels, if none is given."""


class GridLayout(TypedDict, total=False):
    """Sizes of a contact sheet.

    Attributes:
        cell_size: (height, width) or one number for both; None: the largest height and width among the pictures,
            within 96 to 512 pixels. Pictures are resized to fit and keep their proportions.
        font_size: In pixels; None: from the cell width.
        gap: Pixels between cells; None: from the cell width.
        caption_lines: Maximum number of lines of a caption or label; longer texts end in an ellipsis. 2 by default.
    """

    cell_size: int | tuple[int, int] | None
    font_size: int | None
    gap: int | None
    caption_lines: int


def grid(
    rows: Sequence[Sequence[ArrayLike | None]],
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    captions: Sequence[Sequence[str]] | None = None,
    title: str = "",
    note: str = "",
    legend: Sequence[tuple[str, Color | str]] = (),
    **layout: Unpack[GridLayout],
) -> Picture:
    """Lay out pictures in labeled rows, as one picture.

    Args:
        rows: Pictures row by row, in any form that `to_picture` accepts; None leaves a cell empty. Rows may differ in
            length.
        row_labels: One per row, at its left.
        column_labels: One per column, above it.
        captions: One per picture, below it, nested like `rows`; rows and texts may be missing at the end.
        title: At the top, in bold.
        note: Below the title, smaller.
        legend: Pairs of a text and an RGB color, or the name of a colormap, which draws its color bar.
        **layout: `cell_size`, `font_size`, `gap` and `caption_lines`, see `GridLayout`.

    Returns:
        `(H, W, 3)` uint8.

    Raises:
        KerasxaiError: There is no picture, or there are more labels or captions than cells.

    Example:
        >>> cell = np.zeros((100, 100, 3), np.uint8)
        >>> grid([[cell, cell], [cell]], row_labels=["cat", "cup"], column_labels=["cam", "gradcam"]).shape[2]
        3
    """
    pictures = [[None if cell is None else to_picture(cell) for cell in row] for row in rows]
    columns = max((len(row) for row in pictures), default=0)
    _check(pictures, columns, row_labels, column_labels, captions)
    sheet = _sheet(pictures, columns, **layout)
    label_column = _label_column(row_labels or (), sheet)
    bands = []
    if column_labels:
        bands.append(sheet.text_band(column_labels, bold=True, at_bottom=True))
    # Column labels stay close to their column; only rows are separated by the gap.
    tight = len(bands)
    label_bands: list[Picture | None] = [None] * tight
    for number, row in enumerate(pictures):
        texts = captions[number] if captions and number < len(captions) else ()
        bands.append(sheet.picture_band(row, texts))
        label = label_column[number] if number < len(label_column) else None
        label_bands.append(label)
    return sheet.assemble(bands, label_bands, tight, title, note, legend)


def timeline(
    rows: Sequence[Sequence[ArrayLike | None]],
    epochs: Sequence[int | str],
    row_labels: Sequence[str] | None = None,
    captions: Sequence[Sequence[str]] | None = None,
    originals: Sequence[ArrayLike] | None = None,
    title: str = "",
    most_columns: int = 10,
    legend: Sequence[tuple[str, Color | str]] = (),
    **layout: Unpack[GridLayout],
) -> Picture:
    """Show how heatmaps changed during training: one row per image, one column per epoch.

    Args:
        rows: The pictures of each image, one per epoch.
        epochs: Numbers or names of the epochs, as many as pictures in the longest row. Among numbers, epochs with a
            name, such as "epoch 6, kept", are shown if there is room between the first and the last.
        row_labels: One per image.
        captions: One per picture, such as the class and its probability.
        originals: The images themselves, as the first column.
        title: At the top.
        most_columns: Maximum number of epochs shown, evenly spaced and including the first and the last; a line under
            the title reports that others are left out.
        legend: As for `grid`.
        **layout: As for `grid`.

    Returns:
        `(H, W, 3)` uint8.

    Raises:
        KerasxaiError: As for `grid`, or the number of epochs does not fit.

    Example:
        >>> cell = np.zeros((96, 96, 3), np.uint8)
        >>> timeline([[cell] * 30], epochs=range(1, 31)).shape[1] < 1200
        True
    """
    count = max((len(row) for row in rows), default=0)
    if len(epochs) != count:
        raise KerasxaiError(f"expected one epoch for each column, got {len(epochs)} epochs for {count} columns")
    if most_columns < 2:
        raise KerasxaiError(f"most_columns must be at least 2, got {most_columns}")
    if originals is not None and len(originals) != len(rows):
        raise KerasxaiError(f"expected one original for each image, got {len(originals)} for {len(rows)} images")
    shown = _spread(epochs, most_columns)
    named = [f"epoch {epoch}" if isinstance(epoch, int | np.integer) else str(epoch) for epoch in epochs]
    cells: list[list[ArrayLike | None]] = [[row[i] if i < len(row) else None for i in shown] for row in rows]
    texts = [[row[i] if i < len(row) else "" for i in shown] for row in captions] if captions else None
    labels = [named[i] for i in shown]
    if originals is not None:
        cells = [[original, *row] for original, row in zip(originals, cells, strict=True)]
        texts = [["", *row] for row in texts] if texts else None
        labels = ["image", *labels]
    spread = ", evenly spread" if not any(isinstance(epochs[i], str) for i in shown[1:-1]) else ""
    note = "" if len(shown) == count else f"{len(shown)} of {count} epochs{spread}"
    return grid(cells, row_labels, labels, texts, title, note, legend, **layout)


def _spread(epochs: Sequence[int | str], most: int) -> list[int]:
    """Return the columns of a timeline, evenly spaced; the next to one with a name gives way to it."""
    shown = np.unique(np.rint(np.linspace(0, len(epochs) - 1, min(len(epochs), most))).astype(int)).tolist()
    named = [number for number, epoch in enumerate(epochs[1:-1], 1) if isinstance(epoch, str)]
    for number in named if len(named) <= most - 2 else ():
        if number not in shown:
            inner = [one for one in shown[1:-1] if one not in named] or shown[1:-1]
            shown.remove(min(inner, key=lambda one: abs(one - number)))
            shown = sorted([*shown, number])
    return shown


def map_legend(
    signed: bool | np.bool_ | Iterable[bool | np.bool_] = False, predicted: bool = False, true: bool = False
) -> list[tuple[str, Color | str]]:
    """Return the legend of overlays with default colors, for `legend=` of `grid` and `timeline`.

    Args:
        signed: Whether the maps are signed; of maps of several kinds each.
        predicted: Whether predicted boxes are drawn.
        true: Whether true boxes are drawn.

    Example:
        >>> map_legend(true=True)
        [('no evidence to most', 'inferno'), ('true box', (86, 180, 233))]
    """
    kinds = sorted({bool(kind) for kind in (signed if isinstance(signed, Iterable) else [signed])})
    entries: list[tuple[str, Color | str]] = [
        ("against to for", SIGNED_COLORMAP) if kind else ("no evidence to most", EVIDENCE_COLORMAP) for kind in kinds
    ]
    if predicted:
        entries.append(("predicted box (dashed)", PREDICTED_COLOR))
    if true:
        entries.append(("true box", TRUE_COLOR))
    return entries


@dataclass(frozen=True)
class _Sheet:
    """Sizes shared by all parts of one contact sheet."""

    size: tuple[int, int]
    columns: int
    letters: int
    gap: int
    caption_lines: int

    @property
    def width(self) -> int:
        return self.columns * self.size[1] + (self.columns - 1) * self.gap

    def left(self, column: int) -> int:
        return column * (self.size[1] + self.gap)

    def text_band(self, texts: Sequence[str], bold: bool = False, at_bottom: bool = False) -> Picture:
        """Return a row of text cells, as high as the longest text."""
        wrapped = [wrap(text, self.size[1], self.letters, self.caption_lines, bold) for text in texts]
        height = max((len(lines) for lines in wrapped), default=0) * line_height(self.letters)
        band = _paper(height, self.width)
        for column, lines in enumerate(wrapped):
            if lines:
                block = text_block(lines, self.size[1], self.letters, bold)
                top = height - block.shape[0] if at_bottom else 0
                _paste(band, block, top, self.left(column))
        return band

    def picture_band(self, row: Sequence[Picture | None], captions: Sequence[str]) -> Picture:
        """Return a row of pictures with their captions below."""
        band = _paper(self.size[0], self.width)
        for column, picture in enumerate(row):
            cell = np.full((*self.size, 3), _EMPTY, np.uint8)
            if picture is not None:
                fitted = _fit(picture, self.size)
                top, left = ((self.size[i] - fitted.shape[i]) // 2 for i in (0, 1))
                _paste(cell, fitted, top, left)
            _paste(band, cell, 0, self.left(column))
        texts = self.text_band(captions)
        space = _paper(max(2, self.letters // 4) if texts.size else 0, self.width)
        return np.concatenate([band, space, texts])

    def assemble(
        self,
        bands: list[Picture],
        labels: list[Picture | None],
        tight: int,
        title: str,
        note: str,
        legend: Sequence[tuple[str, Color | str]],
    ) -> Picture:
        """Stack title, note, labeled rows and legend."""
        label_width = max((label.shape[1] + self.gap for label in labels if label is not None), default=0)
        inner = label_width + self.width
        parts: list[Picture] = []
        for text, size, bold in ((title, round(self.letters * 1.35), True), (note, self.letters, False)):
            if text:
                lines = wrap(text, inner, size, 3, bold)
                parts += [text_block(lines, inner, size, bold, "left", FAINT if not bold else INK)]
                parts += [_paper(self.letters // 3, inner)]
        if parts:
            parts.append(_paper(self.letters // 2, inner))
        for number, (band, label) in enumerate(zip(bands, labels, strict=True)):
            line = _paper(band.shape[0], inner)
            _paste(line, band, 0, label_width)
            if label is not None:
                _paste(line, label, max(0, (self.size[0] - label.shape[0]) // 2), 0)
            space = self.letters // 3 if number < tight else self.gap if number < len(bands) - 1 else 0
            parts += [line, _paper(space, inner)]
        if legend:
            parts += [_paper(self.gap, inner), _legend(legend, inner, self.letters)]
        body = np.concatenate(parts)
        margin = max(self.gap, 8)
        return np.pad(body, ((margin, margin), (margin, margin), (0, 0)), constant_values=PAPER[0])


def _check(
    pictures: list[list[Picture | None]],
    columns: int,
    row_labels: Sequence[str] | None,
    column_labels: Sequence[str] | None,
    captions: Sequence[Sequence[str]] | None,
) -> None:
    if not any(cell is not None for row in pictures for cell in row):
        raise KerasxaiError("expected at least one picture for the grid, got none")
    for what, labels, count in (("row", row_labels, len(pictures)), ("column", column_labels, columns)):
        if labels and len(labels) > count:
            raise KerasxaiError(f"expected at most one label a {what}, got {len(labels)} for {count} {what}s")
    if captions and (
        len(captions) > len(pictures)
        or any(len(texts) > len(row) for texts, row in zip(captions, pictures, strict=False))
    ):
        raise KerasxaiError("expected captions nested like the rows, got more captions than pictures")


def _sheet(
    pictures: list[list[Picture | None]],
    columns: int,
    cell_size: int | tuple[int, int] | None = None,
    font_size: int | None = None,
    gap: int | None = None,
    caption_lines: int = 2,
) -> _Sheet:
    size = _cell_size(pictures, cell_size)
    letters = font_size or int(np.clip(size[1] / 15, *_LETTERS))
    return _Sheet(size, columns, letters, letters if gap is None else gap, caption_lines)


def _cell_size(pictures: list[list[Picture | None]], given: int | tuple[int, int] | None) -> tuple[int, int]:
    if given is not None:
        height, width = (given, given) if isinstance(given, int) else given
        if min(height, width) < 8:
            raise KerasxaiError(f"cell_size must be at least 8 pixels, got {given}")
        return height, width
    shapes = np.array([cell.shape[:2] for row in pictures for cell in row if cell is not None])
    largest = shapes.max(axis=0)
    # The same factor for height and width, so that pictures of one size fill their cells.
    factor = max(96 / largest.max(), 1.0) if largest.max() < 96 else min(512 / largest.max(), 1.0)
    height, width = np.maximum(np.rint(largest * factor), 8).astype(int).tolist()
    return height, width


def _label_column(labels: Sequence[str], sheet: _Sheet) -> list[Picture]:
    if not any(labels):
        return []
    most = max(round(sheet.size[1] * 0.9), 90)
    wrapped = [wrap(label, most, sheet.letters, max(4, sheet.caption_lines), bold=True) for label in labels]
    width = max(round(font(sheet.letters, True).getlength(line)) + 1 for lines in wrapped for line in lines)
    return [text_block(lines, width, sheet.letters, bold=True, align="right") for lines in wrapped]


def _legend(entries: Sequence[tuple[str, Color | str]], width: int, letters: int) -> Picture:
    height = line_height(letters)
    lines = [_paper(height, width)]
    at = 0
    for text, color in entries:
        if isinstance(color, str):
            bar = np.repeat(lookup_table(color)[::2], max(1, letters // _LETTERS[1]), axis=0)
            swatch = np.repeat(bar[None], letters, axis=0)
        else:
            swatch = np.full((letters, letters * 2, 3), color, np.uint8)
        length = min(round(font(letters).getlength(text)) + 2, width)
        whole = swatch.shape[1] + letters // 2 + length
        if at and at + whole > width:
            lines.append(_paper(height, width))
            at = 0
        _paste(lines[-1], swatch, (height - letters) // 2, at)
        block = text_block([text], length, letters, align="left", color=FAINT)
        _paste(lines[-1], block, 0, at + swatch.shape[1] + letters // 2)
        at += whole + letters * 2
    return np.concatenate(lines)


def _fit(picture: Picture, size: tuple[int, int]) -> Picture:
    factor = min(size[0] / picture.shape[0], size[1] / picture.shape[1])
    height, width = (max(1, min(size[i], round(picture.shape[i] * factor))) for i in (0, 1))
    return resize_picture(picture, (height, width))


def _paper(height: int, width: int) -> Picture:
    return np.full((height, width, 3), PAPER, np.uint8)


def _paste(canvas: Picture, part: Picture, top: int, left: int) -> None:
    target = canvas[top : top + part.shape[0], left : left + part.shape[1]]
    target[:] = part[: target.shape[0], : target.shape[1]]

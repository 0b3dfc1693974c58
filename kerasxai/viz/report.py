"""Self-contained HTML reports of pictures, tables and text."""

import base64
import contextlib
import importlib.metadata
import io
import numbers
import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

import jinja2
import numpy as np
from markupsafe import Markup, escape
from numpy.typing import ArrayLike
from PIL import Image

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import write_text
from kerasxai.tools.printable import unbroken
from kerasxai.viz.pixels import encode_png, to_picture

Source: TypeAlias = "ArrayLike | bytes | os.PathLike[str]"
_VERSIONS = ("kerasxai", "tensorflow", "keras", "numpy")
_KINDS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp", b"GIF8": "gif"}


class _Block(TypedDict, total=False):
    kind: str
    text: str
    level: int
    anchor: str
    pictures: list[dict[str, Any]]
    columns: int
    header: list[str]
    rows: list[list[dict[str, Any]]]
    note: str
    figures: list[tuple[str, str, str]]
    blocks: list["_Block"]
    open: bool


class Report:
    """A self-contained HTML file of headings, text, pictures, tables and figures.

    All text is escaped. Words between backticks are set as code, and an empty line begins a paragraph; there is no
    other markup. The page needs neither a network nor JavaScript, follows the light or dark mode of the browser, and
    is laid out for phones and for printing.

    Args:
        title: Title of the page.
        lead: An introduction below the title.
        command: The command that made the report, for the footer; None: the command line of this process, without the
            path of the program.
        versions: Versions by name, for the footer; None: Python, kerasxai, TensorFlow, Keras and NumPy as installed.

    Example:
        >>> report = Report("Where does it look?")
        >>> report.add_section("Localization")
        >>> report.add_table([["gap", 0.71]], header=["head", "GT-known Loc"])
        >>> report.write("report.html").name
        'report.html'
    """

    def __init__(
        self, title: str, lead: str = "", command: str | None = None, versions: Mapping[str, str] | None = None
    ) -> None:
        self.title = title
        self.lead = lead
        self.command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) if command is None else command
        self.versions = installed_versions() if versions is None else dict(versions)
        self._blocks: list[_Block] = []
        self._into = self._blocks
        self._contents: list[dict[str, Any]] = []
        self._anchors: set[str] = set()

    def add_section(self, title: str, text: str = "") -> None:
        """Begin a section, listed in the table of contents; `text` is its first paragraph."""
        self._head(title, level=2)
        if text:
            self.add_text(text)

    def add_heading(self, title: str) -> None:
        """Begin a subsection, listed below its section."""
        self._head(title, level=3)

    def add_text(self, text: str) -> None:
        """Add paragraphs."""
        self._into.append({"kind": "text", "text": text})

    def add_code(self, text: str) -> None:
        """Add preformatted lines, such as commands or the summary of a model."""
        self._into.append({"kind": "code", "text": text})

    def add_picture(self, picture: Source, caption: str = "", alt: str = "", lossless: bool | None = None) -> None:
        """Add one picture as wide as the page allows; a click shows it in full size.

        Args:
            picture: An array in any form that `to_picture` accepts; or the bytes or the path of a PNG, JPEG, WebP or
                GIF.
            caption: Below the picture.
            alt: Alternative text; empty: the caption.
            lossless: True: PNG. False: WebP at quality 90, a tenth of the size for photographs. None: PNG for small
                pictures, else WebP.

        Raises:
            KerasxaiError: The bytes or the file are in none of these formats.
        """
        self.add_pictures([(picture, caption, alt)], columns=1, lossless=lossless)

    def add_pictures(
        self,
        pictures: Sequence[tuple[Source, str] | tuple[Source, str, str]],
        columns: int = 3,
        lossless: bool | None = None,
    ) -> None:
        """Add a gallery.

        Args:
            pictures: Tuples of picture, caption and optionally alternative text, as for `add_picture`.
            columns: Maximum number of columns; narrow screens show fewer.
            lossless: As for `add_picture`.

        Raises:
            KerasxaiError: As for `add_picture`.
        """
        made = [_picture(source, caption, alt[0] if alt else "", lossless) for source, caption, *alt in pictures]
        self._into.append({"kind": "pictures", "pictures": made, "columns": max(1, columns)})

    def add_table(
        self,
        rows: Sequence[Sequence[object] | Mapping[str, object]],
        header: Sequence[str] | None = None,
        note: str = "",
        caption: str = "",
        digits: int | Mapping[str, int] = 3,
        best: Mapping[str, str] | None = None,
    ) -> None:
        """Add a table; numbers are right-aligned.

        Args:
            rows: Sequences of cells; or mappings, whose keys are the default header. Floats are rounded; None and NaN
                are shown as a dash.
            header: One name per column.
            note: Below the table, such as how the figures were measured.
            caption: Above the table.
            digits: Decimal places of floats; or decimal places by column name, 3 for columns without an entry.
            best: "max" or "min" by column name: the best number of the column is set in bold.

        Raises:
            KerasxaiError: A row differs in length from the header, or `best` has an unknown column.

        Example:
            >>> Report("x").add_table([{"head": "gap", "loc": 0.7}, {"head": "acol", "loc": 0.8}], best={"loc": "max"})
        """
        if header is None and rows and isinstance(rows[0], Mapping):
            header = list(dict.fromkeys(key for row in rows if isinstance(row, Mapping) for key in row))
        names = list(header or ())
        cells = [[row.get(name) for name in names] if isinstance(row, Mapping) else list(row) for row in rows]
        width = len(names or (cells[0] if cells else ()))
        for row in cells:
            if len(row) != width:
                raise KerasxaiError(f"expected {width} cells a row, got {len(row)}: {row}")
        winners = _winners(cells, names, best or {})
        decimals = (
            [digits] * width if isinstance(digits, int) else [digits.get(name, 3) for name in names or [""] * width]
        )
        shown = [
            [
                {"text": _shown(cell, decimals[j]), "number": _is_number(cell), "best": (i, j) in winners}
                for j, cell in enumerate(row)
            ]
            for i, row in enumerate(cells)
        ]
        self._into.append({"kind": "table", "header": names, "rows": shown, "note": note, "text": caption})

    def add_figures(self, figures: Sequence[tuple[str, object] | tuple[str, object, str]], digits: int = 3) -> None:
        """Add a few figures in large type: tuples of name, value and optionally a remark."""
        shown = [(name, _shown(value, digits), str(remark[0]) if remark else "") for name, value, *remark in figures]
        self._into.append({"kind": "figures", "figures": shown})

    @contextlib.contextmanager
    def details(self, summary: str, open: bool = False) -> Iterator[None]:
        """Collapse everything added within the block under one line; it is expanded in print.

        Example:
            >>> report = Report("x")
            >>> with report.details("All classes"):
            ...     report.add_text("...")
        """
        inner: list[_Block] = []
        outer, self._into = self._into, inner
        try:
            yield
        finally:
            self._into = outer
        outer.append({"kind": "details", "text": summary, "blocks": inner, "open": open})

    def add_details(self, summary: str, text: str) -> None:
        """Add preformatted text, collapsed under one line."""
        with self.details(summary):
            self.add_code(text)

    def render(self) -> str:
        """Return the page as HTML."""
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("kerasxai.viz"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
            finalize=unbroken_text,
        )
        environment.filters["prose"] = _prose
        return environment.get_template("report.html.j2").render(
            title=self.title,
            lead=self.lead,
            blocks=self._blocks,
            contents=self._contents,
            command=self.command,
            versions=self.versions,
            made=time.strftime("%Y-%m-%d %H:%M"),
        )

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the page atomically and return its path.

        Raises:
            KerasxaiError: The file cannot be written.
        """
        return write_text(path, self.render())

    def _head(self, title: str, level: int) -> None:
        if self._into is not self._blocks:
            raise KerasxaiError(f"expected headings outside of details, got {title!r} inside; leave the block first")
        base = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        anchor, number = base, 2
        while anchor in self._anchors:
            anchor, number = f"{base}-{number}", number + 1
        self._anchors.add(anchor)
        self._into.append({"kind": "heading", "text": title, "level": level, "anchor": anchor})
        entry = {"text": title, "anchor": anchor, "parts": []}
        if level == 3 and self._contents:
            self._contents[-1]["parts"].append(entry)
        else:
            self._contents.append(entry)


def _picture(source: Source, caption: str, alt: str, lossless: bool | None) -> dict[str, Any]:
    if isinstance(source, bytes):
        data = source
    elif isinstance(source, str | os.PathLike):
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise KerasxaiError(f"cannot read {os.fspath(source)}: {error.strerror or error}") from error
    else:
        data = _encode(source, lossless)
    kind = next((kind for start, kind in _KINDS.items() if data.startswith(start)), None)
    if kind is None:
        raise KerasxaiError(f"expected an array or the bytes of a PNG, JPEG, WebP or GIF, got {data[:12]!r}")
    with Image.open(io.BytesIO(data)) as opened:
        width, height = opened.size
    address = Markup(f"data:image/{kind};base64,{base64.b64encode(data).decode()}")
    return {"address": address, "caption": caption, "alt": alt or caption, "width": width, "height": height}


def _encode(array: ArrayLike, lossless: bool | None) -> bytes:
    picture = to_picture(array)
    if lossless is not False:
        data = encode_png(picture, compression=6)
        if lossless or len(data) < 300_000 or max(picture.shape) > 16_383:
            return data
    buffer = io.BytesIO()
    # With subsampled chroma, thin colored boxes and text would bleed.
    Image.fromarray(picture).save(buffer, "WEBP", quality=90, method=4, use_sharp_yuv=True)
    return buffer.getvalue()


def unbroken_text(value: object) -> object:
    """Return what a template shows with percentages that do not break; markup, such as code to copy, is unchanged."""
    return unbroken(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _prose(text: str) -> Markup:
    """Escape text, set words between backticks as code, and split paragraphs at empty lines."""
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
    return Markup("\n").join(Markup("<p>{}</p>").format(_inline(part)) for part in paragraphs)


def _inline(text: str) -> Markup:
    # Every other piece is the group of the pattern, the code between the backticks.
    pieces = re.split(r"`([^`\n]+)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if number % 2 else escape(unbroken(piece))
        for number, piece in enumerate(pieces)
    )


def _is_number(cell: object) -> bool:
    return cell is None or (isinstance(cell, numbers.Real) and not isinstance(cell, bool | np.bool_))


def _shown(cell: object, digits: int) -> str:
    if cell is None:
        return "—"
    if isinstance(cell, bool | np.bool_):
        return "yes" if cell else "no"
    if isinstance(cell, numbers.Integral):
        return f"{int(cell):,}"
    if isinstance(cell, numbers.Real):
        value = float(cell)
        return f"{value:,.{digits}f}" if np.isfinite(value) else "—" if np.isnan(value) else str(value)
    return str(cell)


def _winners(cells: list[list[object]], names: list[str], best: Mapping[str, str]) -> set[tuple[int, int]]:
    winners = set()
    for name, direction in best.items():
        if name not in names or direction not in ("max", "min"):
            raise KerasxaiError(f'expected best as "max" or "min" by column name, got {name!r}: {direction!r}')
        column = names.index(name)
        sign = 1 if direction == "max" else -1
        values = {
            row: sign * float(cell)
            for row, line in enumerate(cells)
            if isinstance(cell := line[column], numbers.Real) and _is_number(cell) and np.isfinite(float(cell))
        }
        winners |= {(row, column) for row, value in values.items() if value == max(values.values())}
    return winners


def installed_versions() -> dict[str, str]:
    """Return the versions of Python, kerasxai, TensorFlow, Keras and NumPy, by name."""
    versions = {"Python": platform.python_version()}
    for name in _VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions

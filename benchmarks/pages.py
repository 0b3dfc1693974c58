"""The pages that show stored results. Sections between markers are generated: `python -m benchmarks tables`.

`<!-- bench: PART -->` ... `<!-- end -->` holds all tables of a part, `<!-- bench: PART/KEY -->` one table without a
heading.
"""

import re
from pathlib import Path

from benchmarks.parts import PARTS
from benchmarks.store import Stored, stored, stored_table
from benchmarks.tables import Figure, Ratio, markdown, text_of
from kerasxai.tools.files import read_text, write_text

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "benchmarks" / "README.md"
DOCS = ("passes.md", "peers.md", "scaling.md", "shortcuts.md")
PAGES = (README, ROOT / "README.md", *(ROOT / "docs" / name for name in DOCS))
SECTION = re.compile(r"(<!-- bench: ([^ ]+) -->\n).*?(<!-- end -->)", re.DOTALL)

# Rows of a table of the main README that compares libraries: the heading, and the method in the stored table.
COMPARED = {"Grad-CAM, in forward passes": "gradcam", "LIME, 1000 samples, in forward passes": "lime, 1000 samples"}
COMPARISON = ("peers", "MobileNetV2/onednn-on")


def rewrite(folder: Path | None = None) -> None:
    """Rewrite the generated parts of all pages from the stored results."""
    for page in PAGES:
        before = read_text(page)
        after = generated(before, folder)
        if after != before:
            write_text(page, after)


def generated(text: str, folder: Path | None = None) -> str:
    """Return the text of a page with its generated parts made from the stored results."""

    def section(match: re.Match[str]) -> str:
        return match[1] + _section(match[2], folder) + match[3]

    text = SECTION.sub(section, text)
    for heading in COMPARED:
        if row := re.search(rf"^\| {re.escape(heading)} \|.*$", text, re.MULTILINE):
            new = _comparison(text[: row.start()], heading, folder)
            text = text[: row.start()] + new + text[row.end() :]
    return text


def sections(text: str) -> list[str]:
    """Return the keys of the generated sections of a page."""
    return [match[2] for match in SECTION.finditer(text)]


def _section(key: str, folder: Path | None) -> str:
    part, _, table = key.partition("/")
    if table:
        one = stored_table(part, table, folder)
        return f"{one.table.title}.\n{_body(one)}"
    tables = stored(part, folder)
    if not tables:
        words = " ..." if not PARTS[part].alone else ""
        return f"\nNot measured yet: `python -m benchmarks {part}{words} --write`.\n\n"
    return "\n" + "\n".join(f"### {one.table.title}\n\n{_body(one)}" for one in tables) + "\n"


def _body(one: Stored) -> str:
    notes = " ".join(one.table.notes)
    return f"Measured on {one.conditions.sentence()}.\n\n{markdown(one.table.columns, one.table.rows)}" + (
        f"\n{notes}\n" if notes else ""
    )


def _comparison(text: str, heading: str, folder: Path | None) -> str:
    """Return a row of the table at the end of a text: the columns are libraries and their versions."""
    head = text.rpartition("\n| |")[2].partition("\n")[0]
    libraries = [name.split()[0] for name in head.split("|") if name.strip()]
    table = stored_table(*COMPARISON, folder).table
    cells = [heading]
    for name in libraries:
        cell = table.cell(COMPARED[heading], name) if name in table.columns else None
        cells.append(text_of(Figure(cell.cpu.median) if isinstance(cell, Ratio) else cell))
    return markdown(cells, ()).partition("\n")[0]

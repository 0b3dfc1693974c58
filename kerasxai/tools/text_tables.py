"""Tables printed on the terminal."""

import json
from collections.abc import Iterable, Sequence

from kerasxai.tools.printable import printable


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """Print a table, wrapped to the width of the terminal; lines are not wrapped if the output is not a terminal.

    Args:
        columns: The headings; columns whose heading ends in ">" are right-aligned.
        rows: The cells, printed by `printable`; brackets are not interpreted as markup.
        title: Above the table.
    """
    # Imported here, because rich takes a third of the time in which commands answer `--help`.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=1000)
    table = Table(title=None if title is None else Text(printable(title)), title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(Text(column.rstrip(">")), justify="right" if column.endswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[object]], as_json: bool) -> None:
    """Print a table, or the same as JSON: a list with one object for each row.

    Args:
        columns: As for `print_table`.
        rows: The cells; for JSON strings, numbers, booleans and None.
        as_json: Whether to print JSON.
    """
    if as_json:
        names = [column.rstrip(">") for column in columns]
        print(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=2))
    else:
        print_table(columns, rows)

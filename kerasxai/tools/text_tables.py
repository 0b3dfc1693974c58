"""Printing tables on the terminal."""

from collections.abc import Iterable, Sequence

from kerasxai.tools.printable import printable


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """Print a table that wraps to the terminal; where the output is no terminal, no line is cut.

    Args:
        columns: The headings; one that ends in ">" is set flush right.
        rows: The cells, printed by `printable`: brackets in a name are no markup.
        title: Stands above.
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

"""Tables printed on the terminal."""

from collections.abc import Iterable, Sequence

from kerasxai.tools.json_output import print_json, prints_json
from kerasxai.tools.printable import printable


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None, turn: bool = False
) -> None:
    """Print a table, wrapped to the width of the terminal; lines are not wrapped if the output is not a terminal.

    With `--json`, nothing is printed.

    Args:
        columns: The headings; columns whose heading ends in ">" are right-aligned.
        rows: The cells, printed by `printable`; brackets are not interpreted as markup.
        title: Above the table.
        turn: Whether rows become columns if fewer words are split then.
    """
    if prints_json():
        return
    # Imported here, because rich takes a third of the time in which commands answer `--help`.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=1000)
    right = [column.endswith(">") for column in columns]
    cells = [[column.rstrip(">") for column in columns], *([printable(cell) for cell in row] for row in rows)]
    turned = [list(row) for row in zip(*cells, strict=True)]
    if turn and split_words(turned, console.width) < split_words(cells, console.width):
        cells, right = turned, [False] + [True] * (len(cells) - 1)
    table = Table(title=None if title is None else Text(printable(title)), title_justify="left", header_style="bold")
    for heading, is_right, width in zip(cells[0], right, column_widths(cells, console.width), strict=True):
        table.add_column(Text(heading), justify="right" if is_right else "left", overflow="fold", width=width)
    for row in cells[1:]:
        table.add_row(*map(Text, row))
    console.print(table)


_BORDER = 3
"""Characters of a column that are not text: a line and two spaces."""


def split_words(rows: Sequence[Sequence[str]], width: int) -> int:
    """Return how many words of a table are longer than their column is wide.

    Example:
        >>> split_words([["name", "what it is"]], 15), split_words([["name", "what it is"]], 14)
        (0, 1)
    """
    from rich.cells import cell_len

    columns = zip(zip(*rows, strict=True), column_widths(rows, width), strict=True)
    return sum(cell_len(word) > most for cells, most in columns for cell in cells for word in cell.split())


def column_widths(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the widths of the columns of a table.

    Words are not split as far as there is room, those of the first column last: it has the names that are typed again.

    Args:
        rows: The headings and the cells.
        width: The width of the table.

    Example:
        >>> column_widths([["name", "what it is"], ["integrated", "gradients of a path"]], 40)
        [10, 19]
        >>> column_widths([["name", "what it is"], ["integrated", "gradients of a path"]], 26)
        [10, 9]
        >>> column_widths([["name", "what it is"], ["integrated", "gradients of a path"]], 21)
        [10, 4]
    """
    from rich.cells import cell_len

    whole = [max(1, *map(cell_len, cells)) for cells in zip(*rows, strict=True)]
    room = max(width - _BORDER * len(whole) - 1, len(whole))
    if sum(whole) <= room:
        return whole
    words = [[word for cell in cells for word in cell.split()] for cells in zip(*rows, strict=True)]
    longest = [max(map(cell_len, its), default=1) for its in words]
    first = min(longest[0], room - len(longest) + 1)
    most = max(longest)
    while first + sum(min(one, most) for one in longest[1:]) > room:
        most -= 1
    least = [first, *(min(one, most) for one in longest[1:])]
    # What is left goes to the columns that are cut most.
    left, missing = room - sum(least), [one - its for one, its in zip(whole, least, strict=True)]
    return [its + left * cut // max(sum(missing), 1) for its, cut in zip(least, missing, strict=True)]


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table, or with `--json` the same as a list with one object for each row.

    Args:
        columns: As for `print_table`.
        rows: The cells; for JSON strings, numbers, booleans and None.
    """
    rows = list(rows)
    print_json(objects_of(columns, rows))
    print_table(columns, rows)


def objects_of(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[dict[str, object]]:
    """Return the rows of a table as objects for JSON.

    Example:
        >>> objects_of(["name", "size>"], [["gap", 3]])
        [{'name': 'gap', 'size': 3}]
    """
    return [{column.rstrip(">"): cell for column, cell in zip(columns, row, strict=True)} for row in rows]

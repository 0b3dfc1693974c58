"""The files of records that a command writes for people, and what each of them contains."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kerasxai.refinements import RefinementChoice
from kerasxai.tools.files import json_text, path_of

JSON = dict[str, Any]


@dataclass
class Group:
    """Records that were made with the same settings.

    Attributes:
        settings: Everything but the images that the results depend on; None for a table of an older version.
        command: The last command line that made some of them.
        number: The table's number: None for no table, 0 for `explanations.json`, 1 for `explanations-1.json`.
        records: By the image's key, as lines of JSON, which take a tenth of the memory of dicts.
        stems: The names that were chosen, also for images that are not done.
        unsaved: Whether the journal may contain records that the table does not.
        refinement: The choice of `--refine auto` that the records were made with; None without it.
    """

    settings: JSON | None
    command: str = ""
    number: int | None = None
    records: dict[str, str] = field(default_factory=dict)
    stems: dict[str, str] = field(default_factory=dict)
    unsaved: bool = False
    refinement: RefinementChoice | None = None

    def add(self, record: JSON) -> None:
        """Add a record, if it names its image."""
        source = record.get("source")
        if isinstance(source, dict):
            self.records[source["key"]] = json_text(record)
            self.stems[source["key"]] = path_of(source["stem"])


class Table(Protocol):
    """The files for people that contain a command's records."""

    journal: str
    """The name of the journal."""

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the tables and of the files that belong to them; the first is the one that `read` reads."""

    def read(self, path: Path) -> Group:
        """Read a table."""

    def write(
        self, folder: Path, number: int, group: Group, keys: Iterable[str], skipped: list[dict[str, str]]
    ) -> None:
        """Write the tables of the records with these keys under the names that `numbered` returns."""


def numbered(name: str, number: int) -> str:
    """Return the name under which a table of other settings is kept.

    Example:
        >>> numbered("boxes.json", 0), numbered("boxes.json", 2)
        ('boxes.json', 'boxes-2.json')
    """
    path = Path(name)
    return f"{path.stem}-{number}{path.suffix}" if number else name

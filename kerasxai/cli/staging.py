"""Results that appear in a folder all at once or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from kerasxai.cli.record_tables import JSON
from kerasxai.data.finding import is_own_table
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import cannot, null_for_nan, path_of, read_json, text_of, write_json
from kerasxai.tools.folders import locked

_PREFIX = ".kerasxai-staged-"


class Staged:
    """A hidden folder that is filled first, and whose files are moved to their folder at the end.

    Args:
        out: The folder of the results; it has to be locked.
        table: The file that lists them, such as "inspection.json".
        patterns: Patterns of all names that may be among them.
        settings: The settings that the results depend on.

    Raises:
        KerasxaiError: There is a file of such a name that kerasxai has not written.
    """

    def __init__(self, out: Path, table: str, patterns: Sequence[str], settings: JSON) -> None:
        self.out = out
        self.table = table
        self.patterns = patterns
        self.settings = settings
        for stale in out.glob(f"{_PREFIX}*"):
            shutil.rmtree(stale, ignore_errors=True)
        known = set(self._former().get("files", ()))
        older = is_own_table(out / table) and not known
        for pattern in () if older else (table, *patterns):
            for path in out.glob(pattern):
                if (path.name != table and text_of(path.name) not in known) or not is_own_table(out / table):
                    raise KerasxaiError(
                        f"expected a folder without a foreign {path.name}, got {out}; choose another --out"
                    )
        try:
            self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=out))
        except OSError as error:
            raise cannot("write", out, error) from error

    def _former(self) -> JSON:
        path = self.out / self.table
        return read_json(path) if is_own_table(path) else {}

    def publish(self, content: JSON) -> None:
        """Move the results to their folder, and former results of other settings to a subfolder.

        Args:
            content: Content of the table.
        """
        former = self._former()
        if former and former.get("settings") != self.settings:
            self._put_away(former)
        names = sorted(text_of(path.name) for path in self.folder.iterdir())
        # The list is written first, so that files are recognized as kerasxai's even if the process is killed now.
        write_json(self.out / self.table, null_for_nan({**content, "settings": self.settings, "files": names}))
        for path in list(self.folder.iterdir()):
            target = self.out / path.name
            if target.is_dir():
                shutil.rmtree(target)
            path.replace(target)

    def _put_away(self, former: JSON) -> None:
        number = 1
        while os.path.lexists(folder := self.out / f"former-{number}"):
            number += 1
        folder.mkdir()
        # A table of an older version does not list its files.
        names = former.get("files", [path.name for pattern in self.patterns for path in self.out.glob(pattern)])
        for name in [*map(path_of, names), self.table]:
            with contextlib.suppress(FileNotFoundError):
                (self.out / name).replace(folder / name)
        print(
            f"the former results in {text_of(self.out)} were made with other settings; they are kept in {folder.name}"
        )


@contextlib.contextmanager
def staged(out: Path, table: str, patterns: Sequence[str], settings: JSON) -> Iterator[Staged]:
    """Lock a folder and yield a hidden one to fill, which is removed at the end; see `Staged`."""
    with locked(out):
        stage = Staged(out, table, patterns, settings)
        try:
            yield stage
        finally:
            shutil.rmtree(stage.folder, ignore_errors=True)

"""Base class of the settings of a run, which are kept in its folder. Nothing here imports TensorFlow."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from kerasxai.tools.commands import command_line
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import read_json, write_json, write_text
from kerasxai.tools.printable import printable

_RUN_FILES = (
    "model.keras",
    "history.csv",
    "history.png",
    "metrics.json",
    "probe.json",
    "labels.csv",
    "command.txt",
    "checkpoints",
    "choices.json",
    "augmentation.png",
    "backbone.json",
)


@dataclass(frozen=True)
class RunConfig:
    """Base class of the settings of a run, which are written into its folder and must not change afterwards.

    Attributes:
        older_defaults: Values of newer settings with which runs of older versions trained, where today's default is
            another.
    """

    older_defaults: ClassVar[Mapping[str, object]] = {}

    def write(self, folder: Path) -> None:
        """Write `config.json`, and the exact command of the run to `command.txt`."""
        write_json(folder / "config.json", asdict(self))
        write_text(folder / "command.txt", command_line() + "\n")

    def check_same(self, folder: Path) -> None:
        """Refuse to continue in the folder of another run.

        Raises:
            KerasxaiError: The settings in the folder differ; or there are none, but a file that a run would replace.
        """
        path = folder / "config.json"
        if not path.exists():
            foreign = next((name for name in _RUN_FILES if (folder / name).exists()), None)
            if foreign is not None:
                raise KerasxaiError(
                    f"expected a new folder or one of a run, got {folder} with {foreign} but without config.json; "
                    "choose another --out"
                )
            return
        kept = _settings_in(path)
        now = json.loads(json.dumps(asdict(self)))
        # Settings that an older version did not have had the effect of today's defaults, or of those named here.
        before = self._defaults() | dict(self.older_defaults) | kept
        differing = [
            f"{item.name} was {before.get(item.name)!r}, is {now[item.name]!r}"
            for item in fields(self)
            if _without_slash(before.get(item.name)) != _without_slash(now[item.name])
        ]
        if differing:
            raise KerasxaiError(
                f"expected the folder of this run, got {folder} of another run ({'; '.join(differing)}); "
                "choose another --out"
            )

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        return {
            item.name: item.default_factory() if item.default_factory is not MISSING else item.default
            for item in fields(cls)
        }


def _settings_in(path: Path) -> dict[str, Any]:
    """Read the settings in the folder of a run."""
    remedy = "choose another --out, or remove the damaged file"
    try:
        found = read_json(path)
    except KerasxaiError as error:
        raise KerasxaiError(f"cannot read the settings of a run: {error}; {remedy}") from error
    if not isinstance(found, dict):
        raise KerasxaiError(f"expected settings of a run in {printable(path)}, got a {type(found).__name__}; {remedy}")
    return found


def _without_slash(value: object) -> object:
    """Return a folder without the slash that shells add when they complete its name."""
    return value.rstrip("/") if isinstance(value, str) and len(value) > 1 else value

"""`--config FILE`: the flags of a command in a TOML or YAML file; flags on the command line have priority."""

import argparse
import importlib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasxai.tools.commands import Parser, command_parser
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import read_text
from kerasxai.tools.printable import printable
from kerasxai.tools.settings import SettingsCommand, setting

FLAG = "--config"
_YAML = (".yaml", ".yml")


@dataclass(frozen=True, kw_only=True)
class ConfigFile:
    """The file with flags of a command.

    Attributes:
        config: A `.toml`, `.yaml` or `.yml` file.
    """

    config: Path | None = setting(
        "TOML or YAML file with values of these flags, by their names; flags given here have priority",
        "configuration file",
        None,
        metavar="FILE",
    )


@dataclass(frozen=True)
class Parsed:
    """Arguments of a command with those of its configuration file.

    Attributes:
        options: The arguments.
        words: The same as words of the command line, without `--config`; None without a file.
    """

    options: argparse.Namespace
    words: Sequence[str] | None = None


class _FileParser(Parser):
    """A parser whose errors can be attributed to the file."""

    def error(self, message: str) -> Any:
        raise KerasxaiError(" ".join(message.removeprefix("argument ").split()))


def parse_with_file(prog: str, command: SettingsCommand, words: Sequence[str]) -> Parsed:
    """Parse the arguments of a command, with those of the file that `--config` names as defaults.

    Args:
        prog: The command as the user types it.
        command: The description of its arguments.
        words: The arguments.

    Raises:
        SystemExit: They are wrong; the reason is printed in one line.

    Example:
        >>> parse_with_file("kerasxai train", TRAIN, ["--data", "shapes", "--out", "runs/a"]).options.data
        'shapes'
    """
    parser = command_parser(prog, command)
    if ConfigFile not in command.kinds:
        return Parsed(parser.parse_args(words))
    path, rest = _path_in(words)
    if path is None:
        options = parser.parse_args(words)
        if options.config is not None:
            parser.error(f"expected {FLAG} in full, got an abbreviation of it")
        return Parsed(options)
    try:
        given = list(_words_of_file(path, parser))
        known = _values(prog, command, [word for group in given for word in group[1]])
    except KerasxaiError as error:
        parser.error(f"{printable(str(path))}: {error}" if not str(error).startswith("cannot ") else str(error))
    for action in parser.arguments:
        if action.dest in {dest for dest, _ in given}:
            action.required = False
            if action.option_strings:
                action.default = getattr(known, action.dest)
            else:
                action.nargs, action.default = "?", None
    options = parser.parse_args(rest)
    options.config = path
    used = []
    for dest, group in given:
        if getattr(options, dest) is None and not group[0].startswith("-"):
            setattr(options, dest, getattr(known, dest))
        elif not group[0].startswith("-"):
            continue  # A positional argument of the command line takes the place of that of the file.
        used += group
    return Parsed(options, [*used, *rest])


def _path_in(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Return the file that `--config` names, the last one, and the other words."""
    path: Path | None = None
    rest: list[str] = []
    given = iter(words)
    for word in given:
        if word == FLAG:
            value = next(given, None)
            # Without a value, argparse reports the mistake.
            path, rest = (path, [*rest, word]) if value is None else (Path(value), rest)
        elif word.startswith(f"{FLAG}="):
            path = Path(word.partition("=")[2])
        else:
            rest.append(word)
    return path, rest


def _values(prog: str, command: SettingsCommand, words: Sequence[str]) -> argparse.Namespace:
    """Parse the words of a file alone, none of which is required."""
    parser = _FileParser(prog, "", "")
    command.add_arguments(parser)
    for action in parser.arguments:
        action.required = False
        if not action.option_strings:
            action.nargs = "?"
    return parser.parse_args(words)


def _words_of_file(path: Path, parser: Parser) -> Iterator[tuple[str, list[str]]]:
    """Yield the destination and the words of each key of a file.

    Raises:
        KerasxaiError: The file cannot be read, or a key or the kind of a value is wrong.
    """
    actions = {_key(action): action for action in parser.arguments if action.dest not in ("help", "config")}
    for name, value in _read(path).items():
        key = str(name).replace("_", "-")
        if key not in actions:
            raise unknown("key", name, actions)
        if value is not None:
            yield actions[key].dest, list(_words(key, actions[key], value))


def _key(action: argparse.Action) -> str:
    name = action.option_strings[-1].removeprefix("--") if action.option_strings else action.dest
    return name.replace("_", "-")


def _read(path: Path) -> Mapping[str, object]:
    suffix = path.suffix.lower()
    if suffix != ".toml" and suffix not in _YAML:
        raise KerasxaiError("expected a file that ends in .toml, .yaml or .yml, got another; rename it")
    text = read_text(path)
    try:
        found = tomllib.loads(text) if suffix == ".toml" else _yaml(text)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise KerasxaiError(f"expected {suffix[1:].upper()}, got a file with a mistake: {reason}") from error
    if not isinstance(found, Mapping):
        raise KerasxaiError(f"expected names of flags with their values, got a {type(found).__name__}")
    return found


def _yaml(text: str) -> object:
    try:
        yaml = importlib.import_module("yaml")
    except ImportError as error:
        raise KerasxaiError(
            "cannot read YAML: PyYAML is not installed; run pip install pyyaml, or write a .toml file"
        ) from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _words(key: str, action: argparse.Action, value: object) -> Iterator[str]:
    """Yield the words of the command line that stand for a key and its value."""
    flag = f"--{key}"
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise KerasxaiError(f"{key} must be true or false, got {value!r}")
        if value:
            yield flag
    elif isinstance(value, Mapping):
        if not isinstance(action.default, list):
            raise KerasxaiError(f"{key} must be one value, got a table")
        for name, one in _flat(value):
            yield from (flag, f"{name}={one if isinstance(one, str) else json.dumps(one)}")
    elif isinstance(value, list) and isinstance(action.default, list):
        for one in value:
            yield from (flag, _text(key, one))
    elif isinstance(value, list):
        # Two whole numbers are a size.
        separator = "x" if key.endswith("image-size") else ","
        yield f"{flag}={separator.join(_text(key, one) for one in value)}"
    elif not action.option_strings:
        yield _text(key, value)
    else:
        # One word, since a value may begin with "-".
        yield f"{flag}={_text(key, value)}"


def _flat(table: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", one) for inner, one in _flat(value))
        else:
            yield str(name), value


def _text(key: str, value: object) -> str:
    if isinstance(value, bool | list | Mapping) or value is None:
        raise KerasxaiError(f"{key} must be text or a number, got {value!r}")
    return str(value)

"""Dataclass fields with help, limits and choices, and the command-line flags generated from them."""

import argparse
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypedDict, TypeVar, Unpack

from kerasxai.tools.arguments import natural_int, number, parse_option, section, whole_number
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.options import whole

_KEY = "setting"


class Dataclass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Kind = TypeVar("Kind", bound=Dataclass)


@dataclass(frozen=True)
class Limits:
    """The range of a number; `least` and `most` are inclusive, `above` and `below` exclusive."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf


SHARE = Limits(least=0, most=1)
POSITIVE_SHARE = Limits(above=0, most=1)
COUNT = Limits(least=1, most=65_536)
SEED = Limits(least=0, most=2**32 - 1)


@dataclass(frozen=True)
class Setting:
    """The metadata of a dataclass field.

    Attributes:
        help: The text in `--help`, to which the default is added.
        group: The heading of the flag in `--help`.
        limits: The range of a number; whole numbers if the field is an int.
        choices: The valid names, such as a table; read late, so that rows can be added to the table.
        flag: The flag, if it is not derived from the name of the field.
        positional: Whether it is an argument without a flag.
        nargs: The number of words, as for `argparse`; None: one.
        metavar: Placeholder of the value in `--help`.
        parse: Parser of the text of the flag, if it does not follow from the type and the limits.
        collect: Makes the value of the field from the values of a repeated flag; such a flag takes NAME=VALUE unless
            `parse` is given.
    """

    help: str
    group: str
    limits: Limits | None = None
    choices: Collection[str] = ()
    flag: str | None = None
    positional: bool = False
    nargs: str | None = None
    metavar: str | None = None
    parse: Callable[[str], Any] | None = None
    collect: Callable[[list[Any]], Any] | None = None


# Any: the field of a dataclass has the type of its annotation, as with `dataclasses.field`.
class Description(TypedDict, total=False):
    """Optional attributes of `Setting`."""

    limits: Limits | None
    choices: Collection[str]
    flag: str | None
    positional: bool
    nargs: str | None
    metavar: str | None
    parse: Callable[[str], Any] | None
    collect: Callable[[list[Any]], Any] | None


def setting(help: str, group: str, default: object = MISSING, **description: Unpack[Description]) -> Any:
    """Return a dataclass field that describes a setting; fields with `collect` default to an empty dict.

    Args:
        help: As for `Setting`.
        group: As for `Setting`.
        default: The default; without one, the setting is required.
        **description: As for `Setting`.

    Example:
        >>> @dataclass(frozen=True)
        ... class Config:
        ...     epochs: int = setting("passes over the images", "training", 5, limits=COUNT)
    """
    metadata = {_KEY: Setting(help, group, **description)}
    if "collect" in description and default is MISSING:
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


def described(kind: type[Dataclass]) -> dict[str, tuple[Field[Any], Setting]]:
    """Return the fields of a dataclass that describe a setting, by name."""
    return {item.name: (item, item.metadata[_KEY]) for item in fields(kind) if _KEY in item.metadata}


def add_settings(parser: argparse.ArgumentParser, kind: type[Dataclass], leave_out: Iterable[str] = ()) -> None:
    """Add one flag for each setting of a dataclass, in the groups of the settings.

    Args:
        parser: The parser of the command.
        kind: The dataclass.
        leave_out: Fields without a flag, or with a flag from another dataclass.
    """
    for name, (item, row) in described(kind).items():
        if name not in leave_out:
            _add(parser, item, row)


def _add(parser: argparse.ArgumentParser, item: Field[Any], row: Setting) -> None:
    group = section(parser, row.group)
    if row.positional:
        group.add_argument(item.name, help=row.help, metavar=row.metavar, nargs=row.nargs, type=row.parse or str)
        return
    flag = row.flag or "--" + item.name.replace("_", "-")
    options: dict[str, Any] = {"dest": item.name, "help": row.help, "nargs": row.nargs}
    if item.type is bool:
        del options["nargs"]
        options["action"] = "store_true"
    elif row.collect is not None:
        options |= {"action": "append", "default": [], "type": row.parse or parse_option}
        options["metavar"] = row.metavar or "NAME=VALUE"
    else:
        options |= {"type": _parser_of(item, row), "metavar": row.metavar}
        if row.choices:
            options |= {"choices": sorted(row.choices), "metavar": row.metavar or "NAME"}
        if item.default is MISSING:
            options["required"] = True
        else:
            options["default"] = item.default
            # Where the default is empty or a list, the help text itself describes it.
            if item.default not in (None, "", ()) and not isinstance(item.default, tuple):
                options["help"] += " (default: %(default)s)"
    group.add_argument(flag, **options)


def _parser_of(item: Field[Any], row: Setting) -> Callable[[str], Any]:
    if row.parse is not None:
        return row.parse
    kinds = str(item.type)
    if row.limits is None:
        return Path if "Path" in kinds else str
    if "int" in kinds:
        # argparse checks the lower limit only; the dataclass checks both.
        return natural_int if row.limits.least == 0 and row.limits != SEED else whole_number(*_ends(row.limits))
    return number(row.limits.least, row.limits.most, row.limits.above, row.limits.below)


def _ends(limits: Limits) -> tuple[int, ...]:
    return (0, int(limits.most)) if limits == SEED else (int(limits.least),)


def from_options(kind: type[Kind], options: argparse.Namespace, **more: object) -> Kind:
    """Make a dataclass from parsed arguments; settings without an argument have their default.

    Args:
        kind: The dataclass.
        options: The parsed arguments.
        **more: Values of fields that take precedence over the arguments.
    """
    given = vars(options)
    values = {
        name: given[name] if row.collect is None else row.collect(given[name])
        for name, (_, row) in described(kind).items()
        if name in given and name not in more
    }
    return kind(**{**values, **more})


def check_settings(config: Dataclass) -> None:
    """Check the settings of a dataclass against their limits and choices.

    Raises:
        KerasxaiError: A value is out of range, not a whole number, or an unknown name.
    """
    for name, (item, row) in described(type(config)).items():
        value, kinds = getattr(config, name), str(item.type)
        if value is None and "None" in kinds:
            continue
        if row.limits is not None and "int" in kinds:
            most = int(row.limits.most) if math.isfinite(row.limits.most) else None
            # A size is one side, or height and width.
            for one in value if isinstance(value, tuple | list) and "tuple" in kinds else (value,):
                whole(name, one, int(row.limits.least), most)
        elif row.limits is not None:
            _check_number(name, value, row.limits)
        elif row.choices and value != item.default and value not in row.choices:
            raise unknown(name.replace("_", " "), value, row.choices)


def _check_number(name: str, value: object, limits: Limits) -> None:
    parse = number(limits.least, limits.most, limits.above, limits.below)
    try:
        if isinstance(value, bool):
            raise argparse.ArgumentTypeError(f"must be a number, got {value!r}")
        parse(str(value))
    except argparse.ArgumentTypeError as error:
        # argparse puts the flag in front of the message; here it is the name of the field.
        message = f"{name} {error}"
        raise KerasxaiError(message) from None


@dataclass(frozen=True)
class SettingsCommand:
    """A command whose arguments are generated from dataclasses.

    Attributes:
        summary: One line about the command.
        examples: Example command lines.
        kinds: The dataclasses; if several have a field of the same name, the first describes the flag.
        leave_out: Fields without a flag.
        replaced_by: For arguments without a flag, the flag in place of which they may be omitted.
    """

    summary: str
    examples: list[str]
    kinds: tuple[type[Dataclass], ...] = ()
    leave_out: tuple[str, ...] = ()
    replaced_by: Mapping[str, str] = field(default_factory=dict)

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the flags of all dataclasses."""
        known = set(self.leave_out)
        for kind in self.kinds:
            add_settings(parser, kind, leave_out=known)
            known |= described(kind).keys()

"""What every command has in common: its parser, its options as people write them, and its exit status."""

import argparse
import importlib
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from kerasxai.core.errors import KerasxaiError


class Parser(argparse.ArgumentParser):
    """Prints mistakes as one line, and text as it was laid out."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def error(self, message: str) -> NoReturn:
        """Ends the program with status 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def command_parser(prog: str, module: ModuleType) -> Parser:
    """Returns the parser of one command.

    Args:
        prog: How the user calls it.
        module: Has `add_arguments(parser)`, one line `SUMMARY`, and a list `EXAMPLES`, which stand under the help.
    """
    examples = "\n".join(f"  {line}" for line in module.EXAMPLES)
    parser = Parser(prog=prog, description=module.SUMMARY, epilog=f"examples:\n{examples}")
    module.add_arguments(parser)
    return parser


def exit_status(prog: str, run: Callable[[], Any]) -> int:
    """Runs a command and returns its exit status.

    Returns:
        What `run` returned if it is a number, such as 1 where a part was left out; else 0 if all went well, 2 for a
        mistake of the user told in one line, 130 after Ctrl-C.
    """
    try:
        status = run()
    except KeyboardInterrupt:
        print(f"{prog}: stopped", file=sys.stderr)
        return 130
    except (KerasxaiError, OSError) as error:
        print(f"{prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return status if isinstance(status, int) else 0


def import_tensorflow() -> None:
    """Imports TensorFlow without its notes about the machine, which would bury what a command prints.

    They are written by compiled code before any setting of it is read, so that the file descriptor itself has to look
    away; if the import fails, what was written is shown.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            importlib.import_module("tensorflow")
        except BaseException:
            hidden.seek(0)
            os.write(shown, hidden.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)


def run_module(name: str, options: ModuleType, run: Callable[[argparse.Namespace], Any]) -> int:
    """Carries out a command that is called as a module, `python -m NAME`, and returns its exit status."""
    prog = f"python -m {name}"
    parsed = command_parser(prog, options).parse_args()
    return exit_status(prog, lambda: run(parsed))


def parse_option(text: str) -> tuple[str, Any]:
    """Splits `name=value`; the value is read as JSON where it is JSON, else it is a string.

    Example:
        >>> parse_option("erase-threshold=0.6")
        ('erase_threshold', 0.6)
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"options are written NAME=VALUE, not {text!r}")
    try:
        return name.replace("-", "_"), json.loads(value)
    except json.JSONDecodeError:
        return name.replace("-", "_"), value


def command_line() -> str:
    """Returns the command that runs now, as it could be typed again."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])

"""Parser, exit status and environment shared by all commands."""

import argparse
import contextlib
import importlib
import os
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn

from kerasxai.tools.arguments import parse_option
from kerasxai.tools.error_reasons import raised_in_kerasxai, reason
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.image_options import joined_ranges
from kerasxai.tools.notices import one_line_warnings
from kerasxai.tools.printable import printable
from kerasxai.tools.settings import SettingsCommand

__all__ = [
    "ListedParser",
    "Parser",
    "command_line",
    "command_parser",
    "exit_status",
    "import_tensorflow",
    "parse_option",
    "print_line",
    "running_as",
]

_TRACEBACK = "KERASXAI_TRACEBACK"


class ListedParser(argparse.ArgumentParser):
    """An argument parser that lists its arguments."""

    @property
    def arguments(self) -> list[argparse.Action]:
        """The arguments, which may be changed."""
        return list(self._actions)  # argparse has no public way.


class Parser(ListedParser):
    """An argument parser with one-line errors that name the nearest valid name, and help with its line breaks kept."""

    def __init__(self, prog: str, description: str, epilog: str) -> None:
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(prog, description=description, epilog=epilog, formatter_class=layout)
        self.replaced_by: Mapping[str, str] = {}

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments, including values that begin with "-"."""
        words = sys.argv[1:] if args is None else args
        for action in self.arguments:
            flag = self.replaced_by.get(action.dest)
            # Only where the flag is given: without it, "*" would match nothing before the first flag, and refuse images
            # after it.
            if flag is not None and any(word.partition("=")[0] == flag for word in words):
                action.nargs = "*"
        return super().parse_known_args(joined_ranges(list(words)), namespace)

    def error(self, message: str) -> NoReturn:
        """End the program with status 2."""
        self.exit(2, f"{self.prog}: {_line(message)} (see {self.prog} --help)\n")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does; the error about an unknown option names the nearest one."""
        options, rest = self.parse_known_args(args, namespace)
        if rest:
            flags = [word.partition("=")[0] for word in rest if word.startswith("-")]
            known = [flag for flag in self._option_string_actions if flag.startswith("--")]
            self.error(str(unknown("option", flags[0], known)) if flags else f"unexpected argument {rest[0]!r}")
        return options

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            name = action.option_strings[-1] if action.option_strings else action.dest
            kind = name.lstrip("-").replace("-", " ").replace("_", " ")
            raise argparse.ArgumentError(None, str(unknown(kind, value, map(str, action.choices))))


def command_parser(prog: str, command: SettingsCommand) -> Parser:
    """Return the parser of a command.

    Args:
        prog: The command as the user types it.
        command: The description of its arguments; its examples are shown at the end of `--help`.
    """
    examples = "\n".join(f"  {line}" for line in command.examples)
    parser = Parser(prog=prog, description=command.summary, epilog=f"examples:\n{examples}")
    command.add_arguments(parser)
    parser.replaced_by = command.replaced_by
    return parser


def exit_status(prog: str, run: Callable[[], object]) -> int:
    """Run a command and return its exit status.

    With `KERASXAI_TRACEBACK=1` in the environment, tracebacks of errors are printed as well.

    Returns:
        The return value of the command if it is a status, else 0; 2 for an error, whose reason is printed as one line;
        130 after Ctrl-C; 141 if the reader of the output has closed it.
    """
    try:
        with one_line_warnings(prog):
            status = run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print_line(f"{prog}: stopped")
        return 130
    except BrokenPipeError:
        _discard_output()
        return 141
    except Exception as error:
        if os.environ.get(_TRACEBACK, "0") not in ("", "0"):
            traceback.print_exc()
        print_line(f"{prog}: {_message(error)}")
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            return 2
        _discard_output()
        return 2
    return status if isinstance(status, int) else 0


def _message(error: Exception) -> str:
    """Describe an error: a mistake of the user, a failure of a library or a model, or a bug of this package."""
    if isinstance(error, KerasxaiError):
        return str(error)
    if isinstance(error, OSError) and error.filename is None and error.strerror is None:
        return reason(error)
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{printable(error.filename)}: "
        return f"{where}{error.strerror or reason(error)}"
    name = type(error).__name__
    if isinstance(error, MemoryError) or name == "ResourceExhaustedError":
        return f"out of memory; use a smaller --batch-size or --image-size ({reason(error)})"
    place = raised_in_kerasxai(error)
    more = f"{_TRACEBACK}=1 shows the traceback"
    if place is None:
        return f"{name}: {reason(error)} ({more})"
    return f"internal error, {name}: {reason(error)} (in {place}; {more}; please report it)"


def _line(text: str) -> str:
    return printable(" ".join(text.split()))


def print_line(text: str) -> None:
    """Print one line on stderr."""
    # A closed stderr must not hide the exit status.
    with contextlib.suppress(OSError):
        print(_line(text), file=sys.stderr, flush=True)


def _discard_output() -> None:
    """Discard buffered output: at exit, the interpreter would print an error about a closed stdout."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def prepare_streams() -> None:
    """Make stdout and stderr usable even if they are closed or cannot encode all characters.

    Closed streams are opened on the null device: otherwise the next file that is opened would get the descriptor of
    stderr, and receive the messages of TensorFlow. Characters that the locale cannot encode are escaped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            stream = os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
            setattr(sys, name, stream)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def import_tensorflow() -> None:
    """Import TensorFlow without its log messages about the machine, which would bury the output of a command.

    They are written by compiled code before it reads any setting, so the file descriptor itself is redirected; if the
    import fails, they are printed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            importlib.import_module("tensorflow")
        except BaseException:
            captured.seek(0)
            os.write(stderr, captured.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
    check_backend()


def check_backend() -> None:
    """Check that Keras uses the TensorFlow backend.

    Raises:
        KerasxaiError: It uses another backend, or one that is not installed.
    """
    requested = os.environ.get("KERAS_BACKEND", "")
    remedy = "set KERAS_BACKEND=tensorflow (or backend in ~/.keras/keras.json)"
    try:
        backend = importlib.import_module("keras").config.backend()
    except ImportError as error:
        if requested in ("", "tensorflow"):
            raise
        raise KerasxaiError(f"expected Keras with the TensorFlow backend, got {requested!r}; {remedy}") from error
    if backend != "tensorflow":
        raise KerasxaiError(f"expected Keras with the TensorFlow backend, got {backend!r}; {remedy}")


_words: ContextVar[Sequence[str] | None] = ContextVar("words", default=None)


@contextlib.contextmanager
def running_as(words: Sequence[str] | None) -> Iterator[None]:
    """Let `command_line` return other words than those of the process while a block runs; None changes nothing."""
    token = _words.set(words)
    try:
        yield
    finally:
        _words.reset(token)


def command_line(words: Sequence[str] | None = None) -> str:
    """Return the running command as text that can be pasted into a shell, with what a `--config` file gave as flags."""
    words = words or _words.get() or sys.argv
    program = Path(words[0]).name
    # `python -m kerasxai` has the path of its file for a name.
    return " ".join(map(_quoted, ["kerasxai" if program == "__main__.py" else program, *words[1:]]))


def _quoted(word: str) -> str:
    """Quote a word for a shell; line breaks and bytes that are not UTF-8 are escaped as in bash."""
    if printable(word) == word:
        return shlex.quote(word)
    return "$'" + printable(word.replace("\\", "\\\\").replace("'", "\\'")) + "'"

"""`kerasxai completion`: the script by which a shell completes commands and flags."""

import argparse
from dataclasses import dataclass

from kerasxai import cli
from kerasxai.tools.commands import ListedParser
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.lazy import resolve
from kerasxai.tools.settings import SettingsCommand, setting
from kerasxai.version import __version__

SHELLS = ("bash", "zsh", "fish")
# Placeholders of arguments that are paths.
_PATHS = ("DATA", "FILE", "FOLDER", "IMAGE", "MODEL", "MODULE", "NAME|FILE", "RUN")
_PATH_NAMES = ("data", "data_dir", "out")


@dataclass(frozen=True)
class CompletionConfig:
    """Settings of `kerasxai completion`.

    Attributes:
        shell: A name in SHELLS.
    """

    shell: str = setting("bash, zsh or fish", "shell", positional=True, metavar="SHELL")


COMPLETION = SettingsCommand(
    "Print the script by which a shell completes commands and flags.",
    [
        "kerasxai completion bash > ~/.local/share/bash-completion/completions/kerasxai",
        "kerasxai completion zsh > ~/.zfunc/_kerasxai",
        "kerasxai completion fish > ~/.config/fish/completions/kerasxai.fish",
    ],
    (CompletionConfig,),
)


def run(options: argparse.Namespace) -> None:
    """Print the script."""
    if options.shell not in SHELLS:
        raise KerasxaiError(f"shell must be one of {', '.join(SHELLS)}, got {options.shell!r}")
    try:
        import shtab
    except ImportError as error:
        raise KerasxaiError(
            "cannot write completions: shtab is not installed; run pip install 'kerasxai[completion]'"
        ) from error
    print(shtab.complete(whole_parser(shtab.FILE), options.shell))


def whole_parser(file: object) -> argparse.ArgumentParser:
    """Return one parser of all commands and their flags.

    Args:
        file: The mark of arguments that are paths, for the attribute `complete` of shtab.
    """
    parser = ListedParser("kerasxai")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command")
    for name, row in cli.COMMANDS.items():
        arguments = resolve(row.arguments)
        command = commands.add_parser(name, help=arguments.summary, description=arguments.summary)
        arguments.add_arguments(command)
        for action in command.arguments:
            if action.metavar in _PATHS or action.dest in _PATH_NAMES:
                setattr(action, "complete", file)  # noqa: B010 (shtab reads an attribute that argparse does not have)
    return parser

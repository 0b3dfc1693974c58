"""The command line: `kerasxai explain`, `train`, `evaluate`, ...

Only the chosen command's own code is imported, so that `kerasxai --help` answers at once.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from kerasxai.cli.terminal import printed_log
from kerasxai.tools.commands import (
    Parser,
    command_parser,
    exit_status,
    import_tensorflow,
    prepare_streams,
    running_as,
)
from kerasxai.tools.config_file import parse_with_file
from kerasxai.tools.json_output import json_output
from kerasxai.tools.lazy import resolve
from kerasxai.tools.settings import SettingsCommand
from kerasxai.version import __version__


@dataclass(frozen=True)
class Command:
    """One command, by the names of two objects, so that help imports no TensorFlow.

    Attributes:
        arguments: "package.module:NAME" of the `SettingsCommand`.
        run: "package.module:function", which takes the parsed arguments and may return an exit status.
        tensorflow: Whether TensorFlow is imported before the function is.
    """

    arguments: str
    run: str
    tensorflow: bool = True


COMMANDS: dict[str, Command] = {
    "explain": Command("kerasxai.cli.explain_config:EXPLAIN", "kerasxai.cli.explain:run"),
    "localize": Command("kerasxai.cli.localize_config:LOCALIZE", "kerasxai.cli.localize:run"),
    "inspect": Command("kerasxai.cli.inspect_config:INSPECT", "kerasxai.cli.inspect:run"),
    "train": Command("kerasxai.training.config:TRAIN", "kerasxai.cli.train:run"),
    "evaluate": Command("kerasxai.cli.evaluate_config:EVALUATE", "kerasxai.cli.evaluate:run"),
    "audit": Command("kerasxai.cli.audit_config:AUDIT", "kerasxai.cli.audit:run"),
    "compare": Command("kerasxai.evaluation.compare_config:COMPARE", "kerasxai.cli.compare:run"),
    "export": Command("kerasxai.cli.export_config:EXPORT", "kerasxai.cli.export:run"),
    "report": Command("kerasxai.report.config:REPORT", "kerasxai.cli.report:run"),
    "fiftyone": Command("kerasxai.cli.fiftyone_config:FIFTYONE", "kerasxai.cli.fiftyone:run"),
    "segment": Command("kerasxai.training.segment_config:SEGMENT", "kerasxai.cli.segment:run"),
    "benchmark": Command("kerasxai.training.benchmark_config:BENCHMARK", "kerasxai.cli.benchmark:run"),
    "caption": Command("kerasxai.training.words.scene_config:CAPTION", "kerasxai.cli.words:run_caption"),
    "vqa": Command("kerasxai.training.words.scene_config:VQA", "kerasxai.cli.words:run_vqa"),
    "demo": Command("kerasxai.training.demo_config:DEMO", "kerasxai.cli.demo:run"),
    "info": Command("kerasxai.cli.info_config:INFO", "kerasxai.cli.info:run", tensorflow=False),
    "doctor": Command("kerasxai.cli.doctor:DOCTOR", "kerasxai.cli.doctor:run", tensorflow=False),
    "completion": Command("kerasxai.cli.completion:COMPLETION", "kerasxai.cli.completion:run", tensorflow=False),
    "layers": Command("kerasxai.cli.layers:LAYERS", "kerasxai.cli.layers:run"),
    "methods": Command("kerasxai.cli.lists:METHODS_COMMAND", "kerasxai.cli.lists:print_methods", tensorflow=False),
    "backbones": Command(
        "kerasxai.cli.lists:BACKBONES_COMMAND", "kerasxai.cli.lists:print_backbones", tensorflow=False
    ),
    "recipes": Command("kerasxai.cli.lists:RECIPES_COMMAND", "kerasxai.cli.lists:print_recipes", tensorflow=False),
    "datasets": Command("kerasxai.cli.lists:DATASETS_COMMAND", "kerasxai.cli.lists:print_datasets", tensorflow=False),
}


def _parser() -> Parser:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:{width}}  {_summary(name)}" for name in COMMANDS)
    parser = Parser(
        prog="kerasxai",
        description="Where does a Keras image classifier look, and is it right?",
        epilog=f"commands:\n{listing}\n\n"
        "examples:\n"
        "  kerasxai explain imagenet:EfficientNetLite0 cat.jpg --method gradcam\n"
        "  kerasxai train --data shapes --recipe acol --out runs/acol\n"
        "  kerasxai evaluate runs/acol/model.keras --data shapes --method cam\n\n"
        "`kerasxai COMMAND --help` describes one command.",
    )
    parser.add_argument("--version", action="version", version=f"kerasxai {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="what to do; see below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="the command's own arguments")
    return parser


def _summary(name: str) -> str:
    return _arguments(name).summary


def _arguments(name: str) -> SettingsCommand:
    return resolve(COMMANDS[name].arguments)


def parser_of(name: str) -> Parser:
    """Return the parser of one command."""
    return command_parser(f"kerasxai {name}", _arguments(name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        arguments: The words after the program's name; None takes them from `sys.argv`.

    Returns:
        0 if all went well, 1 if some images could not be read, 2 if the command could not be carried out, for a
        reason that is printed in one line, 130 after Ctrl-C.
    """
    prepare_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in COMMANDS:
        name, rest = words[0], words[1:]  # The parser below imports the arguments of all commands for its listing.
    else:
        chosen = _parser().parse_args(words or ["--help"])
        name, rest = chosen.command, chosen.arguments
    parsed = parse_with_file(f"kerasxai {name}", _arguments(name), rest)
    with running_as(None if parsed.words is None else ["kerasxai", name, *parsed.words]):
        return exit_status(f"kerasxai {name}", lambda: _carry_out(COMMANDS[name], parsed.options))


def _carry_out(command: Command, options: argparse.Namespace) -> int | None:
    if command.tensorflow:
        import_tensorflow()
    with json_output(getattr(options, "json", False)), printed_log():
        return resolve(command.run)(options)

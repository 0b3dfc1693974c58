"""`--json`: every command that prints tables has it, and prints one JSON document alone on stdout."""

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from run_folders import write_photos, write_run

from kerasxai.cli import COMMANDS, main, parser_of
from kerasxai.tools.files import read_json
from kerasxai.tools.json_output import json_output, print_json
from kerasxai.tools.text_tables import print_table

ROOT = Path(__file__).parent.parent
PRINTERS = {"print_table", "print_rows", "print_figures"}
TESTED_WITH_THEIR_TRAINING = {"benchmark", "segment", "caption", "vqa"}


def has_json(name: str) -> bool:
    return any("--json" in action.option_strings for action in parser_of(name)._actions)


def prints_tables(module: str) -> bool:
    """Returns whether a module of the command line, or one that it imports, prints tables."""
    path = ROOT / f"{module.replace('.', '/')}.py"
    tree = ast.parse(path.read_text())
    if PRINTERS & {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}:
        return True
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} - {"kerasxai.cli.terminal"}
    return any(prints_tables(one) for one in imported if one and one.startswith("kerasxai.cli."))


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_that_print_tables_have_the_flag(name: str) -> None:
    assert prints_tables(COMMANDS[name].run.partition(":")[0]) == has_json(name)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("place")
    boxes = write_photos(root / "photos")
    write_run(root / "run", root / "photos", boxes)
    return root


DATA = "--data {root}/photos --split test --out {out}"
WORDS = {
    "methods": "",
    "backbones": "",
    "recipes": "",
    "datasets": "",
    "doctor": "",
    "info": "{root}/run",
    "layers": "{root}/run/model.keras",
    "explain": "{root}/run/model.keras {root}/photos/test/cat --method cam --out {out}",
    "inspect": "{root}/run/model.keras --show filters --out {out}",
    "evaluate": "{root}/run/model.keras --boxes {root}/boxes.csv --report 0 " + DATA,
    "audit": "{root}/run/model.keras --methods cam --measures complexity --images 4 " + DATA,
    "compare": "{root}/run --resamples 100 --images 0 --out {out}",
}
FILES = {
    "explain": "explanations.json",
    "inspect": "inspection.json",
    "evaluate": "evaluation.json",
    "audit": "audit.json",
    "compare": "comparison.json",
}
"""The files with what the commands print."""


def test_every_command_with_the_flag_is_run() -> None:
    assert WORDS.keys() | TESTED_WITH_THEIR_TRAINING == {name for name in COMMANDS if has_json(name)}


@pytest.mark.parametrize("name", WORDS)
def test_a_document_is_alone_on_stdout(
    name: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = WORDS[name].format(root=place, out=tmp_path / "out").split()
    assert main([name, *words, "--json"]) == 0
    printed = capsys.readouterr()
    document: Any = json.loads(printed.out)
    assert document, printed.err
    assert "━" not in printed.err, "a table"
    if name in FILES:
        content = read_json(tmp_path / "out" / FILES[name])
        content = content["images"] if name == "explain" else content
        # The file may have more, such as the settings.
        assert document == content if isinstance(content, list) else document.items() <= content.items()


def test_messages_go_to_stderr_and_tables_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    with json_output(True):
        print("working")
        print_json({"rate": float("inf")})
        print_table(["rate"], [["inf"]])
        print_json({"rate": float("nan"), "names": ("é",)})
    assert json.loads(capsys.readouterr().out) == {"rate": None, "names": ["é"]}
    with json_output(True):
        print("nothing found")
    assert capsys.readouterr() == ("null\n", "nothing found\n")
    with json_output(False):
        print_json([1])
        print_table(["rate"], [["inf"]])
    assert "inf" in capsys.readouterr().out


def test_a_result_is_printed_before_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    for results in ([{"rate": 1}], []):
        with pytest.raises(OSError, match="full"), json_output(True):
            for result in results:
                print_json(result)
            raise OSError("full")
        printed = capsys.readouterr().out
        assert (json.loads(printed) == results[0]) if results else not printed
    assert sys.stdout is before

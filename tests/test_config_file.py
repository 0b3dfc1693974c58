"""`--config FILE` and `kerasxai completion`: what a file gives is what the same flags give."""

import argparse
import importlib
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from kerasxai.cli import COMMANDS, main, parser_of
from kerasxai.tools.commands import command_line
from kerasxai.tools.config_file import parse_with_file
from kerasxai.tools.lazy import resolve

TRAIN = """
data = "shapes"
epochs = 2
learning_rate = 1e-4
mixed-precision = true
explain = ["cam", "gradcam"]
image-size = [64, 48]
out = "runs/x"

[head-option]
width = 16
normalize = false
"""
TRAIN_WORDS = shlex.split(
    "--data shapes --epochs 2 --learning-rate 1e-4 --mixed-precision --explain cam,gradcam --image-size 64x48 "
    "--head-option width=16 --head-option normalize=false --out runs/x"
)
EVALUATE = "model: m.keras\ndata: shapes\nmethod: [cam, lime]\noption: {samples: 9}\ninput-range: -1,1\n"
EVALUATE_WORDS = shlex.split("m.keras --data shapes --method cam,lime --option samples=9 --input-range=-1,1")
BENCHMARK = 'data = "shapes"\nout = "b"\nrecipes = ["gap", "acol"]\n[recipe-option.acol]\nerase_threshold = 0.5\n'
BENCHMARK_WORDS = shlex.split("--data shapes --out b --recipes gap,acol --recipe-option acol.erase_threshold=0.5")
AUDIT = 'model = "m.keras"\ndata = "shapes"\nfail-on = "shortcut"\ncustom-objects = ["a.py", "b.py"]\n'
AUDIT_WORDS = shlex.split("m.keras --data shapes --fail-on shortcut --custom-objects a.py --custom-objects b.py")


def written(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def values(options: argparse.Namespace) -> dict[str, object]:
    return {name: value for name, value in vars(options).items() if name != "config"}


@pytest.mark.parametrize(
    ("command", "name", "text", "words"),
    [
        ("train", "a.toml", TRAIN, TRAIN_WORDS),
        ("evaluate", "a.yaml", EVALUATE, EVALUATE_WORDS),
        ("benchmark", "a.toml", BENCHMARK, BENCHMARK_WORDS),
        ("audit", "a.toml", AUDIT, AUDIT_WORDS),
    ],
)
def test_a_file_gives_what_its_flags_give(command: str, name: str, text: str, words: list[str], tmp_path: Path) -> None:
    expected = values(parser_of(command).parse_args(words))
    arguments = resolve(COMMANDS[command].arguments)
    parsed = parse_with_file("x", arguments, [f"--config={written(tmp_path, name, text)}"])
    assert values(parsed.options) == expected
    assert parsed.words is not None
    assert values(parser_of(command).parse_args(parsed.words)) == expected, "the stored command is the same without it"


def test_flags_of_the_command_line_have_priority(tmp_path: Path) -> None:
    config = written(tmp_path, "a.toml", TRAIN)
    words = ["--epochs", "7", "--config", config, "--head-option", "width=8"]
    options = parse_with_file("x", resolve(COMMANDS["train"].arguments), words).options
    assert (options.epochs, options.learning_rate) == (7, 1e-4)
    assert dict(options.head_options) == {"width": 8, "normalize": False}
    config = written(tmp_path, "a.yaml", EVALUATE)
    parsed = parse_with_file("x", resolve(COMMANDS["evaluate"].arguments), ["n.keras", "--config", config])
    assert parsed.options.model == "n.keras"
    assert parsed.words is not None
    assert "m.keras" not in parsed.words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "expected a known key, got 'epoch'; nearest: epochs"),
        ('config = "b.toml"', "expected a known key, got 'config'"),
        ("epochs = 0.5", "a.toml: --epochs: must be a whole number, 0 or more, got '0.5'"),
        ('head = "gp"', "expected a known head, got 'gp'; nearest: gap"),
        ("mixed-precision = 1", "mixed-precision must be true or false, got 1"),
        ("data = {a = 1}", "data must be one value, got a table"),
        ("data = true", "data must be text or a number, got True"),
        ("data =", "expected TOML, got a file with a mistake"),
        ("epochs = 3", "the following arguments are required: --data, --out"),
    ],
)
def test_mistakes_in_a_file_end_in_one_line(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "--config", written(tmp_path, "a.toml", text)])
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "no.toml"], "cannot read no.toml"),
        (["--config", "a.ini"], "a.ini: expected a file that ends in .toml, .yaml or .yml"),
        (["--config"], "expected one argument"),
    ],
)
def test_files_that_cannot_be_read(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", *words])
    assert message in capsys.readouterr().err


def test_yaml_needs_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_yaml(name: str) -> ModuleType:
        if name == "yaml":
            raise ImportError(name)
        return importlib.__import__(name)

    config, arguments = written(tmp_path, "a.yaml", EVALUATE), resolve(COMMANDS["evaluate"].arguments)
    monkeypatch.setattr(importlib, "import_module", without_yaml)
    with pytest.raises(SystemExit):
        parse_with_file("x", arguments, ["--config", config])
    assert "run pip install pyyaml, or write a .toml file" in capsys.readouterr().err


commands: list[str] = []


def record(options: argparse.Namespace) -> None:
    """Stand in for the work of `kerasxai train`."""
    commands.append(command_line())


def test_the_stored_command_has_the_flags_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "train", replace(COMMANDS["train"], run=f"{__name__}:record", tensorflow=False))
    commands.clear()
    assert main(["train", "--config", written(tmp_path, "a.toml", TRAIN), "--epochs", "3"]) == 0
    program, command, *words = shlex.split(commands[0])
    assert (program, command) == ("kerasxai", "train")
    assert "--config" not in commands[0]
    expected = values(parser_of("train").parse_args([*TRAIN_WORDS, "--epochs", "3"]))
    assert values(parser_of("train").parse_args(words)) == expected
    assert main(["train", *TRAIN_WORDS]) == 0
    assert commands[1] == command_line(), "without a file, the words of the process"


BASH = """
source {script}
COMP_WORDS=({words}); COMP_CWORD={last}; COMPREPLY=()
_shtab_kerasxai kerasxai "${{COMP_WORDS[{last}]}}" "${{COMP_WORDS[{last} - 1]}}" 2>/dev/null
echo "${{COMPREPLY[*]}}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_commands_flags_values_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab", reason="an optional package")
    assert main(["completion", "bash"]) == 0
    script = Path(written(tmp_path, "script", capsys.readouterr().out))
    image = written(tmp_path, "cat.jpg", "")
    expected = {
        ("trai",): "train",
        ("train", "--learn"): "--learning-rate",
        ("train", "--head", "g"): "gap",
        ("explain", "m.keras", image[:-3]): image,
    }
    for words, completed in expected.items():
        program = BASH.format(script=script, words=shlex.join(["kerasxai", *words]), last=len(words))
        done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [completed]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab", reason="an optional package")
    assert main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMANDS)
    assert main(["completion", "tcsh"]) == 2
    assert "shell must be one of bash, zsh, fish, got 'tcsh'" in capsys.readouterr().err

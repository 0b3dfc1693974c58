"""Settings that are described once: the flags, their groups, and the checks that are made of dataclass fields."""

import argparse
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from kerasxai import KerasxaiError
from kerasxai.cli import COMMANDS, parser_of
from kerasxai.tools.settings import (
    COUNT,
    SHARE,
    SettingsCommand,
    add_settings,
    check_settings,
    described,
    from_options,
    setting,
)
from kerasxai.training.benchmark_config import BenchmarkConfig
from kerasxai.training.config import TrainConfig
from kerasxai.training.demo_config import DemoConfig
from kerasxai.training.drawing import Drawing
from kerasxai.training.words.scene_config import SceneConfig

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Config:
    name: str = setting("a name", "data")
    images: int = setting("how many", "data", 8, limits=COUNT)
    share: float | None = setting("a share", "training", None, limits=SHARE)
    color: str = setting("a color", "training", "red", choices={"red": 1, "blue": 2})
    fast: bool = setting("be quick", "training", False)
    options: dict[str, Any] = setting("more", "training", flag="--option", collect=dict)

    def __post_init__(self) -> None:
        check_settings(self)


def parsed(*words: str) -> Config:
    parser = argparse.ArgumentParser()
    add_settings(parser, Config)
    return from_options(Config, parser.parse_args(words))


def test_flags_and_defaults_are_those_of_the_fields() -> None:
    assert parsed("--name", "a") == Config("a")
    given = ("--name", "a", "--images", "3", "--share", "0.5", "--color", "blue", "--fast", "--option", "x=1")
    assert parsed(*given) == Config("a", 3, 0.5, "blue", True, {"x": 1})


@pytest.mark.parametrize("words", [[], ["--name", "a", "--images", "0"], ["--name", "a", "--color", "green"]])
def test_wrong_flags_end_the_program(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(*words)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"images": 0}, "images must be from 1 to 65536"),
        ({"images": 1.5}, "images must be a whole number"),
        ({"share": 2}, "share must be a number, at least 0 and at most 1, got '2'"),
        ({"share": True}, "share must be"),
        ({"color": "bleu"}, "expected a known color, got 'bleu'; nearest: blue"),
    ],
)
def test_values_are_checked_alike(values: dict[str, Any], message: str) -> None:
    with pytest.raises(KerasxaiError, match=message):
        Config("a", **values)


@pytest.mark.parametrize("kind", [TrainConfig, Drawing, BenchmarkConfig, DemoConfig, SceneConfig])
def test_every_field_is_described_and_documented(kind: Any) -> None:
    names = [item.name for item in fields(kind) if item.name != "task"]
    assert list(described(kind)) == names
    assert all(f"\n        {name}: " in kind.__doc__ for name in names)


def test_the_flags_of_train_are_grouped() -> None:
    told = parser_of("train").format_help()
    positions = [told.index(f"\n{group}:\n") for group in ("data", "model", "training", "weak labels", "drawing")]
    assert positions == sorted(positions)


def test_a_flag_is_described_by_the_first_dataclass_that_has_it() -> None:
    parser = argparse.ArgumentParser()
    SettingsCommand("", [], (Config, Config), leave_out=("color",)).add_arguments(parser)
    assert "--color" not in parser.format_help()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_imports_no_heavy_library(name: str) -> None:
    program = (
        "import sys, contextlib, io\n"
        "from kerasxai.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        f"    main([{name!r}, '--help'])\n"
        "heavy = 'tensorflow keras tensorflow_datasets matplotlib skimage scipy numpy rich'\n"
        "print(*(set(heavy.split()) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, capture_output=True, text=True)
    assert not done.stdout.strip()


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"layers", "methods", "backbones", "recipes", "datasets"}))
def test_every_flag_has_a_group(name: str) -> None:
    told = parser_of(name).format_help()
    ungrouped = told.partition("\noptions:\n")[2].partition("\n\n")[0]
    assert ungrouped.split()[0] == "-h," and "--" not in ungrouped.replace("--help", "")

"""What surrounds a command: options that mean nothing, names of all kinds, streams, and errors that are not its own."""

import argparse
import logging
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasxai.cli import COMMANDS, main, parser_of
from kerasxai.cli.terminal import printed_log
from kerasxai.tools import commands
from kerasxai.tools.arguments import listed, method_option, number, parse_option, stride_or_layer, whole_number
from kerasxai.tools.commands import exit_status
from kerasxai.tools.error_reasons import reason
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.printable import percent, printable, unbroken
from kerasxai.tools.text_tables import print_table

ROOT = Path(__file__).parent.parent


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Returns the one line with which the command line refuses some words."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    return told


MISTAKES = {
    "explain m.keras a.png": [
        "--top 0",
        "--top -1",
        "--batch-size 0",
        "--image-size 0",
        "--image-size 2.5",
        "--method ,",
        "--option samples",
        "--option =3",
        "--option batch_size=3",
        "--option batch-size=3",
        '--option layer="last"',
        "--option model=3",
        "--option score=1",
    ],
    "localize m.keras a.png": ["--batch-size 0", "--image-size -1", "--option method=cam", "--method gradcm"],
    "inspect m.keras": ["--count -3", "--patches 0", "--quantile 1.5", "--steps 0", "--seeds 0", "--batch-size 0"],
    "evaluate m.keras --data shapes": ["--limit -5", "--threshold 1.5", "--threshold nan", "--option split=test"],
    "train --data shapes --out o": [
        "--seed -1",
        "--epochs -1",
        "--learning-rate nan",
        "--learning-rate 0",
        "--image-size 0",
        "--explain-images -1",
        "--explain-every 0",
        "--localize-images -2",
        "--finetune-share 1.5",
        "--label-fraction 0",
        "--label-noise 1",
        "--patience 0",
        "--head-option depth",
    ],
    "benchmark --data shapes --out o": ["--seeds 0", "--limit 0", "--recipes ,", "--label-noise 0.2,x"],
    "caption --out o": ["--epochs 0", "--learning-rate inf", "--limit -1", "--gallery -1", "--seed 4294967296"],
    "vqa --out o": ["--width 0", "--train-images 0"],
    "demo": ["--epochs -1", "--seed -1"],
}


@pytest.mark.parametrize(("command", "mistake"), [(key, one) for key, some in MISTAKES.items() for one in some])
def test_numbers_and_options_that_mean_nothing_are_refused_at_once(
    command: str, mistake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused([*command.split(), *mistake.split()], capsys)
    assert mistake.split()[0] in told or "expected a known method" in told


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["explian"], "explain"),
        (["train", "--data", "x", "--out", "o", "--backbone", "EfficentNetLite0"], "EfficientNetLite0"),
        (["train", "--data", "x", "--out", "o", "--recipe", "acool"], "acol"),
        (["train", "--data", "x", "--out", "o", "--head", "conv1"], "conv1x1"),
        (["train", "--data", "x", "--out", "o", "--optimiser", "sgd"], "--optimizer"),
        (["localize", "m", "i", "--method", "gradcm"], "gradcam"),
        (["inspect", "m", "--projection", "tsn"], "tsne"),
    ],
)
def test_the_nearest_right_word_is_named(words: list[str], nearest: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"nearest: {nearest}" in refused(words, capsys)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_number_of_every_command_has_a_range(name: str) -> None:
    for action in parser_of(name)._actions:
        assert action.type not in (int, float), f"{name} {action.option_strings} takes any number"


@given(st.text())
def test_no_text_breaks_a_type(text: str) -> None:
    for parse in (whole_number(1), number(above=0), listed, parse_option, method_option):
        try:
            parse(text)
        except argparse.ArgumentTypeError as error:
            assert repr(text) in str(error) or "option of the method" in str(error)
    assert stride_or_layer(text) == text or text.isdecimal()


@pytest.mark.parametrize("text", ["²", "1²", "٣x"])
def test_digits_that_are_no_numbers(text: str) -> None:
    assert stride_or_layer(text) == text
    with pytest.raises(argparse.ArgumentTypeError):
        whole_number(0)(text)


@given(st.one_of(st.text(st.characters(exclude_categories=[])), st.binary().map(os.fsdecode)))
def test_printable_names_are_one_line_that_can_be_encoded(name: str) -> None:
    told = printable(name)
    told.encode("utf-8")
    assert len(told.splitlines()) <= 1
    assert "\x1b" not in told
    if name.isascii() and name.isprintable():
        assert told == name


@pytest.mark.parametrize("name", ["[red]cat.jpg", "[/b]x.jpg", ":smile:", "http://x", "naïve 猫.jpg"])
def test_tables_show_names_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["file"], [[name]], title=name)
    assert capsys.readouterr().out.count(name) == 2


def status_of(error: BaseException) -> int:
    def run() -> None:
        raise error

    return exit_status("kerasxai explain", run)


def test_errors_of_all_kinds_end_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, told in [
        (KerasxaiError("limit must be 1 or more, got 0"), "limit must be"),
        (PermissionError(13, "Permission denied", "a\udcff\nb"), "a\\xff"),
        (MemoryError("Unable to allocate 3 TiB"), "out of memory"),
    ]:
        assert status_of(error) == 2
        line = capsys.readouterr().err
        assert told in line
        assert line.count("\n") == 1
    monkeypatch.setenv("KERASXAI_TRACEBACK", "1")
    assert status_of(TypeError("wrong")) == 2
    assert "Traceback" in capsys.readouterr().err


def test_what_a_library_raises_is_no_internal_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status("x", lambda: subprocess.run(["true"], timeout="soon")) == 2  # type: ignore[call-overload]
    told = capsys.readouterr().err
    assert told.startswith("x: TypeError:")
    assert "KERASXAI_TRACEBACK=1" in told


def test_a_mistake_in_the_package_says_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    module: Any = None
    assert exit_status("x", lambda: commands.command_parser("y", module)) == 2
    told = capsys.readouterr().err
    assert "internal error, AttributeError" in told
    assert "kerasxai/tools/commands.py:" in told
    assert told.count("\n") == 1


def test_a_command_may_choose_its_status() -> None:
    assert exit_status("x", lambda: 1) == 1
    assert exit_status("x", lambda: None) == 0


def test_reasons_are_what_stands_inside() -> None:
    keras_text = (
        "Exception encountered when calling Conv2D.call().\n\n\x1b[1mNegative dimension size\x1b[0m\n\n"
        "Arguments received by Conv2D.call():\n  • inputs=tf.Tensor(shape=(1, 2))"
    )
    assert reason(ValueError(keras_text)) == "Negative dimension size"
    assert (
        reason(TypeError("X could not be deserialized. config={}.\n\nException encountered: no groups")) == "no groups"
    )
    assert reason(KeyError("a")) == "KeyError: 'a'"


def program(*words: str, **settings: Any) -> subprocess.CompletedProcess[bytes]:
    code = "import sys; from kerasxai.cli import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, cwd=ROOT, check=False, **settings)


def test_a_closed_stderr_and_a_reader_that_leaves() -> None:
    code = "import sys; from kerasxai.cli import main; sys.exit(main())"
    shell = f"{sys.executable} -c '{code}' methods 2>&- >/dev/null"
    assert subprocess.run(["bash", "-c", shell], cwd=ROOT, check=False).returncode == 0
    shell = f"set -o pipefail; {sys.executable} -c '{code}' methods | true"
    ended = subprocess.run(["bash", "-c", shell], cwd=ROOT, check=False, capture_output=True)
    assert ended.returncode in (0, 1, 141)
    assert not ended.stderr


def test_a_locale_without_utf8() -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    ended = program("explain", "nö.keras", "é.jpg", env=environment)
    assert ended.returncode == 2
    assert ended.stderr.count(b"\n") == 1


def test_another_backend_of_keras_is_refused() -> None:
    ended = program("layers", "m.keras", env={**os.environ, "KERAS_BACKEND": "jax"})
    assert ended.returncode == 2
    assert b"TensorFlow backend, got 'jax'" in ended.stderr
    assert ended.stderr.count(b"\n") == 1


def test_the_command_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/kerasxai", "explain", "a b.png", "x\udcff\ny'"])
    assert commands.command_line() == "kerasxai explain 'a b.png' $'x\\xff\\ny\\''"
    monkeypatch.setattr(sys, "argv", ["/site-packages/kerasxai/__main__.py", "methods"])
    assert commands.command_line() == "kerasxai methods"


def test_messages_are_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Also if another library has given the root logger a handler."""
    handler = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(handler)
    try:
        with printed_log():
            logging.getLogger("kerasxai.training").info("epoch 1")
            logging.getLogger("kerasxai.data").warning("no boxes")
    finally:
        logging.getLogger().removeHandler(handler)
    assert capsys.readouterr() == ("epoch 1\n", "no boxes\n")
    assert logging.getLogger("kerasxai").propagate


def test_a_given_share_is_not_rounded() -> None:
    assert [percent(share, None) for share in (0.95, 0.999, 0.9995, 0.07, 0.29)] == [
        "95 %",
        "99.9 %",
        "99.95 %",
        "7 %",
        "29 %",
    ]


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [
        (1, 0, "100 %"),
        (0.999, 0, "> 99 %"),
        (0.9951, 0, "> 99 %"),
        (0.994, 0, "99 %"),
        (np.float32(0.99999994), 1, "> 99.9 %"),
        (0.004, 0, "< 1 %"),
        (5e-324, 1, "< 0.1 %"),
        (0.004, 1, "0.4 %"),
        (0.0, 0, "0 %"),
        (-0.001, 0, "> -1 %"),
        (-0.999, 0, "< -99 %"),
        (1.001, 0, "100 %"),
        (math.nan, 0, "unknown"),
        (np.float32("nan"), None, "unknown"),
    ],
)
def test_a_share_is_not_rounded_to_all_or_nothing(share: float, digits: int | None, text: str) -> None:
    assert percent(share, digits) == text


def test_lines_do_not_break_within_percentages() -> None:
    assert unbroken("cat, > 99 % in 3 of 5 > 4") == "cat, >\u00a099\u00a0% in 3 of 5 > 4"
    assert unbroken("100 % or < 0.1 %, > -1 %") == "100\u00a0% or <\u00a00.1\u00a0%, >\u00a0-1\u00a0%"

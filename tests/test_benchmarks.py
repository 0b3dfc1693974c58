"""What is measured exists, results are stored and read back, and pages show what is stored."""

import argparse
import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

import kerasxai
from benchmarks import __main__ as command
from benchmarks import pages, passes, peers_environment, store
from benchmarks.cases import CASES, Case
from benchmarks.parts import PARTS, Part
from benchmarks.peers import PEERS
from benchmarks.store import Conditions, Stored
from benchmarks.tables import Figure, Ratio, Table, markdown
from kerasxai.tools.errors import KerasxaiError

model = functools.cache(lambda: zoo.build("functional"))
RATIO = Ratio.of([(1.5, 1.0), (0.5, 2.0), (1.25, 3.0)])
ROWS = (("rise | lime", 16, RATIO, None), ("cam", 1, Figure(120.0), "failed"))
TABLE = Table("one", "One", ("method", "images", "kerasxai", "peer"), ROWS, ("Three rounds.",))
CONDITIONS = Conditions("2026-11-30", "python -m benchmarks speed", {"Keras": "3.15"}, "x86_64, 2 cores", True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.batch}")
def test_every_case_is_a_method_with_options_of_its_own(case: Case) -> None:
    explainer: Any = kerasxai.Explainer(model(), case.method or case.name, **case.options)
    assert explainer.method.name == (case.method or case.name)


def test_every_method_is_measured() -> None:
    assert {case.method or case.name for case in CASES} == set(kerasxai.METHODS)


def test_every_peer_is_found_or_missing() -> None:
    found, missing = peers_environment.installed()
    assert sorted(found + missing) == sorted(PEERS) == sorted(peers_environment.PACKAGES)


def test_pages_show_the_stored_results() -> None:
    for page in pages.PAGES:
        text = page.read_text()
        assert pages.generated(text) == text, f"{page.name}: run python -m benchmarks tables"


def test_every_part_has_a_section_and_every_stored_file_a_part() -> None:
    sections = pages.sections(pages.README.read_text())
    assert sorted(sections) == sorted(PARTS)
    assert set(store.stored_parts()) <= set(PARTS)


def test_rows_of_the_comparison_are_those_of_the_stored_table(tmp_path: Path) -> None:
    page = (
        "\n| | kerasxai | tf-explain 0.3.1 | xplique 2.0.2 |\n|---|---|---|---|\n| Grad-CAM, in forward passes | ? |\n"
    )
    columns = ("method", "images", "kerasxai", "xplique")
    table = Table("MobileNetV2/onednn-on", "With peers", columns, (("gradcam", 16, RATIO, Figure(33.3)),))
    store.write("peers", Stored(table, CONDITIONS), tmp_path)
    assert pages.generated(page, tmp_path).splitlines()[-1] == "| Grad-CAM, in forward passes | 1.25 | | 33 |"


def test_tables_are_stored_and_read_back(tmp_path: Path) -> None:
    second = Table("two", "Two", ("what", "value"), (("a", Figure(0.5, 0.25, 0.75)),))
    for table in (TABLE, second):
        store.write("speed", Stored(table, CONDITIONS), tmp_path)
    assert store.stored("speed", tmp_path) == [Stored(TABLE, CONDITIONS), Stored(second, CONDITIONS)]
    replaced = Table("one", "New", ("what",), (("b",),))
    store.write("speed", Stored(replaced, CONDITIONS), tmp_path)
    assert [one.table.title for one in store.stored("speed", tmp_path)] == ["New", "Two"]
    assert store.stored_table("speed", "two", tmp_path).table == second
    with pytest.raises(KerasxaiError, match="expected a table 'three'"):
        store.stored_table("speed", "three", tmp_path)


def test_sections_hold_tables_with_their_conditions(tmp_path: Path) -> None:
    page = "a\n<!-- bench: speed -->\nold\n<!-- end -->\nb\n<!-- bench: memory -->\n<!-- end -->\n"
    store.write("speed", Stored(TABLE, CONDITIONS), tmp_path)
    text = pages.generated(page, tmp_path)
    assert pages.generated(text, tmp_path) == text
    assert "old" not in text and "### One\n" in text and "\nThree rounds.\n" in text
    assert "30 November 2026; Keras 3.15; x86_64, 2 cores, oneDNN on; `python -m benchmarks speed`" in text
    assert "| rise \\| lime | 16 | 1.25 [0.50, 1.50] (2.00) | |\n| cam | 1 | 120 | failed |\n" in text
    assert "Not measured yet: `python -m benchmarks memory --write`" in text


def test_columns_without_figures_are_left_out() -> None:
    table = Table(
        "a", "A", ("method", "x", "y", "z"), (("cam", None, "failed", None), ("rise", None, None, Figure(1.0)))
    )
    assert table.without_empty_columns().columns == ("method", "y", "z")
    assert table.without_empty_columns().rows == (("cam", "failed", None), ("rise", None, Figure(1.0)))


def test_a_row_has_a_cell_for_each_column() -> None:
    with pytest.raises(ValueError, match="expected rows of 2 cells, got 1"):
        Table("a", "A", ("x", "y"), (("b",),))
    assert markdown(("x",), ()) == "| x |\n| --- |\n"


def test_conditions_name_no_folder() -> None:
    conditions = store.current_conditions(["versions", "/somewhere/bin/python"])
    assert conditions.command == "python -m benchmarks versions python"
    assert conditions.versions["Keras"] == keras.__version__
    assert "/" not in conditions.machine


def test_quick_results_are_not_written() -> None:
    with pytest.raises(SystemExit):
        command.main(["speed", "--quick", "--write"])
    with pytest.raises(SystemExit):
        command.main(["--quick", "--write"])


@pytest.mark.parametrize("part", PARTS.values(), ids=lambda part: part.name)
def test_quick_changes_arguments_that_a_part_has(part: Part) -> None:
    parser = argparse.ArgumentParser()
    part.load().add_arguments(parser)
    known = {action.dest: action.default for action in parser._actions}
    assert set(part.quick_defaults()) <= set(known)
    assert any(known[name] != value for name, value in part.quick_defaults().items())


def test_quick_keeps_arguments_that_are_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["localization", "--quick", "--maps", "7x7 gamma"]) == 0
    printed = capsys.readouterr().out
    assert "7x7 gamma" in printed and "one Gaussian" not in printed


def test_a_finished_table_is_stored_even_if_the_next_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(arguments: argparse.Namespace) -> Iterator[Table]:
        yield TABLE
        raise KeyboardInterrupt

    fake = SimpleNamespace(run=run, add_arguments=lambda parser: None, __doc__="")
    monkeypatch.setattr(Part, "load", lambda part: fake)
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    monkeypatch.setattr(pages, "PAGES", ())
    with pytest.raises(KeyboardInterrupt):
        command.main(["speed", "--write"])
    (one,) = store.stored("speed", tmp_path)
    state = "on" if one.conditions.onednn else "off"
    assert (one.table.key, one.table.title) == (f"one/onednn-{state}", f"One, oneDNN {state}")
    assert one.table.rows == TABLE.rows and one.conditions.command == "python -m benchmarks speed"


def test_without_a_part_all_run_that_need_no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[str, str | None]] = []
    further: dict[tuple[str, str | None], list[str]] = {}

    def run(words: list[str], env: dict[str, str]) -> SimpleNamespace:
        assert words[:3] == [sys.executable, "-m", "benchmarks"] and words[-1] == "--write"
        begun.append((words[3], env.get(command.ONEDNN)))
        further[begun[-1]] = words[4:-1]
        return SimpleNamespace(returncode=int(words[3] == "speed"))

    monkeypatch.delenv(command.ONEDNN, raising=False)
    monkeypatch.setattr(subprocess, "run", run)
    assert command.main(["--write"]) == 1
    assert {name for name, _ in begun} == set(PARTS) - {"shortcuts", "versions"}
    assert [value for name, value in begun if name == "memory"] == ["1", "0"]
    assert [value for name, value in begun if name == "drawing"] == [None]
    assert [value for name, value in begun if name == "peers"] == ["1"]
    assert {begun: words for begun, words in further.items() if words} == {("speed", "0"): ["--models", "MobileNetV2"]}


def test_without_peers_one_line_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(peers_environment, "installed", lambda: ([], list(PEERS)))
    monkeypatch.setattr(peers_environment, "_make", lambda: False)
    assert command.main(["peers", "--quick"]) == 0
    assert capsys.readouterr().err == "peers: no peer is installed, and none can be; nothing is measured\n"


def test_folded_passes_compute_what_the_model_computes() -> None:
    images = tf.constant(np.random.default_rng(0).uniform(-1, 1, (3, *model().input_shape[1:])), tf.float32)
    np.testing.assert_allclose(passes._constant(model(), gradient=False)(images), model()(images), atol=1e-5)
    with tf.GradientTape() as tape:
        tape.watch(images)
        score = model()(images)[:, 0]
    gradient = tape.gradient(score, images)
    np.testing.assert_allclose(passes._constant(model(), gradient=True)(images), gradient, atol=1e-5)


@pytest.mark.exhaustive
def test_two_installations_are_timed_in_turn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    monkeypatch.setattr(pages, "PAGES", ())
    options = ["--methods", "gradcam", "--batches", "1", "--repeats", "2"]
    assert command.main(["versions", sys.executable, *options, "--write"]) == 0
    (row,) = json.loads((tmp_path / "versions.json").read_text())["tables"][0]["rows"]
    assert row[:3] == ["gradcam", 1, 2]
    assert 0.3 < row[3]["cpu"]["median"] < 3

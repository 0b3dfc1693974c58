"""What is measured must exist."""

import functools
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import zoo

import kerasxai
from benchmarks.__main__ import NEED_ARGUMENTS, PARTS, main
from benchmarks.cases import CASES, Case
from benchmarks.peers import PEERS, installed

model = functools.cache(lambda: zoo.build("functional"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.batch}")
def test_every_case_is_a_method_with_options_of_its_own(case: Case) -> None:
    explainer: Any = kerasxai.Explainer(model(), case.method or case.name, **case.options)
    assert explainer.method.name == (case.method or case.name)


def test_every_method_is_measured() -> None:
    assert {case.method or case.name for case in CASES} == set(kerasxai.METHODS)


def test_every_peer_is_found_or_missing() -> None:
    found, missing = installed()
    assert sorted(found + missing) == sorted(PEERS)


def test_without_a_part_all_run_that_need_no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []
    for name, part in list(PARTS.items()):
        fake = SimpleNamespace(add_arguments=part.add_arguments, run=lambda _, name=name: begun.append(name))
        monkeypatch.setitem(PARTS, name, fake)
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    main()
    assert sorted([*begun, *NEED_ARGUMENTS]) == sorted(PARTS)


@pytest.mark.exhaustive
def test_two_installations_are_timed_in_turn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    options = ["--methods", "gradcam", "--batches", "1", "--repeats", "2"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", "versions", sys.executable, *options])
    main()
    words = capsys.readouterr().out.splitlines()[-1].split()
    assert words[:2] == ["gradcam", "1"]
    assert 0.3 < float(words[2]) < 3

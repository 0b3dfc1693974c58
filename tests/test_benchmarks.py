"""What is measured must exist."""

import functools
from typing import Any

import pytest
import zoo

import kerasxai
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

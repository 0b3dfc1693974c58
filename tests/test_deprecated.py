"""Import paths of version 0.1.0 that people use: each still works, is the same object, and warns."""

import importlib
import sys

import pytest

import kerasxai
from kerasxai.evaluation.evaluate import evaluate
from kerasxai.tools.errors import KerasxaiWarning


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        ("kerasxai.core.errors", "KerasxaiError", kerasxai.KerasxaiError),
        ("kerasxai.core.errors", "KerasxaiWarning", KerasxaiWarning),
        ("kerasxai.training.evaluate", "evaluate", evaluate),
    ],
)
def test_old_paths_warn_and_work(module: str, name: str, expected: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        assert getattr(importlib.import_module(module), name) is expected

"""Classes of the package are registered with Keras, whatever a program imports first."""

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path

import pytest

from kerasxai.models.registration import MODULES, _AfterKeras

ROOT = Path(__file__).parent.parent

PROGRAM = """
import importlib, sys
import kerasxai
before = set(sys.modules)
import keras
registered = set(keras.saving.get_custom_objects())
needed = sorted(name for name in set(sys.modules) - before if name.startswith("kerasxai."))
for name in needed:
    # As in a new program: the parts of Keras stay, its own module is imported again.
    for loaded in [one for one in sys.modules if one == "keras" or one.split(".")[0] == "kerasxai"]:
        del sys.modules[loaded]
    keras.saving.get_custom_objects().clear()
    module = importlib.import_module(name)
    assert module is sys.modules[name] and module.__spec__ is not None, name
    assert "_KerasFirst" not in repr(module.__spec__.loader), name
    importlib.import_module("keras")
    missing = registered - set(keras.saving.get_custom_objects())
    assert not missing, (name, missing)
    assert not any(type(finder).__name__ == "_AfterKeras" for finder in sys.meta_path), name
print(len(needed), len(registered))
"""


def test_any_module_may_be_the_first_that_imports_keras() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules, classes = (int(word) for word in done.stdout.split())
    assert modules > 20 and classes > 10


def test_all_modules_with_registered_classes_are_listed() -> None:
    found = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "kerasxai").rglob("*.py")
        if "@keras.saving.register_keras_serializable" in path.read_text()
    }
    assert found == set(MODULES)


def test_modules_run_as_programs() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-m", "kerasxai.models.acol"],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


def test_sources_are_found_without_an_import() -> None:
    program = """
import copy, importlib.util, sys
import kerasxai
from kerasxai.models.registration import NEED_KERAS
for name in sorted(NEED_KERAS):
    loader = importlib.util.find_spec(name).loader
    assert type(loader).__name__ == "_KerasFirst", name
    source = loader.get_source(name)
    assert "import" in source and loader.get_filename(name).endswith(".py") and loader.get_code(name), name
    assert copy.copy(loader).get_source(name) == source
    assert not hasattr(loader, "nothing")
assert "keras" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_public_names_are_imported_before_keras() -> None:
    program = "from kerasxai.models import ACoLModel, is_multi_label; import keras; print(ACoLModel.__mro__)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and "keras.src" in done.stdout, done.stderr


def test_keras_is_found_while_another_thread_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = _AfterKeras()
    found: list[ModuleSpec | None] = []

    def search(name: str) -> ModuleSpec:
        if name != "keras":
            with ThreadPoolExecutor(1) as other:
                found.append(other.submit(finder.find_spec, "keras", None).result())
        return ModuleSpec(name, SourceFileLoader(name, "none.py"))

    monkeypatch.setattr(importlib.util, "find_spec", search)
    finder.find_spec("kerasxai.models.heads", None)
    assert len(found) == 1 and found[0] is not None

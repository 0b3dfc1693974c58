"""The notebooks of the documentation run, and are shipped with their outputs."""

import ast
import builtins
import importlib
import inspect
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "notebooks.py"))
NAMES: tuple[str, ...] = SCRIPT["NAMES"]
FOLDER: Path = SCRIPT["FOLDER"]
run: Callable[..., nbformat.NotebookNode] = SCRIPT["run"]


def stored(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def types_of(cell: nbformat.NotebookNode) -> set[str]:
    return {kind for output in cell.outputs for kind in output.get("data", {})}


def test_every_notebook_is_listed() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert all(f"notebooks/{name}.md" in navigation for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_stored(name: str) -> None:
    notebook = stored(name)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run `make notebooks`"
    assert sum("image/png" in types_of(cell) for cell in code) >= 2
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 1_000_000
    text = nbformat.writes(notebook)
    assert not re.search(r'"output_type": "error"|Traceback \(most', text)
    assert not re.search(r'"name": "stderr"|WARNING:', text), "warnings and logs are not for readers"
    assert not re.search(r"/(home|root|tmp|work)/", text), "paths of the machine are not for readers"
    for link in re.findall(r"\]\((\w+\.ipynb)\)", text):
        assert (FOLDER / link).exists(), link


def resolved(node: ast.expr, modules: dict[str, object]) -> object:
    """Return the object that a name or a chain of attributes stands for; None if it is computed in the notebook."""
    if isinstance(node, ast.Name):
        return modules.get(node.id)
    if isinstance(node, ast.Attribute) and (owner := resolved(node.value, modules)) is not None:
        assert hasattr(owner, node.attr), ast.unparse(node)
        return getattr(owner, node.attr)
    return None


def imported(tree: ast.Module) -> dict[str, object]:
    """Return the imported objects by name."""
    found: dict[str, object] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                module = importlib.import_module(one.name)
                found[one.asname or one.name] = module
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            for one in node.names:
                assert hasattr(module, one.name), f"{node.module}.{one.name}"
                found[one.asname or one.name] = getattr(module, one.name)
    return found


def check_keywords(call: ast.Call, modules: dict[str, object]) -> None:
    function = resolved(call.func, modules)
    if not callable(function) or not str(getattr(function, "__module__", "")).startswith("kerasxai"):
        return
    parameters = inspect.signature(function).parameters
    if not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        unknown = {keyword.arg for keyword in call.keywords if keyword.arg} - set(parameters)
        assert not unknown, f"{ast.unparse(call.func)}: {unknown}"


@pytest.mark.parametrize("name", NAMES)
def test_code_uses_names_that_exist(name: str) -> None:
    """A renamed function or argument is found without a run."""
    tree = ast.parse("\n".join(cell.source for cell in stored(name).cells if cell.cell_type == "code"))
    compile(tree, name, "exec")
    modules = imported(tree)
    assert "kerasxai" in modules
    known, used = {*dir(builtins), *modules}, set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else known).add(node.id)
        elif isinstance(node, ast.arg):
            known.add(node.arg)
        elif isinstance(node, ast.FunctionDef):
            known.add(node.name)
        elif isinstance(node, ast.Attribute):
            resolved(node, modules)
        elif isinstance(node, ast.Call):
            check_keywords(node, modules)
    assert used <= known, used - known


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all notebooks, as for a reader who goes through them."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.mark.parametrize("name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.exhaustive) for name in NAMES[1:])])
def test_a_notebook_runs(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = run(name, folder)
    before = stored(name)
    assert [types_of(cell) for cell in done.cells if cell.cell_type == "code"] == [
        types_of(cell) for cell in before.cells if cell.cell_type == "code"
    ]

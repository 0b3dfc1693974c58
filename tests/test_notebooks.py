"""The notebooks of the documentation run, and are shipped with their outputs."""

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
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 3_000_000
    text = nbformat.writes(notebook)
    assert not re.search(r'"output_type": "(error|display_data)".*Traceback', text)
    assert '"name": "stderr"' not in text, "warnings and logs are not for readers"
    assert not re.search(r"/(home|root|tmp|work)/", text), "paths of the machine are not for readers"
    for link in re.findall(r"\]\((\w+\.ipynb)\)", text):
        assert (FOLDER / link).exists(), link


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

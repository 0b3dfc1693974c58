"""The floors of the house: an import may only go down, and nothing goes round in a circle."""

import ast
from pathlib import Path

import networkx
import pytest
from house import ROOMS, picture

ROOT = Path(__file__).parent.parent
ALLOWED = {room.name: set(room.imports) for room in ROOMS}
FILES = [
    *sorted((ROOT / "kerasxai").rglob("*.py")),
    *sorted((ROOT / "callbacks").rglob("*.py")),
    *sorted((ROOT / "training").rglob("*.py")),
]
EVERY_FILE = FILES + [
    path for folder in ("tests", "benchmarks", "docs") for path in sorted((ROOT / folder).rglob("*.py"))
]


def floor_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "kerasxai" else parts[0]


def imported_floors(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import absolutely"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in found if name.startswith("kerasxai.") and name.count(".") >= 1}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_go_down(path: Path) -> None:
    floor = floor_of(path)
    reached = imported_floors(path) & set(ALLOWED)
    assert reached <= ALLOWED[floor] | {floor}, f"{floor} may not import {reached - ALLOWED[floor]}"


def imports_of(tree: ast.Module) -> list[ast.Import | ast.ImportFrom]:
    """The imports of a module and of its functions, but for those that only type checkers see."""
    hidden: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            hidden |= {inner for child in node.body for inner in ast.walk(child)}
    return [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) and node not in hidden]


def test_no_import_goes_in_a_circle() -> None:
    def module(path: Path) -> str:
        parts = path.relative_to(ROOT).with_suffix("").parts
        return ".".join(part for part in ("kerasxai", *parts[parts[0] == "kerasxai" :]) if part != "__init__")

    modules = {module(path): path for path in FILES}
    graph = networkx.DiGraph()
    for name, path in modules.items():
        for node in imports_of(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                found = [f"{node.module}.{alias.name}" for alias in node.names]
                found = [one if one in modules else str(node.module) for one in found]
            else:
                found = [alias.name for alias in node.names]
            graph.add_edges_from((name, one) for one in found if one in modules and one != name)
    circles = [sorted(circle) for circle in networkx.strongly_connected_components(graph) if len(circle) > 1]
    assert not circles


@pytest.mark.parametrize("path", EVERY_FILE, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_commands_print(path: Path) -> None:
    if floor_of(path) not in ("cli", "tools"):
        names = [node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)]
        assert not {"print", "print_table"} & set(names), "log, or return what a command can print"


# Keyword arguments of public names, which stay, and the settings of methods, which are their options.
MANY_PARAMETERS = {
    "Explainer.__init__",
    "AuditCallback.__init__",
    "ExplanationCallback.__init__",
    "EmbeddingCallback.__init__",
    "LocalizationCallback.__init__",
    "build_classifier",
    "load",
    "acol",
    "ACoLHead.__init__",
    "lime",
    "rise",
    "kernelshap",
}


def test_functions_have_eight_parameters_at_most() -> None:
    many = set()
    for path in FILES:
        tree = ast.parse(path.read_text())
        owners = {
            id(item): node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for item in node.body
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                if len([one for one in given if one.arg not in ("self", "cls")]) > 8:
                    many.add(f"{owners[id(node)]}.{node.name}" if id(node) in owners else node.name)
    assert many == MANY_PARAMETERS


def test_a_room_imports_only_rooms_above_it_in_the_table() -> None:
    names = [room.name for room in ROOMS]
    for number, room in enumerate(ROOMS):
        assert set(room.imports) <= set(names[:number]), room.name


def test_every_file_has_a_room() -> None:
    assert {floor_of(path) for path in FILES} == set(ALLOWED)


def test_contributing_shows_the_rooms() -> None:
    assert picture() in (ROOT / "CONTRIBUTING.md").read_text()

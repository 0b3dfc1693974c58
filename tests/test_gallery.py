"""The pictures of the documentation: each is drawn by a script, and the animation is small and moves."""

import itertools
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from kerasxai.cli import parser_of
from kerasxai.methods import METHODS

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def gallery() -> dict[str, Any]:
    before = list(sys.path)
    names = runpy.run_path(str(DOCS / "gallery.py"))
    sys.path[:] = before
    return names


def test_each_picture_is_drawn_by_the_script_or_kept_for_a_reason(gallery: dict[str, Any]) -> None:
    made = [name for row in gallery["MADE"].values() for name in row.pictures]
    drawn = [f"{name}.gif" if name == "evidence" else f"{name}.png" for name in gallery["DRAWN"]]
    pictures = {path.name for path in DOCS.iterdir() if path.suffix in (".png", ".gif", ".webp")}
    assert sorted([*made, *drawn, *gallery["KEPT"]]) == sorted(pictures)


def test_commands_of_pictures_parse(gallery: dict[str, Any]) -> None:
    for row in gallery["MADE"].values():
        for command in row.commands:
            name, *words = shlex.split(command.format(out="runs/x"))
            parser_of(name).parse_args(words)


def test_each_family_of_methods_has_a_picture(gallery: dict[str, Any]) -> None:
    families = gallery["families"]()
    assert sorted(name for names in families.values() for name in names) == sorted(METHODS)
    assert {path.stem for path in (DOCS / "methods").glob("*.webp")} == set(families)
    assert all(path.stat().st_size < 150_000 for path in (DOCS / "methods").glob("*.webp"))


def test_the_animation_is_small_and_moves() -> None:
    path = DOCS / "evidence.gif"
    assert path.stat().st_size < 2_000_000
    with Image.open(path) as opened:
        frames = [np.asarray(frame.convert("RGB"), np.float32) for frame in ImageSequence.Iterator(opened)]
        assert opened.info.get("loop") == 0
    assert len(frames) >= 12
    changes = [np.abs(after - before).mean() for before, after in itertools.pairwise(frames)]
    assert min(changes) > 0.05, "each epoch differs"


def test_other_pages_link_to_pictures_that_exist() -> None:
    for page in DOCS.rglob("*.md"):
        for link in re.findall(r"!\[[^\]]*\]\((?!https)([^)]+)\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.exhaustive
def test_the_pictures_of_methods_are_drawn_again(gallery: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "methods").mkdir()
    gallery["draw_gallery"](tmp_path)
    for name in ("gallery.png", "methods/cam.webp"):
        with Image.open(tmp_path / name) as again, Image.open(DOCS / name) as before:
            assert again.size == before.size
            difference = np.abs(np.asarray(again.convert("RGB"), float) - np.asarray(before.convert("RGB"), float))
            assert difference.mean() < 3

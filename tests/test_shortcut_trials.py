"""The trials of the benchmark of shortcuts: a blatant mark is named, and nothing without a mark."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from benchmarks import shortcuts
from benchmarks.shortcut_models import TRAINERS, SmallNet

COUNTS = {"train": 14, "test": 6}
SIDE = 48


class Tiny(SmallNet):
    """A net of two convolutions."""

    side, channels, epochs = SIDE, (8, 16), 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of three classes: disks of a color at random places, on noise."""
    root, generator = tmp_path_factory.mktemp("disks"), np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    for split, count in COUNTS.items():
        for name, color in {"blue": (40, 60, 220), "green": (40, 200, 40), "red": (220, 40, 40)}.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                noise = ndimage.gaussian_filter(generator.normal(size=(SIDE, SIDE, 3)), (2, 2, 0))
                image = 120 + 40 * noise / noise.std() + generator.normal(0, 25, 3)
                (row, column), radius = generator.uniform(14, 34, 2), generator.uniform(5, 9)
                image[(y - row) ** 2 + (x - column) ** 2 < radius**2] = color
                picture = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
                picture.save(root / split / name / f"{number}.png")
    return root


def test_a_blatant_mark_is_named_and_nothing_without(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRAINERS, "tiny", Tiny)
    options = {
        "marks": ["border"],
        "clean": 1,
        "model": "tiny",
        "side": None,
        "boxes": None,
        "seed": 0,
        "pictures": False,
    }
    (table,) = shortcuts.run(argparse.Namespace(folder=folder, out=tmp_path, **options))
    assert table.notes == (
        "Marks that the model uses: 1, named with their class and no other: 1.",
        "Trainings without a mark: 1, without a shortcut: 1.",
    )
    assert [(row[0], row[-1]) for row in table.rows] == [("border", "yes"), ("none", "yes")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00_border", "01_none"]

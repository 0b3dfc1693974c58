"""The parts of an audit on disk, and the order of its images."""

from pathlib import Path

import numpy as np
import pytest

from kerasxai.audit.images import in_rounds
from kerasxai.audit.store import Store


class Work:
    """Counts how often something is made."""

    def __init__(self) -> None:
        self.times = 0

    def figures(self) -> dict[str, float]:
        self.times += 1
        return {"mean": 0.5, "skipped": float("nan")}

    def arrays(self) -> dict[str, np.ndarray]:
        self.times += 1
        return {"maps": np.arange(6.0).reshape(2, 3)}


def test_a_result_is_made_once(tmp_path: Path) -> None:
    work = Work()
    for _ in range(2):
        found = Store(tmp_path, {"weights": "a"}).json("gradient*input/deletion", work.figures, steps=16)
    assert work.times == 1 and found == {"mean": 0.5, "skipped": None}
    assert not [path for path in tmp_path.iterdir() if "*" in path.name]


@pytest.mark.parametrize("change", ["about", "settings", "key"])
def test_another_model_or_setting_is_made_for_itself(tmp_path: Path, change: str) -> None:
    work = Work()
    Store(tmp_path, {"weights": "a"}).json("part", work.figures, steps=16)
    about, steps = {"weights": "b" if change == "about" else "a"}, 8 if change == "settings" else 16
    Store(tmp_path, about).json("other" if change == "key" else "part", work.figures, steps=steps)
    assert work.times == 2


def test_arrays_are_kept_and_damaged_files_are_made_once_more(tmp_path: Path) -> None:
    work = Work()
    first = Store(tmp_path, {}).arrays("maps", work.arrays)
    np.testing.assert_array_equal(Store(tmp_path, {}).arrays("maps", work.arrays)["maps"], first["maps"])
    assert work.times == 1
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:40])
    np.testing.assert_array_equal(Store(tmp_path, {}).arrays("maps", work.arrays)["maps"], first["maps"])
    assert work.times == 2


def test_without_a_folder_nothing_is_kept() -> None:
    work = Work()
    for _ in range(2):
        Store(None, {}).json("part", work.figures)
    assert work.times == 2


def test_every_first_part_of_the_images_is_even_over_the_classes() -> None:
    labels = np.repeat([0, 1, 2], [10, 3, 7])
    order = in_rounds(labels, 0)
    assert sorted(order) == list(range(20))
    for count in range(1, 10):
        assert np.ptp(np.bincount(labels[order[:count]], minlength=3)) <= 1
    assert (in_rounds(labels, 0) == order).all() and (in_rounds(labels, 1) != order).any()

"""A part of `shapes` as a folder of images."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from kerasxai import data
from kerasxai.data.shapes.draw import CLASSES, draw_sample
from kerasxai.tools.errors import KerasxaiError

COUNTS = {"train": 9, "validation": 8, "test": 8}


def test_a_folder_has_the_images_and_boxes_of_shapes(tmp_path: Path) -> None:
    folder, boxes = data.write_shapes(tmp_path / "drawn", COUNTS)
    dataset = data.open(folder, boxes_csv=boxes)
    assert sorted(dataset.class_names) == sorted(CLASSES)
    assert {split: dataset.info.splits[split] for split in COUNTS} == COUNTS
    samples = {sample["name"].decode(): sample for sample in dataset.samples("test", None).as_numpy_iterator()}
    scene = draw_sample((2_000_003,), "test", 3, 160)
    drawn = next(sample for name, sample in samples.items() if name.endswith("0003.png"))
    np.testing.assert_array_equal(drawn["image"], scene.image)
    np.testing.assert_allclose(drawn["boxes"], scene.boxes, atol=1e-3)
    assert dataset.class_names[int(drawn["label"])] == CLASSES[3]


def test_a_folder_is_kept_and_no_other_is_touched(tmp_path: Path) -> None:
    folder, boxes = data.write_shapes(tmp_path / "drawn", COUNTS)
    written = {path: path.stat().st_mtime_ns for path in [boxes, *folder.rglob("*.png")]}
    assert data.write_shapes(tmp_path / "drawn", COUNTS) == (folder, boxes)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    with pytest.raises(KerasxaiError, match=r"expected a new folder, got .*drawn with other files"):
        data.write_shapes(tmp_path / "drawn", {"train": 8})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").touch()
    with pytest.raises(KerasxaiError, match="expected a new folder"):
        data.write_shapes(tmp_path / "mine", COUNTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drawn", "drawn_boxes.csv", "mine"]


def test_a_call_that_was_killed_before_its_last_step_is_done_again(tmp_path: Path) -> None:
    folder, boxes = data.write_shapes(tmp_path / "drawn", COUNTS)
    before = boxes.read_bytes()
    names = {path.relative_to(folder) for path in folder.rglob("*.png")}
    shutil.rmtree(folder)
    data.write_shapes(tmp_path / "drawn", COUNTS)
    assert {path.relative_to(folder) for path in folder.rglob("*.png")} == names and boxes.read_bytes() == before
    shutil.rmtree(folder)
    boxes.write_text("filename,x_min\nmine.png,3\n")
    with pytest.raises(KerasxaiError, match="expected a new folder"):
        data.write_shapes(tmp_path / "drawn", COUNTS)
    assert not folder.exists() and "mine.png" in boxes.read_text()


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kerasxai.data.shapes.folder.write_csv", fails)
    with pytest.raises(KerasxaiError, match="cannot write"):
        data.write_shapes(tmp_path / "drawn", COUNTS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"training": 8}, "expected a known split, got 'training'"),
        ({"train": 7}, r"counts\['train'\] must be 8 or more, got 7"),
        ({"train": 8.5}, r"counts\['train'\] must be a whole number"),
    ],
)
def test_counts_are_checked(counts: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(KerasxaiError, match=message):
        data.write_shapes(tmp_path / "drawn", counts)
    assert not list(tmp_path.iterdir())

"""Folders with a file of labels: several labels an image, unknown ones, splits, boxes, and mistakes in the file."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kerasxai.data
from kerasxai.data.box_files.annotations import BoxFileWarning
from kerasxai.data.label_table import LabelTableWarning, hold_out
from kerasxai.tools.errors import KerasxaiError

NAMES = [f"{number:02d}" for number in range(30)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Flat images of two sizes; each has `a`, every second one `b`, every tenth one `c`."""
    for number, name in enumerate(NAMES):
        Image.fromarray(np.full((8, 10 + number % 2, 3), number, np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def long_form(folder: Path, end: str = "") -> None:
    lines = ["file,label"]
    for number, name in enumerate(NAMES):
        lines += [f"{name}.png,{label}" for label, every in (("a", 1), ("b", 2), ("c", 10)) if number % every == 0]
    (folder / "labels.csv").write_text("\n".join(lines) + f"\n{end}")


def columns(folder: Path, values: str = "1,0,-1", header: str = "file,a,b,c", names: list[str] = NAMES) -> None:
    between = ";" if ";" in header else ","
    lines = [header, *(f"{name}.png{between}{values}" for name in names)]
    (folder / "labels.csv").write_text("\n".join(lines))


def rows(folder: Path, split: str, labels: str = "auto") -> dict[str, list[float]]:
    samples = kerasxai.data.load(folder, split, None, labels=labels)
    return {sample["name"].decode(): sample["labels"].tolist() for sample in samples.as_numpy_iterator()}


def test_one_row_for_each_label(folder: Path) -> None:
    long_form(folder)
    info = kerasxai.data.info(folder)
    assert info.multi_label and info.class_names == ("a", "b", "c")
    assert info.splits == {"train": 24, "test": 3, "validation": 3}
    found = {split: rows(folder, split) for split in info.splits}
    together = {name: labels for part in found.values() for name, labels in part.items()}
    assert together == {f"{name}.png": [1, n % 2 == 0, n % 10 == 0] for n, name in enumerate(NAMES)}
    for split in ("validation", "test"):
        counts = np.sum(list(found[split].values()), 0)
        assert counts[0] == 3 and counts[1] in (1, 2) and counts[2] == 1
        np.testing.assert_array_equal(list(found[split].values()), kerasxai.data.read_labels(folder, split))
    assert rows(folder, "test") == found["test"]
    images, labels = next(iter(kerasxai.data.training_pairs(folder, "train", 8, 4)))
    assert images.shape == (4, 8, 8, 3) and labels.shape == (4, 3)


def test_one_column_for_each_class(folder: Path) -> None:
    columns(folder, "1;0;;-1.0", "filename;dog;cat;cow;owl")
    info = kerasxai.data.info(folder)
    assert info.class_names == ("dog", "cat", "cow", "owl")
    assert set(map(tuple, rows(folder, "train").values())) == {(1, 0, -1, -1)}


def test_one_label_each_is_read_as_one(folder: Path) -> None:
    columns(folder, "0,1,0")
    info = kerasxai.data.info(folder)
    assert not info.multi_label
    assert set(kerasxai.data.read_labels(folder, "train").tolist()) == {1}
    sample = next(iter(kerasxai.data.load(folder, "train", 8)))
    assert int(sample["label"]) == 1
    assert set(map(tuple, rows(folder, "train", labels="multi").values())) == {(0, 1, 0)}
    long_form(folder)
    with pytest.raises(KerasxaiError, match="labels must be 'multi' or 'auto' with images that have not exactly one"):
        kerasxai.data.info(folder, labels="single")


def test_an_empty_label_is_an_image_without_a_class(folder: Path) -> None:
    (folder / "labels.csv").write_text("file,split,label\n00,test,\n01,test,a\n02,test,b\n03,test,a\n03,test,b\n")
    with pytest.warns(LabelTableWarning, match=r"26 images without a row in .*labels\.csv left out, as 04\.png"):
        assert kerasxai.data.read_labels(folder, "test").tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]


def test_splits_by_a_column_and_by_folders(folder: Path) -> None:
    split_of = {name: "train" if name < "20" else "val" if name < "25" else "test" for name in NAMES}
    lines = ["file,split,a,b", *(f"{name},{split},1,1" for name, split in split_of.items())]
    (folder / "labels.csv").write_text("\n".join(lines))
    assert kerasxai.data.info(folder).splits == {"train": 20, "validation": 5, "test": 5}
    for name, split in split_of.items():
        new = folder / split.replace("val", "test") / f"{name}.png"
        new.parent.mkdir(exist_ok=True)
        (folder / f"{name}.png").rename(new)
    columns(folder, "1,1", "file,a,b")
    assert kerasxai.data.info(folder).splits == {"train": 18, "test": 10, "validation": 2}


def test_holding_out_keeps_the_shares_of_all_classes() -> None:
    random = np.random.default_rng(0)
    labels = {f"{i}": (random.random(6) < [0.5, 0.3, 0.2, 0.1, 0.05, 0.02]).astype(np.float32) for i in range(1000)}
    for seed in range(3):
        large, small = hold_out(list(labels), labels, 0.1, seed)
        assert sorted([*large, *small]) == sorted(labels)
        counts, held = (np.sum([labels[name] for name in names], 0) for names in (labels, small))
        assert np.abs(held - 0.1 * counts).max() <= 3 and 90 <= len(small) <= 110
        assert hold_out(list(labels), labels, 0.1, seed) == (large, small)
    assert hold_out(list(labels), labels, 0.1, 0) != hold_out(list(labels), labels, 0.1, 1)


MISTAKES = {
    "file,label\n99.png,a\n": "line 2: expected a known image, got '99.png'",
    "file,label\n00.png,a\n00.png,a\n": "line 3: expected each label of an image once, got 'a' of 00.png twice",
    "file,label,score\n00.png,a,1\n": "line 1: expected the columns file, label and split, .* got 'score' next to",
    "file,a,b\n00.png,1,yes\n": "line 2: b must be 1, 0, -1 or nothing, got 'yes'",
    "file,a,b\n00.png,1,0\n00.png,1,0\n": "line 3: expected one row for each image, got 00.png twice",
    "file,a,b\n00.png,1\n": "line 2: expected 3 columns, got 2",
    "file,a,a\n00.png,1,1\n": "line 1: expected columns of different names, got 'a' twice",
    "file,a\n00.png,1\n": "line 1: expected a column label, or two or more columns of classes, got file, a",
    "file,label,split\n00.png,a,dev\n": "line 2: split must be one of train, validation, test, got 'dev'",
    "file,label,split\n00.png,a,train\n00.png,b,test\n": "line 3: expected one split of 00.png, got train and test",
    "file,label\n00.png,a\n01.png,a\n": "expected two or more classes, got 1",
    "file,label\n": "expected one or more rows, got a header alone",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_are_one_line(text: str, folder: Path) -> None:
    (folder / "labels.csv").write_text(text)
    with pytest.raises(KerasxaiError, match=MISTAKES[text]) as raised:
        kerasxai.data.info(folder)
    assert "\n" not in str(raised.value)


def test_class_folders_with_another_table_are_read_as_before(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        (tmp_path / kind).mkdir()
        for name in NAMES[:4]:
            Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / kind / f"{name}.png")
    (tmp_path / "labels.csv").write_text("id,breed\n00,cat\n")
    with pytest.warns(LabelTableWarning, match="is not used: it has no column file"):
        info = kerasxai.data.info(tmp_path)
    assert info.class_names == ("cat", "dog") and not info.multi_label


def voc_xml(folder: Path, name: str, objects: list[tuple[str, int, int]]) -> None:
    items = "".join(
        f"<object><name>{kind}</name><difficult>{difficult}</difficult><bndbox><xmin>{x}</xmin><ymin>0</ymin>"
        f"<xmax>{x + 4}</xmax><ymax>4</ymax></bndbox></object>"
        for kind, difficult, x in objects
    )
    path = folder / "boxes" / f"{name}.xml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"<annotation><filename>{name}.png</filename>{items}</annotation>")


def test_boxes_have_classes_and_difficult_flags(folder: Path) -> None:
    columns(folder, "1,1,train", "file,a,b,split")
    voc_xml(folder, "00", [("a", 0, 0), ("b", 1, 4), ("tree", 0, 2)])
    with pytest.warns(BoxFileWarning, match="1 box of a category that is no class left out, as tree"):
        samples = kerasxai.data.load(folder, "train", None, boxes_csv=folder / "boxes").as_numpy_iterator()
        found = {sample["name"].decode(): sample for sample in samples}
    assert found["00.png"]["box_labels"].tolist() == [0, 1]
    assert found["00.png"]["box_difficult"].tolist() == [False, True]
    np.testing.assert_allclose(found["00.png"]["boxes"], [[0, 0, 0.4, 0.5], [0.4, 0, 0.8, 0.5]])
    assert found["01.png"]["boxes"].shape == (0, 4) and found["01.png"]["box_labels"].shape == (0,)


def test_boxes_without_a_category_are_those_of_the_only_label(folder: Path) -> None:
    lines = ["file,a,b,split", "00.png,1,0,test", "01.png,1,1,test"]
    (folder / "labels.csv").write_text("\n".join(lines))
    (folder / "boxes.csv").write_text("filename,x_min,y_min,x_max,y_max\n00.png,0,0,4,4\n01.png,0,0,4,4\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelTableWarning)
        dataset = kerasxai.data.open(folder, boxes_csv=folder / "boxes.csv")
    samples = {sample["name"]: sample for sample in dataset.samples("test", 8).as_numpy_iterator()}
    assert [samples[name]["box_labels"].tolist() for name in (b"00.png", b"01.png")] == [[0], [-1]]
    assert set(dataset.samples("test", 8, with_annotations=False).element_spec) == {"image", "labels", "name"}

"""A file of boxes joined to a TFDS data set by the names of its images: ImageNet, which brings none."""

import functools
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import kerasxai.data
from kerasxai.metrics import LocalizationReport
from kerasxai.tools.errors import KerasxaiError

Load = Callable[..., tf.data.Dataset]

# As in wsolevaluation's metadata/ILSVRC/test: no header, pixels, an image with two boxes has two lines.
LOCALIZATION = """val/ILSVRC2012_val_00000001.JPEG,2,2,8,6
val/ILSVRC2012_val_00000002.JPEG,0,0,16,8
val/ILSVRC2012_val_00000001.JPEG,10,0,16,4
val/ILSVRC2012_val_00050000.JPEG,1,1,2,2
"""


@pytest.fixture
def localization(tmp_path: Path) -> Path:
    path = tmp_path / "localization.txt"
    path.write_text(LOCALIZATION)
    return path


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of TFDS with all that it writes about ImageNet but the images."""
    folder = tmp_path_factory.mktemp("tfds")
    builder = tfds.builder("imagenet2012", data_dir=str(folder))
    splits = {"train": 1281167, "validation": 3, "test": 100000}
    made = [tfds.core.SplitInfo(name=name, shard_lengths=[count], num_bytes=1) for name, count in splits.items()]
    builder.info.set_splits(tfds.core.SplitDict(made))
    Path(builder.data_dir).mkdir(parents=True)
    builder.info.write_to_directory(builder.data_dir)
    return folder


@pytest.fixture
def imagenet(prepared: Path) -> Iterator[Load]:
    """Loads from mocked files: three validation images of 8 x 16 pixels; the last one is not in the file of boxes."""

    def as_dataset(builder: Any, split: Any, decoders: Any = None, **_: Any) -> tf.data.Dataset:
        asked = decoders.extract_features(builder.info.features)
        columns = {
            "image": np.random.default_rng(0).integers(0, 256, (3, 8, 16, 3), dtype=np.uint8),
            "label": np.array([65, 970, 230]),
            "file_name": np.array([f"ILSVRC2012_val_{number:08}.JPEG" for number in (1, 2, 3)]),
        }
        assert split == "validation", "what the literature tests on"
        return tf.data.Dataset.from_tensor_slices({name: columns[name] for name in asked})

    with tfds.testing.mock_data(as_dataset_fn=as_dataset, data_dir=str(prepared)):
        yield functools.partial(kerasxai.data.load, "imagenet2012", "test", data_dir=prepared)


def test_boxes_come_by_name_relative_to_the_image(imagenet: Load, localization: Path) -> None:
    dataset = imagenet(None, boxes_csv=localization)
    gc.collect()  # The table of names must outlive the call.
    one, two, three = dataset.as_numpy_iterator()
    assert [sample["label"] for sample in (one, two, three)] == [65, 970, 230]
    np.testing.assert_allclose(one["boxes"], [[2 / 16, 2 / 8, 8 / 16, 6 / 8], [10 / 16, 0, 1, 4 / 8]])
    np.testing.assert_allclose(two["boxes"], [[0, 0, 1, 1]])
    assert three["boxes"].shape == (0, 4)


def test_resizing_and_batching_keep_the_boxes(imagenet: Load, localization: Path) -> None:
    batch = next(imagenet(32, batch_size=3, boxes_csv=localization).as_numpy_iterator())
    one, two, three = kerasxai.data.unpad_boxes(batch["boxes"])
    np.testing.assert_allclose(one, [[2 / 16, 2 / 8, 8 / 16, 6 / 8], [10 / 16, 0, 1, 4 / 8]])
    assert (len(two), len(three)) == (1, 0)


def test_what_the_data_set_is_said_to_have(imagenet: Load, prepared: Path, localization: Path) -> None:
    info = kerasxai.data.info("imagenet2012", data_dir=prepared)
    assert not info.has_boxes and info.num_classes == 1000
    assert info.splits == {"train": 1268355, "validation": 12812, "test": 3}
    assert kerasxai.data.info("imagenet2012", data_dir=prepared, boxes_csv=localization).has_boxes
    plain = next(iter(imagenet(16)))
    trained = next(iter(imagenet(16, boxes_csv=localization, with_annotations=False)))
    assert set(plain) == set(trained) == {"image", "label", "name"}


@pytest.mark.parametrize(
    "text",
    [
        "filename,x_min,y_min,x_max,y_max\nval/ILSVRC2012_val_00000002.JPEG,4,2,8,6\n",
        "other,y_max,x_max,y_min,x_min,filename\n9,0.75,0.5,0.25,0.25,ILSVRC2012_val_00000002.JPEG\n",
        ".\\a\\ILSVRC2012_val_00000002.JPEG, 0.25, 0.25, 0.5, 0.75\n",
    ],
)
def test_other_ways_to_write_the_file(imagenet: Load, tmp_path: Path, text: str) -> None:
    (tmp_path / "boxes.csv").write_text(text)
    samples = list(imagenet(16, boxes_csv=tmp_path / "boxes.csv").as_numpy_iterator())
    assert [len(sample["boxes"]) for sample in samples] == [0, 1, 0]
    np.testing.assert_allclose(samples[1]["boxes"], [[0.25, 0.25, 0.5, 0.75]])


def test_folders_are_compared_where_names_alone_do_not_tell(tmp_path: Path) -> None:
    from kerasxai.data.boxes import BoxLookup

    (tmp_path / "boxes.csv").write_text("val2/0/1.jpeg,0,0,1,1\nval2/1/1.jpeg,0,0,0.5,1\nval2/1/2.jpeg,0,0,0.5,0.5\n")
    table, image = BoxLookup(tmp_path / "boxes.csv"), tf.zeros((4, 4, 3), tf.uint8)
    for name, expected in (("1/1.jpeg", [[0, 0, 0.5, 1]]), ("x/0/1.jpeg", [[0, 0, 1, 1]]), ("1.jpeg", None)):
        np.testing.assert_allclose(table.find(tf.constant(name), image), np.reshape(expected or [], (-1, 4)))


def test_boxes_of_no_extent_are_kept_as_the_reference_keeps_them(imagenet: Load, tmp_path: Path) -> None:
    (tmp_path / "boxes.txt").write_text("val/ILSVRC2012_val_00000001.JPEG,2,2,2,6\n")
    one = next(imagenet(None, boxes_csv=tmp_path / "boxes.txt").as_numpy_iterator())
    np.testing.assert_allclose(one["boxes"], [[2 / 16, 2 / 8, 2 / 16, 6 / 8]])


def test_boxes_that_stick_out_are_cut_and_those_of_other_images_refused(imagenet: Load, tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("ILSVRC2012_val_00000001.JPEG,-1,0,17,8\nILSVRC2012_val_00000002.JPEG,0,0,300,200\n")
    one, two, _ = imagenet(None, boxes_csv=path).as_numpy_iterator()
    np.testing.assert_allclose(one["boxes"], [[0, 0, 1, 1]])
    with pytest.raises(KerasxaiError, match="boxes of an image of another size"):
        LocalizationReport().update([np.eye(4)], [[1.0, 0.0]], [0], [two["boxes"]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg,1,2,3\n", "line 1: the header must name filename"),
        ("a.jpg,1,2,3,4\nb.jpg,1,2,3,x\n", "line 2: y_max must be a number, got 'x'"),
        ("a.jpg,1,2,3,4\nb.jpg,1,2,3,nan\n", "line 2: y_max must be a number, got 'nan'"),
        ("a.jpg,1,2,3,4\nb.jpg,1,2\n", "line 2: x_max must be a number, got None"),
        ("a.jpg,3,2,1,4\n", "line 1: expected a box with an area, got x 3 to 1"),
        ("filename,x_min,y_min,x_max,y_max\n", "expected one or more boxes, got a header"),
        ("", "line 1: the header must name"),
    ],
)
def test_wrong_lines_are_named(imagenet: Load, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(KerasxaiError, match=message):
        imagenet(boxes_csv=tmp_path / "boxes.csv")


def test_data_sets_that_cannot_be_joined_say_why(tmp_path: Path, localization: Path) -> None:
    with (
        tfds.testing.mock_data(),
        pytest.raises(KerasxaiError, match="got voc/2007, whose classes are those of its own boxes"),
    ):
        kerasxai.data.load("voc/2007", boxes_csv=localization)
    with tfds.testing.mock_data(), pytest.raises(KerasxaiError, match="got mnist, which has no names"):
        kerasxai.data.load("mnist", boxes_csv=localization)


def test_the_header_may_be_left_out_for_a_folder_too(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (16, 8)).save(tmp_path / name / "1.png")
    (tmp_path / "boxes.csv").write_text("a/1.png,2,2,8,6\n")
    samples = kerasxai.data.load(tmp_path, "train", 16, boxes_csv=tmp_path / "boxes.csv").as_numpy_iterator()
    found = {sample["name"]: sample["boxes"] for sample in samples}
    np.testing.assert_allclose(found[b"a/1.png"], [[2 / 16, 2 / 8, 8 / 16, 6 / 8]])
    assert found[b"b/1.png"].shape == (0, 4)

"""TFDS data sets: features found by type, box order, masks, several objects, and what happens offline."""

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import kerasxai.data
from kerasxai.data import DATASETS, DatasetRow
from kerasxai.data.catalog import find_features, to_rgb, to_xyxy, without_empty
from kerasxai.data.preparing import name_splits
from kerasxai.tools.errors import KerasxaiError

# In (ymin, xmin, ymax, xmax), as TFDS has it; all four numbers differ.
BOX = [0.25, 0.125, 0.75, 0.5]
XYXY = [0.125, 0.25, 0.5, 0.75]


def tensors(values: Any, dtypes: Any) -> Any:
    if isinstance(dtypes, dict):
        return {name: tensors(values[name], dtype) for name, dtype in dtypes.items()}
    return tf.constant(values, dtypes)


@contextlib.contextmanager
def mocked(example: dict[str, Any], seen: list[set[str]] | None = None) -> Iterator[None]:
    """TFDS without files: each data set has two copies of `example`; `seen` gets the names of what was asked for."""

    def as_dataset(builder: Any, split: Any, decoders: Any = None, **_: Any) -> tf.data.Dataset:
        # TFDS would store the example, so it is a valid one.
        builder.info.features.encode_example(example)
        asked = decoders.extract_features(builder.info.features)
        if seen is not None:
            seen.append(set(asked))
        return tf.data.Dataset.from_tensors(tensors(example, asked.tf_dtype)).repeat(2)

    with tfds.testing.mock_data(as_dataset_fn=as_dataset):
        yield


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(8, 16, 3), dtype=np.uint8)


def first(dataset: tf.data.Dataset) -> dict[str, np.ndarray]:
    return next(iter(dataset.as_numpy_iterator()))


def birds(picture: np.ndarray) -> dict[str, Any]:
    mask = np.zeros((8, 16, 1), np.uint8)
    mask[2:6, 2:8] = 255
    mask[2:6, 7] = 100
    return {
        "image": picture,
        "image/filename": "001/a.jpg",
        "label": 3,
        "label_name": "Crow",
        "bbox": tfds.features.BBox(*BOX),
        "segmentation_mask": mask,
    }


def test_birds_have_box_mask_and_name(picture: np.ndarray) -> None:
    with mocked(birds(picture)):
        sample = first(kerasxai.data.load("caltech_birds2011", split="test", image_size=None))
    np.testing.assert_array_equal(sample["image"], picture)
    assert sample["label"] == 3 and sample["label"].dtype == np.int64
    assert sample["name"] == b"001/a.jpg"
    np.testing.assert_allclose(sample["boxes"], [XYXY])
    expected = np.zeros((8, 16), np.uint8)
    expected[2:6, 2:7] = 1
    np.testing.assert_array_equal(sample["mask"], expected)


def test_resizing_scales_masks_and_leaves_relative_boxes(picture: np.ndarray) -> None:
    with mocked(birds(picture)):
        sample = first(kerasxai.data.load("caltech_birds2011", split="test", image_size=32))
    assert sample["image"].shape == (32, 32, 3) and sample["image"].dtype == np.uint8
    np.testing.assert_allclose(sample["boxes"], [XYXY])
    expected = np.zeros((32, 32), np.uint8)
    expected[8:24, 4:14] = 1
    np.testing.assert_array_equal(sample["mask"], expected)


def test_pets_have_the_whole_pet_for_a_box_and_the_border_ignored(picture: np.ndarray) -> None:
    trimap = np.full((8, 16, 1), 2, np.uint8)
    trimap[1:7, 3:11] = 3
    trimap[2:6, 4:10] = 1
    example = {
        "image": picture,
        "label": 30,
        "species": 1,
        "file_name": "pug_7.jpg",
        "segmentation_mask": trimap,
        "head_bbox": tfds.features.BBox(*BOX),
    }
    with mocked(example):
        sample = first(kerasxai.data.load("oxford_iiit_pet", split="test", image_size=None))
    assert sample["label"] == 30
    np.testing.assert_allclose(sample["boxes"], [[4 / 16, 2 / 8, 10 / 16, 6 / 8]])
    assert (sample["mask"][2:6, 4:10] == 1).all()
    assert (sample["mask"] == 255).sum() == 6 * 8 - 4 * 6
    assert (sample["mask"] == 0).sum() == 8 * 16 - 6 * 8


def voc(picture: np.ndarray, boxes: list[list[float]], labels: list[int]) -> dict[str, Any]:
    count = len(labels)
    return {
        "image": picture,
        "image/filename": "000001.jpg",
        "labels": sorted(set(labels)),
        "labels_no_difficult": sorted(set(labels)),
        "objects": {
            "bbox": [tfds.features.BBox(*box) for box in boxes] if boxes else np.zeros((0, 4), np.float32),
            "label": labels,
            "is_difficult": [False] * count,
            "is_truncated": [False] * count,
            "pose": [0] * count,
        },
    }


class TestSeveralObjects:
    boxes = ((0.0, 0.0, 0.2, 0.2), (0.1, 0.2, 0.9, 0.8), (0.5, 0.5, 0.6, 0.7))

    @pytest.fixture
    def example(self, picture: np.ndarray) -> dict[str, Any]:
        return voc(picture, [list(box) for box in self.boxes], [4, 7, 7])

    def test_the_largest_gives_the_label_and_all_of_its_class_the_boxes(self, example: dict[str, Any]) -> None:
        with mocked(example):
            sample = first(kerasxai.data.load("voc/2007", split="test", image_size=16, labels="single"))
        assert sample["label"] == 7
        np.testing.assert_allclose(sample["boxes"], [[0.2, 0.1, 0.8, 0.9], [0.5, 0.5, 0.7, 0.6]])

    @pytest.mark.parametrize("name", ["voc", "voc/2012"])
    def test_other_years_work_as_well(self, name: str, example: dict[str, Any]) -> None:
        with mocked(example):
            sample = first(kerasxai.data.load(name, split="train", image_size=16, labels="single"))
        assert sample["label"] == 7 and sample["boxes"].shape == (2, 4)

    def test_images_without_objects_are_left_out(self, picture: np.ndarray) -> None:
        with mocked(voc(picture, [], [])):
            assert not list(kerasxai.data.load("voc/2007", split="test", image_size=16, labels="single"))


def coco(picture: np.ndarray, objects: list[tuple[list[float], int, bool]]) -> dict[str, Any]:
    boxes, labels, crowds = [list(column) for column in zip(*objects, strict=True)] if objects else ([], [], [])
    return {
        "image": picture,
        "image/filename": "000000000139.jpg",
        "image/id": 139,
        "objects": {
            "area": [7] * len(labels),
            "bbox": [tfds.features.BBox(*box) for box in boxes] if boxes else np.zeros((0, 4), np.float32),
            "id": list(range(len(labels))),
            "is_crowd": crowds,
            "label": labels,
        },
    }


class TestCrowds:
    crowd = ([0.0, 0.0, 1.0, 1.0], 5, True)
    small = ([0.5, 0.0, 0.75, 0.25], 5, False)
    large = ([0.0, 0.5, 0.75, 1.0], 9, False)

    @pytest.mark.parametrize("name", ["coco", "coco/2014", "coco/2017"])
    def test_a_crowd_gives_neither_the_label_nor_a_box(self, name: str, picture: np.ndarray) -> None:
        with mocked(coco(picture, [self.crowd, self.small, self.large])):
            sample = first(kerasxai.data.load(name, split="train", image_size=16, labels="single"))
        assert sample["label"] == 9 and sample["name"] == b"000000000139.jpg"
        np.testing.assert_allclose(sample["boxes"], [[0.5, 0.0, 1.0, 0.75]])
        with mocked(coco(picture, [self.crowd, self.small])):
            sample = first(kerasxai.data.load(name, split="train", image_size=16, labels="single"))
        assert sample["label"] == 5
        np.testing.assert_allclose(sample["boxes"], [[0.0, 0.5, 0.25, 0.75]])

    def test_the_same_label_is_trained_on(self, picture: np.ndarray) -> None:
        with mocked(coco(picture, [self.crowd, self.small, self.large])):
            _, labels = next(iter(kerasxai.data.training_pairs("coco/2017", "train", 8, 2, labels="single")))
        assert labels.numpy().tolist() == [9, 9]

    @pytest.mark.parametrize("objects", [[], [crowd]])
    def test_nothing_but_a_crowd_is_no_image(self, picture: np.ndarray, objects: list[Any]) -> None:
        with mocked(coco(picture, objects)):
            assert not list(kerasxai.data.load("coco/2017", split="train", image_size=16, labels="single"))


def test_cars_have_one_box(picture: np.ndarray) -> None:
    example = {"image": picture, "label": 195, "id": "00001", "bbox": tfds.features.BBox(*BOX)}
    with mocked(example):
        sample = first(kerasxai.data.load("cars196", split="test", image_size=None))
    assert set(sample) == {"image", "label", "name", "boxes"}
    assert sample["label"] == 195 and sample["name"] == b"00001"
    np.testing.assert_allclose(sample["boxes"], [XYXY])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_dogs_have_as_many_boxes_as_dogs(count: int, picture: np.ndarray) -> None:
    boxes = [tfds.features.BBox(0.25, 0.125 * i, 0.75, 0.5) for i in range(count)]
    example = {
        "image": picture,
        "image/filename": "n02085620_7.jpg",
        "label": 119,
        "objects": {"bbox": boxes or np.zeros((0, 4), np.float32)},
    }
    with mocked(example):
        batch = first(kerasxai.data.load("stanford_dogs", split="test", image_size=16, batch_size=2))
    assert batch["label"].tolist() == [119, 119]
    assert batch["boxes"].shape == (2, count, 4)
    for found in kerasxai.data.unpad_boxes(batch["boxes"]):
        np.testing.assert_allclose(found, np.array([[0.125 * i, 0.25, 0.5, 0.75] for i in range(count)]).reshape(-1, 4))


def test_a_mask_of_background_alone_has_no_box(picture: np.ndarray) -> None:
    trimap = np.full((8, 16, 1), 2, np.uint8)
    example = {
        "image": picture,
        "label": 0,
        "species": 0,
        "file_name": "cat.jpg",
        "segmentation_mask": trimap,
        "head_bbox": tfds.features.BBox(0.0, 0.0, 0.0, 0.0),
    }
    with mocked(example):
        sample = first(kerasxai.data.load("oxford_iiit_pet", split="test", image_size=None))
    assert sample["boxes"].shape == (0, 4) and not sample["mask"].any()


@pytest.mark.parametrize("read", [kerasxai.data.training_pairs, kerasxai.data.load])
def test_training_does_not_even_decode_boxes_and_masks(picture: np.ndarray, read: Callable[..., Any]) -> None:
    seen: list[set[str]] = []
    with mocked(birds(picture), seen):
        if read is kerasxai.data.load:
            sample = first(read("caltech_birds2011", split="test", with_annotations=False, image_size=8))
            assert set(sample) == {"image", "label", "name"}
        else:
            images, labels = next(iter(read("caltech_birds2011", "test", 8, 2)))
            assert images.shape == (2, 8, 8, 3) and labels.numpy().tolist() == [3, 3]
    assert seen == [{"image", "label", "image/filename"}]


@pytest.mark.parametrize("name", [name for name, row in DATASETS.items() if row.builder is None])
def test_every_row_fits_its_builder(name: str, tmp_path: Path) -> None:
    features = tfds.builder(name, data_dir=str(tmp_path)).info.features
    found = find_features(name, features, DATASETS[name])
    assert found.image == "image"
    assert len(found.class_names) > 1
    annotated = {"caltech_birds2011", "oxford_iiit_pet"}
    assert (found.mask is not None) == (name in annotated)
    assert (found.boxes is None) == (name in {"oxford_iiit_pet", "imagenet2012", "imagenet_v2"})


def test_groups_that_nobody_took_apart_are_found_without_a_row(tmp_path: Path) -> None:
    features = tfds.builder("open_images_v4/200k", data_dir=str(tmp_path)).info.features
    found = find_features("open_images_v4", features, DatasetRow(""))
    assert (found.label, found.boxes, found.crowds) == ("bobjects/label", "bobjects/bbox", "bobjects/is_group_of")


def test_instance_masks_are_found_in_the_sequence(tmp_path: Path) -> None:
    found = find_features("lvis", tfds.builder("lvis", data_dir=str(tmp_path)).info.features, DatasetRow(""))
    assert (found.label, found.boxes, found.mask) == ("objects/label", "objects/bbox", "objects/segmentation")


def test_features_that_are_not_enough_say_so() -> None:
    image, label = tfds.features.Image(), tfds.features.ClassLabel(num_classes=3)
    with pytest.raises(KerasxaiError, match="without class label; its features are: image"):
        find_features("x", tfds.features.FeaturesDict({"image": image}), DatasetRow(""))
    with pytest.raises(KerasxaiError, match=r"be the class label, or a row in DATASETS, got several \(one, two\)"):
        find_features("x", tfds.features.FeaturesDict({"image": image, "one": label, "two": label}), DatasetRow(""))
    chosen = tfds.features.FeaturesDict({"image": image, "one": label, "two": label})
    assert find_features("x", chosen, DatasetRow("", label="two")).label == "two"


def test_class_number_masks_have_255_for_ignored() -> None:
    features = {
        "image": tfds.features.Image(),
        "label": tfds.features.ClassLabel(num_classes=3),
        "segmentation": tfds.features.LabeledImage(labels=3, shape=(None, None, 1)),
    }
    found = find_features("x", tfds.features.FeaturesDict(features), DatasetRow(""))
    assert found.mask == "segmentation" and found.labeled_mask
    from kerasxai.data.masks import labeled, nonzero

    stored = tf.constant([[0, 1], [2, 255]], tf.uint8)
    assert labeled(stored).numpy().tolist() == [[0, 1], [1, 255]]
    assert nonzero(stored).numpy().tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize(
    ("box_format", "stored"),
    [
        ("REL_YXYX", [0.25, 0.125, 0.75, 0.5]),
        ("REL_XYXY", [0.125, 0.25, 0.5, 0.75]),
        ("YXYX", [2, 2, 6, 8]),
        ("XYXY", [2, 2, 8, 6]),
        ("XYWH", [2, 2, 6, 4]),
        ("REL_XYWH", [0.125, 0.25, 0.375, 0.5]),
    ],
)
def test_all_box_formats_of_tfds(box_format: str, stored: list[float], picture: np.ndarray) -> None:
    boxes = to_xyxy(tf.constant([stored], tf.float32), box_format, tf.constant(picture))
    np.testing.assert_allclose(boxes, [XYXY], atol=1e-6)


def test_boxes_are_cut_at_the_border_and_empty_ones_dropped(picture: np.ndarray) -> None:
    stored = tf.constant([[0.0, 0.0, 0.0, 0.0], [0.5, 0.5, 1.2, 0.75]])
    cut = to_xyxy(stored, "REL_YXYX", tf.constant(picture))
    np.testing.assert_allclose(cut, [[0.0] * 4, [0.5, 0.5, 0.75, 1.0]])
    np.testing.assert_allclose(without_empty(cut), [[0.5, 0.5, 0.75, 1.0]])


def test_other_kinds_of_images_become_rgb() -> None:
    assert to_rgb(tf.constant([[[7]]], tf.uint8)).numpy().tolist() == [[[7, 7, 7]]]
    assert to_rgb(tf.constant([[[65535], [257]]], tf.uint16)).numpy().tolist() == [[[255] * 3, [1] * 3]]
    assert to_rgb(tf.constant([[[10, 20, 30, 0], [10, 20, 30, 255]]], tf.uint8)).numpy().tolist() == [
        [[255, 255, 255], [10, 20, 30]]
    ]
    with pytest.raises(KerasxaiError, match="floating"):
        to_rgb(tf.constant([[[0.5]]]))


def test_splits_are_named() -> None:
    row = DatasetRow("")
    assert name_splits(["train", "validation", "test"], row) == {n: n for n in ("train", "validation", "test")}
    assert name_splits(["train", "test"], row)["validation"] == "train[90%:]"
    assert name_splits(["train"], row) == {
        "train": "train[:80%]",
        "validation": "train[80%:90%]",
        "test": "train[90%:]",
    }
    assert name_splits(["test"], row) == {"test": "test"}
    assert name_splits(["train", "validation", "test"], DATASETS["coco/2017"])["test"] == "validation"
    unlabeled = name_splits(["train", "validation", "test"], DATASETS["imagenet2012"])
    assert unlabeled == {"train": "train[:99%]", "validation": "train[99%:]", "test": "validation"}
    assert name_splits(["train", "validation", "test"], DATASETS["voc/2012"])["test"] == "validation[50%:]"


@pytest.mark.parametrize("name", ["voc/2012", "caltech_birds2011"])
def test_offline_a_missing_data_set_is_one_clear_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "create_connection", refuse)
    for variable in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(KerasxaiError) as raised:
        kerasxai.data.load(name, data_dir=tmp_path)
    assert "\n" not in str(raised.value)
    assert name in str(raised.value) and "no network" in str(raised.value)


def test_a_failing_download_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kerasxai.data import preparing

    class Builder:
        data_dir = str(tmp_path)

        def is_prepared(self) -> bool:
            return False

        def download_and_prepare(self) -> None:
            raise RuntimeError("the server says no\nand much more")

    with pytest.raises(KerasxaiError, match=r"cannot download and prepare .*'cars196'.*the server says no$"):
        preparing.prepare(Builder(), "cars196")


def test_unknown_names_and_splits(picture: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(
        KerasxaiError, match="expected a known data set or folder, got 'caltech_bird2011'; nearest: caltech_birds2011"
    ):
        kerasxai.data.load("caltech_bird2011")
    with pytest.raises(KerasxaiError, match="expected an existing folder"):
        kerasxai.data.load(str(tmp_path / "nothing"))
    with pytest.raises(KerasxaiError, match="cannot open 'voc/1066'"):
        kerasxai.data.load("voc/1066", data_dir=tmp_path)
    with pytest.raises(KerasxaiError, match="cannot read the boxes in"):
        kerasxai.data.load("cars196", boxes_csv="boxes.csv")


def test_the_table_imports_neither_tensorflow_nor_tfds() -> None:
    import subprocess

    code = "import sys, kerasxai.data; kerasxai.data.DATASETS; print([m for m in sys.modules if 'tensorflow' in m])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

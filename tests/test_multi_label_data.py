"""Several labels an image: TFDS features by their types, shapes_two, class masks in files, and what training reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image
from test_catalog import coco, first, mocked, tensors, voc

import kerasxai.data
from kerasxai.data import DatasetRow
from kerasxai.data.choosing import rarest_class, spread_over_classes
from kerasxai.data.class_masks import ClassMasks
from kerasxai.data.samples import samples
from kerasxai.data.shapes.forms import FORMS
from kerasxai.data.shapes.pairs import draw_pair
from kerasxai.data.shapes.pairs_builder import example
from kerasxai.data.tfds_features import _flat, find_features
from kerasxai.tools.errors import KerasxaiError


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(8, 16, 3), dtype=np.uint8)


@pytest.fixture
def cars(picture: np.ndarray) -> dict[str, Any]:
    """A difficult car (6), two buses (5) of which one is difficult, and a difficult person (14)."""
    boxes = [[0.0, 0.0, 0.25, 0.25], [0.25, 0.25, 0.75, 0.5], [0.5, 0.5, 1.0, 1.0], [0.0, 0.5, 0.5, 1.0]]
    found = voc(picture, boxes, [6, 5, 5, 14])
    found["objects"]["is_difficult"] = [True, False, True, True]
    return found


class TestTfds:
    @pytest.mark.parametrize("name", ["voc", "voc/2007", "voc/2012"])
    def test_voc_has_labels_boxes_and_difficult_flags(self, name: str, cars: dict[str, Any]) -> None:
        with mocked(cars):
            info = kerasxai.data.info(name)
            sample = first(kerasxai.data.load(name, "train", None))
        assert info.multi_label and info.has_boxes and not info.has_masks and not info.has_class_masks
        expected = np.zeros(20, np.float32)
        expected[[5, 6, 14]] = 1, -1, -1
        np.testing.assert_array_equal(sample["labels"], expected)
        assert set(sample) == {"image", "name", "labels", "boxes", "box_labels", "box_difficult"}
        np.testing.assert_allclose(sample["boxes"][1], [0.25, 0.25, 0.5, 0.75])
        assert sample["box_labels"].tolist() == [6, 5, 5, 14] and sample["box_labels"].dtype == np.int64
        assert sample["box_difficult"].tolist() == [True, False, True, True]

    @pytest.mark.parametrize("name", ["coco", "coco/2014", "coco/2017"])
    def test_a_crowd_is_a_label_and_no_box(self, name: str, picture: np.ndarray) -> None:
        crowd, dog = ([0.0, 0.0, 1.0, 1.0], 5, True), ([0.5, 0.0, 0.75, 0.25], 7, False)
        with mocked(coco(picture, [crowd, dog])):
            sample = first(kerasxai.data.load(name, "train", None))
        assert np.flatnonzero(sample["labels"]).tolist() == [5, 7]
        assert sample["box_labels"].tolist() == [7] and not sample["box_difficult"].any()

    def test_an_image_without_objects_has_no_class(self, picture: np.ndarray) -> None:
        with mocked(coco(picture, [])):
            sample = first(kerasxai.data.load("coco/2017", "train", 8))
            assert not sample["labels"].any() and sample["boxes"].shape == (0, 4)
            assert kerasxai.data.read_labels("coco/2017", "test").shape == (2, 80)

    def test_one_label_an_image_becomes_a_row(self, picture: np.ndarray) -> None:
        dogs = {
            "image": picture,
            "image/filename": "n02085620_7.jpg",
            "label": 119,
            "objects": {"bbox": [tfds.features.BBox(0.25, 0.125, 0.75, 0.5)]},
        }
        with mocked(dogs):
            assert not kerasxai.data.info("stanford_dogs").multi_label
            sample = first(kerasxai.data.load("stanford_dogs", "test", None, labels="multi"))
        assert np.flatnonzero(sample["labels"]).tolist() == [119] and sample["box_labels"].tolist() == [119]

    @pytest.mark.parametrize("name", ["voc/2007", "coco/2017"])
    def test_training_does_not_even_decode_annotations(self, name: str, cars: dict[str, Any]) -> None:
        asked: list[set[str]] = []

        def as_dataset(builder: Any, split: Any, decoders: Any = None, **_: Any) -> tf.data.Dataset:
            features = decoders.extract_features(builder.info.features)
            asked.append({"/".join(path) for path, _ in _flat(features)})
            example = cars if name.startswith("voc") else coco(cars["image"], [([0.5, 0.0, 0.75, 0.25], 7, False)])
            return tf.data.Dataset.from_tensors(tensors(example, features.tf_dtype)).repeat(2)

        with tfds.testing.mock_data(as_dataset_fn=as_dataset):
            images, labels = next(iter(kerasxai.data.training_pairs(name, "train", 8, 2)))
        assert images.shape == (2, 8, 8, 3) and labels.dtype == tf.float32 and labels.shape[0] == 2
        difficult = {"objects/is_difficult"} if name.startswith("voc") else set()
        assert asked == [{"image", "image/filename", "objects/label"} | difficult]

    def test_features_are_found_by_their_types(self) -> None:
        names = ["cat", "dog"]
        image, label = tfds.features.Image(), tfds.features.ClassLabel(names=names)
        sequence = tfds.features.Sequence(tfds.features.ClassLabel(names=names))
        alone = tfds.features.FeaturesDict({"image": image, "tags": sequence})
        found = find_features("x", alone, DatasetRow(""), "auto")
        assert (found.label, found.multi, found.class_names, found.boxes) == ("tags", True, ("cat", "dog"), None)
        with pytest.raises(KerasxaiError, match=r"without class label.*; open it with labels='multi'"):
            find_features("x", alone, DatasetRow(""), "single")
        both = tfds.features.FeaturesDict({"image": image, "tags": sequence, "label": label})
        assert not find_features("x", both, DatasetRow(""), "auto").multi
        assert find_features("x", both, DatasetRow(""), "multi").label == "tags"
        with pytest.raises(KerasxaiError, match="expected a known reading of labels, got 'many'"):
            find_features("x", both, DatasetRow(""), "many")

    @pytest.mark.parametrize(
        ("labels", "offset"), [(["cat", "dog"], 1), (["background", "cat", "dog"], 0), (3, 0), (7, None)]
    )
    def test_labeled_images_are_class_masks(self, labels: Any, offset: int | None) -> None:
        features = {
            "image": tfds.features.Image(),
            "tags": tfds.features.Sequence(tfds.features.ClassLabel(names=["cat", "dog"])),
            "pixels": tfds.features.LabeledImage(labels=labels, shape=(None, None, 1)),
        }
        found = find_features("x", tfds.features.FeaturesDict(features), DatasetRow(""), "auto")
        assert found.class_mask == (None if offset is None else "pixels")
        assert found.class_mask_offset == (offset or 0) and found.mask is None

    def test_all_rows_are_read_with_several_labels(self, tmp_path: Path) -> None:
        for name, row in kerasxai.data.DATASETS.items():
            if row.builder is None:
                features = tfds.builder(name, data_dir=str(tmp_path)).info.features
                auto, multi = (find_features(name, features, row, labels) for labels in ("auto", "multi"))
                assert multi.multi and auto.multi == name.startswith(("voc", "coco"))
                assert (multi.difficult is not None) == name.startswith("voc")
        features = tfds.builder("open_images_v4/200k", data_dir=str(tmp_path)).info.features
        assert find_features("open_images_v4", features, DatasetRow(""), "auto").label == "bobjects/label"


class TestShapesTwo:
    @pytest.fixture
    def drawn(self) -> Iterator[tuple[dict[str, Any], Any]]:
        one = example((5,), "test") | {"file_name": "test-0005.png"}
        for name in ("objects", "questions"):
            one[name] = {key: [row[key] for row in one[name]] for key in one[name][0]}
        with mocked(one):
            yield one, draw_pair((5,), "test", 160)

    def test_forms_are_the_classes_and_annotations_are_exact(self, drawn: tuple[dict[str, Any], Any]) -> None:
        _, pair = drawn
        info = kerasxai.data.info("shapes_two")
        assert info.multi_label and info.class_names == FORMS and info.has_boxes and info.has_class_masks
        sample = first(kerasxai.data.load("shapes_two", "test", None))
        forms = pair.layout.forms
        assert sorted(np.flatnonzero(sample["labels"] == 1)) == sorted(forms) and sample["labels"].sum() == 2
        assert sample["box_labels"].tolist() == forms.tolist()
        np.testing.assert_allclose(sample["boxes"], pair.scene.boxes, atol=1e-6)
        expected = np.zeros((160, 160), np.uint8)
        for form, mask in zip(forms, pair.scene.part_masks, strict=True):
            expected[mask > 0] = form + 1
        np.testing.assert_array_equal(sample["class_mask"], expected)
        assert "mask" not in sample and "label" not in sample

    def test_one_label_is_read_as_before(self, drawn: tuple[dict[str, Any], Any]) -> None:
        sample = first(kerasxai.data.load("shapes_two", "test", None, labels="single"))
        assert set(sample) == {"image", "name", "label", "boxes", "mask"} and sample["label"] in drawn[1].layout.forms

    @pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
    def test_class_masks_are_fitted_as_masks_are(self, fit: str, drawn: tuple[dict[str, Any], Any]) -> None:
        several = first(kerasxai.data.load("shapes_two", "test", (64, 96), fit=fit))
        one = first(kerasxai.data.load("shapes_two", "test", (64, 96), fit=fit, labels="single"))
        of_label = np.where(one["mask"] == 1, one["label"] + 1, one["mask"])
        same = (several["class_mask"] == one["label"] + 1) | (several["class_mask"] == 255)
        np.testing.assert_array_equal(same, of_label > 0)
        np.testing.assert_array_equal(several["class_mask"][same], of_label[same])
        assert several["class_mask"].shape == (64, 96)


def test_boxes_cut_off_by_a_fit_take_their_labels_along(picture: np.ndarray) -> None:
    outside, inside = ([0.0, 0.0, 1.0, 0.2], 5, False), ([0.25, 0.375, 0.75, 0.625], 7, False)
    with mocked(coco(picture, [outside, inside])):
        batch = first(kerasxai.data.load("coco/2017", "train", 16, batch_size=2, fit="crop"))
    assert batch["box_labels"].tolist() == [[7], [7]]
    np.testing.assert_allclose(batch["boxes"], [[[0.25, 0.25, 0.75, 0.75]]] * 2)


def test_batches_are_padded_and_samples_are_not() -> None:
    rows: list[dict[str, np.ndarray]] = [
        {
            "image": np.zeros((4, 4, 3), np.uint8),
            "labels": np.ones(2, np.float32),
            "boxes": np.full((k, 4), 0.5, np.float32),
            "box_labels": np.arange(k),
            "box_difficult": np.ones(k, np.bool_),
        }
        for k in (2, 1)
    ]
    from kerasxai.data.batching import padded_batches, set_shapes

    kinds = {name: tf.TensorSpec((None, *value.shape[1:]), value.dtype) for name, value in rows[0].items()}
    dataset = tf.data.Dataset.from_generator(lambda: rows, output_signature=kinds)
    batches = padded_batches(dataset.map(lambda row: set_shapes(row, 4)), 2)
    batch = first(batches)
    assert batch["box_labels"].tolist() == [[0, 1], [0, -1]]
    assert batch["box_difficult"].tolist() == [[True, True], [True, False]]
    names = ("image", "boxes", "box_labels", "box_difficult", "labels")
    found = list(samples(batches, names))
    assert [sample["box_labels"].tolist() for sample in found] == [[0, 1], [0]]
    assert [len(sample["box_difficult"]) for sample in found] == [2, 1] and found[1]["labels"].tolist() == [1, 1]


def test_pictures_are_spread_over_the_rarest_classes() -> None:
    labels = np.array([[1, 0, -1]] * 6 + [[1, 1, 0], [0, 0, -1]])
    assert rarest_class(labels).tolist() == [0] * 6 + [1, -1]
    assert {6, 7} < set(spread_over_classes(labels, 3).tolist())


def test_given_labels_of_all_classes_replace_those_of_the_data(picture: np.ndarray) -> None:
    given = np.zeros((2, 80), np.float32)
    given[0] = -1
    given[1, 3] = 1
    with mocked(coco(picture, [([0.5, 0.0, 0.75, 0.25], 7, False)])):
        dataset = kerasxai.data.open("coco/2017")
        assert isinstance(dataset.info.splits, dict)
        dataset.info.splits["train"] = 2
        settings = kerasxai.data.PairSettings(8, None)
        (pair,) = dataset.training_pairs("train", settings, labels=given).as_numpy_iterator()
        np.testing.assert_array_equal(pair[1], given[1])
        with pytest.raises(KerasxaiError, match="one label for each of 2 samples"):
            dataset.training_pairs("train", settings, labels=[1, 2])


class TestClassMasks:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for kind in ("cat", "dog"):
            for number in range(6):
                path = tmp_path / "images" / kind / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((8, 12, 3), number, np.uint8)).save(path)
        return tmp_path

    def masks(self, folder: Path, mask: np.ndarray, *names: str, mode: str = "P") -> Path:
        for name in names:
            path = folder / "masks" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(mask)
            if mode == "P":
                image.putpalette(list(np.random.default_rng(0).permutation(256)) * 3)
            image.save(path)
        return folder / "masks"

    def test_they_are_joined_by_name_and_never_trained_on(self, folder: Path) -> None:
        mask = np.zeros((8, 12), np.uint8)
        mask[:4], mask[:, :2] = 1, 255
        masks = self.masks(folder, mask, *(f"cat/{number}.png" for number in range(6)))
        dataset = kerasxai.data.open(folder / "images", class_masks=masks)
        assert dataset.info.multi_label and dataset.info.has_class_masks
        found = {sample["name"]: sample for sample in dataset.samples("train", None).as_numpy_iterator()}
        for name, sample in found.items():
            is_cat = name.startswith(b"cat")
            np.testing.assert_array_equal(sample["class_mask"], mask if is_cat else np.full_like(mask, 255))
            assert sample["labels"].tolist() == [is_cat, not is_cat]
        plain = dataset.samples("train", 8, with_annotations=False)
        assert set(plain.element_spec) == {"image", "labels", "name"}
        images, labels = next(iter(dataset.training_pairs("train", kerasxai.data.PairSettings(8, batch_size=4))))
        assert images.shape == (4, 8, 8, 3) and labels.shape == (4, 2)

    def test_mistakes_are_one_line(self, folder: Path) -> None:
        images, mask = folder / "images", np.zeros((8, 12), np.uint8)
        with pytest.raises(KerasxaiError, match="expected a folder of class masks"):
            kerasxai.data.open(images, class_masks=folder / "none")
        masks = self.masks(folder, mask, "x.png")
        with pytest.raises(KerasxaiError, match=r"with the names of images in .*, got none: a mask is x\.png"):
            kerasxai.data.open(images, class_masks=masks)
        self.masks(folder, mask, "cat/1.png")
        with pytest.raises(KerasxaiError, match="labels must be 'multi' or 'auto' with class_masks"):
            kerasxai.data.open(images, class_masks=masks, labels="single")
        masks = self.masks(folder, mask, "1.png")
        (masks / "cat/1.png").unlink()
        with pytest.raises(KerasxaiError, match=r"one image for each class mask, got cat/1\.png and dog/1\.png for 1"):
            kerasxai.data.open(images, class_masks=masks)
        (masks / "1.png").unlink()
        self.masks(folder, np.full((8, 12), 3, np.uint8), "cat/1.png")
        with pytest.raises(KerasxaiError, match="class numbers up to 2 in a class mask of 2 classes, got 3 in"):
            kerasxai.data.open(images, class_masks=masks)
        self.masks(folder, mask[:, :4], "cat/1.png")
        with pytest.raises(KerasxaiError, match=r"of the size of its image, 12 x 8, got .* of 4 x 8"):
            kerasxai.data.open(images, class_masks=masks)
        self.masks(folder, np.zeros((8, 12, 3), np.uint8), "cat/1.png", mode="RGB")
        with pytest.raises(KerasxaiError, match=r"expected a palette or gray PNG as class mask, got .* of mode RGB"):
            kerasxai.data.open(images, class_masks=masks)

    def test_they_join_a_data_set_by_its_file_names(self, tmp_path: Path, cars: dict[str, Any]) -> None:
        mask = np.zeros((8, 16), np.uint8)
        mask[2:4] = 6
        masks = self.masks(tmp_path, mask, "000001.png", mode="L")
        with mocked(cars):
            sample = first(kerasxai.data.load("voc/2012", "train", None, class_masks=masks))
        np.testing.assert_array_equal(sample["class_mask"], mask)
        other = self.masks(tmp_path / "more", mask, "000002.png", mode="L")
        found = ClassMasks(other, 20)
        found.check_names(["000001.jpg", "000002.jpg"])
        with pytest.raises(KerasxaiError, match=r"got none: a mask is 000002\.png, an image 000001\.jpg"):
            found.check_names(["000001.jpg"])

    def test_they_replace_the_masks_of_a_data_set_and_not_its_boxes(self, tmp_path: Path, picture: np.ndarray) -> None:
        trimap = np.full((8, 16, 1), 2, np.uint8)
        trimap[2:6, 4:10] = 1
        pet = {
            "image": picture,
            "label": 30,
            "species": 1,
            "file_name": "pug_7.jpg",
            "segmentation_mask": trimap,
            "head_bbox": tfds.features.BBox(0.25, 0.125, 0.75, 0.5),
        }
        mask = np.full((8, 16), 31, np.uint8)
        masks = self.masks(tmp_path, mask, "pug_7.png")
        with mocked(pet):
            own = first(kerasxai.data.load("oxford_iiit_pet", "test", None, labels="multi"))
            other = first(kerasxai.data.load("oxford_iiit_pet", "test", None, class_masks=masks))
        np.testing.assert_array_equal(own["class_mask"], np.where(trimap[..., 0] == 1, 31, 0))
        np.testing.assert_array_equal(other["class_mask"], mask)
        for sample in (own, other):
            np.testing.assert_allclose(sample["boxes"], [[4 / 16, 2 / 8, 10 / 16, 6 / 8]])
            assert sample["box_labels"].tolist() == [30]

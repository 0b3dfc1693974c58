"""Folders, boxes from CSV, loading and training pairs."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kerasxai.data
from kerasxai.data import read_image
from kerasxai.data.folder import drawn_split
from kerasxai.evaluation.data_check import drawn_split_note, split_line
from kerasxai.tools.errors import KerasxaiError

RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, size=(6, 9, 3), dtype=np.uint8)


def write(path: Path, pixels: np.ndarray | Image.Image = COLORS, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders alone: 20 cats, 30 dogs, of several sizes and modes, and files that are no images."""
    root = tmp_path_factory.mktemp("animals")
    for class_name, count in (("cat", 20), ("dog", 30)):
        for index in range(count):
            pixels = np.full((8 + index, 20, 3), index * 8, np.uint8)
            write(root / class_name / f"{index:02d}.{'jpg' if index % 2 else 'png'}", pixels)
    (root / "README.txt").write_text("not an image")
    (root / ".hidden").mkdir()
    write(root / ".hidden" / "x.png")
    return root


def names(root: Path, split: str, **options: Any) -> list[str]:
    dataset = kerasxai.data.load(root, split, 8, **options)
    return [sample["name"].decode() for sample in dataset.as_numpy_iterator()]


class TestFolder:
    def test_class_folders_are_split_class_by_class(self, folder: Path) -> None:
        info = kerasxai.data.info(folder)
        assert info.class_names == ("cat", "dog") and info.num_classes == 2
        assert info.splits == {"train": 40, "validation": 5, "test": 5}
        assert not info.has_boxes and not info.has_masks
        splits = {split: names(folder, split) for split in info.splits}
        together = sorted(name for found in splits.values() for name in found)
        assert together == sorted(path.relative_to(folder).as_posix() for path in folder.glob("[cd]*/*"))
        assert [name[:3] for name in splits["test"]] == ["cat"] * 2 + ["dog"] * 3
        assert splits["test"] == names(folder, "test")
        assert splits["test"] != names(folder, "test", split_seed=1)

    def test_samples_are_what_the_files_hold(self, folder: Path) -> None:
        for sample in kerasxai.data.load(folder, "test", None).as_numpy_iterator():
            name = sample["name"].decode()
            np.testing.assert_array_equal(sample["image"], read_image(folder / name))
            assert sample["label"] == ["cat", "dog"].index(name.split("/")[0])
            assert set(sample) == {"image", "label", "name"}

    def test_split_folders(self, tmp_path: Path) -> None:
        for split, count in (("train", 10), ("val", 2), ("test", 3)):
            for class_name in "ab":
                for index in range(count):
                    write(tmp_path / split / class_name / f"{index}.png")
        assert kerasxai.data.info(tmp_path).splits == {"train": 20, "validation": 4, "test": 6}
        assert names(tmp_path, "val") == names(tmp_path, "validation")
        with pytest.raises(KerasxaiError, match=r"expected a known split .*, got 'tset'; nearest: test"):
            kerasxai.data.load(tmp_path, "tset")

    def test_a_missing_validation_split_is_held_out(self, tmp_path: Path) -> None:
        for split in ("train", "test"):
            for class_name in "ab":
                for index in range(10):
                    write(tmp_path / split / class_name / f"{index}.png")
        assert kerasxai.data.info(tmp_path).splits == {"train": 18, "test": 20, "validation": 2}

    def test_bad_folders_are_one_clear_line(self, tmp_path: Path) -> None:
        with pytest.raises(KerasxaiError, match="expected images"):
            kerasxai.data.load(tmp_path)
        write(tmp_path / "only" / "a.png")
        with pytest.raises(KerasxaiError, match=r"expected two or more classes, got one \(only\)"):
            kerasxai.data.load(tmp_path)
        write(tmp_path / "b.png")
        with pytest.raises(KerasxaiError, match="must all be class/image"):
            kerasxai.data.load(tmp_path)
        with pytest.raises(KerasxaiError, match="got the file"):
            kerasxai.data.load(tmp_path / "b.png")

    def test_splits_without_classes(self, tmp_path: Path) -> None:
        write(tmp_path / "train" / "a.png")
        write(tmp_path / "test" / "a.png")
        with pytest.raises(KerasxaiError, match="no class folders in test/"):
            kerasxai.data.load(tmp_path)

    def test_a_corrupt_image_is_named_before_anything_begins(self, tmp_path: Path) -> None:
        for class_name in "ab":
            for index in range(4):
                write(tmp_path / class_name / f"{index}.jpg", RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        broken = tmp_path / "b" / "2.jpg"
        broken.write_bytes(broken.read_bytes()[:500])
        raised = []
        for split in ("train", "validation", "test"):
            try:
                kerasxai.data.load(tmp_path, split)
            except KerasxaiError as error:
                raised.append(str(error))
        assert len(raised) == 1 and str(broken) in raised[0] and "corrupt" in raised[0]


def boxes_csv(path: Path, rows: list[tuple[Any, ...]], header: str = "filename,x_min,y_min,x_max,y_max") -> Path:
    with path.open("w", newline="") as file:
        file.write(header + "\n")
        csv.writer(file).writerows(rows)
    return path


class TestBoxes:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        for class_name in "ab":
            for index in range(4):
                write(tmp_path / "images" / "test" / class_name / f"{index}.png")
        return tmp_path / "images"

    def found(self, root: Path, path: Path) -> dict[str, np.ndarray]:
        dataset = kerasxai.data.load(root, "test", 8, boxes_csv=path)
        return {sample["name"].decode(): sample["boxes"] for sample in dataset.as_numpy_iterator()}

    def test_pixels(self, root: Path, tmp_path: Path) -> None:
        rows = [("test/a/0.png", 0, 0, 9, 6), ("test/a/1.png", 3, 1, 6, 3), ("test/a/1.png", 0, 0, 4.5, 3)]
        found = self.found(root, boxes_csv(tmp_path / "boxes.csv", rows))
        np.testing.assert_allclose(found["test/a/0.png"], [[0, 0, 1, 1]])
        np.testing.assert_allclose(found["test/a/1.png"], [[3 / 9, 1 / 6, 6 / 9, 3 / 6], [0, 0, 0.5, 0.5]])
        assert found["test/b/0.png"].shape == (0, 4)
        assert kerasxai.data.info(root, boxes_csv=tmp_path / "boxes.csv").has_boxes

    def test_relative_numbers_spaces_and_further_columns(self, root: Path, tmp_path: Path) -> None:
        header = "x_min, y_min, x_max, y_max, filename, note"
        path = boxes_csv(tmp_path / "boxes.csv", [(0.1, 0.2, 0.5, 1.0, "test/b/3.png", "hm")], header)
        np.testing.assert_allclose(self.found(root, path)["test/b/3.png"], [[0.1, 0.2, 0.5, 1.0]])

    def test_rotated_images_count_as_they_are_shown(self, root: Path, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        write(root / "test" / "a" / "0.png", COLORS, exif=exif)
        path = boxes_csv(tmp_path / "boxes.csv", [("test/a/0.png", 0, 0, 6, 9)])
        np.testing.assert_allclose(self.found(root, path)["test/a/0.png"], [[0, 0, 1, 1]])

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            (
                [("test/a/9.png", 0, 0, 1, 1)],
                r"line 2: expected a known image, got 'test/a/9.png'; nearest: test/a/3.png",
            ),
            ([("test/a/0.png", 0, 0, 2, 3), ("test/a/1.png", 0, 0, "x", 1)], "line 3: x_max must be a number, got 'x'"),
            ([("test/a/0.png", 0, 0, 2)], "line 2: y_max must be a number, got None"),
            ([("test/a/0.png", 5, 0, 5, 3)], "line 2: expected a box with an area, got x 5 to 5"),
            ([("test/a/0.png", 5, 0, 10, 3)], r"line 2: expected a box inside the image of 9 x 6, got \(5, 0, 10, 3\)"),
            ([("test/a/0.png", -1, 0, 10, 3)], "line 2: expected a box inside the image"),
            ([("test/a/0.png", "nan", 0, 10, 3)], "line 2: x_min must be a number, got 'nan'"),
            ([], "no boxes"),
        ],
    )
    def test_errors_name_the_line(self, rows: list, message: str, root: Path, tmp_path: Path) -> None:
        path = boxes_csv(tmp_path / "boxes.csv", rows)
        with pytest.raises(KerasxaiError, match=message):
            kerasxai.data.load(root, "test", boxes_csv=path)

    def test_missing_columns_and_files(self, root: Path, tmp_path: Path) -> None:
        path = boxes_csv(tmp_path / "boxes.csv", [], "filename,x,y")
        with pytest.raises(KerasxaiError, match="got one without x_min, y_min, x_max, y_max"):
            kerasxai.data.load(root, "test", boxes_csv=path)
        with pytest.raises(KerasxaiError, match="cannot read the boxes"):
            kerasxai.data.load(root, "test", boxes_csv=tmp_path / "none.csv")

    def test_batches_are_filled_up_and_can_be_taken_apart(self, root: Path, tmp_path: Path) -> None:
        rows = [("test/a/1.png", 3, 1, 6, 3), ("test/a/1.png", 0, 0, 4.5, 3), ("test/b/0.png", 0, 0, 9, 6)]
        path = boxes_csv(tmp_path / "boxes.csv", rows)
        batch = next(iter(kerasxai.data.load(root, "test", 8, batch_size=8, boxes_csv=path)))
        assert batch["boxes"].shape == (8, 2, 4)
        single = self.found(root, path)
        for name, found in zip(batch["name"].numpy(), kerasxai.data.unpad_boxes(batch["boxes"]), strict=True):
            np.testing.assert_array_equal(found, single[name.decode()])
        with pytest.raises(KerasxaiError, match="give an image_size"):
            kerasxai.data.load(root, "test", None, batch_size=2)


@pytest.fixture(scope="module")
def shapes_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    from kerasxai.data.shapes import builder

    data_dir = tmp_path_factory.mktemp("tfds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "COUNTS", {"train": 24, "validation": 8, "test": 8})
        kerasxai.data.info("shapes", data_dir=data_dir)
        yield data_dir


class TestShapes:
    def test_info(self, shapes_dir: Path) -> None:
        info = kerasxai.data.info("shapes", data_dir=shapes_dir)
        assert info.num_classes == 8 and info.class_names[1] == "spotted arrow"
        assert info.splits == {"train": 24, "validation": 8, "test": 8}
        assert info.has_boxes and info.has_masks and info.has_parts and info.feature_stride == 8

    def test_a_sample(self, shapes_dir: Path) -> None:
        for sample in kerasxai.data.load("shapes", "test", 160, data_dir=shapes_dir).as_numpy_iterator():
            assert sample["image"].shape == (160, 160, 3)
            np.testing.assert_array_equal(sample["mask"], sample["part_mask"] > 0)
            rows, columns = np.nonzero(sample["mask"])
            box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]) / 160
            np.testing.assert_allclose(sample["boxes"], box, atol=1e-6)
            assert sample["name"].decode().startswith("test-")

    def test_tfds_split_expressions(self, shapes_dir: Path) -> None:
        assert len(list(kerasxai.data.load("shapes", "train[:6]", 16, data_dir=shapes_dir))) == 6
        for split in ("trian", "train[:x]"):
            with pytest.raises(KerasxaiError, match="split"):
                kerasxai.data.load("shapes", split, 16, data_dir=shapes_dir)

    def test_shuffling_is_a_function_of_the_seed(self, shapes_dir: Path) -> None:
        def order(**options: Any) -> list[bytes]:
            dataset = kerasxai.data.load("shapes", "train", 8, data_dir=shapes_dir, **options)
            return [sample["name"] for sample in dataset.as_numpy_iterator()]

        assert order() == order()
        assert order(shuffle=True, seed=1) == order(shuffle=True, seed=1)
        assert order(shuffle=True, seed=1) != order(shuffle=True, seed=2)
        assert sorted(order(shuffle=True)) == sorted(order())

    def test_a_folder_called_like_a_data_set(self, shapes_dir: Path, tmp_path: Path) -> None:
        for class_name in "ab":
            write(tmp_path / "shapes" / "train" / class_name / "1.png")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            assert kerasxai.data.info("./shapes").class_names == ("a", "b")
            assert kerasxai.data.info("shapes", data_dir=shapes_dir).num_classes == 8

    def test_a_disk_that_refuses_is_one_clear_line(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(KerasxaiError, match="cannot make the data set 'shapes'") as raised:
            kerasxai.data.load("shapes", data_dir=tmp_path / "file")
        assert "\n" not in str(raised.value)


class TestTrainingPairs:
    def pairs(self, shapes_dir: Path, passes: int = 1, **options: Any) -> list[tuple[np.ndarray, np.ndarray]]:
        dataset = kerasxai.data.training_pairs("shapes", "train", 32, 10, data_dir=shapes_dir, **options)
        return [pair for _ in range(passes) for pair in dataset.as_numpy_iterator()]

    def test_there_are_images_and_labels_and_nothing_else(self, shapes_dir: Path) -> None:
        dataset = kerasxai.data.training_pairs("shapes", "train", 32, 10, data_dir=shapes_dir)
        image, label = dataset.element_spec
        assert image.shape.as_list() == [None, 32, 32, 3] and image.dtype == "float32"
        assert label.shape.as_list() == [None] and label.dtype == "int64"
        pairs = self.pairs(shapes_dir)
        assert [len(labels) for _, labels in pairs] == [10, 10, 4]
        assert sorted(np.concatenate([labels for _, labels in pairs])) == sorted([*range(8)] * 3)
        assert max(images.max() for images, _ in pairs) > 200
        assert len(self.pairs(shapes_dir, drop_remainder=True)) == 2

    def test_images_are_those_of_load(self, shapes_dir: Path) -> None:
        (images, labels), *_ = self.pairs(shapes_dir, shuffle=False)
        batch = next(iter(kerasxai.data.load("shapes", "train", 32, batch_size=10, data_dir=shapes_dir)))
        np.testing.assert_array_equal(images, batch["image"])
        np.testing.assert_array_equal(labels, batch["label"])

    def test_a_square_is_cut_from_images_resized_larger(self, shapes_dir: Path) -> None:
        batch = next(iter(kerasxai.data.load("shapes", "train", 40, batch_size=24, data_dir=shapes_dir)))
        large = batch["image"].numpy().astype(np.float32)
        pairs = self.pairs(shapes_dir, shuffle=False, resize=40)
        cut = np.concatenate([images for images, _ in pairs])
        assert cut.shape == (24, 32, 32, 3)
        views = np.lib.stride_tricks.sliding_window_view(large, (32, 32), axis=(1, 2))  # (24, 9, 9, 3, 32, 32)
        same = (views == np.moveaxis(cut, -1, 1)[:, None, None]).all((3, 4, 5))
        assert same.any((1, 2)).all(), "what comes out is no part of the image"
        assert len({tuple(np.argwhere(one)[0]) for one in same}) > 10, "the places are not at random"
        np.testing.assert_array_equal(self.pairs(shapes_dir, resize=32)[0][0], self.pairs(shapes_dir)[0][0])
        with pytest.raises(KerasxaiError, match="resize must be 32 or more, the image_size, got 31"):
            self.pairs(shapes_dir, resize=31)

    @pytest.mark.parametrize(
        "options", [{}, {"flip": True, "crop": 0.6}, {"cache": True, "flip": True}, {"resize": 40, "cache": True}]
    )
    def test_two_passes_are_a_function_of_the_seed(self, options: dict[str, Any], shapes_dir: Path) -> None:
        first, again = (self.pairs(shapes_dir, passes=2, seed=3, **options) for _ in range(2))
        for (images, labels), (same_images, same_labels) in zip(first, again, strict=True):
            np.testing.assert_array_equal(images, same_images)
            np.testing.assert_array_equal(labels, same_labels)
        other = self.pairs(shapes_dir, seed=4, **options)
        assert not np.array_equal(other[0][0], first[0][0])
        assert not np.array_equal(first[0][0], first[3][0]), "the second pass has the order of the first"

    def test_flips_mirror_and_crops_enlarge(self, shapes_dir: Path) -> None:
        import tensorflow as tf

        from kerasxai.data.training import augment

        image = tf.cast(tf.reshape(tf.range(16 * 16 * 3), (16, 16, 3)), tf.float32)
        seen = set()
        for seed in range(20):
            flipped = augment(image, tf.constant([seed, 1], tf.int64), flip=True, crop=1.0).numpy()
            seen.add(
                1 if np.array_equal(flipped, image) else -1 if np.array_equal(flipped, image.numpy()[:, ::-1]) else 0
            )
            cropped = augment(image, tf.constant([seed, 1], tf.int64), flip=False, crop=0.5).numpy()
            assert cropped.shape == (16, 16, 3)
            rise = (cropped[-1, 0, 0] - cropped[0, 0, 0]) / (image[-1, 0, 0] - image[0, 0, 0])
            assert 0.5 <= rise <= 1.0
            assert cropped.min() >= 0.0 and cropped.max() <= 16 * 16 * 3
        assert seen == {1, -1}

    @pytest.mark.parametrize("crop", [0.0, -1.0, 1.5])
    def test_a_crop_that_cannot_be(self, crop: float, shapes_dir: Path) -> None:
        with pytest.raises(KerasxaiError, match="crop must be a number, above 0 and at most 1, got"):
            kerasxai.data.training_pairs("shapes", crop=crop, data_dir=shapes_dir)

    def test_from_a_folder(self, folder: Path) -> None:
        first, again = (
            list(kerasxai.data.training_pairs(folder, "train", 8, 40, seed=1).as_numpy_iterator()) for _ in range(2)
        )
        np.testing.assert_array_equal(first[0][0], again[0][0])
        assert set(first[0][1][:20]) == {0, 1}, "classes are not mixed"


class TestOpen:
    def test_one_data_set_serves_all_readers(self, folder: Path) -> None:
        dataset = kerasxai.data.open(folder)
        assert dataset.info == kerasxai.data.info(folder)
        batch = next(iter(dataset.batches("test", 8, 4)))
        same = next(iter(kerasxai.data.load(folder, "test", 8, batch_size=4)))
        sample = next(iter(dataset.samples("test", 8)))
        assert set(batch) == set(same) == set(sample)
        np.testing.assert_array_equal(batch["image"], same["image"])
        np.testing.assert_array_equal(batch["image"][0], sample["image"])
        labels = [int(sample["label"]) for sample in dataset.samples("val", 8)]
        assert dataset.labels("val").tolist() == kerasxai.data.read_labels(folder, "validation").tolist() == labels
        pairs = dataset.training_pairs("test", kerasxai.data.PairSettings(8, batch_size=4))
        np.testing.assert_array_equal(next(iter(pairs))[0], batch["image"])
        dataset.check_images(["train", "val"])
        assert dataset.unreadable_images("train") == {}

    @pytest.mark.parametrize(
        "settings", [{"crop": 0}, {"batch_size": 0}, {"image_size": 9, "resize": 8}, {"resize": 1.5}]
    )
    def test_settings_of_pairs_are_checked(self, settings: dict[str, Any]) -> None:
        with pytest.raises(KerasxaiError, match=f"{list(settings)[-1]} must be"):
            kerasxai.data.PairSettings(**settings)


def test_how_a_folder_was_split_is_known(folder: Path) -> None:
    info = kerasxai.data.open(folder).info
    counts = [str(info.splits[name]) for name in ("train", "validation", "test")]
    line = split_line(info)
    assert line.startswith(
        f"{' / '.join(counts)} images for training, validation and test, drawn at random with seed 0"
    )
    assert "(80/10/10; put them into train/, validation/ and test/ folders to choose yourself)" in line
    assert drawn_split({"train", "test"}, 3).startswith("drawn at random with seed 3 (90/10; put them into validation/")
    assert drawn_split({"train", "validation"}, 0) == drawn_split({"test"}, 0) == ""
    assert "the column split" in drawn_split({"train"}, 0, "the column split")


def test_a_drawn_split_may_have_images_of_the_training(folder: Path, tmp_path: Path) -> None:
    info, model = kerasxai.data.open(folder).info, str(tmp_path / "model.keras")
    assert "trained on" in (drawn_split_note(info, "test", model) or "")
    assert drawn_split_note(info, "train", model) is None
    assert drawn_split_note(info, "test", "imagenet:EfficientNetLite0") is None
    assert drawn_split_note(replace(info, drawn_split=""), "test", model) is None
    for name in ("config.json", "history.csv"):
        (tmp_path / name).write_text("")
    assert drawn_split_note(info, "test", model) is None

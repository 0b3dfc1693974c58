"""Boxes from labeling tools and from `kerasxai localize`, with values computed by hand."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import zoo
from PIL import Image

import kerasxai
from kerasxai.cli import main
from kerasxai.data.box_files.annotations import BoxFileWarning
from kerasxai.data.box_files.matching import ImageNames
from kerasxai.data.box_files.reading import digest, read_box_file
from kerasxai.data.box_files.yolo import yaml_names
from kerasxai.data.boxes import BoxLookup, read_boxes
from kerasxai.tools.errors import KerasxaiError

NAMES = ["train/cat/1.jpg", "train/cat/2.jpg", "train/dog/3.jpg", "train/dog/4.jpg"]
WIDTH, HEIGHT = 20, 10


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "photos"
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / name)
    return root


def coco(**changes: object) -> dict[str, object]:
    content: dict[str, object] = {
        "images": [
            {"id": 7, "file_name": "images/1.jpg", "width": WIDTH, "height": HEIGHT},
            {"id": 8, "file_name": "images/dog/3.jpg", "width": 2 * WIDTH, "height": 2 * HEIGHT},
            {"id": 9, "file_name": "2.jpg"},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [2, 1, 8, 4]},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0.5, 0, 19.9, 10]},
            {"id": 3, "image_id": 8, "category_id": 2, "bbox": [10, 5, 20, 10]},
        ],
        "categories": [{"id": 1, "name": "Cat"}, {"id": 2, "name": "dog"}],
    }
    return content | changes


def written(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_coco_has_corner_and_size_in_pixels(photos: Path, tmp_path: Path) -> None:
    found = read_boxes(written(tmp_path / "labels.json", coco()), photos, NAMES)
    assert found.keys() == {NAMES[0], NAMES[2]}
    # 0.5 + 19.9 is 0.4 of a pixel beyond the image, which is cut off.
    np.testing.assert_allclose(found[NAMES[0]], [[0.1, 0.1, 0.5, 0.5], [0.025, 0, 1, 1]])
    np.testing.assert_allclose(found[NAMES[2]], [[0.25, 0.25, 0.75, 0.75]])
    assert found[NAMES[0]].dtype == np.float32


VOC = """<annotation><folder>images</folder><filename>{name}</filename>
<size><width>20</width><height>10</height><depth>3</depth></size>{objects}</annotation>"""
OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def test_voc_counts_from_one_up_to_the_last_pixel(photos: Path, tmp_path: Path) -> None:
    whole, part = OBJECT.format("cat", 1, 1, 20, 10), OBJECT.format("cat", 3, 2, 10, 5)
    written(tmp_path / "labels" / "1.xml", VOC.format(name="1.jpg", objects=whole + part))
    # The folder of the file says which image is meant; `filename` has no suffix in some tools.
    written(tmp_path / "labels" / "dog" / "4.xml", VOC.format(name="4.jpg", objects=OBJECT.format("dog", 2, 2, 2, 2)))
    written(tmp_path / "labels" / "2.xml", VOC.format(name="2.jpg", objects=""))
    found = read_boxes(tmp_path / "labels", photos, NAMES)
    np.testing.assert_allclose(found[NAMES[0]], [[0.0, 0.0, 1.0, 1.0], [0.1, 0.1, 0.5, 0.5]])
    np.testing.assert_allclose(found[NAMES[3]], [[0.05, 0.1, 0.1, 0.2]])
    assert found.keys() == {NAMES[0], NAMES[3]}
    single = read_boxes(tmp_path / "labels" / "1.xml", photos, NAMES)
    np.testing.assert_allclose(single[NAMES[0]], found[NAMES[0]])


def test_voc_of_a_tool_that_counts_from_zero_is_not_shifted(photos: Path, tmp_path: Path) -> None:
    objects = OBJECT.format("cat", 0, 0, 20, 10) + OBJECT.format("cat", 2.5, 1, 10, 5)
    path = written(tmp_path / "1.xml", VOC.format(name="1.jpg", objects=objects))
    np.testing.assert_allclose(
        read_boxes(path, photos, NAMES)[NAMES[0]], [[0.0, 0.0, 1.0, 1.0], [0.125, 0.1, 0.5, 0.5]]
    )


def test_yolo_has_center_and_size_or_a_polygon(photos: Path, tmp_path: Path) -> None:
    written(tmp_path / "labels" / "train" / "1.txt", "0 0.3 0.3 0.4 0.4\n0 0.5 0.5 1.000001 1\n\n")
    written(tmp_path / "labels" / "train" / "3.txt", "1 0.1 0.2 0.6 0.3 0.4 0.9\n")
    written(tmp_path / "labels" / "train" / "4.txt", "")
    written(tmp_path / "labels" / "classes.txt", "cat\ndog\n")
    found = read_boxes(tmp_path / "labels", photos, NAMES)
    np.testing.assert_allclose(found[NAMES[0]], [[0.1, 0.1, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0]], atol=1e-7)
    np.testing.assert_allclose(found[NAMES[2]], [[0.1, 0.2, 0.6, 0.9]])
    assert found.keys() == {NAMES[0], NAMES[2]}
    before = digest(tmp_path / "labels")
    written(tmp_path / "data.yaml", "kpt_shape: [1, 2]\nnames: {0: cat, 1: dog}\n")
    (tmp_path / "labels" / "classes.txt").unlink()
    written(tmp_path / "labels" / "train" / "3.txt", "1 0.35 0.55 0.5 0.7 0.4 0.9\n")
    np.testing.assert_allclose(read_boxes(tmp_path / "labels", photos, NAMES)[NAMES[2]], [[0.1, 0.2, 0.6, 0.9]])
    assert digest(tmp_path / "labels") != before


@pytest.mark.parametrize(
    "text",
    [
        "path: ..\nnames: ['a b', \"c\"]  # two\nnc: 2",
        "names:\n- a b\n- c\ntrain: images",
        "nc: 2\nnames:\n  0: 'a b'\n  1: c\n",
        "names: [\n  'a b',\n  'c',\n]\nnc: 2",
        "names: {1: c, 0: a b}",
    ],
)
def test_names_in_data_yaml(text: str) -> None:
    assert yaml_names(text) == {0: "a b", 1: "c"}


def test_names_are_matched_by_the_folders_that_the_images_have() -> None:
    images = ImageNames([*NAMES, "validation/dog/1.jpg"])
    for name, expected in {
        "/home/me/photos/train/cat/1.jpg": "train/cat/1.jpg",
        "images/dog/1.jpg": "validation/dog/1.jpg",
        "other/2.JPG": "train/cat/2.jpg",
        "train/3.jpg": "train/dog/3.jpg",
        "dog/2.jpg": None,
        "5.jpg": None,
    }.items():
        assert images.find(name) == expected
    assert images.find("labels/4", by_stem=True) == "train/dog/4.jpg"
    with pytest.raises(KerasxaiError, match=r"got '1.jpg', which is that of train/cat/1.jpg and validation/dog/1.jpg"):
        images.find("1.jpg")


def test_boxes_of_other_classes_and_of_other_images_are_left_out_with_a_warning(photos: Path, tmp_path: Path) -> None:
    content = coco()
    content["annotations"] = [
        {"image_id": 7, "category_id": 2, "bbox": [2, 1, 8, 4]},
        {"image_id": 7, "category_id": 1, "bbox": [0, 0, 0, 4]},
        {"image_id": 8, "category_id": 2, "bbox": [2, 1, 8, 4], "score": 0.5},
        {"image_id": 8, "category_id": 2, "bbox": [2, 1, 8, 4], "iscrowd": 1},
        {"image_id": 10, "category_id": 2, "bbox": [2, 1, 8, 4]},
    ]
    content["images"] = [*content["images"], {"id": 10, "file_name": "elsewhere.jpg"}]  # type: ignore[misc]
    path = written(tmp_path / "labels.json", content)
    with pytest.warns(BoxFileWarning) as caught:
        assert read_boxes(path, photos, NAMES).keys() == {NAMES[2]}
    message = str(caught[0].message)
    assert "1 box without an area left out" in message and "1 group of objects" in message
    assert "1 of 3 file names match no image, as elsewhere.jpg" in message
    assert "1 of 2 boxes are of another class than the image and left out, which leaves 1 image without" in message
    assert "they are predictions" in message


def test_categories_that_are_no_classes_count_whatever_they_are(photos: Path, tmp_path: Path) -> None:
    one = written(tmp_path / "one.json", coco(categories=[{"id": 1, "name": "object"}, {"id": 2, "name": "object"}]))
    assert read_boxes(one, photos, NAMES).keys() == {NAMES[0], NAMES[2]}
    two = written(tmp_path / "two.json", coco(categories=[{"id": 1, "name": "head"}, {"id": 2, "name": "tail"}]))
    with pytest.warns(BoxFileWarning, match=r"no category \(head, tail, ...\) is a class"):
        assert read_boxes(two, photos, NAMES).keys() == {NAMES[0], NAMES[2]}


def entry(**changes: object) -> list[dict[str, object]]:
    return [{"image_id": 7, "category_id": 1, "bbox": [2, 1, 8, 4]} | changes]


WRONG: dict[str, tuple[str, object, str]] = {
    "results": ("a.json", [{"image_id": 1}], "expected COCO JSON with images and annotations .* got a list"),
    "other JSON": ("a.json", {"shapes": []}, "got the keys shapes"),
    "damaged": ("a.json", "{", "cannot read the boxes in .*: no valid JSON"),
    "no image": ("a.json", coco(annotations=entry(image_id=1)), "annotation 0: image_id must be the id of an image"),
    "no category": ("a.json", coco(annotations=entry(category_id=5)), "category_id must be the id of a category"),
    "bbox": ("a.json", coco(annotations=entry(bbox=[1, 2, -3, 4])), r"bbox must be x, y, width, height in pixels, got"),
    "fractions": (
        "a.json",
        coco(annotations=entry(bbox=[0.1, 0.2, 0.3, 0.4])),
        "bbox must be in pixels, got fractions",
    ),
    "outside": ("a.json", coco(annotations=entry(bbox=[2, 1, 20, 4])), "annotation 0: expected a box inside the image"),
    "turned": (
        "a.json",
        coco(images=[{"id": 7, "file_name": "1.jpg", "width": HEIGHT, "height": WIDTH}], annotations=entry()),
        "expected boxes of an upright image of 20 x 10, got a size of 10 x 20",
    ),
    "other folder": (
        "a.json",
        coco(images=[{"id": 7, "file_name": "x.jpg"}], annotations=entry()),
        "got file names of no image: 'x.jpg'; the folder has train/cat/1.jpg",
    ),
    "two names": (
        "a.json",
        coco(
            images=[{"id": 7, "file_name": "a/1.jpg"}, {"id": 8, "file_name": "b/1.jpg"}],
            annotations=[*entry(), *entry(image_id=8)],
        ),
        "expected one file name for the image train/cat/1.jpg .* got a/1.jpg and b/1.jpg",
    ),
    "no XML": ("a.xml", "<annotation>", "cannot read the boxes in .*: no valid XML"),
    "other XML": ("a.xml", "<annotations/>", "with the root annotation .* got 'annotations'"),
    "polygon": ("a.xml", VOC.format(name="1.jpg", objects="<object/>"), "object 0: expected bndbox .* got no bndbox"),
    "word": ("1.txt", "0 0.3 0.3 0.4 0.4\n0 0.3 x 0.4 0.4", "1.txt, line 2: expected class, center x"),
    "four": ("l/1.txt", "0 0.3 0.3 0.4", "1.txt, line 1: expected class, center x"),
    "pixels": ("1.txt", "0 30 30 10 10", "line 1: numbers must be fractions of the image, got 30 30 10 10"),
    "yaml": ("data.yaml", "names: [a]", "expected a file or a folder of boxes, got .*; give the folder of labels"),
    "no file": ("l/readme.txt", "No labels here", "expected a folder with box files of one format .* got none"),
}


@pytest.mark.parametrize(("name", "content", "message"), WRONG.values(), ids=WRONG.keys())
def test_mistakes_are_named(name: str, content: object, message: str, photos: Path, tmp_path: Path) -> None:
    path = written(tmp_path / name, content)
    with pytest.raises(KerasxaiError, match=re.compile(message, re.DOTALL)):
        read_boxes(path.parent if path.parent.name == "l" else path, photos, NAMES)


def test_a_folder_of_two_formats_is_refused(photos: Path, tmp_path: Path) -> None:
    written(tmp_path / "a.json", coco())
    written(tmp_path / "1.txt", "0 0.3 0.3 0.4 0.4")
    with pytest.raises(KerasxaiError, match="got 1 of COCO JSON and 1 of YOLO text; give the file"):
        read_boxes(tmp_path, photos, NAMES)


def test_data_sets_look_up_boxes_of_all_formats_by_name_and_class(tmp_path: Path) -> None:
    import tensorflow as tf

    content = coco()
    content["annotations"] = [*entry(), *entry(category_id=2, bbox=[0, 0, 20, 10]), *entry(image_id=8, category_id=2)]
    table = BoxLookup(written(tmp_path / "a.json", content), ["cat", "dog"])
    image, label = tf.zeros((HEIGHT, WIDTH, 3), tf.uint8), tf.constant(0, tf.int64)
    np.testing.assert_allclose(table.find(tf.constant("1.jpg"), image, label), [[0.1, 0.1, 0.5, 0.5]])
    # The size of the image with this name is stated twice as large.
    np.testing.assert_allclose(table.find(tf.constant("3.jpg"), image, label + 1), [[0.05, 0.05, 0.25, 0.25]])
    assert table.find(tf.constant("3.jpg"), image, label).shape == (0, 4)
    labels = BoxLookup(written(tmp_path / "labels" / "val_1.txt", "0 0.3 0.3 0.4 0.4"), ["cat", "dog"])
    np.testing.assert_allclose(labels.find(tf.constant("val_1.JPEG"), image, label), [[0.1, 0.1, 0.5, 0.5]])


def test_what_localize_writes_is_read_back_by_all_commands(tmp_path: Path) -> None:
    zoo.build("functional").save(tmp_path / "model.keras")
    generator = np.random.default_rng(0)
    for number in range(4):
        path = tmp_path / "photos" / "test" / f"class {number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (20 + number, 30, 3), dtype=np.uint8)).save(path)
    words = [
        "--method",
        "saliency",
        "--all-boxes",
        "--out",
        str(tmp_path / "boxes"),
        "--target",
        "1",
        "--threshold",
        "0.6",
    ]
    assert main(["localize", str(tmp_path / "model.keras"), str(tmp_path / "photos"), *words]) == 0
    with (tmp_path / "boxes" / "boxes.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("boxes.csv", "boxes.json", ""):
        content = read_box_file(tmp_path / "boxes" / name)
        assert [one.score for one in content.annotations] == pytest.approx(
            [float(row["score"]) for row in rows], abs=1e-6
        )
        assert {one.category for one in content.annotations} == {"class 1"}, "the predicted class"
        with pytest.warns(BoxFileWarning, match=r"of another class than the image.*they are predictions"):
            dataset = kerasxai.data.load(tmp_path / "photos", "test", None, boxes_csv=tmp_path / "boxes" / name)
        samples = {sample["name"].decode(): sample for sample in dataset.as_numpy_iterator()}
        assert len(samples) == 4
        for key, sample in samples.items():
            height, width = sample["image"].shape[:2]
            pixels = [[float(row[k]) for k in ("x0", "y0", "x1", "y1")] for row in rows if row["image"].endswith(key)]
            expected = pixels if "class 1" in key else []
            np.testing.assert_array_equal(
                sample["boxes"], np.float32(np.reshape(expected, (-1, 4)) / [width, height, width, height])
            )
    assert any(len(sample["boxes"]) > 1 for sample in samples.values())

"""The photographs to measure on: exact boxes and masks, disjoint parts, the same images for a seed."""

import argparse
import csv
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from benchmarks import photographs
from benchmarks.composites import placed
from benchmarks.photograph_classes import class_of
from benchmarks.photograph_sources import Package, Scene, entries, find_cutouts, find_scenes
from benchmarks.photographs import HALVES, PARTS, Counts, build
from kerasxai import data
from kerasxai.segmentation.palette import read_label_map
from kerasxai.tools.errors import KerasxaiError

COUNTS = Counts(single=(9, 6, 7), pairs=(6, 4, 5))
FOLDERS = {"bird": "animals/birds", "fruit": "food/fruit", "tool": "household/tools"}
COLORS = {"bird": (230, 30, 30), "fruit": (30, 230, 30), "tool": (30, 30, 230)}
OBJECTS = 7


def picture(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def stamps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ellipses of the color of their class, cut out of white, with a speck in a corner."""
    root, random = tmp_path_factory.mktemp("stamps"), np.random.default_rng(0)
    for class_name, folder in FOLDERS.items():
        (root / folder).mkdir(parents=True)
        for number in range(OBJECTS):
            height, width = random.integers(70, 160, 2)
            y, x = np.mgrid[-1.2 : 1.2 : height * 1j, -1.2 : 1.2 : width * 1j]
            pixels = np.full((height, width, 4), 255, np.uint8)
            pixels[x**2 + y**2 < 1, :3] = COLORS[class_name]
            pixels[..., 3] = 255 * np.clip(10 * (1.05 - x**2 - y**2), 0, 1)
            pixels[:2, :2, 3] = 255
            Image.fromarray(pixels).save(root / folder / f"{class_name}{number}.png")
    (root / "animals/birds/cartoon").mkdir()
    Image.new("RGBA", (50, 50), "black").save(root / "animals/birds/cartoon/drawn.png")
    return root


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """Gray noise."""
    root, random = tmp_path_factory.mktemp("scenes"), np.random.default_rng(1)
    names = [f"{number}.png" for number in range(14)]
    for name in names:
        noise = ndimage.gaussian_filter(random.normal(size=(300, 420)), 4)
        Image.fromarray(np.clip(128 + 60 * noise / noise.std(), 90, 166).astype(np.uint8)).save(root / name)
    return find_scenes([Package("walls", str(root), tuple(names))])


@pytest.fixture(scope="module")
def built(stamps: Path, scenes: list[Scene], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "photographs"
    build(out, find_cutouts(stamps), scenes, COUNTS, pairs=True)
    return out


def test_boxes_are_the_extents_of_the_masks(built: Path) -> None:
    for half in HALVES:
        boxes = {row["filename"]: row for row in rows(built / half / "boxes.csv")}
        assert set(boxes) == {path.relative_to(built / half).as_posix() for path in built.glob(f"{half}/*/*/*.jpg")}
        for name, row in boxes.items():
            mask = read_label_map((built / f"{half}_masks" / name).with_suffix(".png"))
            box = [int(row[column]) for column in ("x_min", "y_min", "x_max", "y_max")]
            y, x = np.nonzero(mask)
            assert box == [x.min(), y.min(), x.max() + 1, y.max() + 1]
            assert set(np.unique(mask)) == {0, 1 + sorted(FOLDERS).index(name.split("/")[1])}
            share = (box[2] - box[0]) * (box[3] - box[1]) / mask.size
            assert 0.22 < share**0.5 < 0.81


def test_hardly_any_of_the_color_around_a_cut_out_object_is_left() -> None:
    y, x = np.mgrid[-1.2:1.2:100j, -1.2:1.2:100j]
    pixels = np.full((100, 100, 4), 255, np.uint8)
    pixels[x**2 + y**2 < 1, :3] = 30
    pixels[..., 3] = 255 * np.clip(10 * (1.05 - x**2 - y**2), 0, 1)
    for seed in range(4):
        layer = placed(pixels, (400, 500), np.random.default_rng(seed))
        white = layer.cover * (layer.colors.min(-1) - 30) / 225
        # 0.4 of white at the outline if objects were pasted as they are.
        assert white.max() < 0.3
        assert white.sum() < 0.005 * layer.cover.sum()


def test_masks_lie_on_the_objects(built: Path) -> None:
    for path in built.glob("tuning/*/*/*.jpg"):
        image = picture(path).astype(int)
        mask = read_label_map(built / "tuning_masks" / path.relative_to(built / "tuning").with_suffix(".png")) > 0
        assert image.shape[:2] == mask.shape and 400 <= mask.shape[1] <= 640
        own = np.array(COLORS[path.parent.name])
        # Far from the outline, because JPEG halves the resolution of colors.
        inside, outside = ndimage.binary_erosion(mask, iterations=20), ndimage.binary_dilation(mask, iterations=20)
        assert np.abs(image[inside] - own).max() < 60
        assert np.ptp(image[~outside], axis=-1).max() < 40


def test_parts_have_the_numbers_asked_for(built: Path) -> None:
    for half in HALVES:
        info = data.open(built / half, boxes_csv=built / half / "boxes.csv").info
        assert info.splits == dict(zip(PARTS, COUNTS.single, strict=True)) and info.has_boxes
        assert info.class_names == tuple(sorted(FOLDERS))
        pairs = data.open(built / f"pairs_{half}", class_masks=built / f"pairs_{half}_masks").info
        assert pairs.splits == dict(zip(PARTS, COUNTS.pairs, strict=True)) and pairs.multi_label


def test_labels_of_pairs_are_the_classes_of_their_masks(built: Path) -> None:
    names = sorted(FOLDERS)
    labels: dict[str, set[str]] = {}
    for row in rows(built / "pairs_holdout" / "labels.csv"):
        labels.setdefault(row["file"], set()).add(row["label"])
    assert len(labels) == sum(COUNTS.pairs)
    for file, found in labels.items():
        mask = read_label_map((built / "pairs_holdout_masks" / file).with_suffix(".png"))
        image = picture(built / "pairs_holdout" / file).astype(int)
        assert {names[number - 1] for number in np.unique(mask)[1:]} == found and len(found) == 2
        for name in found:
            inside = ndimage.binary_erosion(mask == 1 + names.index(name), iterations=3)
            assert np.abs(np.median(image[inside], axis=0) - COLORS[name]).max() < 20


def test_no_object_and_no_scene_is_in_two_parts(built: Path) -> None:
    used: dict[str, set[tuple[str, str]]] = {}
    for row in rows(built / "composites.csv"):
        half, part = row["file"].split("/")[:2]
        for one in [*row["objects"].split(" "), row["scene"]]:
            used.setdefault(one, set()).add((half.removeprefix("pairs_"), part))
    assert all(len(parts) == 1 for parts in used.values())
    assert len({next(iter(parts)) for parts in used.values()}) == len(HALVES) * len(PARTS)
    assert not any("cartoon" in one for one in used)


def test_a_seed_makes_the_same_images_with_and_without_pairs(
    built: Path, stamps: Path, scenes: list[Scene], tmp_path: Path
) -> None:
    def images(root: Path) -> dict[str, NDArray[np.uint8]]:
        return {str(path.relative_to(root)): picture(path) for path in sorted(root.glob("tuning/*/*/*.jpg"))}

    build(tmp_path / "again", find_cutouts(stamps), scenes, COUNTS)
    build(tmp_path / "other", find_cutouts(stamps), scenes, COUNTS, seed=1)
    first, again, other = images(built), images(tmp_path / "again"), images(tmp_path / "other")
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert (built / "tuning/boxes.csv").read_bytes() == (tmp_path / "again/tuning/boxes.csv").read_bytes()
    assert first.keys() != other.keys()


def test_a_folder_with_something_in_it_is_left_alone(stamps: Path, scenes: list[Scene], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(KerasxaiError, match="expected a new or an empty folder"):
        build(tmp_path / "out", find_cutouts(stamps), scenes, COUNTS)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine.txt"]


def test_the_command_ends_with_one_line(stamps: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(photographs, "find_cutouts", lambda: find_cutouts(stamps))
    monkeypatch.setattr(photographs, "SCENES", [Package("some-walls", str(tmp_path), ("a.jpg",))])
    options = argparse.Namespace(out=tmp_path / "out", seed=0, pairs=False)
    with pytest.raises(SystemExit, match=r"^photographs: expected scenes .*; run: apt-get install some-walls$"):
        photographs.run(options)


def test_what_fails_leaves_nothing(stamps: Path, scenes: list[Scene], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(KerasxaiError, match="cannot write"):
        build(tmp_path / "out", find_cutouts(stamps), [Scene("broken", broken)] * 14, COUNTS)
    assert [path.name for path in tmp_path.iterdir()] == ["broken.png"]
    with pytest.raises(KerasxaiError, match="expected six or more objects of a class"):
        build(tmp_path / "out", find_cutouts(stamps)[:3], scenes, COUNTS)


def test_what_is_missing_is_named_with_its_command(tmp_path: Path) -> None:
    with pytest.raises(KerasxaiError, match="apt-get install tuxpaint-stamps-default"):
        find_cutouts(tmp_path)
    (tmp_path / "there.png").touch()
    packages = [
        Package("present", str(tmp_path), ("there.png",)),
        Package("some-walls", str(tmp_path / "walls"), ("a.jpg", "b.jpg")),
        Package("an-archive", str(tmp_path), ("archive:image/a.webp",)),
        Package("pythonic", "data", ("c.png",), module="a_module_that_does_not_exist"),
        Package("kerasxai", "photographs", ("no.png",), module="kerasxai"),
    ]
    with pytest.raises(KerasxaiError) as caught:
        find_scenes(packages)
    message = str(caught.value)
    assert "apt-get install some-walls an-archive && pip install pythonic kerasxai" in message
    assert "some-walls/a.jpg and 4 others" in message and "present" not in message


@pytest.mark.parametrize("version", [1, 3])
def test_archives_of_qt_are_read(version: int, tmp_path: Path) -> None:
    node = 22 if version >= 2 else 14
    names = b"".join(struct.pack(">HI", len(name), 0) + name.encode("utf-16-be") for name in ("", "sea", "a.txt", "b"))
    offsets = [0, 6, 18, 34]
    packed = struct.pack(">I", 5) + zlib.compress(b"packed"[:5])
    contents = struct.pack(">I", 3) + b"raw" + struct.pack(">I", len(packed)) + packed
    nodes = [(0, 2, 1, 1), (offsets[1], 2, 2, 2), (offsets[2], 0, 0, 0), (offsets[3], 1, 0, 7)]
    tree = b"".join(struct.pack(">IHII", *one).ljust(node, b"\0") for one in nodes)
    header = 20 if version < 3 else 24
    starts = [header, header + len(tree), header + len(tree) + len(contents)]
    archive = tmp_path / "archive.rcc"
    head = b"qres" + struct.pack(">4I", version, *starts)
    archive.write_bytes(head.ljust(header, b"\0") + tree + contents + names)
    assert dict(entries(archive)) == {"/sea/a.txt": b"raw", "/sea/b": b"packe"}
    assert [name for name, _ in entries(archive, contents=False)] == ["/sea/a.txt", "/sea/b"]
    found = find_scenes([Package("sounds", str(tmp_path), ("archive:sea/a.txt",))])
    assert found == [Scene("sounds/archive:sea/a.txt", archive, "sea/a.txt")]
    archive.write_bytes(b"other")
    with pytest.raises(KerasxaiError, match="expected a resource archive of Qt"):
        dict(entries(archive))


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("animals/birds/owl.png", "bird"),
        ("animals/birds/cartoon/tux.png", None),
        ("animals/birds/owl_mirror.png", None),
        ("animals/mammals/pig_golden.png", "hoofed"),
        ("animals/mammals/elephant.png", None),
        ("vehicles/flight/planes/747.png", "vehicle"),
        ("symbols/math/1.png", None),
    ],
)
def test_classes_of_stamps(stamp: str, expected: str | None) -> None:
    assert class_of(stamp) == expected

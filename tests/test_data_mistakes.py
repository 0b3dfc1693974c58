"""Data as they lie on disks: links, pipes, names that are not text, tables out of spreadsheets, damaged files."""

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

import kerasxai
from kerasxai import data
from kerasxai.cli import main
from kerasxai.data.boxes import read_boxes
from kerasxai.engine.images.image_input import image_input
from kerasxai.evaluation.data_check import check_classes
from kerasxai.models import build_classifier
from kerasxai.training.config import TrainConfig
from kerasxai.training.train import train
from kerasxai.training.words.scene_config import SceneConfig

HEADER = "filename,x_min,y_min,x_max,y_max"


def picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 30, 3), value, np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cats", "dogs"):
        for number in range(5):
            picture(tmp_path / "data" / name / f"{number}.png", 40 * number)
    return tmp_path / "data"


def names_in(folder: Path) -> list[str]:
    found = []
    for split in ("train", "validation", "test"):
        found += [os.fsdecode(one["name"]) for one in data.load(folder, split, 8).as_numpy_iterator()]
    return sorted(found)


def test_links_are_followed_and_pipes_and_circles_are_not(folder: Path, tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "elsewhere" / f"{number}.png")
    (folder / "birds").symlink_to(tmp_path / "elsewhere")
    (folder / "cats" / "again").symlink_to(folder)
    os.mkfifo(folder / "dogs" / "pipe.png")
    assert data.info(folder).class_names == ("birds", "cats", "dogs")
    assert len(names_in(folder)) == 13


def test_a_file_name_that_is_not_text(folder: Path) -> None:
    picture(folder / "cats" / "x.png").rename(folder / "cats" / os.fsdecode(b"n\xff.png"))
    assert os.fsdecode(b"cats/n\xff.png") in names_in(folder)


@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9"), "two\nlines"])
def test_a_class_name_that_is_not_text_is_refused(folder: Path, name: str) -> None:
    (folder / "cats").rename(folder / name)
    with pytest.raises(kerasxai.KerasxaiError, match=r"class names must be text.*rename it"):
        data.info(folder)


def test_all_corrupt_images_are_named(folder: Path) -> None:
    for number in range(5):
        (folder / "cats" / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(kerasxai.KerasxaiError, match=r"got 3 corrupt.*cats/\d\.png.*; .*cats/\d\.png"):
        names_in(folder)


BOXES: list[tuple[str, bytes | str, str | None]] = [
    ("commas", f"{HEADER}\ncats/0.png,1,1,9,9\n", None),
    ("byte order mark and windows", f"\ufeff{HEADER}\r\ncats/0.png,1,1,9,9\r\n", None),
    ("semicolons", f"{HEADER}\ncats/0.png,1,1,9,9\n".replace(",", ";"), None),
    ("tabs", f"{HEADER}\ncats/0.png,1,1,9,9\n".replace(",", "\t"), None),
    ("quotes", f'{HEADER}\n"cats/0.png","1","1","9","9"\n', None),
    ("fractions", f"{HEADER}\ncats/0.png,0,0,1,1\ncats/1.png,0.1,0.1,0.5,0.5\n", None),
    ("half pixels", f"{HEADER}\ncats/0.png,0.5,0.5,9.5,9.5\n", None),
    (
        "mixed",
        f"{HEADER}\ncats/0.png,0.1,0.1,0.9,0.9\ncats/1.png,1,1,9,9\n",
        "fractions in line 2 and pixels in line 3",
    ),
    ("long field", f"{HEADER}\n{'a' * 200_000},1,1,2,2\n", "line 2 of .*: field larger than field limit"),
    ("long header", f"{'a' * 200_000},{HEADER}\n", "line 1"),
    ("not a number", f"{HEADER}\ncats/0.png,1,nan,2,2\n", "y_min must be a number"),
    ("decimal commas", f"{HEADER}\ncats/0.png,1,1,2,2\n".replace(",", ";").replace("1", "0,5"), "must be a number"),
    ("reversed", f"{HEADER}\ncats/0.png,9,1,1,9\n", "a box with an area"),
    ("outside", f"{HEADER}\ncats/0.png,1,1,99,9\n", "a box inside the image"),
    ("negative", f"{HEADER}\ncats/0.png,-0.5,0,0.5,1\n", "a box inside the image"),
    ("unknown", f"{HEADER}\ncats/9.png,1,1,9,9\n", "expected a known image, got 'cats/9.png'"),
    ("empty name", f"{HEADER}\n,1,1,9,9\n", "filename must be that of an image"),
    ("short row", f"{HEADER}\ncats/0.png,1,1\n", "x_max must be a number"),
    ("empty", "", "the header must name"),
    ("another encoding", HEADER.encode() + b"\ncaf\xe9.png,1,1,9,9\n", "expected a known image"),
    ("utf-16", f"{HEADER}\ncats/0.png,1,1,9,9\n".encode("utf-16"), "save it as CSV UTF-8"),
]


@pytest.mark.parametrize(("content", "told"), [row[1:] for row in BOXES], ids=[row[0] for row in BOXES])
def test_boxes_out_of_spreadsheets(folder: Path, content: bytes | str, told: str | None, tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    names = ["cats/0.png", "cats/1.png"]
    if told is None:
        assert read_boxes(path, folder, names)["cats/0.png"].shape == (1, 4)
        return
    with pytest.raises(kerasxai.KerasxaiError, match=told):
        read_boxes(path, folder, names)


def test_a_split_without_images_is_told_before_training(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in (0, 1):
            picture(tmp_path / "data" / name / f"{number}.png")
    with pytest.raises(kerasxai.KerasxaiError, match="got none for validation"):
        train(TrainConfig(data=str(tmp_path / "data"), weights="none"), tmp_path / "run", ())
    assert not (tmp_path / "run").exists()
    with pytest.raises(kerasxai.KerasxaiError, match="expected images in the split 'validation'"):
        data.load(tmp_path / "data", "validation", 8)


@pytest.mark.parametrize("content", [b"", b'{"data": ', b"[1]", b"\xff\xfe", b"3"])
def test_damaged_settings_of_a_run(content: bytes, folder: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_bytes(content)
    assert main(["train", "--data", str(folder), "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert "settings" in told
    assert "config.json" in told
    assert told.count("\n") == 1


def test_a_damaged_history_of_a_run(tmp_path: Path, folder: Path) -> None:
    TrainConfig(data=str(folder)).write(tmp_path / "run")
    (tmp_path / "run" / "history.csv").write_text("phase,epoch\nhead,x\n")
    with pytest.raises(kerasxai.KerasxaiError, match=r"history\.csv, line 2"):
        train(TrainConfig(data=str(folder)), tmp_path / "run", ())


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": -1},
        {"image_size": 0},
        {"image_size": 32.5},
        {"epochs": 1.5},
        {"learning_rate": float("nan")},
        {"learning_rate": "fast"},
        {"batch_size": True},
        {"finetune_share": 2},
        {"resize": -3},
    ],
)
def test_settings_that_mean_nothing(settings: dict[str, Any]) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=f"{next(iter(settings))} must be"):
        TrainConfig(data="shapes", **settings)


def test_scene_settings_that_mean_nothing() -> None:
    for settings in ({"seed": -1}, {"epochs": 0}, {"width": "wide"}):
        with pytest.raises(kerasxai.KerasxaiError, match=f"{next(iter(settings))} must be"):
            SceneConfig("vqa", **settings)


@pytest.mark.parametrize(
    ("head", "options"),
    [
        ("gap", {"depth": -1}),
        ("gap", {"width": 0, "depth": 1}),
        ("conv1x1", {"dropout": 1}),
        ("conv1x1", {"normalize": "no"}),
        ("acol", {"erase_threshold": 7}),
        ("acol", {"erase_threshold": 0}),
        ("acol", {"erase_dilation": 1.5}),
        ("acol", {"smoothing": "yes"}),
        ("spg", {"width": "wide"}),
        ("gap", {"seed": -1}),
    ],
)
def test_options_of_heads_that_mean_nothing(head: str, options: dict[str, Any]) -> None:
    name = next(iter(options))
    with pytest.raises(kerasxai.KerasxaiError, match=f"{name} must be"):
        build_classifier("EfficientNetLite0", 3, head, weights=None, input_size=64, **options)


@pytest.mark.parametrize("kind", ["unbuilt", "subclassed"])
def test_classes_of_models_that_do_not_say_them(kind: str, folder: Path, tmp_path: Path) -> None:
    class Subclassed(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def call(self, images: Any) -> Any:
            return self.inner(images)

    inner = [keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    network = keras.Sequential(inner)
    model = network if kind == "unbuilt" else Subclassed()
    taken = image_input(model, 16)
    info = data.info(folder)
    with pytest.raises(kerasxai.KerasxaiError, match=r"the 2 classes of .*, got 3 classes"):
        check_classes(info, model, taken)


def test_classes_in_another_order_are_refused(folder: Path) -> None:
    for names, told in [
        (["dogs", "cats"], "'cats'.*'dogs' in the model"),
        (["cats", "dogs"], None),
        (["a", "b"], None),
    ]:
        model = build_classifier("EfficientNetLite0", 2, weights=None, input_size=64, class_names=names)
        if told is None:
            check_classes(data.info(folder), model, image_input(model))
            continue
        with pytest.raises(kerasxai.KerasxaiError, match=told):
            check_classes(data.info(folder), model, image_input(model))

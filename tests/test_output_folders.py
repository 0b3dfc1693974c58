"""The folders that evaluate, inspect and train write to: checked before the work, and nothing in them is lost."""

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo
from PIL import Image

from kerasxai import data
from kerasxai.cli import inspect_pages, main
from kerasxai.evaluation import evaluate as evaluate_module
from kerasxai.evaluation.saved_results import keep_former
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.folders import locked
from kerasxai.training.config import TrainConfig
from kerasxai.training.train import train

CLASSES = ("bird", "cat", "dog", "planet")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a model and `photos`, 4 classes of 10 images with boxes."""
    folder = tmp_path_factory.mktemp("place")
    zoo.build("functional").save(folder / "model.keras")
    rows = []
    for label in CLASSES:
        for number in range(10):
            path = folder / "photos" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 255, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
            rows.append([f"{label}/{number}.png", 2, 2, 15, 15])
    with (folder / "boxes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["filename", "x_min", "y_min", "x_max", "y_max"], *rows])
    return folder


@pytest.fixture
def photos(place: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(place / "photos", tmp_path / "photos"))


def evaluate(place: Path, *words: Any, photos: Path | None = None) -> int:
    given = ["--data", photos or place / "photos", "--boxes", place / "boxes.csv", *words]
    return main(["evaluate", str(place / "model.keras"), *map(str, given)])


def inspect(place: Path, *words: Any) -> int:
    return main(["inspect", str(place / "model.keras"), *map(str, words)])


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_figures_are_printed_where_they_cannot_be_written(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    begun: list[str] = []
    read = data.ImageDataset.batches

    def told_before(*args: Any, **options: Any) -> Any:
        begun.append(capsys.readouterr().err)
        return read(*args, **options)

    monkeypatch.setattr(data.ImageDataset, "batches", told_before)
    assert evaluate(place, "--out", tmp_path / "file") == 2
    told = capsys.readouterr()
    assert "GT-known Loc" in told.out and "cannot write" in begun[0], "told before the first image is read"
    assert "cannot write" not in told.err


def test_figures_are_printed_before_they_are_written(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise KerasxaiError("cannot write: the disk is full")

    monkeypatch.setattr(evaluate_module, "write_json", full)
    assert evaluate(place, "--out", tmp_path / "out") == 2
    assert "GT-known Loc" in capsys.readouterr().out and not (tmp_path / "out").exists()


def test_figures_of_other_settings_stay(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        assert evaluate(place, "--out", out) == 0, "the same figures may be made again"
    before = contents(out)
    capsys.readouterr()
    boxes = tmp_path / "boxes.csv"
    boxes.write_text((place / "boxes.csv").read_text().replace("15,15", "14,14"))
    for words, told in (
        (["--threshold", "0.3"], "threshold was 'auto', is 0.3"),
        (["--split", "validation", "--tune-split", "none"], "split was 'test', is 'validation'"),
        (["--boxes", boxes], "boxes have changed"),
    ):
        assert evaluate(place, "--out", out, *words) == 2
        message = capsys.readouterr()
        assert told in message.err and "GT-known" not in message.out, "refused before the work"
        assert contents(out) == before


def test_a_folder_that_nobody_named_gets_a_free_name(place: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.keras"
    shutil.copy(place / "model.keras", model)
    moved = tmp_path / "boxes.csv"
    shutil.copy(place / "boxes.csv", moved)
    for words in ([], ["--threshold", "0.3"], ["--threshold", "0.3"]):
        given = ["--data", str(place / "photos"), "--boxes", str(moved), *words]
        assert main(["evaluate", str(model), *given]) == 0
    folders = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert folders == ["evaluation_cam", "evaluation_cam-2"]
    kept = [json.loads((tmp_path / name / "evaluation.json").read_text())["threshold"] for name in folders]
    assert kept == [0.2, 0.3]


def test_files_of_another_origin_stay(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "evaluation.json").write_text('{"mine": 1}')
    (tmp_path / "filters.png").write_text("mine")
    before = contents(tmp_path)
    assert evaluate(place, "--out", tmp_path) == 2
    assert inspect(place, "--show", "filters", "--out", tmp_path) == 2
    message = capsys.readouterr().err
    assert "which holds evaluation.json of another origin" in message and "foreign filters.png" in message
    assert contents(tmp_path) == before
    (tmp_path / "model.keras").write_text("mine")
    with pytest.raises(KerasxaiError, match=r"without config\.json"):
        train(TrainConfig(data=str(place / "photos")), tmp_path)


def test_all_corrupt_images_are_named_before_the_work(
    place: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = [photos / "bird" / "1.png", photos / "dog" / "2.png"]
    for label in CLASSES:
        for number in range(10):
            path = photos / label / f"{number}.png"
            broken = [*broken, path] if number == 3 and path not in broken else broken
    for path in broken:
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(KerasxaiError) as raised:
        data.check_images(photos, ["train", "validation", "test"])
    assert all(str(path) in str(raised.value) for path in broken) and f"got {len(broken)} corrupt" in str(raised.value)
    config = TrainConfig(data=str(photos), weights="none", image_size=32)
    with pytest.raises(KerasxaiError, match="corrupt"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    found = data.unreadable_images(photos, "train")
    samples = data.load(photos, "train", 16, skip_unreadable=True)
    assert found and len(list(samples)) == data.info(photos).splits["train"] - len(found)


def test_inspect_leaves_out_what_cannot_be_read(
    place: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in CLASSES:
        for path in (photos / label).iterdir():
            target = photos / "test" / label / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        (photos / label).rmdir()
    broken, query = photos / "test" / "cat" / "4.png", tmp_path / "query.png"
    for path in (broken, query):
        path.write_bytes(b"no image")
    words = [
        "--data",
        photos,
        "--show",
        "neighbors",
        "--out",
        tmp_path / "out",
        "--query",
        query,
        photos / "test/dog/1.png",
    ]
    assert inspect(place, *words) == 1
    message = capsys.readouterr().err
    assert "cat/4.png" in message and "query.png" in message and "2 of 42 images were skipped" in message
    told = json.loads((tmp_path / "out" / "inspection.json").read_text())
    assert len(told["skipped"]) == 2 and len(told["neighbors"]) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--data", "photos", "--split", "tst"],
        ["--index", "none.npz", "--query", "photos/cat/1.png"],
        ["--channels", "1,x"],
        ["--show", "filters,classes", "--target", "99"],
    ],
)
def test_inspect_leaves_nothing_half(
    words: list[str], place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    assert inspect(place, *words, "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_inspect_keeps_former_results(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    first = ["--show", "filters", "--out", out]
    assert inspect(place, *first) == 0
    before = contents(out)
    assert inspect(place, *first) == 0
    assert contents(out).keys() == before.keys()

    def stopped(work: Any) -> str:
        work.save("filters.png", np.zeros((8, 8, 3), np.uint8))
        raise KeyboardInterrupt

    before = contents(out)
    with monkeypatch.context() as patched:
        patched.setitem(inspect_pages.PAGES, "filters", stopped)
        assert inspect(place, *first, "--image-size", "16") == 130
    assert contents(out) == before, "nothing appears before all is there"
    assert inspect(place, *first, "--image-size", "16") == 0
    assert contents(out / "former-1") == before


def test_a_run_within_the_data_is_no_class(place: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = data.info(photos)
    draw = Image.new("RGB", (8, 8))
    (photos / "run" / "heatmaps").mkdir(parents=True)
    draw.save(photos / "run" / "heatmaps" / "epoch_000.png")
    with locked(photos / "run"):
        assert data.info(photos).class_names == before.class_names
    with pytest.raises(KerasxaiError):
        data.info(photos)
    TrainConfig(data=str(photos)).write(photos / "run")
    assert evaluate(place, "--out", photos / "evaluation", photos=photos) == 0
    assert main(["explain", str(place / "model.keras"), str(photos / "cat"), "--out", str(photos / "maps")]) == 0
    after = data.info(photos)
    assert after.class_names == before.class_names and after.splits == before.splits
    with pytest.raises(KerasxaiError, match="apart from the images"):
        train(TrainConfig(data=str(photos)), photos)


def test_former_files_get_one_free_number(tmp_path: Path) -> None:
    names = ("a.json", "a.png")
    for name in (*names, "a-1.png"):
        (tmp_path / name).write_text(name)
    keep_former([tmp_path / name for name in names])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-1.png", "a-2.json", "a-2.png"]
    keep_former([tmp_path / name for name in names])

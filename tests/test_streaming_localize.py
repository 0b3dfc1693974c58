"""Boxes of large data sets in shards: those of `kerasxai localize` on single images."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from kills import kill_in_a_shard
from PIL import Image
from run_folders import SIZE, tiny_model, write_folders
from test_multi_label_evaluation import draw, model_of_colors

from kerasxai.cli import main
from kerasxai.cli.localize_threshold import Resolved, resolve_threshold
from kerasxai.engine.images.image_input import ImageInput
from kerasxai.streaming.images import DatasetImages

IMAGES = 13
CORRUPT = 5
SHARDS = ["--shards", "4"]


def with_object(chance: np.random.Generator, number: int) -> np.ndarray:
    pixels = chance.integers(0, 90, (SIZE + 7 * (number % 3), SIZE + 5, 3), dtype=np.uint8)
    x, y = chance.integers(0, 20, 2)
    pixels[y : y + 15, x : x + 12, number % 2] = 255
    return pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and photographs of several sizes, one of which cannot be read."""
    root = tmp_path_factory.mktemp("boxes")
    tiny_model(0).save(root / "model.keras")
    write_folders(root / "photos", IMAGES, CORRUPT, with_object)
    return root


def words(root: Path, out: Path, *more: str, shards: bool = True) -> list[str]:
    photos = str(root / "photos")
    data = ["--data", photos] if shards else [photos]
    method = [] if "--method" in more else ["--method", "gradcam"]
    return ["localize", str(root / "model.keras"), *data, "--out", str(out), *method, "--batch-size", "4", *more]


def csv_rows(root: Path, out: Path) -> list[tuple[Any, ...]]:
    with (out / "boxes.csv").open() as file:
        return [
            (
                str(Path(row["image"]).relative_to(root / "photos")),
                int(row["class"]),
                row["name"],
                f"{float(row['score']):.5f}",
                *(int(row[side]) for side in ("x0", "y0", "x1", "y1")),
            )
            for row in csv.DictReader(file)
        ]


def parquet_rows(out: Path) -> list[tuple[Any, ...]]:
    return [
        (
            row["image"],
            row["target"],
            row["target_name"],
            f"{row['score']:.5f}",
            *(row[side] for side in ("x0", "y0", "x1", "y1")),
        )
        for row in pq.read_table(out / "boxes.parquet").to_pylist()
    ]


@pytest.mark.parametrize(
    "more",
    [
        ["--threshold", "0.4", "--all-boxes"],
        ["--refine", "flip", "--threshold", "otsu"],
        ["--refine", "none", "--fit", "crop", "--target", "1"],
    ],
)
def test_boxes_are_those_of_single_images(folder: Path, tmp_path: Path, more: list[str]) -> None:
    assert main(words(folder, tmp_path / "plain", *more, shards=False)) == 1
    assert main(words(folder, tmp_path / "shards", *more, *SHARDS)) == 1
    expected = csv_rows(folder, tmp_path / "plain")
    assert len(expected) >= IMAGES - 1 and parquet_rows(tmp_path / "shards") == expected
    images = pq.read_table(tmp_path / "shards/images.parquet").to_pylist()
    assert [row["number"] for row in images] == list(range(IMAGES))
    assert [row["shard"] for row in images] == sorted(row["shard"] for row in images)
    bad = [row for row in images if row["error"] is not None]
    assert [row["image"] for row in bad] == [f"folder{CORRUPT % 3}/{CORRUPT:02}.png"] and bad[0]["height"] is None
    assert [row["boxes"] for row in images] == [
        None if row in bad else sum(box[0] == row["image"] for box in expected) for row in images
    ]
    for row in images:
        if row not in bad:
            with Image.open(folder / "photos" / row["image"]) as image:
                assert (row["width"], row["height"]) == image.size
    thresholds = {row["threshold"] for row in pq.read_table(tmp_path / "shards/boxes.parquet").to_pylist()}
    assert thresholds == {0.4} if "0.4" in more else len(thresholds) > 3


def test_a_killed_call_goes_on_without_loss_or_double_work(folder: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "killed"
    assert main(words(folder, whole, *SHARDS)) == 1
    kill_in_a_shard(words(folder, out, *SHARDS), out)
    done = {path: path.stat().st_mtime_ns for path in out.glob("shard-*/*")}
    assert main(words(folder, out, *SHARDS)) == 1
    assert {path: path.stat().st_mtime_ns for path in done} == done
    for name in ("boxes.parquet", "images.parquet"):
        assert pq.read_table(out / name).equals(pq.read_table(whole / name))
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())


def test_the_threshold_of_the_first_call_is_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = "kerasxai.cli.localize_shards.resolve_threshold"
    monkeypatch.setattr(module, lambda config: Resolved(0.3, "chosen on boxes by one"))
    assert main(words(folder, tmp_path / "out", *SHARDS, "--shard", "1")) == 0
    assert "1 of 4 shards are done" in capsys.readouterr().out
    monkeypatch.setattr(module, lambda config: Resolved(0.7, "chosen on boxes by another"))
    assert main(words(folder, tmp_path / "out", *SHARDS)) == 1
    printed = capsys.readouterr()
    assert "at threshold 0.3 of the maximum; boxes:" in printed.out
    assert (printed.out + printed.err).count("(chosen on boxes by one)") == 1
    assert {row["threshold"] for row in pq.read_table(tmp_path / "out/boxes.parquet").to_pylist()} == {0.3}
    monkeypatch.setattr(module, resolve_threshold)
    assert main(words(folder, tmp_path / "out", *SHARDS, "--threshold", "0.7")) == 2
    assert "threshold was 'auto', is 0.7" in capsys.readouterr().err


def test_each_predicted_class_of_several_labels_has_boxes(tmp_path: Path) -> None:
    model_of_colors().save(tmp_path / "model.keras")
    (tmp_path / "photos").mkdir()
    for name, classes in (("both", [0, 2]), ("neither", [])):
        Image.fromarray(draw(np.random.default_rng(0), classes)[0]).save(tmp_path / f"photos/{name}.png")
    for out, shards in (("plain", False), ("shards", True)):
        assert main(words(tmp_path, tmp_path / out, "--method", "cam", "--threshold", "0.5", shards=shards)) == 0
    expected = csv_rows(tmp_path, tmp_path / "plain")
    assert len({row[1] for row in expected}) == 2 and parquet_rows(tmp_path / "shards") == expected
    images = pq.read_table(tmp_path / "shards/images.parquet").to_pylist()
    assert [row["image"] for row in images] == ["both.png", "neither.png"] and images[1]["boxes"] == 0


def test_images_of_a_named_data_set_have_their_size() -> None:
    images = DatasetImages("shapes", "test")
    batch = next(images.batches(3, 9, ImageInput((48, 32)), 4))
    assert batch.pixels.shape == (4, 48, 32, 3) and batch.sizes.tolist() == [[160, 160]] * 4
    assert batch.first == 3 and all(label is not None for label in batch.labels)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--shards", "14"], "shards must be at most the number of images, 13, got 14"),
        (["--threshold", "otso"], "otsu"),
        (["--shards", "4", "--shard", "4"], "shard must be from 0 to 3, got 4"),
    ],
)
def test_mistakes_end_in_one_line(
    folder: Path, tmp_path: Path, more: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(folder, tmp_path / "out", *more)) == 2
    message = capsys.readouterr().err
    assert expected in message and len(message.splitlines()) == 1


def test_images_are_files_or_data(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(folder, tmp_path / "out", "--shards", "2", shards=False)) == 2
    command, model, *rest = words(folder, tmp_path / "out")
    assert main([command, model, str(folder / "photos"), *rest]) == 2
    errors = capsys.readouterr().err
    assert "expected --data with --shards" in errors and "got both" in errors and not (tmp_path / "out").exists()


def test_settings_of_shards_do_not_change_those_of_single_images(folder: Path, tmp_path: Path) -> None:
    photo = str(folder / "photos/folder0/00.png")
    assert main(["localize", str(folder / "model.keras"), photo, "--out", str(tmp_path), "--method", "saliency"]) == 0
    settings = json.loads((tmp_path / "boxes.json").read_text())["info"]["settings"]
    assert not {"data", "split", "data_dir", "shards", "shard"} & settings.keys()

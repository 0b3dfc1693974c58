"""Large data sets in shards: nothing is lost or computed twice, and figures are those of single images."""

import contextlib
import json
import os
import platform
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
from kills import kill_in_a_shard
from run_folders import SIZE, tiny_model, write_folders, write_photos

import kerasxai
from kerasxai import KerasxaiError, data
from kerasxai.cli import main, parser_of
from kerasxai.engine.images.image_input import ImageInput, image_input
from kerasxai.evaluation.evaluate import Evaluator
from kerasxai.streaming.config import shard_count
from kerasxai.streaming.maps import MapWriter, scaled
from kerasxai.streaming.resizing import fitted
from kerasxai.streaming.shards import Shard, ShardFolder
from kerasxai.tools import folders
from kerasxai.tools.files import temporary_prefix
from kerasxai.tools.folders import LOCK, locked

IMAGES = 23
CORRUPT = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and images of several sizes in folders, one of which cannot be read."""
    root = tmp_path_factory.mktemp("streaming")
    tiny_model(0).save(root / "model.keras")
    write_folders(
        root / "photos",
        IMAGES,
        CORRUPT,
        lambda chance, number: chance.integers(0, 255, (SIZE + number % 3, SIZE, 3), dtype=np.uint8),
    )
    return root


def explain(folder: Path, out: Path, *more: str) -> int:
    model = str(folder / "model.keras")
    return main(
        ["explain", model, "--data", str(folder / "photos"), "--out", str(out), "--method", "gradcam,saliency", *more]
    )


def content(out: Path) -> tuple[list[dict], dict[str, bytes]]:
    maps = {str(path.relative_to(out)): np.load(path).tobytes() for path in sorted(out.glob("shard-*/*.npy"))}
    return pq.read_table(out / "explanations.parquet").to_pylist(), maps


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """The results of an uninterrupted call."""
    out = folder / "whole"
    assert explain(folder, out, "--shards", "5", "--batch-size", "4") == 1
    return out


def test_rows_and_heatmaps_are_those_of_single_images(folder: Path, whole: Path) -> None:
    rows = pq.read_table(whole / "explanations.parquet").to_pylist()
    names = sorted(str(path.relative_to(folder / "photos")) for path in (folder / "photos").rglob("*.png"))
    assert [row["image"] for row in rows] == [name for name in names for _ in range(2)]
    assert [row["number"] for row in rows] == [number for number in range(IMAGES) for _ in range(2)]
    model = keras.models.load_model(folder / "model.keras")
    good = [row for row in rows if row["error"] is None and row["method"] == "gradcam"]
    images = image_input(model).batch([data.read_image(folder / "photos" / row["image"]) for row in good])
    for name in ("gradcam", "saliency"):
        expected = kerasxai.Explainer(model, name, resize=False)(images)
        its = [row for row in rows if row["method"] == name]
        stored = np.concatenate([np.load(path) for path in sorted(whole.glob(f"shard-*/heatmaps_{name}.npy"))])
        assert stored.dtype == np.float16 and np.isnan(stored).all((1, 2)).tolist() == [
            bool(row["error"]) for row in its
        ]
        its = [row for row in its if row["error"] is None]
        assert [row["target"] for row in its] == expected.targets.tolist()
        np.testing.assert_allclose([row["score"] for row in its], expected.scores, rtol=1e-5)
        scales = np.array([row["heatmap_scale"] for row in its])[:, None, None]
        restored = stored[[row["number"] for row in its]] * scales
        np.testing.assert_allclose(restored / scales, expected.heatmaps / scales, atol=1e-3)
    errors = [row for row in rows if row["error"] is not None]
    assert {row["image"] for row in errors} == {f"folder{CORRUPT % 3}/{CORRUPT:02}.png"} and len(errors) == 2


def test_a_killed_call_goes_on_without_loss_or_double_work(folder: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    words = ["explain", str(folder / "model.keras"), "--data", str(folder / "photos"), "--method", "gradcam,saliency"]
    words += ["--out", str(out), "--shards", "5", "--batch-size", "4"]
    kill_in_a_shard(words, out)
    done = {path: path.stat().st_mtime_ns for path in out.glob("shard-*/*")}
    assert not (out / "explanations.parquet").exists() or len(list(out.glob("shard-*"))) == 5
    assert explain(folder, out, "--shards", "5", "--batch-size", "4") == 1
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert content(out) == content(whole)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())


@pytest.mark.parametrize("is_joined", [True, False])
def test_what_killed_calls_left_is_removed(is_joined: bool, folder: Path, whole: Path, tmp_path: Path) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    if not is_joined:
        (out / "explanations.parquet").unlink()
    process = subprocess.Popen(["sleep", "0"])
    process.wait()
    # Killed after the last shard was renamed, before its lock was released; and while the tables were joined.
    for lock in (out / ".lock-shard-4-of-5", out):
        lock.mkdir(exist_ok=True)
        (lock / LOCK).write_text(f"{process.pid} {socket.gethostname()}\n")
    own, other = temporary_prefix(), ".tmp-0123abcd-"
    # Of a living process, of another machine, and of the user.
    kept = {f"{own}{os.getpid()}-9.png", f"{other}{process.pid}-3.parquet", f".tmp-{process.pid}-3.parquet"}
    for name in (f"{own}{process.pid}-3.parquet", *kept):
        (out / name).touch()
    assert explain(folder, out, "--shards", "5", "--batch-size", "4") == 1
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()} | kept
    assert content(out) == content(whole)


def test_a_process_waits_for_another_that_joins_the_tables(
    folder: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    (out / "explanations.parquet").unlink()
    with ThreadPoolExecutor(1) as other, contextlib.ExitStack() as lock:
        other.submit(lock.enter_context, locked(out)).result()
        monkeypatch.setattr("kerasxai.streaming.shards._PATIENCE", 0.3)
        assert explain(folder, out, "--shards", "5", "--batch-size", "4") == 2
        # Released when the process looks for the second time.
        monkeypatch.setattr("time.sleep", lambda seconds: other.submit(lock.close).result())
        assert explain(folder, out, "--shards", "5", "--batch-size", "4") == 1
    assert content(out) == content(whole)


def test_a_lock_that_is_removed_at_this_moment_stops_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = folders._make

    def removed(path: Path) -> list[Path]:
        parents = made(path)
        if path.name.startswith(".lock-"):
            path.rmdir()
        return parents

    shards = ShardFolder(tmp_path / "out", {}, images=4, shards=2)
    monkeypatch.setattr(folders, "_make", removed)
    computed: list[Shard] = []
    shards.compute([0, 1], computed.append)
    assert not computed
    for number in range(2):
        shards.shard(number).folder.mkdir()
    (shards.out / ".lock-shard-1-of-2").mkdir()
    with shards.joining() as joined:
        assert len(joined) == 2


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_resized_images_are_those_of_tensorflow(fit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(0)
    # Smaller, larger, equal in both sides or in one, and of one pixel.
    sizes = [(427, 640), (35, 31), (32, 48), (200, 48), (32, 300), (1, 1), (7, 3), (1201, 9)]
    for channels, size in ((3, (32, 48)), (1, (32, 48)), (4, (33, 5))):
        taken = ImageInput(size, channels, fit=fit)
        for height, width in sizes:
            image = chance.integers(0, 256, (height, width, 4 if channels == 4 else 3), np.uint8)
            found, expected = fitted(image, taken), taken.resized(image)
            if platform.machine() == "x86_64":
                np.testing.assert_array_equal(found, expected)
            np.testing.assert_allclose(found, expected, atol=1e-3)
    monkeypatch.setattr("kerasxai.streaming.resizing._resized", lambda *_: pytest.fail("a copy of a large image"))
    large = np.zeros((2001, 2000, 3), np.uint8)
    assert fitted(large, ImageInput((4, 4), fit=fit)).shape == (4, 4, 3)


def test_several_machines_take_different_shards(
    folder: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "parts"
    for shard in ("3", "0"):
        assert explain(folder, out, "--shards", "5", "--batch-size", "4", "--shard", shard) == 0
    assert sorted(path.name for path in out.glob("shard-*")) == ["shard-0-of-5", "shard-3-of-5"]
    assert "2 of 5 shards are done" in capsys.readouterr().out
    # A shard that another process computes is left to it.
    with ThreadPoolExecutor(1) as other, contextlib.ExitStack() as lock:
        other.submit(lock.enter_context, locked(out / ".lock-shard-1-of-5")).result()
        assert explain(folder, out, "--shards", "5", "--batch-size", "4") == 0
        other.submit(lock.close).result()
    assert not (out / "shard-1-of-5").exists() and (out / "shard-4-of-5").exists()
    assert explain(folder, out, "--shards", "5", "--batch-size", "4") == 1
    assert content(out) == content(whole)


def test_all_shards_share_one_trace(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    original = keras.layers.Conv2D.call

    def call(self: keras.layers.Layer, x: Any) -> Any:
        calls.append(0)
        return original(self, x)

    monkeypatch.setattr(keras.layers.Conv2D, "call", call)
    counts = []
    for shards in ("1", "7"):
        explain(folder, tmp_path / shards, "--shards", shards, "--batch-size", "4", "--heatmaps", "none")
        counts.append(len(calls))
        assert not list((tmp_path / shards).glob("*/*.npy"))
    assert counts[0] and counts[1] == 2 * counts[0]


def test_refinements_have_maps_of_the_image(folder: Path, tmp_path: Path) -> None:
    assert explain(folder, tmp_path / "out", "--shards", "1", "--refine", "flip", "--target", "1") == 1
    assert np.load(tmp_path / "out/shard-0-of-1/heatmaps_gradcam.npy").shape == (IMAGES, SIZE, SIZE)
    assert {row["target"] for row in content(tmp_path / "out")[0] if row["error"] is None} == {1}
    about = json.loads((tmp_path / "out/shard-0-of-1/shard.json").read_text())
    assert about["skipped"] == 1 and about["methods"]["gradcam"]["layer"] == "maps"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--shards", "4"], "whose shards have other settings (shards was 5, is 4)"),
        (["--shards", "5", "--top", "2"], "top was 3, is 2"),
        (["--shards", "5", "--shard", "5"], "shard must be from 0 to 4, got 5"),
        (["--shards", "24"], "shards must be at most the number of images, 23, got 24"),
        (["--refine", "flip", "--heatmaps", "layer"], "heatmaps must be image or none with --refine"),
    ],
)
def test_mistakes_end_in_one_line(
    folder: Path, whole: Path, more: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert explain(folder, whole, "--batch-size", "4", *more) == 2
    message = capsys.readouterr().err
    assert expected in message and len(message.splitlines()) == 1


def test_images_are_files_or_data(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Images after a flag, as ever.
    images = ["a.png", "b.png"]
    assert parser_of("explain").parse_args(["m.keras", "--method", "cam", *images]).images == images
    assert parser_of("explain").parse_args(["m.keras", "--data", "photos"]).images == []
    with pytest.raises(SystemExit):
        parser_of("explain").parse_args(["m.keras"])
    photo = str(folder / "photos/folder0/00.png")
    model = str(folder / "model.keras")
    assert main(["explain", model, photo, "--data", str(folder), "--out", str(tmp_path / "out")]) == 2
    assert main(["explain", model, photo, "--shards", "2"]) == 2
    errors = capsys.readouterr().err
    assert "got both" in errors and "expected --data with --shards" in errors


def test_shards_are_disjoint_and_complete(tmp_path: Path) -> None:
    shards = ShardFolder(tmp_path, {}, 23, 11)
    ranges = [shards.shard(number) for number in range(11)]
    assert [one.start for one in ranges[1:]] == [one.stop for one in ranges[:-1]]
    assert (ranges[0].start, ranges[-1].stop) == (0, 23) and {len(one) for one in ranges} == {2, 3}
    assert ranges[3].folder.name == "shard-03-of-11"
    assert (shard_count(None, 2001), shard_count(7, 2001)) == (3, 7)

    def fail(shard: Shard) -> None:
        (shard.folder / "half").write_text("")
        raise KerasxaiError("expected nothing, got this")

    with pytest.raises(KerasxaiError, match="got this"):
        shards.compute([2], fail)
    assert [path.name for path in tmp_path.iterdir()] == ["shards.json"] and shards.left() == list(range(11))


def test_heatmaps_of_any_scale_keep_three_digits(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32) * np.array([1e-9, 1, 1e9])[:, None, None]
    maps = maps.astype(np.float32)
    with MapWriter(tmp_path / "maps.npy", 6) as writer:
        writer.add(np.zeros((0, 1, 1), np.float16), np.zeros(0, int), 2)
        half, scales = scaled(maps)
        writer.add(half, np.array([0, 1, 3]), 4)
    stored = np.load(tmp_path / "maps.npy")
    assert stored.dtype == np.float16 and stored.shape == (6, 4, 5) and np.isnan(stored[[0, 1, 4]]).all()
    restored = stored[[2, 3, 5]].astype(np.float64) * scales[:, None, None]
    assert (np.abs(restored - maps).max((1, 2)) <= 2**-11 * scales).all()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, photos with boxes, and their evaluation in one piece."""
    root = tmp_path_factory.mktemp("measured")
    tiny_model(0).save(root / "model.keras")
    write_photos(root / "photos")
    assert evaluate(root, root / "whole") == 0
    return root


def evaluate(root: Path, out: Path, *more: str) -> int:
    words = ["--data", str(root / "photos"), "--boxes", str(root / "boxes.csv"), "--method", "gradcam"]
    words += ["--protocol", "wsolevaluation"]
    return main(["evaluate", str(root / "model.keras"), *words, "--out", str(out), "--batch-size", "4", *more])


def figures(out: Path) -> dict:
    content = json.loads((out / "evaluation.json").read_text())
    return {name: value for name, value in content.items() if name != "command"}


def test_figures_of_shards_are_those_of_one_piece(measured: Path, tmp_path: Path) -> None:
    whole, out = measured / "whole", tmp_path / "shards"
    # One shard first, as on a machine of its own; then the others and the figures of all.
    assert evaluate(measured, out, "--shards", "5", "--shard", "3") == 0
    assert [path.name for path in out.glob("shard-*")] == ["shard-3-of-5"] and not (out / "evaluation.json").exists()
    assert evaluate(measured, out, "--shards", "5") == 0
    assert figures(out) == figures(whole)
    records = json.loads((whole / "records.json").read_text())
    rows = pq.read_table(out / "records.parquet").to_pylist()
    assert [row["name"] for row in rows] == [record["name"] for record in records]
    assert [row["chosen"]["iou"] for row in rows] == [record["chosen"]["iou"] for record in records]
    # A finished call computes nothing, and writes the same figures.
    before = {path: path.stat().st_mtime_ns for path in out.glob("shard-*/*")}
    assert evaluate(measured, out, "--shards", "5") == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before and figures(out) == figures(whole)


def test_a_refinement_is_chosen_once_and_only_to_explain(
    measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(Evaluator, "choose_refinements", lambda _: chosen.append(1))
    words = ["--refine", "auto", "--shards", "2"]
    assert evaluate(measured, tmp_path / "out", *words) == 0 and len(chosen) == 1
    # Nothing is left to explain.
    assert evaluate(measured, tmp_path / "out", *words) == 0 and len(chosen) == 1


def test_a_process_waits_for_another_that_writes_the_threshold(
    measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(1) as other, contextlib.ExitStack() as lock:
        other.submit(lock.enter_context, locked(tmp_path / ".lock-threshold")).result()
        monkeypatch.setattr("time.sleep", lambda seconds: other.submit(lock.close).result())
        assert evaluate(measured, tmp_path, "--shards", "2") == 0
    assert figures(tmp_path) == figures(measured / "whole")


def test_shards_of_some_images_measure_those_of_one_piece(measured: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "shards"
    assert evaluate(measured, whole, "--limit", "7") == evaluate(measured, out, "--limit", "7", "--shards", "3") == 0
    assert figures(out) == figures(whole)
    names = [record["name"] for record in json.loads((whole / "records.json").read_text())]
    every = [record["name"] for record in json.loads((measured / "whole" / "records.json").read_text())]
    assert names == [name for name in every if name in names] and names != every[:7]
    assert figures(out)["settings"]["limited_to"] == "images spread over the split"
    assert {row["name"] for row in pq.read_table(out / "records.parquet").to_pylist()} == set(names)


def test_mistakes_of_sharded_evaluations(measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(measured, tmp_path / "a", "--shard", "1") == 2
    assert evaluate(measured, tmp_path / "a", "--shards", "2", "--method", "cam,gradcam") == 2
    assert main(["evaluate", str(measured / "model.keras"), "--data", "photos", "--shards", "2"]) == 2
    assert evaluate(measured, tmp_path / "b", "--tune-split", "none", "--shards", "2", "--shard", "0") == 0
    assert "heatmaps of test" in (tmp_path / "b/threshold.json").read_text()
    assert evaluate(measured, tmp_path / "b", "--tune-split", "none", "--shards", "2", "--limit", "9") == 2
    errors = capsys.readouterr().err.splitlines()
    expected = ("expected --shards with --shard", "expected one method", "expected --out", "limit was None, is 9")
    assert len(errors) == len(expected) and all(text in line for text, line in zip(expected, errors, strict=True))


def test_parts_of_a_named_data_set_are_the_whole() -> None:
    dataset = data.open("shapes")
    names = [
        [batch["name"].tolist() for batch in dataset.batches("test", 32, 8, part=part).as_numpy_iterator()]
        for part in ((0, 20), (20, 24))
    ]
    whole = next(iter(dataset.batches("test", 32, 24).as_numpy_iterator()))["name"].tolist()
    assert [name for part in names for batch in part for name in batch] == whole

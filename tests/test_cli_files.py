"""What the commands read and write: no file of anybody is lost, and a stopped call goes on where it was."""

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo
from PIL import Image

from kerasxai.cli import explain as explain_module
from kerasxai.cli import localize as localize_module
from kerasxai.cli import main
from kerasxai.cli.ledger import Ledger
from kerasxai.data.finding import find_images, folded, holds_results
from kerasxai.tools.folders import locked

COMMANDS = {"explain": ["--method", "cam,gradcam"], "localize": ["--method", "cam"]}
TABLES = {"explain": "explanations.json", "localize": "boxes.json"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.keras"
    zoo.build("functional").save(path)
    return path


def draw(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (18, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def break_off(path: Path) -> Path:
    draw(path)
    path.write_bytes(path.read_bytes()[:300])
    return path


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def call(command: str, model: Path, images: list[Path], out: Path, *words: str) -> int:
    return main([command, str(model), *map(str, images), "--out", str(out), *(words or COMMANDS[command])])


def images_in(command: str, out: Path) -> list[str]:
    entries = json.loads((out / TABLES[command]).read_text())["images"]
    return [Path(entry["image" if command == "explain" else "file_name"]).name for entry in entries]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_input_is_written_over(command: str, model: Path, tmp_path: Path) -> None:
    """Neither where results lie beside the images, nor where a mask has an image's name, nor through another case."""
    photos = [draw(tmp_path / name) for name in ("cat.png", "CAT_cam.png", "masks/dog.png", "dog.jpg")]
    before = contents(tmp_path)
    for _ in range(2):
        assert call(command, model, photos, tmp_path) == 0
        assert before.items() <= contents(tmp_path).items()
    assert images_in(command, tmp_path) == [path.name for path in photos]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("place", [".", "inside", "../apart"])
def test_results_are_never_taken_for_images(command: str, place: str, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for name in ("a.png", "deeper/b.png"):
        draw(folder / name)
    out = folder / place
    assert call(command, model, [folder], out) == 0
    first = contents(tmp_path)
    assert call(command, model, [folder], out) == 0
    assert call(command, model, sorted(folder.glob("*.png")), out) == 0
    assert images_in(command, out) == ["a.png", "b.png"]
    assert contents(tmp_path).keys() == first.keys()
    other = next(name for name in COMMANDS if name != command)
    assert call(other, model, [folder], folder / "others") == 0
    assert images_in(other, folder / "others") == ["a.png", "b.png"]


def test_only_results_are_named(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("explain", model, [draw(tmp_path / "a.png")], tmp_path / "out") == 0
    capsys.readouterr()
    assert call("explain", model, [tmp_path / "out" / "a.png"], tmp_path / "out") == 2
    assert "only what kerasxai wrote" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_names_of_results_never_meet(command: str, model: Path, tmp_path: Path) -> None:
    names = ["a.jpg", "a_cam.jpg", "a.png", "A.png", "a-2.png", "deeper/a.png", "a_gradcam.png", "y" * 248 + ".png"]
    photos = [draw(tmp_path / "photos" / name, number) for number, name in enumerate(names)]
    for out in ("one", "two"):
        assert call(command, model, [*photos, photos[0]], tmp_path / out) == 0
    table = json.loads((tmp_path / "one" / TABLES[command]).read_text())["images"]
    files = [file for entry in table for file in entry.get("files", entry.get("kerasxai", {}).get("files"))]
    assert len({folded(file) for file in files}) == len(files) == (len(names) + 1) * (3 if command == "explain" else 1)
    assert all((tmp_path / "one" / file).is_file() for file in files)
    pictures = [
        {n: d for n, d in contents(tmp_path / out).items() if n.endswith((".png", ".npy"))} for out in ("one", "two")
    ]
    assert pictures[0] == pictures[1], "the same names for the same images"


@pytest.mark.parametrize(
    ("command", "name"), [("explain", "explanations.json"), ("localize", "boxes.csv"), ("localize", "sheet.png")]
)
def test_files_of_another_origin_are_refused(
    command: str, name: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text("filename,x_min\n")
    photo = draw(tmp_path / "photo.png")
    before = contents(tmp_path)
    assert call(command, model, [photo], tmp_path) == 2
    assert f"foreign {name}" in capsys.readouterr().err and contents(tmp_path) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_an_image_that_cannot_be_read_is_skipped_and_listed(
    command: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    for name in ("a.png", "c.png"):
        draw(folder / name)
    broken = break_off(folder / "b.png")
    (folder / "d.jpg").write_text("no image")
    assert call(command, model, [folder], tmp_path / "out", *COMMANDS[command], "--batch-size", "1") == 1
    told = capsys.readouterr()
    assert "b.png" in told.err and "d.jpg" in told.err and "2 of 4 images were skipped" in told.err
    assert images_in(command, tmp_path / "out") == ["a.png", "c.png"]
    draw(broken)
    (folder / "d.jpg").unlink()
    assert call(command, model, [folder], tmp_path / "out") == 0
    assert images_in(command, tmp_path / "out") == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_readable_image_nothing_is_written(
    command: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = [break_off(tmp_path / name) for name in ("a.png", "b.png")]
    for images, told in ((broken[:1], "a.png"), (broken, "none of the 2 images can be used")):
        assert call(command, model, images, tmp_path / "out") == 2
        message = capsys.readouterr().err
        assert told in message and message.count("\n") == 1
        assert not (tmp_path / "out").exists()


def test_folders_are_walked_without_circles(tmp_path: Path) -> None:
    for name in ("a.png", "deeper/b.JPG", ".hidden.png", ".cache/c.png", "notes.txt"):
        draw(tmp_path / "photos" / name) if not name.endswith("txt") else (tmp_path / "photos" / name).touch()
    draw(tmp_path / "elsewhere" / "d.png")
    folder = tmp_path / "photos"
    (folder / "deeper" / "up").symlink_to(folder)
    (folder / "itself").symlink_to(folder / "itself")
    (folder / "nowhere.png").symlink_to(tmp_path / "nothing.png")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(folder / "pipe.png")
    found = [path.relative_to(folder).as_posix() for path in find_images(folder, {".png", ".jpg"})]
    assert found == ["a.png", "deeper/b.JPG", "linked/d.png"]


def stop_at(count: int, work: Callable[..., Any]) -> Callable[..., Any]:
    calls: list[int] = []

    def stopped(*words: Any) -> Any:
        calls.append(1)
        if len(calls) == count:
            raise KeyboardInterrupt
        return work(*words)

    stopped.calls = calls  # type: ignore[attr-defined]
    return stopped


WRITERS = {"explain": (explain_module, "write_explained"), "localize": (localize_module, "write_mask")}


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_stopped_call_leaves_its_table_and_goes_on(
    command: str, killed: bool, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    for number in range(6):
        draw(folder / f"{number}.png", number)
    words = [*COMMANDS[command], "--batch-size", "2"]
    assert call(command, model, [folder], tmp_path / "whole", *words) == 0
    module, name = WRITERS[command]
    write = getattr(module, name)
    with monkeypatch.context() as patched:
        patched.setattr(module, name, stop_at(4, write))
        if killed:
            # A process that is killed does nothing more: what it has appended to its journal is all there is.
            patched.setattr(Ledger, "__exit__", lambda ledger, *_: ledger.close())
        assert call(command, model, [folder], out, *words) == 130
    assert images_in(command, out)[:2] == ["0.png", "1.png"], "a table is there, and valid"
    assert killed or images_in(command, out) == ["0.png", "1.png", "2.png"]
    if killed:
        with next(out.glob(".kerasxai-*.jsonl")).open("a") as journal:
            journal.write('{"record": {"image"')
    if command == "localize":
        (out / "sheet.png").write_bytes((tmp_path / "whole" / "sheet.png").read_bytes())
    counting = stop_at(100, write)
    monkeypatch.setattr(module, name, counting)
    assert call(command, model, [folder], out, *words) == 0
    # The sheet shows heatmaps, which are not kept, so that the few images on it are done again.
    assert len(counting.calls) == (3 if command == "explain" else 6)  # type: ignore[attr-defined]
    assert contents(out).keys() == contents(tmp_path / "whole").keys()
    one, other = (json.loads((path / TABLES[command]).read_text()) for path in (tmp_path / "whole", out))
    # Another batch size rounds differently, in the last digits.
    entries = [
        [{name: entry.get(name) for name in ("image", "file_name", "files", "id")} for entry in table["images"]]
        for table in (one, other)
    ]
    assert entries[0] == entries[1] and one.get("annotations") == other.get("annotations")
    assert call(command, model, [folder], out, *words) == 0
    assert len(counting.calls) == (3 if command == "explain" else 6), "all is done"  # type: ignore[attr-defined]


def test_a_changed_image_and_a_lost_picture_are_done_again(model: Path, tmp_path: Path) -> None:
    photos = [draw(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    out = tmp_path / "out"
    assert call("explain", model, photos, out) == 0
    first = contents(out)
    draw(photos[0], seed=5)
    os.utime(photos[0], (1, 1))
    (out / "b_cam.npy").unlink()
    assert call("explain", model, photos, out) == 0
    second = contents(out)
    changed = {name for name in first if first[name] != second[name]}
    assert first.keys() == second.keys()
    assert changed == {"explanations.json", *(name for name in first if name.startswith("a"))}


def test_images_of_an_earlier_call_keep_their_lines(model: Path, tmp_path: Path) -> None:
    cat, dog = draw(tmp_path / "one" / "photo.png"), draw(tmp_path / "two" / "photo.png", 1)
    for photo in (cat, dog):
        assert call("explain", model, [photo], tmp_path / "out") == 0
    images = json.loads((tmp_path / "out" / "explanations.json").read_text())["images"]
    assert [image["image"] for image in images] == [str(dog), str(cat)]
    assert {image["files"][-1] for image in images} == {"photo.png", "photo-2.png"}


def test_explanations_of_other_settings_are_kept(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, out, table = draw(tmp_path / "a.png"), tmp_path / "out", "explanations*.json"
    assert call("explain", model, [photo], out, "--method", "cam", "--target", "1") == 0
    first = contents(out)
    assert call("explain", model, [photo], out, "--method", "cam", "--target", "2") == 0
    assert "kept as" in capsys.readouterr().out
    second = contents(out)
    assert set(first.values()) <= set(second.values()), "nothing is lost"
    former = json.loads((out / "explanations-1.json").read_text())
    assert former["images"][0]["explanations"][0]["target"] == 1
    assert call("explain", model, [photo], out, "--method", "cam", "--target", "1") == 0
    pictures = {name for name in first if name.startswith("a_")}
    assert {first[name] for name in pictures} == {contents(out)[name] for name in pictures}
    assert len(list(out.glob(table))) == 2


def test_boxes_of_other_settings_are_refused_before_the_work(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes, masks and the sheet of a folder are of one kind, because other tools read all of them."""
    one, two = draw(tmp_path / "one" / "a.png"), draw(tmp_path / "two" / "a.png", 1)
    out, words = tmp_path / "out", ("--method", "cam", "--refine", "none", "--target", "1")
    assert call("localize", model, [one], out, *words) == 0
    before = contents(out)
    assert call("localize", model, [one], out, *words) == 0
    assert contents(out) == before, "the same again"
    capsys.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr("kerasxai.cli.localize.load_mapper", None)
        for images, more in (([one], ("--threshold", "0.3")), ([two], ("--all-boxes",))):
            assert call("localize", model, images, out, *words, *more) == 2
            message = capsys.readouterr().err
            assert message.count("\n") == 1 and "choose another --out" in message and "made by `" in message
    assert "all_boxes was False, is True" in message and contents(out) == before
    assert call("localize", model, [two], out, *words) == 0
    after = contents(out)
    assert len(images_in("localize", out)) == 2 and after["masks/a.png"] == before["masks/a.png"]
    assert "masks/a-2.png" in after, "more images of the same settings go on"


def test_boxes_of_an_interrupted_call_are_refused_with_other_settings(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, out, words = draw(tmp_path / "a.png"), tmp_path / "out", ("--method", "cam", "--refine", "none")
    assert call("localize", model, [photo], out, *words) == 0
    settings = json.loads((out / "boxes.json").read_text())["info"]["settings"]
    (out / "boxes.json").unlink()
    line = json.dumps({"settings": settings, "command": "kerasxai localize x"})
    (out / ".kerasxai-localize.jsonl").write_text(line + "\n")
    before = contents(out)
    capsys.readouterr()
    assert call("localize", model, [photo], out, *words, "--all-boxes") == 2
    assert "made by `kerasxai localize x`" in capsys.readouterr().err and contents(out) == before


def test_two_calls_with_one_folder(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo, status = draw(tmp_path / "a.png"), []
    with locked(tmp_path / "out"):
        for command in COMMANDS:
            thread = threading.Thread(
                target=lambda name: status.append(call(name, model, [photo], tmp_path / "out")), args=(command,)
            )
            thread.start()
            thread.join()
    assert status == [2, 2] and capsys.readouterr().err.count("is writing to") == 2


def test_memory_does_not_grow_with_the_images(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts the pictures that are alive; measuring a process's memory would take minutes."""
    import weakref

    from kerasxai import data

    size, most = (300, 401), 0
    pictures: list[weakref.ref[np.ndarray]] = []
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (size[1], size[0]), "red").save(folder / "0.png")
    for number in range(1, 9):
        (folder / f"{number}.png").hardlink_to(folder / "0.png")
    read = data.read_image

    def counted(*words: Any, **options: Any) -> np.ndarray:
        nonlocal most
        picture = read(*words, **options)
        pictures.append(weakref.ref(picture))
        most = max(most, sum(one() is not None for one in pictures))
        return picture

    monkeypatch.setattr("kerasxai.data.read_image", counted, raising=False)
    assert call("explain", model, [folder], tmp_path / "out", "--method", "cam", "--batch-size", "2") == 0
    # Two batches: the one that is explained, and the one that is read.
    assert len(pictures) == 9 and 0 < most <= 4


def test_folders_of_results_are_known(model: Path, tmp_path: Path) -> None:
    photo = draw(tmp_path / "photos" / "a.png")
    for command in COMMANDS:
        assert call(command, model, [photo], tmp_path / command) == 0
        assert holds_results(tmp_path / command)
    (tmp_path / "photos" / "boxes.json").write_text('{"info": {}, "annotations": [], "images": []}')
    assert not holds_results(tmp_path / "photos"), "COCO files of other tools are no results"


@pytest.mark.parametrize(
    "content",
    [
        '{"command": "x", "images": [1, {"files": 3}], "settings": {}}',
        '{"command": "x", "images": [{"image": "a", "source": {"key": 1}}], "settings": {"a": 1}}',
        '{"command": "x", "images": {}, "settings": [1]}',
        '{"info": {"description": "boxes of kerasxai localize", "settings": {}}, "annotations": [{}], "images": [{}]}',
    ],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_damaged_tables_are_told_or_kept(
    command: str, content: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, out = draw(tmp_path / "a.png"), tmp_path / "out"
    out.mkdir()
    (out / TABLES[command]).write_text(content)
    assert call(command, model, [photo], out, "--method", "cam") in (0, 2)
    assert "internal error" not in capsys.readouterr().err
    assert content in [path.read_text() for path in out.glob("*.json")]


def test_a_damaged_journal_is_no_hindrance(model: Path, tmp_path: Path) -> None:
    photo, out = draw(tmp_path / "a.png"), tmp_path / "out"
    out.mkdir()
    lines = ["\udcff\udcfe", "[1]", "{}", "3", '{"record": {"source": {}}}', '{"files": [1, "b.png"]}', '{"record"']
    (out / ".kerasxai-explain.jsonl").write_text("\n".join(lines), errors="surrogateescape")
    assert call("explain", model, [photo], out) == 0
    assert images_in("explain", out) == ["a.png"]
    assert not (out / ".kerasxai-explain.jsonl").exists()


def test_a_name_in_the_way_is_told_before_the_work(model: Path, tmp_path: Path) -> None:
    (tmp_path / "masks").write_text("mine")
    assert call("localize", model, [draw(tmp_path / "a.png")], tmp_path) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "masks"]

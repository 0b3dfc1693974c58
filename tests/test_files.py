"""Files are written whole or not at all, in every locale, and errors name what is near."""

import ast
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasxai.tools import folders
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import (
    atomic_path,
    csv_cell,
    json_text,
    not_finite,
    null_for_nan,
    path_of,
    read_csv,
    read_json,
    read_text,
    text_of,
    write_csv,
    write_json,
    write_text,
)
from kerasxai.tools.folders import LOCK, check_output_folder, is_locked_here, locked

ROOT = Path(__file__).parent.parent
NAMES = ["über.jpg", os.fsdecode(b"z\xff.jpg"), "a,b\n'c\".jpg", "[red].jpg"]


def test_a_file_appears_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "map.txt"
    for text in ("first", "second"):
        with atomic_path(path) as temporary:
            temporary.write_text(text)
            assert temporary.suffix == ".txt"
            assert not path.exists() or path.read_text() == "first"
    assert path.read_text() == "second"
    assert list(path.parent.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "map.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_as_long_as_the_disk_takes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".txt")
    assert read_text(write_text(path, "here")) == "here"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KerasxaiError, match="cannot write"), atomic_path(tmp_path / "file" / "map.txt"):
        pass
    with pytest.raises(KerasxaiError, match="cannot write"):
        check_output_folder(tmp_path / "file")
    with pytest.raises(KerasxaiError, match="cannot write"):
        check_output_folder("a\0b")


def test_a_disk_that_takes_no_more_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: writing fails in the middle in the same way."""
    program = f"""
import resource, signal, sys
import numpy as np
from kerasxai.tools.commands import exit_status
from kerasxai.viz import save_png
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
sys.exit(exit_status("kerasxai explain", lambda: save_png({str(tmp_path / "map.png")!r}, noise)))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot write" in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_unknown_name_comes_with_near_ones_or_a_few_of_all() -> None:
    assert "nearest: gradcam" in str(unknown("method", "gradcm", ["cam", "gradcam", "saliency"]))
    assert str(unknown("layer", "zzz", map(str, range(20)))).endswith("... (20 in all)")


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_read_back(name: str, tmp_path: Path) -> None:
    text = text_of(name)
    assert path_of(text) == name
    assert read_text(write_text(tmp_path / "a.txt", text)) == text
    assert read_json(write_json(tmp_path / "a.json", {"image": text})) == {"image": text}
    assert read_csv(write_csv(tmp_path / "a.csv", ["image"], [[text]])) == [{"image": text}]


def test_files_are_utf_8_in_a_locale_that_is_not(tmp_path: Path) -> None:
    program = (
        "import sys; from kerasxai.tools.files import *\n"
        "names = [text_of(name) for name in sys.argv[2:]]\n"
        "write_csv(sys.argv[1] + '/a.csv', ['image'], [[name] for name in names])\n"
        "write_text(sys.argv[1] + '/a.txt', '\\n'.join(names))\n"
        "assert read_csv(sys.argv[1] + '/a.csv')[0]['image'] == names[0]\n"
    )
    surroundings = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    words = [sys.executable, "-c", program, str(tmp_path), "über.jpg", "猫.jpg"]
    subprocess.run(words, env=surroundings, cwd=ROOT, check=True)
    assert (tmp_path / "a.txt").read_bytes().decode() == "über.jpg\n猫.jpg"
    assert [row["image"] for row in read_csv(tmp_path / "a.csv")] == ["über.jpg", "猫.jpg"]


@settings(deadline=None)
@given(
    st.recursive(st.floats() | st.integers() | st.text(), lambda one: st.lists(one) | st.dictionaries(st.text(), one))
)
def test_json_holds_no_nan_and_the_error_says_where(value: object) -> None:
    found = list(not_finite(value))
    assert not list(not_finite(null_for_nan(value)))
    if not found:
        assert json_text(value)
        return
    with pytest.raises(KerasxaiError, match="must be a finite number") as raised:
        json_text(value)
    assert found[0][0] in str(raised.value)


def test_a_file_with_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(KerasxaiError, match=re.escape("runs[1].loss must be a finite number, got nan")):
        write_json(tmp_path / "a.json", {"runs": [{"loss": 1.0}, {"loss": float("nan")}]})
    assert not list(tmp_path.iterdir())


def test_damaged_json_is_told_in_one_line(tmp_path: Path) -> None:
    for content in (b"", b'{"a": ', b"\xff\xfe", b"[" * 100_000):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(KerasxaiError, match=r"expected JSON in .*a\.json"):
            read_json(tmp_path / "a.json")


def test_no_cell_is_a_formula() -> None:
    for text in ("=cmd|' /C calc'!A0.jpg", "+1+1", "@sum", "-2+3", "\t=1"):
        assert str(csv_cell(text)).startswith("'")
    for value in ("cat.jpg", "-3.5", -3.5, 7, ""):
        assert csv_cell(value) == value


def _bare(path: Path) -> list[str]:
    """Returns the calls in a file that open text without tools/files.py."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        call, words = ast.unparse(node.func), [ast.unparse(word) for word in node.args]
        binary = any("b'" in word for word in words)
        elsewhere = call.split(".")[0] in {"Image", "data", "os", "webbrowser"}
        opens = call == "open" or (call.endswith(".open") and not elsewhere)
        text = call.endswith((".read_text", ".write_text")) or call in {"json.dump", "json.load"}
        if (opens and not binary) or text:
            found.append(f"{path.relative_to(ROOT)}:{node.lineno} {call}")
    return found


def test_text_is_opened_in_one_place() -> None:
    sources = [path for folder in ("kerasxai", "callbacks", "training") for path in (ROOT / folder).rglob("*.py")]
    found = [call for path in sources if path.name != "files.py" for call in _bare(path)]
    assert not found, "use kerasxai.tools.files, which writes UTF-8 and whole files"
    assert _bare(ROOT / "kerasxai" / "tools" / "files.py"), "the test finds such calls"


def test_a_lock_keeps_others_out_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with locked(out):
        assert is_locked_here(out)
        with locked(out):
            pass
        assert (out / LOCK).exists(), "the inner block is not the one that let go"
        refused: list[BaseException] = []
        threads = [threading.Thread(target=_try, args=(out, refused)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(refused) == 2 and all("is writing to" in str(error) for error in refused)
    assert not list(tmp_path.iterdir()), "an empty folder goes"
    with locked(out):
        (out / "a.txt").touch()
    assert [path.name for path in out.iterdir()] == ["a.txt"]


def _try(out: Path, refused: list[BaseException]) -> None:
    try:
        with locked(out):
            pass
    except KerasxaiError as error:
        refused.append(error)


@pytest.mark.parametrize("kind", ["system", "none"])
def test_another_process_is_refused_while_the_first_lives(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = "folders.fcntl = None\n" if kind == "none" else ""
    program = (
        f"import sys, time; from kerasxai.tools import folders\n{without}"
        "with folders.locked(sys.argv[1]):\n    print('locked', flush=True); time.sleep(60)\n"
    )
    if kind == "none":
        monkeypatch.setattr(folders, "fcntl", None)
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None and other.stdout.readline() == "locked\n"
    with pytest.raises(KerasxaiError, match=f"process {other.pid} is writing to"), locked(tmp_path):
        pass
    other.kill()
    other.wait()
    other.stdout.close()
    assert (tmp_path / LOCK).exists(), "killed processes leave the file"
    with locked(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()


def test_a_lock_of_another_machine_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "fcntl", None)
    write_text(tmp_path / LOCK, "1 elsewhere\n")
    with pytest.raises(KerasxaiError, match="process 1"), locked(tmp_path):
        pass
    write_text(tmp_path / LOCK, "")
    with pytest.raises(KerasxaiError, match="another process"), locked(tmp_path):
        pass
    os.utime(tmp_path / LOCK, (0, 0))
    with locked(tmp_path):
        pass


def test_a_lock_that_is_taken_again_at_this_moment_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "fcntl", None)
    write_text(tmp_path / LOCK, "1 elsewhere\n")
    read, left = Path.read_bytes, [FileNotFoundError()]

    def once_missing(path: Path) -> bytes:
        if left:
            raise left.pop()
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", once_missing)
    with pytest.raises(KerasxaiError, match="process 1"), locked(tmp_path):
        pass
    assert (tmp_path / LOCK).exists()


def test_a_lock_that_another_thread_releases_at_this_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = folders._take

    def released(path: Path) -> int:
        folders._locked.pop(path.parent.resolve(), None)
        return take(path)

    monkeypatch.setattr(folders, "_take", released)
    monkeypatch.setitem(folders._locked, tmp_path.resolve(), (-1, 1))
    with locked(tmp_path):
        assert is_locked_here(tmp_path)
    assert not is_locked_here(tmp_path), "the next lock would not be taken"

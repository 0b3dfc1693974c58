"""Files are written whole or not at all, and errors name what is near."""

import subprocess
import sys
from pathlib import Path

import pytest

from kerasxai.core.errors import KerasxaiError, unknown
from kerasxai.core.files import atomic_path


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


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KerasxaiError, match="cannot write"), atomic_path(tmp_path / "file" / "map.txt"):
        pass


def test_a_disk_that_takes_no_more_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: writing fails in the middle in the same way."""
    program = f"""
import resource, signal, sys
import numpy as np
from kerasxai.core.commands import exit_status
from kerasxai.viz import save_png
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
sys.exit(exit_status("kerasxai explain", lambda: save_png({str(tmp_path / "map.png")!r}, noise)))
"""
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot write" in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_unknown_name_comes_with_near_ones_or_a_few_of_all() -> None:
    assert "nearest: gradcam" in str(unknown("method", "gradcm", ["cam", "gradcam", "saliency"]))
    assert str(unknown("layer", "zzz", map(str, range(20)))).endswith("... (20 in all)")

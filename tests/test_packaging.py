"""What an installed kerasxai holds: wheel and sdist built here, compared with the tree."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLACES = {"kerasxai": "kerasxai", "callbacks": "kerasxai/callbacks", "training": "kerasxai/training"}


def files_of_the_tree() -> set[str]:
    """Every file of the packages, under the name that it has once it is installed."""
    found = set()
    for folder, place in PLACES.items():
        for path in (ROOT / folder).rglob("*"):
            hidden = any(part.startswith((".", "__pycache__")) for part in path.relative_to(ROOT).parts)
            if path.is_file() and not hidden:
                found.add(f"{place}/{path.relative_to(ROOT / folder).as_posix()}")
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source") / "checkout"
    source.mkdir()
    for name in (*PLACES, "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    out = source.parent / "out"
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_the_wheel_holds_the_whole_tree_and_nothing_beside_it(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name for name in names if ".dist-info/" not in name} == files_of_the_tree()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"kerasxai"}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_sdist_holds_what_the_wheel_is_made_from(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"setup.cfg", "pyproject.toml", "README.md", "LICENSE"} <= names
    for folder, place in PLACES.items():
        wanted = {f"{folder}{name.removeprefix(place)}" for name in files_of_the_tree() if name.startswith(f"{place}/")}
        if folder == "kerasxai":
            wanted = {name for name in wanted if not name.startswith(("kerasxai/callbacks/", "kerasxai/training/"))}
        assert wanted <= names


def test_a_wheel_works_from_anywhere(built: Path, tmp_path: Path) -> None:
    """Unpacked as an installer would, without the checkout in sight."""
    (wheel,) = built.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    program = (
        "import sys, kerasxai, kerasxai.training.config, kerasxai.data\n"
        f"assert kerasxai.__file__.startswith({str(site)!r}), kerasxai.__file__\n"
        f"assert kerasxai.training.config.__file__.startswith({str(site)!r})\n"
        "assert len(kerasxai.METHODS) >= 2 and 'shapes' in kerasxai.DATASETS and 'acol' in kerasxai.HEADS\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules\n"
        "from kerasxai.cli import main\n"
        "assert main(['methods']) == 0\n"
    )
    environment = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_bare_checkout_works_too(tmp_path: Path) -> None:
    program = "import kerasxai.training.config as c, kerasxai.callbacks; print(c.__file__)"
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(ROOT / "training" / "config.py")

"""What an installed kerasxai holds: wheel and sdist built here, compared with the tree."""

import resource
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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


def test_an_index_would_take_wheel_and_sdist(built: Path) -> None:
    files = sorted(map(str, built.iterdir()))
    assert len(files) == 2
    command = [sys.executable, "-m", "twine", "check", "--strict", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def bare_environment(wheel: Path, folder: Path) -> Path:
    """Make a virtual environment of the wheel and the packages that it requires, without extras, and return its Python.

    Packages are links to those that are installed here, so that no network is needed.
    """
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python3.*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    (information,) = site.glob("kerasxai-*.dist-info")
    pending = [Requirement(line) for line in metadata.Distribution.at(information).requires or []]
    seen: set[tuple[str, str]] = set()
    while pending:
        requirement = pending.pop()
        # The environment without an extra, and with each of those that the requirement names.
        for extra in ("", *requirement.extras):
            name = requirement.name.lower().replace("_", "-")
            if (name, extra) not in seen and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
                seen.add((name, extra))
                pending += link_package(requirement.name, extra, site)
    return folder / "bin" / "python"


def link_package(name: str, extra: str, site: Path) -> list[Requirement]:
    """Link an installed package into a folder of packages, and return the packages that it requires."""
    found = metadata.distribution(name)
    for top in {Path(file).parts[0] for file in found.files or []} - {"..", "__pycache__"}:
        if not (site / top).exists():
            (site / top).symlink_to(Path(str(found.locate_file(top))).resolve())
    requirements = [Requirement(line) for line in found.requires or []]
    return [one for one in requirements if one.marker is None or one.marker.evaluate({"extra": extra})]


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
def test_a_bare_environment_runs_the_quick_demo_in_90_seconds_of_two_cores(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    python = bare_environment(wheel, tmp_path / "bare")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path)}
    absent = "import importlib.util as u; print([n for n in ('pytest', 'mkdocs', 'twine') if u.find_spec(n)])"
    listed = subprocess.run([python, "-c", absent], env=environment, capture_output=True, text=True, check=True)
    assert listed.stdout.strip() == "[]", "the environment has more than the requirements"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [python, "-m", "kerasxai", "demo", "--quick", "--out", "demo"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (tmp_path / "demo" / "report.html").stat().st_size > 100_000
    # Of the processor, which a busy machine changes little.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2 * 90


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

"""A virtual environment for other libraries, `.venv-peers`, because they bring many dependencies.

`xplique` declares TensorFlow 2.20 or older and works with newer versions, so it is installed without its requirements;
those that kerasxai does not bring are listed here.
"""

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.tables import report

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv-peers"
PACKAGES = {
    "xplique": "xplique",
    "tf-keras-vis": "tf_keras_vis",
    "tf-explain": "tf_explain",
    "saliency": "saliency",
    "lime": "lime",
}
"""The module of each peer, by the name of its package."""
XPLIQUE_NEEDS = ("deprecated", "einops", "opencv-python", "tensorflow-probability", "tf-keras")


def installed() -> tuple[list[str], list[str]]:
    """Return the names of the peers that can be imported in this process, and of the rest."""
    found = [name for name, module in PACKAGES.items() if importlib.util.find_spec(module) is not None]
    return found, [name for name in PACKAGES if name not in found]


def run_there(words: Sequence[str]) -> int:
    """Run `python -m benchmarks` in the environment of the peers, which is made if there is none.

    Returns:
        The exit code; 0 if no peer can be installed, which is reported in one line.
    """
    if Path(sys.prefix).resolve() == FOLDER or not _make():
        report(f"{words[0]}: no peer is installed, and none can be; nothing is measured")
        return 0
    return subprocess.run([_python(), "-m", "benchmarks", *words], cwd=ROOT).returncode


def _make() -> bool:
    """Make the environment, and return whether at least one peer is in it."""
    stamp = FOLDER / "peers-installed"
    kerasxai = ("--no-build-isolation", "--editable", str(ROOT), "--config-settings", "editable_mode=strict")
    if stamp.exists():
        # A strict editable install links file by file, and files may have been added.
        return _pip("--no-deps", *kerasxai)
    report(f"installing {', '.join(PACKAGES)} in {FOLDER.name}")
    if subprocess.run([sys.executable, "-m", "venv", FOLDER]).returncode or not _pip("setuptools>=77"):
        return False
    if not _pip(*kerasxai):
        return False
    # One at a time, because one that cannot be installed must not keep out the rest.
    done = [name for name in PACKAGES if _install(name)]
    if done:
        stamp.write_text("\n".join(done) + "\n")
    return bool(done)


def _install(name: str) -> bool:
    if name == "xplique":
        return _pip(*XPLIQUE_NEEDS) and _pip("--no-deps", name)
    return _pip(name)


def _pip(*words: str) -> bool:
    command = [_python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words]
    return subprocess.run(command).returncode == 0


def _python() -> str:
    return str(FOLDER / ("Scripts" if sys.platform == "win32" else "bin") / "python")

"""The examples in docstrings that need no model are run."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = [
    *(ROOT / "kerasxai" / "tools" / f"{name}.py" for name in ("commands", "errors", "files", "lazy", "options")),
    ROOT / "kerasxai" / "localization.py",
    # Without the deprecated modules, which warn when they are imported.
    *sorted({*(ROOT / "kerasxai" / "metrics").glob("*.py")} - {*(ROOT / "kerasxai" / "metrics").glob("[es]*.py")}),
    *(
        ROOT / "kerasxai" / name
        for name in (
            "metrics/segmentation.py",
            "segmentation/seeds.py",
            "segmentation/pseudo.py",
            "segmentation/palette.py",
        )
    ),
    *sorted((ROOT / "kerasxai" / "viz").glob("[!_]*.py")),
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_examples_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    numpy = {"np": importlib.import_module("numpy"), "kerasxai": importlib.import_module("kerasxai")}
    assert doctest.testmod(module, extraglobs=numpy, optionflags=doctest.ELLIPSIS).failed == 0

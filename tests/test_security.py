"""SECURITY.md says what is true: code in files does not run, and pages request nothing."""

import pickle
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

import kerasxai
from kerasxai import viz
from kerasxai.models.torch_weights import read_torch_weights
from kerasxai.tools.errors import KerasxaiError

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_code_in_a_model_file_does_not_run(suffix: str, tmp_path: Path) -> None:
    path, witness = tmp_path / f"model{suffix}", tmp_path / "ran"

    # A lambda, whose bytecode Keras stores; of a named function it stores the name only.
    code = eval(f"lambda x: (open({str(witness)!r}, 'w').close(), x)[1]")
    keras.Sequential([keras.Input((4,)), keras.layers.Lambda(code, output_shape=(4,))]).save(path)
    witness.unlink(missing_ok=True)
    with pytest.raises(KerasxaiError, match="Lambda layer"):
        kerasxai.models.load(path)
    assert not witness.exists()


class Attack:
    """An object whose pickle makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_code_in_weights_of_torch_does_not_run(tmp_path: Path) -> None:
    path, witness = tmp_path / "weights.pth", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Attack(witness)))
    with pytest.raises(KerasxaiError):
        read_torch_weights(path)
    assert not witness.exists()


def test_pages_have_the_policies_that_are_stated(tmp_path: Path) -> None:
    page = viz.Report("<script>alert(1)</script>", "a & b")
    page.add_picture(np.zeros((8, 8, 3), np.uint8), "<b>")
    text = page.write(tmp_path / "page.html").read_text("utf-8")
    assert "<script" not in text and "&lt;script&gt;" in text
    policies = {}
    for folder in ("viz", "report"):
        for path in (ROOT / "kerasxai" / folder / "templates").glob("*.j2"):
            policies[path.name] = re.findall(r'Security-Policy" content="([^"]*)"', path.read_text("utf-8"))
    assert policies["report.html.j2"] == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert policies["page.html.j2"] == ["{{ policy }}"]
    assert policies["scatter.html.j2"][0].startswith("default-src 'none'; img-src data:;")
    security = (ROOT / "SECURITY.md").read_text("utf-8")
    for path in re.findall(r"`(kerasxai/[\w/]+\.py)`", security):
        assert (ROOT / path).exists(), path


def test_the_citation_is_complete() -> None:
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors", "license"} <= set(found)
    assert found["cff-version"] == "1.2.0" and found["license"] == "Apache-2.0"
    assert f"heatmaps of {len(kerasxai.METHODS)} methods" in found["abstract"].replace("\n", " ")

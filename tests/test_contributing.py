"""CONTRIBUTING.md, "Adding things", is followed literally in a copy of the code, which is then used."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
STEP = re.compile(
    r"^In (?:`(?P<table>\w+)` of )?`(?P<file>[\w/.]+)`:\n\n```python\n(?P<code>.*?)```$", re.DOTALL | re.MULTILINE
)
PROGRAM = """
import sys

import keras
import numpy as np

import kerasxai
from kerasxai import cli, metrics
from kerasxai.metrics.batch import BatchMeasure, Truth
from kerasxai.metrics.size import MeanSize
from kerasxai.models import BACKBONES
from kerasxai.training.recipes import recipe_of

assert kerasxai.__file__.startswith(sys.argv[1]), kerasxai.__file__
inputs = keras.Input((16, 16, 3))
maps = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(maps)))
images = np.random.default_rng(0).uniform(size=(2, 16, 16, 3)).astype("float32")

plain = kerasxai.Explainer(model, "mean_activation", resize=False)(images).heatmaps
np.testing.assert_allclose(plain, keras.Model(inputs, maps)(images).numpy().mean(-1), rtol=1e-5)
before = kerasxai.Explainer(model, "mean_activation")(images).heatmaps
after = kerasxai.Explainer(model, "mean_activation", refine="power:exponent=3")(images).heatmaps
np.testing.assert_allclose(after, before**3 / before.max((1, 2), keepdims=True) ** 2, rtol=1e-4)

size = MeanSize()
truth = Truth(np.zeros(2, int), [[[0, 0, 0.5, 0.5]], [[0, 0, 0.5, 0.5]]])
size.count_batch(BatchMeasure.of(before, np.eye(3)[:2], truth, (16, 16)))
assert np.isclose(float(size.result()), np.mean(before > before.max((1, 2), keepdims=True) / 2), atol=0.02)

assert BACKBONES["EfficientNetV2B0At128"].input_size == 128
assert recipe_of("noise").own == "kerasxai.data.noise:add_noise"
assert cli.main(["hello", "--times", "2"]) == 0
assert cli.main(["methods"]) == 0
try:
    cli.main(["hello", "--times", "0"])
except SystemExit as error:
    assert error.code == 2
else:
    raise AssertionError
"""


def test_adding_things_as_described_works(tmp_path: Path) -> None:
    for folder in ("kerasxai", "callbacks", "training"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    steps = list(STEP.finditer((ROOT / "CONTRIBUTING.md").read_text()))
    assert len(steps) == 10
    for step in steps:
        path, code = tmp_path / step["file"], step["code"]
        if step["table"] is None:
            assert not path.exists()
            path.write_text(code)
        else:
            lines = path.read_text().splitlines(keepends=True)
            (first,) = [i for i, line in enumerate(lines) if re.match(rf"{step['table']}\b.*[\[({{]$", line.rstrip())]
            path.write_text("".join([*lines[: first + 1], code, *lines[first + 1 :]]))
    assert len(steps[0]["code"].splitlines()) <= 15, "a method in 15 lines"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "hello\nhello\n" in done.stdout
    assert "mean_activation" in done.stdout

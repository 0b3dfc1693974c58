"""The Python examples of the guides run, in their order, and the site builds without a warning."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kerasxai

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs" / "guides").glob("*.md")), ROOT / "docs" / "stability.md", ROOT / "docs" / "peers.md"]
GUIDES = [page for page in PAGES if "```python" in page.read_text("utf-8")]


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """Return what the examples take for granted: a classifier, images with labels, boxes and heatmaps."""
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(6, 3, strides=4, activation="relu")(keras.layers.Rescaling(1 / 255)(image))
    backbone = keras.Model(image, x, name="tiny")
    model = kerasxai.build_classifier(backbone, 2, class_names=["cat", "dog"], seed=0)
    model.compile("adam", "sparse_categorical_crossentropy")
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
    labels, box = np.array([0, 1, 0, 1, 0, 1]), np.array([[0.1, 0.1, 0.7, 0.9]], np.float32)
    validation = [{"image": one, "label": int(k), "boxes": box} for one, k in zip(images, labels, strict=True)]
    heatmaps = kerasxai.Explainer(model, "gradcam")(images).heatmaps
    train_data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(3)
    boxes = [box * 32 for _ in images]
    return {
        **{"kerasxai": kerasxai, "keras": keras, "model": model, "images": images, "labels": labels},
        **{"validation": validation, "heatmaps": heatmaps, "train_data": train_data, "boxes": boxes},
    }


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
# One example shows what the warning is about.
@pytest.mark.filterwarnings("ignore::kerasxai.engine.images.builtin_preprocessing.InputRangeWarning")
# Keras warns of any tf.data.Dataset that `shuffle` is ignored.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")
def test_the_examples_run(page: Path, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(names["images"][0]).resize((50, 40)).save("cat.jpg")
    blocks = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    scope = dict(names)
    for block in blocks:
        exec(compile(block, page.name, "exec"), scope)
    plt.close("all")


# Keras warns of any tf.data.Dataset that `shuffle` is ignored.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")
def test_the_examples_of_the_readme_run(names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(names["images"][0]).save("cat.jpg")
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    scope = dict(names)
    for block in blocks:
        exec(compile(block.replace('"imagenet:EfficientNetLite0"', "model"), "README.md", "exec"), scope)
    plt.close("all")
    assert Path("best.keras").is_file() and any(Path("logs").rglob("*.png"))
    assert f"{len(kerasxai.METHODS)} methods" in text


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    site = tmp_path / "site"
    for name in kerasxai.METHODS:
        assert f'id="{re.sub("[^a-z]", "", name)}' in "".join(
            re.sub(r"[+*_-]", "", page.read_text("utf-8")) for page in (site / "methods").glob("*/index.html")
        )
    for page in (ROOT / "docs").rglob("*.md"):
        assert (site / page.relative_to(ROOT / "docs").with_suffix("") / "index.html").exists() or page.stem == "index"
    for page in (ROOT / "docs" / "notebooks").glob("*.ipynb"):
        assert "data:image/png;base64" in (site / "notebooks" / page.stem / "index.html").read_text("utf-8")
    assert "usage: kerasxai train" in (site / "reference" / "commands" / "index.html").read_text("utf-8")

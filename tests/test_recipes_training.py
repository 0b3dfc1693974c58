"""Every recipe trains from end to end on a tiny backbone, goes on after a kill, and loads where nothing is known."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo
from kills import copied
from PIL import Image
from tiny_backbone import tiny_row_of

import kerasxai
from kerasxai.training import RECIPES
from kerasxai.training.config import TrainConfig
from kerasxai.training.run_folder import RunFolder
from kerasxai.training.train import train

SIDE = 32


tiny_row = tiny_row_of(SIDE)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """Bright and dark squares on noise."""
    folder = tmp_path_factory.mktemp("squares")
    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("validation", 4)):
        for label, color in (("bright", (250, 250, 0)), ("dark", (0, 0, 80))):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                image = generator.integers(60, 120, (SIDE, SIDE, 3), dtype=np.uint8)
                x, y = generator.integers(2, SIDE - 14, 2)
                image[y : y + 12, x : x + 12] = color
                Image.fromarray(image).save(folder / split / label / f"{number}.png")
    return TrainConfig(
        data=str(folder), backbone="Tiny", features=4, output_stride=2, image_size=SIDE, batch_size=8, seed=1,
        head_epochs=0, epochs=3, finetune_rate=1e-2, finetune_share=1.0, augment="flip",
        head_options={"width": 8},
    )  # fmt: skip


# A recipe is a head, an augmentation of images, or of images and labels, or layers in the backbone: one of each. The
# others differ in a function that tests of heads and of augmentations call.
EACH_KIND = zoo.mostly(("gap", "acol", "has", "cutmix", "adl", "spg"), RECIPES)
HALF = ("acol", "adl", "spg")
"""Trained in half precision: they have layers of their own, the others what all have."""


def of(config: TrainConfig, recipe: str) -> TrainConfig:
    options: dict[str, Any] = {"has": {"grids": [8]}}
    ours = replace(
        config, head="", recipe=recipe, recipe_options=options.get(recipe, {}), mixed_precision=recipe in HALF
    )
    # One of them by what the literature trains with.
    return replace(ours, optimizer="sgd", schedule="constant", head_rate=10) if recipe == "adl" else ours


@pytest.fixture(scope="module")
def run(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a run of a recipe, which is trained once; and see `killed`."""
    folder = tmp_path_factory.mktemp("runs")

    def trained(recipe: str) -> Path:
        with copied(1, killed(folder / recipe)):
            return train(of(config, recipe), folder / recipe, (), verbose=0).parent

    return functools.cache(trained)


def killed(run: Path) -> Path:
    """Return a copy of a run's folder as a kill after its first epoch would have left it."""
    return run.parent / f"killed_{run.name}"


@pytest.mark.parametrize("recipe", EACH_KIND)
def test_the_loss_falls(recipe: str, run: Callable[[str], Path]) -> None:
    rows = RunFolder(run(recipe)).rows
    assert len(rows) == 3
    assert np.isfinite([row[name] for row in rows for name in ("loss", "val_loss")]).all()
    assert rows[-1]["loss"] < rows[0]["loss"]
    # Two classes: what a coin would reach is 0.69, and twice that where two branches count.
    assert min(row["val_loss"] for row in rows) < (1.3 if RECIPES[recipe].head in ("acol", "spg") else 0.6)


# An augmentation; SGD with shares of the rate and a layer that draws random numbers.
@pytest.mark.parametrize("recipe", ["cutmix", "adl"])
def test_a_killed_run_goes_on_to_the_same_weights(recipe: str, run: Callable[[str], Path], config: TrainConfig) -> None:
    whole = run(recipe)
    stopped = killed(whole)
    assert len(RunFolder(stopped).rows) == 1
    model = kerasxai.models.load(train(of(config, recipe), stopped, (), verbose=0))
    for ours, theirs in zip(
        model.get_weights(), kerasxai.models.load(whole / "model.keras").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert [row["loss"] for row in RunFolder(stopped).rows] == [row["loss"] for row in RunFolder(whole).rows]


# With layers of their own, in the head and in the backbone; and a head of Keras' layers alone.
LOADED = ("gap", "acol", "adl", "spg")


def test_models_load_in_a_new_process_and_are_explained(run: Callable[[str], Path], tmp_path: Path) -> None:
    images = np.random.default_rng(0).uniform(0, 255, (3, SIDE, SIDE, 3)).astype("float32")
    np.save(tmp_path / "images.npy", images)
    code = """
import sys
import kerasxai
import keras
import numpy as np
images, found = np.load("images.npy"), {}
for path in sys.argv[1:]:
    name = path.split("/")[-2]
    model = keras.models.load_model(path)
    found[name] = np.asarray(model(images, training=False))
    found[name + "_map"] = kerasxai.Explainer(model, "cam")(images, 1).heatmaps
np.savez("found.npz", **found)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(kerasxai.__file__).parent.parent)}
    words = [sys.executable, "-c", code, *(str(run(recipe) / "model.keras") for recipe in LOADED)]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npz")
    for name in LOADED:
        model = kerasxai.models.load(run(name) / "model.keras")
        np.testing.assert_allclose(found[name], model(images, training=False), atol=1e-3 if name in HALF else 1e-5)
        assert found[f"{name}_map"].shape == (3, SIDE, SIDE)
        assert (found[f"{name}_map"].std((1, 2)) > 0).all()


@pytest.mark.parametrize("recipe", HALF)
def test_half_precision(recipe: str, run: Callable[[str], Path]) -> None:
    model = kerasxai.models.load(run(recipe) / "model.keras")
    assert model.get_layer("backbone").get_layer("conv1").compute_dtype == "float16"
    heatmaps = kerasxai.Explainer(model, "cam")(np.zeros((1, SIDE, SIDE, 3), "float32")).heatmaps
    assert np.isfinite(heatmaps).all()

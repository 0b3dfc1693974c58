"""The images that are drawn stand for the classes of a data set."""

from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kerasxai import data
from kerasxai.callbacks import ExplanationCallback
from kerasxai.data.choosing import spread_over_classes
from kerasxai.training.config import TrainConfig
from kerasxai.training.drawing import Drawing
from kerasxai.training.phases import callbacks_of
from kerasxai.training.plan import plan_of
from kerasxai.training.run_data import Run
from kerasxai.training.run_folder import RunFolder


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=40), st.integers(0, 12), st.integers(0, 3))
def test_no_class_has_two_images_more_than_another_that_has_more(labels: list[int], count: int, seed: int) -> None:
    chosen = spread_over_classes(labels, count, seed)
    assert len(chosen) == min(count, len(labels)) and len(set(chosen.tolist())) == len(chosen)
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, spread_over_classes(labels, count, seed))
    taken = np.bincount(np.array(labels, int)[chosen], minlength=6)
    left = np.bincount(np.array(labels, int), minlength=6) - taken
    most = taken.max(initial=0)
    assert (taken[left > 0] >= most - 1).all()


def test_the_seed_changes_the_images() -> None:
    labels = np.arange(200) % 4
    assert len({tuple(spread_over_classes(labels, 8, seed).tolist()) for seed in range(6)}) == 6


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose first class holds most images."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for split in ("train", "validation"):
        for name, count in {"apple": 9, "bird": 2, "cat": 3}.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 255, (20, 24, 3), np.uint8)).save(folder / f"{number}.png")
    return root


def test_examples_are_samples_of_the_split(photos: Path) -> None:
    found = data.open(photos).examples("validation", 16, 6, seed=1)
    assert sorted(int(sample["label"]) for sample in found) == [0, 0, 1, 1, 2, 2]
    everything = {sample["name"]: sample for sample in data.load(photos, "validation", 16).as_numpy_iterator()}
    for sample in found:
        np.testing.assert_array_equal(sample["image"], everything[sample["name"]]["image"])
    assert len(data.open(photos).examples("validation", None, 99)) == 14


def test_a_training_draws_images_of_all_classes(photos: Path, tmp_path: Path) -> None:
    config = TrainConfig(data=str(photos), batch_size=4, image_size=16, seed=3)
    drawing = Drawing(("gradcam",), 6, 1, 0)
    found = callbacks_of(
        Run(config, plan_of(config, 32), RunFolder(tmp_path), data.open(photos), None, drawing, 0), "head"
    )
    drawn = next(one for one in found if isinstance(one, ExplanationCallback))
    assert isinstance(drawn, keras.callbacks.Callback)
    assert np.bincount(drawn._drawn.labels).tolist() == [2, 2, 2]

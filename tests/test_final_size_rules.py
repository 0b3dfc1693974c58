"""The rules by which the size of a finished model is chosen and kept."""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.special

from kerasxai.tools.epoch_names import FINAL_SIZE, reason
from kerasxai.training.final_size import matching_temperature, standard_error
from kerasxai.training.input_size import ImageFacts, choose_size
from kerasxai.training.run_folder import RunFolder


def test_the_size_of_training_may_have_no_figure() -> None:
    best = {"phase": FINAL_SIZE, "epoch": 1, "source": 0, "val_gt_known_loc": 0.25}
    for before, shown in (({}, "nan"), ({"val_gt_known_loc": ""}, "nan"), ({"val_gt_known_loc": 0.0}, "0")):
        text = reason("val_gt_known_loc", best, [{"phase": "head", "epoch": 0, **before}, best])
        assert text == f"val_gt_known_loc 0.25, {shown} with images of the size of training"


@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
def test_a_temperature_is_found_by_its_probabilities(temperature: float) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (50, 4))
    one, other = (scipy.special.softmax(logits / value, axis=-1).astype(np.float32) for value in (1, temperature))
    assert matching_temperature(one, other) == pytest.approx(temperature, rel=1e-3)
    assert matching_temperature(one * np.nan, other) == matching_temperature(one, other * np.nan) == 1.0


def test_the_size_to_try_grows_with_that_of_training_up_to_twice_the_backbones() -> None:
    assert [choose_size(224, ImageFacts(300, 1000.0, side)).larger for side in (None, 0.4, 0.24, 0.1)] == [
        448,
        448,
        448,
        None,
    ]
    assert choose_size(224, ImageFacts(300, 200.0)).larger is None
    assert choose_size(224, ImageFacts(30_000, 1000.0)).larger is None


@pytest.mark.parametrize(
    ("figures", "is_kept"),
    [
        # Given, where the training has diverged, or the figure could not be measured.
        ({"val_accuracy": math.nan, "val_loss": math.nan}, True),
        ({}, True),
        # Chosen: all images are classified correctly at both sizes.
        ({"val_accuracy": 1.0, "val_loss": 0.3, "allowance": 0.0}, True),
        ({"val_accuracy": 0.9, "val_loss": 0.1, "allowance": 0.0}, False),
        ({"val_accuracy": math.nan, "val_loss": 0.1, "allowance": 0.1}, False),
        ({"val_loss": 0.1, "allowance": 0.1}, False),
    ],
)
def test_which_rows_of_the_final_size_are_kept(figures: dict[str, float], is_kept: bool, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "val_accuracy")
    folder.rows = [
        {"phase": "head", "epoch": 0, "seconds": 1.0, "val_accuracy": 1.0, "val_loss": 0.2},
        {"phase": FINAL_SIZE, "epoch": 1, "seconds": 1.0, "source": 0, **figures},
    ]
    assert (folder.best_row["phase"] == FINAL_SIZE) == is_kept


def test_standard_errors() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(3), 200).astype(np.float32)
    labels = generator.integers(0, 3, 200)
    losses = -np.log(probabilities[np.arange(200), labels])
    found = standard_error("val_loss", probabilities, labels)
    assert math.isclose(found, losses.std(ddof=1) / math.sqrt(200), rel_tol=1e-4)
    # Random guesses are best where all classes are alike, and then all losses are too.
    assert standard_error("val_calibrated_loss", probabilities, labels) < found / 4
    # Accuracy, and its mean over classes of which two are rare, against samples.
    labels = np.repeat(np.arange(3), (120, 40, 40))
    right = generator.random((4000, 200)) < np.repeat((0.9, 0.6, 0.5), (120, 40, 40))
    measured = {"val_accuracy": right.mean(1)}
    measured["val_balanced_accuracy"] = np.mean([right[:, labels == one].mean(1) for one in range(3)], 0)
    for monitor, figures in measured.items():
        estimates = [standard_error(monitor, np.eye(3)[(labels + 1 - one) % 3], labels) for one in right[:200]]
        assert math.isclose(np.mean(estimates), figures.std(), rel_tol=0.06)

"""Several fine-tunings from one probe, whose mean is averaged with it."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from kills import killed
from squares import write_squares
from tiny_backbone import tiny_row_of

import kerasxai
from kerasxai import KerasxaiError
from kerasxai.cli import main
from kerasxai.training import phases
from kerasxai.training.config import TrainConfig
from kerasxai.training.distributed_run import Epochs
from kerasxai.training.run_data import Run
from kerasxai.training.run_folder import Row, RunFolder
from kerasxai.training.train import train

SIDE = 32
EPOCHS, FINETUNINGS = 2, 3
Weights = list[np.ndarray]


tiny_row = tiny_row_of(SIDE)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    folder = write_squares(tmp_path_factory.mktemp("squares"), SIDE)
    return TrainConfig(
        data=str(folder), backbone="Tiny", image_size=SIDE, epochs=EPOCHS, batch_size=8, finetunings=FINETUNINGS
    )


def trained(config: TrainConfig, folder: Path) -> list[Weights]:
    """Train, and return the weights after each row of the history."""
    after: list[Weights] = []
    keep = RunFolder.keep

    def watched(self: RunFolder, model: keras.Model, row: Row) -> None:
        keep(self, model, row)
        after.append(model.get_weights())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "keep", watched)
        train(config, folder, methods=(), verbose=0)
    return after


@pytest.fixture(scope="module")
def run(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Weights]]:
    """The folder of a run, and the weights after each row of its history."""
    folder = tmp_path_factory.mktemp("runs") / "three"
    return folder, trained(config, folder)


def test_each_fine_tuning_starts_from_the_probe(
    config: TrainConfig, run: tuple[Path, list[Weights]], tmp_path: Path
) -> None:
    folder, after = run
    phases_of_rows = ["head", *["finetune"] * EPOCHS * FINETUNINGS, "average"]
    assert [row["phase"] for row in RunFolder(folder).rows] == phases_of_rows
    ends = [after[EPOCHS * (number + 1)] for number in range(FINETUNINGS)]
    for one, another in itertools.pairwise(ends):
        assert any((first != second).any() for first, second in zip(one, another, strict=True)), "other orders"
    for start, last, *values in zip(after[0], after[-1], *ends, strict=True):
        np.testing.assert_allclose(last, (start + np.mean(values, axis=0)) / 2, atol=1e-6)
    single = trained(replace(config, finetunings=1), tmp_path / "one")
    for alone, first in zip(single[EPOCHS], ends[0], strict=True):
        np.testing.assert_array_equal(alone, first)


def test_a_run_that_is_killed_between_fine_tunings_goes_on_to_the_same_weights(
    config: TrainConfig, run: tuple[Path, list[Weights]], tmp_path: Path
) -> None:
    """Killed after the last epoch of the first, within the second, before the last row of the third and the average."""
    for rows, is_written in ((1 + EPOCHS, True), (2 + EPOCHS, True), (1 + 3 * EPOCHS, False), (1 + 3 * EPOCHS, True)):
        with killed(rows, is_written):
            train(config, tmp_path / "run", methods=(), verbose=0)
    model = train(config, tmp_path / "run", methods=(), verbose=0)
    for one, other in zip(
        kerasxai.models.load(model).get_weights(),
        kerasxai.models.load(run[0] / "model.keras").get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    assert not (model.parent / "checkpoints").exists()


def test_each_fine_tuning_sees_other_batches(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Epochs] = []
    fit = phases.fit_phase

    # Any: the arguments are passed on.
    def watched(run: Run, model: keras.Model, epochs: Epochs, *rest: Any) -> None:
        seen.append(epochs)
        fit(run, model, epochs, *rest)

    monkeypatch.setattr(phases, "fit_phase", watched)
    train(replace(config, epochs=1, finetunings=2), tmp_path / "run", methods=(), verbose=0)
    assert seen == [Epochs(1, 2, 0), Epochs(2, 3, 1)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head_phase": "epochs"}, "finetunings must be 1 without a probe, got 3"),
        ({"averages": 0}, "finetunings must be 1 without averages, got 3"),
        ({"epochs": 0}, "finetunings must be 1 without averages, got 3"),
        ({"patience": 2}, "patience must be omitted with 3 fine-tunings, which all end, got 2"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict, message: str, config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(KerasxaiError, match=message):
        train(replace(config, **change), tmp_path / "run", methods=(), verbose=0)
    assert not (tmp_path / "run").exists()


def test_the_command_has_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "--finetunings" in capsys.readouterr().out

"""Training in two processes on loopback: the weights and figures of one process with the whole batch."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from distributed_worker import results, run_words
from run_folders import write_photos
from tiny_backbone import in_backbones

from kerasxai import KerasxaiError
from kerasxai.cli import main
from kerasxai.training.distributed_config import WorkerSettings, checked_workers
from kerasxai.training.run_folder import RunFolder

WORKER = Path(__file__).parent / "distributed_worker.py"
LIMIT = 250
TOLERANCE = 1e-5
"""The sums of a step are made in another order."""


def start(folder: Path, *cases: str) -> list[subprocess.Popen[str]]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        addresses = ",".join(f"127.0.0.1:{each.getsockname()[1]}" for each in (one, two))
    words = [sys.executable, str(WORKER), str(folder)]
    settings: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True, "cwd": WORKER.parent.parent}
    return [subprocess.Popen([*words, str(index), addresses, *cases], **settings) for index in range(2)]


def finish(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Return the exit status and the messages of the processes, which must end by themselves."""
    found = []
    try:
        for process in processes:
            _, text = process.communicate(timeout=LIMIT)
            found.append((process.returncode, text))
    finally:
        for process in processes:
            process.kill()
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of two processes, of which the second is killed at last; then both are started again."""
    folder = tmp_path_factory.mktemp("workers")
    write_photos(folder / "photos")
    (chief, text), (killed, _) = finish(start(folder, "plain", "normalized", "within", "begun", "killed"))
    assert (folder / "begun_1.npz").exists(), text
    # No process waits for ever for one that is gone.
    assert killed == -9 and chief != 0 and "cannot reach all workers" in text
    assert (folder / "run/history.csv").exists() and not (folder / "run/model.keras").exists()
    statuses = finish(start(folder, "run", "continued"))
    assert [status for status, _ in statuses] == [0, 0], statuses
    results(folder, None, ["plain", "begun", "continued"])
    with in_backbones(40):
        assert main(run_words(folder, "run_alone")) == 0
    return folder


def load(folder: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(folder / f"{name}.npz") as content:
        return dict(content)


def weights(folder: Path, name: str) -> list[np.ndarray]:
    content = load(folder, name)
    return [content[f"weight{number}"] for number in range(sum(key.startswith("weight") for key in content))]


@pytest.mark.parametrize("case", ["plain", "normalized", "within", "continued"])
def test_all_processes_end_with_the_same_weights(folder: Path, case: str) -> None:
    for one, two in zip(weights(folder, f"{case}_0"), weights(folder, f"{case}_1"), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_curve_is_that_of_one_process_with_the_whole_batch(folder: Path) -> None:
    alone, chief, other = (load(folder, f"plain_{which}") for which in ("alone", "0", "1"))
    # The callback stopped both after the fourth epoch, and halved the learning rate of both.
    assert len(alone["loss"]) == len(chief["loss"]) == len(other["loss"]) == 4
    assert alone["loss"][-1] < 0.8 * alone["loss"][0]
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(chief[name], alone[name], rtol=TOLERANCE)
    np.testing.assert_array_equal(chief["loss"], other["loss"])
    for one, two in zip(weights(folder, "plain_0"), weights(folder, "plain_alone"), strict=True):
        np.testing.assert_allclose(one, two, rtol=TOLERANCE, atol=TOLERANCE)


def test_a_killed_training_started_again_ends_as_one_process(folder: Path) -> None:
    """The folder of the run has what the chief had finished; the workers need nothing."""
    two, one = (RunFolder(folder / name).rows for name in ("run", "run_alone"))
    assert [(row["phase"], row["epoch"]) for row in two] == [("head", 0), ("finetune", 1), ("finetune", 2)]
    for name in ("loss", "accuracy", "balanced_accuracy", "val_loss"):
        np.testing.assert_allclose([row[name] for row in two], [row[name] for row in one], rtol=1e-4, err_msg=name)
    models = [keras.models.load_model(folder / name / "model.keras") for name in ("run", "run_alone")]
    for first, second in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)


def test_a_backup_continues(folder: Path) -> None:
    two, one = load(folder, "continued_0"), load(folder, "continued_alone")
    assert len(two["loss"]) == 2
    for name, expected in one.items():
        np.testing.assert_allclose(two[name], expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


def test_a_stop_within_an_epoch_stops_all_at_its_end(folder: Path) -> None:
    assert len(load(folder, "within_0")["loss"]) == len(load(folder, "within_1")["loss"]) == 1


def test_two_devices_of_one_process_give_the_figures_of_one(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True, "cwd": WORKER.parent.parent}
    ((status, text),) = finish([subprocess.Popen([sys.executable, str(WORKER), str(tmp_path), "mirrored"], **settings)])
    assert status == 0, text
    two, one = load(tmp_path, "mirrored"), load(tmp_path, "single")
    assert two.keys() == one.keys() and {"loss", "val_gt_known_loc", "maps", "weight0"} <= two.keys()
    for name, expected in one.items():
        np.testing.assert_allclose(two[name], expected, rtol=1e-4, atol=1e-5, err_msg=name)


def test_mistakes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for addresses, index in ((["a:1"], 0), (["a:1", "a:1"], 0), (["a", "b:1"], 0), (["a:1", "b:70000"], 0)):
        with pytest.raises(KerasxaiError, match="expected"):
            checked_workers(addresses, index)
    for number in (None, 2):
        with pytest.raises(KerasxaiError, match="worker must be from 0 to 1"):
            checked_workers(["a:1", "b:1"], number)
    with pytest.raises(KerasxaiError, match="add --workers"):
        WorkerSettings(worker=1).several  # noqa: B018
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}')
    assert WorkerSettings().several
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}}')
    with pytest.raises(KerasxaiError, match="got chief"):
        WorkerSettings().several  # noqa: B018
    monkeypatch.setenv("TF_CONFIG", "")
    assert not WorkerSettings().several

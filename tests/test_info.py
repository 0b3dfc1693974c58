"""`kerasxai info`, `kerasxai doctor`, and lists as JSON."""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest

import kerasxai
from kerasxai.cli import doctor, main
from kerasxai.tools.files import write_csv, write_json, write_text


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run as `train` and `evaluate` leave it, but for the model and the images."""
    folder = tmp_path / "run"
    (folder / "evaluation").mkdir(parents=True)
    write_json(folder / "config.json", {"data": "shapes", "head": "gap", "epochs": None, "seed": 3})
    write_json(folder / "choices.json", {"image_size": 160, "reasons": {"image_size": "of the data"}})
    write_text(folder / "command.txt", "kerasxai train --data shapes\n")
    write_csv(folder / "history.csv", ("epoch", "val_loss"), [(0, 1.5), (1, 1.25)])
    figures = {"threshold": 0.25, "gt_known_loc": 0.5, "mean_iou": 0.45}
    evaluation = {"data": "shapes", "split": "test", "method": "cam", "refine": "best", "images": 40}
    write_json(folder / "evaluation" / "evaluation.json", evaluation | {"top1_accuracy": 0.75, "chosen": figures})
    return folder


def test_a_run_is_described(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(run), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["state"] == "not finished, 2 epochs completed" and facts["command"] == "kerasxai train --data shapes"
    assert facts["config"] == {"data": "shapes", "head": "gap", "epochs": None, "seed": 3, "image_size": 160}
    (evaluation,) = facts["evaluations"]
    assert (evaluation["name"], evaluation["top1_accuracy"], evaluation["gt_known_loc"]) == ("cam + best", 0.75, 0.5)
    write_json(run / "metrics.json", {"best": {"phase": "finetune", "val_loss": 1.25}})
    (run / "model.keras").touch()
    assert main(["info", str(run)]) == 0
    text = capsys.readouterr().out
    assert "finished after 2 epochs" in text and "phase finetune, val_loss 1.25" in text and "0.750" in text


@pytest.mark.parametrize("made", [True, False])
def test_another_folder_is_refused(made: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "other"
    if made:
        folder.mkdir()
    assert main(["info", str(folder)]) == 2
    assert "expected the folder of a training run" in capsys.readouterr().err


def test_the_doctor_finds_this_installation_complete(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert found["keras"]["found"] == importlib.metadata.version("keras")
    assert found["Keras backend"]["found"] == "tensorflow" and found["oneDNN"]["found"].startswith(("on", "off"))
    assert not [one for one in found.values() if one["remedy"] and one["required"]]


def test_the_doctor_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "_REQUIRED", ("keras", "no-such-package"))
    monkeypatch.setattr(doctor, "_OPTIONAL", {"no_such_module": "some"})
    assert main(["doctor"]) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert "pip install no-such-package" in text and "pip install 'kerasxai[some]'" in text


@pytest.mark.parametrize(
    ("command", "table", "key"),
    [
        ("methods", kerasxai.METHODS, "method"),
        ("backbones", kerasxai.BACKBONES, "backbone"),
        ("recipes", kerasxai.RECIPES, "recipe"),
        ("datasets", kerasxai.DATASETS, "data set"),
    ],
)
def test_lists_are_printed_as_json(command: str, table: Any, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--json"]) == 0
    assert [row[key] for row in json.loads(capsys.readouterr().out)] == list(table)

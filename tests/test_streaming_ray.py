"""Shards in workers of Ray: the results of one process, also when a worker is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from run_folders import SIZE, tiny_model, write_photos

from kerasxai.cli import evaluate_shards, explain_shards, localize_shards, main
from kerasxai.cli.explain_config import ExplainConfig
from kerasxai.cli.localize_config import LocalizeConfig
from kerasxai.evaluation.config import EvaluateConfig
from kerasxai.streaming.ray_workers import _needs
from kerasxai.tools.errors import KerasxaiError


def node(cpus: float, gpus: float = 0, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus, **({"GPU": gpus} if gpus else {})}}


@pytest.mark.parametrize(
    ("nodes", "given", "shards", "expected"),
    [
        ([node(8)], None, 100, (8, 0, 1)),
        ([node(8), node(16), node(4, alive=False)], None, 100, (8, 0, 2)),
        ([node(8), node(16)], 3, 100, (2, 0, 6)),
        ([node(2)], 4, 100, (0.5, 0, 4)),
        ([node(32, 4), node(32, 4)], None, 5, (8, 1, 5)),
        ([node(32, 1)], 2, 100, (16, 0.5, 2)),
        ([node(0), node(4)], None, 100, (4, 0, 1)),
    ],
)
def test_workers_share_the_processors_of_their_machine(
    nodes: list[dict[str, Any]], given: int | None, shards: int, expected: tuple[float, float, int]
) -> None:
    needs, count = _needs(nodes, given, shards)
    assert (needs["num_cpus"], needs["num_gpus"], count) == expected


def test_mistakes_end_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = str(tmp_path / "missing.keras"), ["--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(["localize", model, *data, "--workers-per-node", "2"]) == 2
    assert main(["explain", model, "photo.png", "--engine", "ray"]) == 2
    assert main(["evaluate", model, *data, "--engine", "ray"]) == 2
    monkeypatch.setitem(sys.modules, "ray", None)
    for command in ("explain", "localize"):
        assert main([command, model, *data, "--engine", "ray"]) == 2
    assert main(["evaluate", model, *data, "--engine", "ray", "--shards", "2"]) == 2
    lines = capsys.readouterr().err.splitlines()
    expected = ["add --engine ray", "expected --data with --engine", "add --shards", *["kerasxai[ray]"] * 3]
    assert len(lines) == len(expected) and all(text in line for text, line in zip(expected, lines, strict=True))
    with pytest.raises(KerasxaiError, match="processors, got none"):
        _needs([node(0)], None, 1)


def test_workers_refuse_other_images(tmp_path: Path) -> None:
    tiny_model(0).save(tmp_path / "model.keras")
    write_photos(tmp_path / "photos")
    model, photos, out = str(tmp_path / "model.keras"), str(tmp_path / "photos"), tmp_path / "out"
    evaluation = EvaluateConfig(photos, boxes_csv=str(tmp_path / "boxes.csv"))
    with pytest.raises(KerasxaiError, match="expected the same images in all workers"):
        evaluate_shards._work(lambda: keras.models.load_model(model), evaluation, out, "others")
    with pytest.raises(KerasxaiError, match="expected the same images in all workers"):
        explain_shards._work(ExplainConfig(model=model, images=[], data=photos, out=out), ["cam"], "others")
    with pytest.raises(KerasxaiError, match="expected the same images in all workers"):
        localize_shards._work(LocalizeConfig(model=model, images=[], data=photos, out=out), "others")


def environment() -> dict[str, str]:
    """Returns variables with which workers find the modules of this process, and have its priority, unlike Ray's 15."""
    path = os.pathsep.join(path for path in sys.path if path)
    return os.environ | {"PYTHONPATH": path, "RAY_worker_niceness": "0"}


def descendants(process: int) -> Iterator[tuple[int, str]]:
    """Yields the processes that a process has started, directly or not, with their command lines."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(path.name))
    waiting = [process]
    while waiting:
        for child in parents.get(waiting.pop(), []):
            waiting.append(child)
            try:
                yield child, Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
            except OSError:
                continue


@pytest.mark.exhaustive
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the workers in /proc")
def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    tiny_model(0).save(tmp_path / "model.keras")
    (tmp_path / "photos").mkdir()
    chance = np.random.default_rng(0)
    for number in range(60):
        pixels = chance.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"photos/{number:02}.png")
    words = ["explain", "model.keras", "--data", "photos", "--method", "rise", "--shards", "12", "--batch-size", "5"]
    for out, more in (("local", []), ("ray", ["--engine", "ray", "--workers-per-node", "2"])):
        command = [sys.executable, "-m", "kerasxai", *words, "--out", out, *more]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment())
        workers = kill_worker(process, tmp_path / out) if more else []
        assert process.wait(timeout=400) == 0 and len(workers) == 2 * bool(more)
    local, ray = tmp_path / "local", tmp_path / "ray"
    assert_same_rows(*(pq.read_table(out / "explanations.parquet").to_pylist() for out in (ray, local)))
    for path in local.glob("shard-*/*.npy"):
        np.testing.assert_allclose(np.load(ray / path.relative_to(local)), np.load(path), atol=2**-9)
    assert sorted(path.name for path in ray.iterdir()) == sorted(path.name for path in local.iterdir())


def assert_same_rows(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Checks rows to rounding: sums in another process may have another order."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for name in one.keys() - {"predicted"}:
            assert one[name] == (
                pytest.approx(other[name], rel=1e-5) if isinstance(other[name], float) else other[name]
            )


def kill_worker(process: subprocess.Popen[bytes], out: Path) -> list[int]:
    """Kills a worker in the middle of a shard, and returns the workers that there were."""
    until = time.monotonic() + 300
    workers: list[int] = []
    while time.monotonic() < until and process.poll() is None:
        workers = [number for number, command in descendants(process.pid) if command.startswith("ray::ShardWorker")]
        if len(workers) == 2 and list(out.glob("shard-*")) and list(out.glob(".tmp-*")):
            os.kill(workers[0], signal.SIGKILL)
            return workers
        time.sleep(0.05)
    return workers


@pytest.mark.exhaustive
def test_localize_and_evaluate_are_those_of_one_process(tmp_path: Path) -> None:
    tiny_model(0).save(tmp_path / "model.keras")
    write_photos(tmp_path / "photos")
    commands = {
        "localize": ["--refine", "none"],
        "evaluate": ["--boxes", str(tmp_path / "boxes.csv"), "--method", "gradcam"],
    }
    for command, more in commands.items():
        words = [command, str(tmp_path / "model.keras"), "--data", str(tmp_path / "photos"), *more, "--shards", "3"]
        for out, engine in (("local", []), ("ray", ["--engine", "ray", "--workers-per-node", "2"])):
            words_of_out = [*words, "--out", str(tmp_path / command / out), *engine]
            subprocess.run([sys.executable, "-m", "kerasxai", *words_of_out], check=True, env=environment())
    boxes = [pq.read_table(tmp_path / "localize" / out / "boxes.parquet").to_pylist() for out in ("ray", "local")]
    assert boxes[1]
    assert_same_rows(*boxes)
    figures = [json.loads((tmp_path / "evaluate" / out / "evaluation.json").read_text()) for out in ("local", "ray")]
    assert figures[0]["images"] == figures[1]["images"] > 0
    for part in ("tuned", "chosen"):
        found, expected = ({k: v for k, v in one[part].items() if isinstance(v, int | float)} for one in figures)
        assert found == pytest.approx(expected, rel=1e-5)

"""Names of version 0.1.0 that people use: each still works, is or does the same, and warns."""

import importlib
import sys
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest

import kerasxai
from kerasxai.evaluation.evaluate import evaluate
from kerasxai.metrics import LocalizationReport
from kerasxai.metrics.baselines import centered_gaussian
from kerasxai.metrics.protocols import KERASXAI, PROTOCOLS, WSOL, protocol_of
from kerasxai.models.adl import attention_dropout
from kerasxai.tools.errors import KerasxaiWarning

SIZE = (24, 24)


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        ("kerasxai.core.errors", "KerasxaiError", kerasxai.KerasxaiError),
        ("kerasxai.core.errors", "KerasxaiWarning", KerasxaiWarning),
        ("kerasxai.metrics.evaluation", "LocalizationReport", LocalizationReport),
        ("kerasxai.metrics.evaluation", "centered_gaussian", centered_gaussian),
        ("kerasxai.training.evaluate", "evaluate", evaluate),
    ],
)
def test_old_paths_warn_and_work(module: str, name: str, expected: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        assert getattr(importlib.import_module(module), name) is expected


def _import(module: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.warns(DeprecationWarning, match=f"{module} is deprecated") as caught:
        imported = importlib.import_module(module)
    assert caught[0].filename != imported.__file__
    return imported


def _batch() -> dict[str, Any]:
    heatmaps = np.random.default_rng(0).random((3, 6, 6)) ** 4
    masks = np.zeros((3, *SIZE), np.uint8)
    masks[:, 4:16, 6:20] = 1
    return {
        "heatmaps": heatmaps,
        "scores": np.eye(3),
        "labels": np.array([0, 1, 1]),
        "boxes": [np.array([[6, 4, 20, 16.0]]), np.array([[0, 0, 9, 9.0], [8, 8, 20, 20.0]]), np.zeros((0, 4))],
        "masks": masks,
        "parts": {"head": np.where(np.arange(24) < 10, masks, 0)},
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_sweep_of_0_1_0_finds_the_boxes_of_the_protocols(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, chosen = _import("kerasxai.metrics.sweep", monkeypatch), protocol_of(protocol)
    grid = np.arange(0, 1, 0.05)
    for heatmap in (*_batch()["heatmaps"], np.zeros((6, 6))):
        boxes = sweep.largest_boxes(heatmap, grid, SIZE, protocol)
        np.testing.assert_array_equal(boxes, chosen.largest_boxes(heatmap, grid, SIZE))
        ious = sweep.best_ious(heatmap, [[6, 4, 20, 16]], grid, SIZE, protocol, every=True)
        for number in (0, 4, 10):
            mask = sweep.mask_at(heatmap, grid[number], SIZE, protocol)
            largest = sweep.boxes_at(heatmap, grid[number], SIZE, protocol)
            every = sweep.boxes_at(heatmap, grid[number], SIZE, protocol, every=True)
            assert len(largest) == (1 if mask.any() else int(chosen.always_has_box))
            np.testing.assert_array_equal(largest, boxes[[number]][: len(largest)])
            found = chosen.iou(every, [[6, 4, 20, 16]]).max(initial=0)
            assert ious[number] == found
    assert sweep.clipped(np.array([[0, 0, 24, 24]]), SIZE).tolist() == [[0, 0, 23, 23]]


def test_the_gaussian_boxes_of_0_1_0_take_the_name_of_a_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = _import("kerasxai.metrics.evaluation", monkeypatch)
    for protocol in (KERASXAI, WSOL):
        expected = protocol.largest_boxes(centered_gaussian(SIZE), np.array([0.2]), SIZE)
        np.testing.assert_array_equal(evaluation.gaussian_boxes(SIZE, (0.2,), protocol.name), expected)


def test_a_report_takes_options_by_position() -> None:
    batch, now, before = _batch(), LocalizationReport(), LocalizationReport()
    now.update(**batch, names=["a", "b", "c"], image_size=24, relative=False)
    with pytest.warns(DeprecationWarning, match="by position is deprecated") as caught:
        before.update(*batch.values(), ["a", "b", "c"], 24, False)
    assert caught[0].filename == __file__
    assert before.state() == now.state()
    with pytest.warns(DeprecationWarning), pytest.raises(TypeError, match="names"):
        before.update(*batch.values(), ["a", "b", "c"], names=["a", "b", "c"])
    with pytest.raises(TypeError, match="sizes"):
        before.update(**batch, sizes=24)  # type: ignore[call-arg]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_steps_of_a_report_count_what_update_counts(protocol: str) -> None:
    batch, now, before = _batch(), LocalizationReport(protocol=protocol), LocalizationReport(protocol=protocol)
    now.update(**batch, image_size=24, relative=False)
    entries = []
    for heatmap, boxes, place in zip(batch["heatmaps"][:2], batch["boxes"][:2], [0, 0], strict=True):
        with pytest.warns(DeprecationWarning, match="to_pixels is deprecated"):
            pixels = before.to_pixels(boxes / 24, SIZE, True)
        with pytest.warns(DeprecationWarning, match="located is deprecated"):
            entries.append(before.located(heatmap, pixels, SIZE, place))
    with pytest.warns(DeprecationWarning, match="count_masks is deprecated"):
        before.count_masks(list(batch["heatmaps"]), batch["masks"], batch["parts"])
    for entry, record in zip(entries, now.records, strict=False):
        assert entry == {name: record[name] for name in entry}
    for name, metric in before.metrics().items():
        expected = now.metrics()[name].state()
        # `update` also counts that one image has no box.
        expected["totals"].pop("skipped", None)
        found = metric.state()
        found["totals"].pop("skipped", None)
        assert found == expected, name


def test_attention_dropout_takes_its_former_argument() -> None:
    image = keras.Input((16, 16, 3))
    model = keras.Model(image, keras.layers.Conv2D(4, 3, name="conv")(image))
    with pytest.warns(DeprecationWarning, match=r"attention_dropout\(places=\) is deprecated"):
        assert list(attention_dropout(model, places=["conv"])) == ["conv"]
    with pytest.raises(TypeError, match="got 'rate'"):
        attention_dropout(model, rate=["conv"])

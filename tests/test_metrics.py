"""The measures: golden scores, hand-made cases, bad input, adding up and saving."""

import doctest
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerasxai.localization import heatmap_to_boxes, heatmap_to_mask
from kerasxai.metrics import (
    EnergyPointingGame,
    GTKnownLoc,
    MaskCoverage,
    MaxBoxAcc,
    MaxBoxAccV2,
    MeanIoU,
    Metric,
    PointingGame,
    PxAP,
    TopKLoc,
    box_iou,
)
from kerasxai.tools.errors import KerasxaiError

REFERENCE = "wsolevaluation"
SIZE = (24, 30)
NOWHERE = {
    "zero": np.zeros(SIZE),
    "constant": np.full(SIZE, 2.0),
    "negative": -np.ones(SIZE),
    "nan": np.full(SIZE, np.nan),
    "one nan": np.where(np.arange(30) == 7, np.nan, np.ones(SIZE) + np.arange(30)),
    "inf": np.where(np.arange(30) == 7, np.inf, np.ones(SIZE)),
}


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    with np.load(Path(__file__).parent / "data" / "localization.npz") as file:
        data: dict[str, Any] = dict(file)
    data["raws"] = [data[f"raw_{index:03}"] for index in range(32)]
    data["boxes"] = [data[f"gt_boxes_{index:03}"] for index in range(32)]
    packed = {name: np.unpackbits(data[name], axis=-1) for name in ("masks", "ignore")}
    data["labeled"] = np.where(packed["ignore"] == 1, 255, packed["masks"])
    return data


def block(x0: int, y0: int, x1: int, y1: int, value: float = 1.0) -> np.ndarray:
    heatmap = np.zeros(SIZE)
    heatmap[y0:y1, x0:x1] = value
    return heatmap


def batch(seed: int = 0, images: int = 7) -> dict[str, Any]:
    """Random maps, boxes, masks, scores and labels; one image without a box."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 12, (images, 2, 2))
    boxes: list[Any] = [np.concatenate([corner, corner + rng.integers(3, 12, (2, 2))], axis=1) for corner in corners]
    boxes[2] = np.zeros((0, 4))
    return {
        "heatmaps": rng.normal(size=(images, 6, 5)).cumsum(axis=1),
        "boxes": boxes,
        "masks": rng.choice([0, 1, 255], (images, *SIZE), p=[0.6, 0.3, 0.1]),
        "scores": rng.normal(size=(images, 9)),
        "labels": rng.integers(0, 9, images),
    }


def feed(metric: Metric, data: dict[str, Any], part: slice = slice(None)) -> Metric:
    arguments = {name: values[part] for name, values in data.items()}
    maps = arguments["heatmaps"]
    if isinstance(metric, PxAP | MaskCoverage) or metric.options.get("of") == "masks":
        metric.update(maps, arguments["masks"])  # type: ignore[attr-defined]
    elif isinstance(metric, TopKLoc):
        metric.update(maps, arguments["boxes"], arguments["scores"], arguments["labels"], image_size=SIZE)
    elif isinstance(metric, PointingGame):
        metric.update(maps, arguments["boxes"], labels=arguments["labels"], image_size=SIZE)
    else:
        metric.update(maps, arguments["boxes"], image_size=SIZE)  # type: ignore[attr-defined]
    return metric


METRICS = {
    "MaxBoxAcc": lambda: MaxBoxAcc(),
    "MaxBoxAcc reference": lambda: MaxBoxAcc(REFERENCE),
    "MaxBoxAccV2": lambda: MaxBoxAccV2(),
    "MaxBoxAccV2 reference": lambda: MaxBoxAccV2(REFERENCE, thresholds=[0.1, 0.25]),
    "GTKnownLoc": lambda: GTKnownLoc(threshold=0.333, iou_threshold=0.2),
    "TopKLoc": lambda: TopKLoc(k=(1, 3), iou_threshold=0.2),
    "MeanIoU boxes": lambda: MeanIoU(),
    "MeanIoU masks": lambda: MeanIoU(of="masks", protocol=REFERENCE),
    "PxAP": lambda: PxAP(),
    "MaskCoverage": lambda: MaskCoverage(),
    "PointingGame": lambda: PointingGame(tolerance=3),
    "EnergyPointingGame": lambda: EnergyPointingGame(),
}


def leaves(result: Any) -> list[float]:
    if isinstance(result, dict):
        return [leaf for value in result.values() for leaf in leaves(value)]
    return [leaf for value in result for leaf in leaves(value)] if isinstance(result, list) else [result]


@pytest.mark.parametrize(("version", "kind"), [(1, MaxBoxAcc), (2, MaxBoxAccV2)])
def test_golden_max_box_acc(golden: dict[str, Any], version: int, kind: type[MaxBoxAcc]) -> None:
    metric = kind(protocol=REFERENCE)
    metric.update(golden["raws"], golden["boxes"], image_size=224)
    result = metric.result()
    for level in (30, 50, 70):
        assert result[f"curve_{level}"] == golden[f"v{version}_curve_{level}"].tolist()
        assert result[f"max_box_acc_{level}"] == golden[f"v{version}_maxboxacc_{level}"]
    assert float(result) == golden["v1_maxboxacc_50" if version == 1 else "v2_maxboxacc"]


def test_golden_pxap(golden: dict[str, Any]) -> None:
    metric = PxAP(protocol=REFERENCE)
    metric.update(golden["raws"], golden["labeled"])
    assert float(metric.result()) == pytest.approx(float(golden["pxap"]), abs=1e-9, rel=0)


def test_gt_known_with_the_reference_protocol_is_a_point_of_the_golden_curve(golden: dict[str, Any]) -> None:
    metric = GTKnownLoc(threshold=0.2, protocol=REFERENCE)
    metric.update(golden["raws"], golden["boxes"])
    curve = golden["v1_curve_50"]
    assert float(metric.result()) == curve[200]
    assert metric.at(0.35) == curve[350]
    assert metric.result()["best_threshold"] == curve.argmax() / 1000
    assert metric.result()["best_gt_known_loc"] == curve.max()


@pytest.mark.parametrize("module", ["base", "localization", "masks", "pointing", "boxes", "wsol.maps", "report"])
def test_examples_in_the_docstrings_run(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"kerasxai.metrics.{module}")).failed == 0
    assert doctest.testmod(importlib.import_module("kerasxai.localization")).failed == 0


@pytest.mark.parametrize("name", METRICS)
def test_halves_merge_to_the_whole_also_through_json(name: str) -> None:
    whole, data = feed(METRICS[name](), batch()), batch()
    halves = feed(METRICS[name](), data, slice(0, 3)), feed(METRICS[name](), data, slice(3, None))
    state = json.loads(json.dumps(halves[1].state(), allow_nan=False))
    again = type(whole).from_state(state)
    assert again.state() == halves[1].state()
    merged = halves[0].merge(again)
    assert merged is halves[0]
    assert leaves(merged.result()) == pytest.approx(leaves(whole.result()), rel=1e-12)
    json.dumps(whole.result(), allow_nan=False)
    fresh = METRICS[name]().merge(whole)
    assert leaves(fresh.result()) == leaves(whole.result())
    before = whole.state()
    feed(fresh, data)
    assert whole.state() == before, "merging must copy"


@pytest.mark.parametrize("name", METRICS)
def test_order_and_batches_do_not_matter(name: str) -> None:
    data = batch(3)
    whole, single = feed(METRICS[name](), data), METRICS[name]()
    for index in reversed(range(7)):
        feed(single, data, slice(index, index + 1))
    assert leaves(single.result()) == pytest.approx(leaves(whole.result()), rel=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_nothing_seen_is_an_error_not_a_zero(name: str) -> None:
    with pytest.raises(KerasxaiError, match=r"at least one .* got none"):
        METRICS[name]().result()


def test_gt_known_loc_by_hand() -> None:
    metric = GTKnownLoc()
    maps = [block(3, 4, 13, 14), block(3, 4, 13, 14), block(3, 4, 13, 14), block(3, 4, 13, 14)]
    truths: list[Any] = [
        [[3, 4, 13, 9]],
        [[3, 4, 13, 8.9]],
        [[20, 20, 25, 22], [4, 4, 13, 14]],
        [[4, 3, 14, 13], [0, 0, 2, 2]],
    ]
    metric.update(maps, truths)  # IoU 0.5, just less, 0.9 with the second box, 81 / 119
    assert float(metric.result()) == 0.75
    assert metric.result()["images"] == 4


def test_x_and_y_are_not_swapped() -> None:
    for protocol in ("kerasxai", REFERENCE):
        metric = GTKnownLoc(protocol=protocol)
        metric.update([block(20, 2, 29, 6)], [[[20, 2, 29, 6]]], image_size=SIZE)
        assert float(metric.result()) == 1.0
        metric = GTKnownLoc(protocol=protocol)
        metric.update([block(20, 2, 29, 6)], [[[2, 20, 6, 24]]], image_size=SIZE)
        assert float(metric.result()) == 0.0


def test_curve_and_threshold_of_choice() -> None:
    heatmap = block(2, 2, 22, 22, 0.4) + block(5, 5, 9, 9, 0.6)
    metric = GTKnownLoc(threshold=0.9)
    metric.update([heatmap], [[[2, 2, 22, 22]]])
    result = metric.result()
    assert result["gt_known_loc"] == 0.0
    assert result["best_threshold"] == 0.0
    assert result["curve"] == [1.0] * 40 + [0.0] * 60  # Strictly above 0.4 is the small block alone.
    assert metric.at(0.39) == 1.0
    with pytest.raises(KerasxaiError, match="expected a threshold of the sweep"):
        metric.at(0.395)
    assert GTKnownLoc(threshold=0.333).grid.tolist() == sorted([*(np.arange(100) / 100).tolist(), 0.333])


def test_mean_iou_is_that_of_heatmap_to_boxes() -> None:
    data = batch(1)
    maps = np.kron(data["heatmaps"], np.ones((4, 6)))
    data["boxes"][2] = [[1, 1, 8, 8]]
    ious = [box_iou(heatmap_to_boxes(m, 0.3), b).max(initial=0) for m, b in zip(maps, data["boxes"], strict=True)]
    metric = MeanIoU(threshold=0.3)
    metric.update(maps, data["boxes"])
    assert float(metric.result()) == pytest.approx(np.mean(ious), rel=1e-12)
    assert 0 < np.mean(ious) < 1


def test_mean_iou_of_masks_leaves_out_ignored_pixels() -> None:
    mask = block(2, 2, 10, 12).astype(int)
    mask[2:12, 10:12] = 255
    metric = MeanIoU(of="masks")
    metric.update([block(2, 2, 12, 7)], [mask])
    assert float(metric.result()) == 0.5


def test_top_k_needs_the_class_and_the_box() -> None:
    hit, miss = block(0, 0, 10, 10), block(20, 15, 28, 22)
    scores = [[0.6, 0.3, 0.1]] * 4
    metric = TopKLoc(k=(1, 2))
    metric.update([hit, miss, hit, hit], [[[0, 0, 10, 10]]] * 4, scores, labels=[0, 0, 1, 2])
    result = metric.result()
    assert (result["top1_loc"], result["top2_loc"]) == (0.25, 0.5)
    assert (result["top1_accuracy"], result["top2_accuracy"]) == (0.5, 0.75)


@pytest.mark.parametrize(("scores", "expected"), [([0.5, 0.5], 0.0), ([np.nan, np.nan], 0.0), ([0.1, np.nan], 0.0)])
def test_equal_or_missing_scores_are_no_silent_hit(scores: list[float], expected: float) -> None:
    metric = TopKLoc(k=(1,))
    metric.update([block(0, 0, 9, 9)], [[[0, 0, 9, 9]]], [scores], labels=[1])
    assert metric.result()["top1_accuracy"] == expected


@pytest.mark.parametrize("kind", NOWHERE)
def test_maps_that_point_nowhere_are_never_a_hit(kind: str) -> None:
    """Not even where the truth is the whole image, or its first pixel."""
    maps, boxes = [NOWHERE[kind]] * 2, [[[0, 0, 30, 24]], [[0, 0, 1, 1]]]
    for metric in (MaxBoxAcc(), MaxBoxAccV2(), GTKnownLoc(), MeanIoU(), PointingGame(), EnergyPointingGame()):
        metric.update(maps, boxes)
        assert float(metric.result()) == 0.0, metric
    masks = np.ones((2, *SIZE), int)
    iou = MeanIoU(of="masks")
    iou.update(maps, masks)
    assert float(iou.result()) == 0.0
    coverage = MaskCoverage()
    coverage.update(maps, masks)
    assert leaves(coverage.result()) == [0.0, 0.0, 0.0, 0.0, 2]


@pytest.mark.parametrize("kind", ["zero", "constant", "nan", "one nan", "inf"])
def test_reference_takes_the_first_pixel_for_a_map_that_points_nowhere(kind: str) -> None:
    for metric in (MaxBoxAcc(REFERENCE), MaxBoxAccV2(REFERENCE)):
        metric.update([NOWHERE[kind]], [[[0, 0, 23, 23]]])
        assert float(metric.result()) == 0.0


def test_reference_cuts_off_the_fractions_of_true_boxes() -> None:
    maps, iou = [block(5, 5, 15, 15)], MeanIoU(protocol=REFERENCE)
    iou.update(maps, [[[5.9, 5.9, 15.9, 15.9]]], image_size=SIZE)
    assert float(iou.result()) == 1.0


@pytest.mark.parametrize("protocol", ["kerasxai", REFERENCE])
@pytest.mark.parametrize("boxes", [np.zeros((0, 4)), [], [[0, 0, 0, 0]], [[0, 0, 0, 0]] * 3])
def test_images_without_a_box_are_skipped(protocol: str, boxes: Any) -> None:
    metric = GTKnownLoc(protocol=protocol)
    metric.update([block(1, 1, 9, 9), NOWHERE["zero"]], [[[1, 1, 9, 9]], boxes], image_size=SIZE)
    assert float(metric.result()) == 1.0
    assert (metric.result()["images"], metric.result()["skipped"]) == (1, 1)


def test_pxap_of_perfect_and_of_constant_maps() -> None:
    mask = block(3, 3, 12, 14).astype(int)
    mask[20:] = 255
    for protocol in ("kerasxai", REFERENCE):
        for heatmap, expected in ((mask == 1, 100.0), (np.ones(SIZE), 100 * (mask == 1).sum() / (mask != 255).sum())):
            metric = PxAP(protocol)
            metric.update([heatmap], [mask])
            assert float(metric.result()) == pytest.approx(expected, rel=1e-12)
    metric = PxAP()
    metric.update([np.ones(SIZE)], [np.zeros(SIZE, int)])
    with pytest.raises(KerasxaiError, match="one object pixel, got none"):
        metric.result()


def test_pxap_is_average_precision_over_pixels() -> None:
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    maps, masks = rng.random((3, *SIZE)), rng.integers(0, 2, (3, *SIZE))
    maps += masks * 0.3
    metric = PxAP()
    metric.update(maps, masks)
    exact = average_precision_score(masks.ravel(), (maps / maps.max(axis=(1, 2), keepdims=True)).ravel())
    assert float(metric.result()) == pytest.approx(100 * exact, abs=0.5)


def test_mask_coverage_by_part_at_both_thresholds() -> None:
    head, body = block(2, 2, 8, 8).astype(int), block(8, 2, 20, 8).astype(int)
    heatmap = block(2, 2, 8, 8) + block(8, 2, 14, 8, 0.4)
    metric = MaskCoverage()
    metric.update([heatmap, heatmap], {"head": [head, head * 0], "body": [body, body]})
    result = metric.result()
    assert result["head"] == {"recall": {"0.2": 1, "0.5": 1}, "precision": {"0.2": 0.5, "0.5": 1}, "images": 1}
    assert result["body"] == {"recall": {"0.2": 0.5, "0.5": 0}, "precision": {"0.2": 0.5, "0.5": 0}, "images": 2}


def test_mask_coverage_leaves_out_ignored_pixels() -> None:
    mask = block(2, 2, 8, 8).astype(int)
    mask[:, 8:14] = 255
    metric = MaskCoverage(thresholds=[0.5])
    metric.update([block(2, 2, 20, 8)], [mask])
    assert metric.result()["object"] == {"recall": {"0.5": 1.0}, "precision": {"0.5": 0.5}, "images": 1}


def test_mask_coverage_is_that_of_heatmap_to_mask() -> None:
    data = batch(5)
    maps = np.kron(data["heatmaps"], np.ones((4, 6)))
    metric = MaskCoverage(thresholds=[0.3])
    metric.update(maps, data["masks"] == 1)
    marked = np.stack([heatmap_to_mask(heatmap, 0.3) for heatmap in maps])
    recalls = (marked & (data["masks"] == 1)).sum(axis=(1, 2)) / (data["masks"] == 1).sum(axis=(1, 2))
    assert metric.result()["object"]["recall"]["0.3"] == pytest.approx(recalls.mean(), rel=1e-12)


@pytest.mark.parametrize(("x", "expected"), [(14, 1.0), (15, 0.0), (16, 0.0)])
def test_pointing_game_is_strict_on_the_distance(x: int, expected: float) -> None:
    """The object's nearest pixel is `x` away."""
    metric = PointingGame()
    metric.update([block(x + 1, 9, x + 2, 10)], [[[0, 0, 2, 20]]])
    assert float(metric.result()) == expected
    masked = PointingGame()
    masked.update([block(x + 1, 9, x + 2, 10)], masks=[block(0, 0, 2, 20).astype(int)])
    assert float(masked.result()) == expected


def test_pointing_game_counts_by_class_and_skips_images_without_object() -> None:
    hit, miss = block(3, 3, 4, 4), block(29, 23, 30, 24)
    metric = PointingGame()
    metric.update([hit, hit, hit, miss, hit], [[[2, 2, 6, 6]]] * 4 + [[]], labels=[0, 0, 0, 4, 2])
    result = metric.result()
    assert (result["pointing_game"], result["by_class_mean"]) == (0.75, 0.5)
    assert (result["images"], result["skipped"]) == (4, 1)


def test_energy_pointing_game_by_hand() -> None:
    heatmap = block(20, 2, 22, 4, 3.0) + block(2, 20, 4, 22, 1.0) - block(0, 0, 2, 2, 9.0)
    metric = EnergyPointingGame()
    metric.update([heatmap], [[[19, 1, 23, 5]]])
    assert float(metric.result()) == 0.75
    mask = block(19, 1, 23, 5).astype(int) + 255 * block(2, 20, 4, 21).astype(int)
    ignoring = EnergyPointingGame()
    ignoring.update([heatmap], masks=[mask])
    assert float(ignoring.result()) == 12 / 14

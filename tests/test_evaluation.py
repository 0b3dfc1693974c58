"""The localization report: figures by hand, baselines, groups, merging, saving."""

import json
import pickle
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

import kerasxai
from kerasxai.cli import parser_of
from kerasxai.evaluation.cases import draw_curve
from kerasxai.evaluation.config import EvaluateConfig, config_from
from kerasxai.evaluation.tables import evaluation_rows
from kerasxai.evaluation.thresholds import Thresholds
from kerasxai.localization import common_threshold, heatmap_to_boxes
from kerasxai.metrics import EnergyPointingGame, GTKnownLoc, LocalizationReport, PointingGame, PxAP, TopKLoc, box_iou
from kerasxai.metrics.baselines import centered_box, centered_gaussian
from kerasxai.metrics.batch import PixelBoxesError, Truth
from kerasxai.metrics.records import RecordsAt
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.settings import described

SIZE = (40, 60)


def block(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    heatmap = np.zeros(SIZE)
    heatmap[y0:y1, x0:x1] = 1.0
    return heatmap


def random_batch(images: int = 9) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    corners = rng.integers([0, 0], [40, 25], (images, 2))
    sides = rng.integers(5, [20, 15], (images, 2))
    boxes: list[Any] = [np.array([[*corner, *(corner + side)]]) for corner, side in zip(corners, sides, strict=True)]
    boxes[3] = np.zeros((0, 4))
    masks = np.stack([block(*box[0]) if len(box) else np.zeros(SIZE) for box in boxes]).astype(int)
    return {
        "heatmaps": masks * 0.8 + rng.random((images, *SIZE)) * 0.7,
        "scores": rng.random((images, 8)),
        "labels": np.array([0, 1, 2] * 3),
        "boxes": boxes,
        "masks": masks,
        "parts": {"head": masks * (np.arange(60) < 30)},
        "names": [f"{index}.png" for index in range(images)],
    }


def cut(batch: dict[str, Any], part: slice) -> dict[str, Any]:
    return {
        name: {key: mask[part] for key, mask in value.items()} if isinstance(value, dict) else value[part]
        for name, value in batch.items()
    }


@pytest.fixture(scope="module")
def report() -> LocalizationReport:
    made = LocalizationReport(iou_threshold=0.3)
    made.update(**random_batch(), relative=False)
    return made


def test_figures_by_hand() -> None:
    report = LocalizationReport(class_names=["cat", "dog", "owl"])
    report.update(
        [block(0, 0, 30, 20), block(0, 0, 30, 20), block(40, 30, 50, 38), np.zeros(SIZE)],
        scores=[[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]],
        labels=[0, 1, 1, 2],
        boxes=[[[0, 0, 0.5, 0.5]], [[0, 0, 0.5, 0.5]], [[0, 0, 0.5, 0.5], [0, 0, 0.25, 0.25]], [[0, 0, 1, 1]]],
    )
    result = report.result()
    assert result["images"] == result["images_with_boxes"] == 4
    assert result["top1_accuracy"] == 0.75
    assert result["balanced_accuracy"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert result["top5_accuracy"] == 1.0
    assert result["gt_known_loc"] == 0.5
    assert (result["top1_loc"], result["top5_loc"]) == (0.25, 0.5)
    assert result["mean_iou"] == 0.5
    assert result["pointing_game"] == 0.5
    assert result["energy_pointing_game"] == 0.5
    assert result["by_class"]["1"]["name"] == "dog"
    assert (result["by_class"]["1"]["images"], result["by_class"]["1"]["gt_known_loc"]) == (2, 0.5)
    assert result["by_class"]["2"]["gt_known_loc"] == 0.0
    assert {name: size["images"] for name, size in result["by_size"].items()} == {"medium": 3, "large": 1}
    # Half of each side in the middle: (15, 10, 45, 30) meets (0, 0, 30, 20) in 15 x 10 of 600 + 600 - 150 pixels.
    quarter = 150 / 1050
    centered = result["baselines"]["centered_box"]
    assert centered["mean_iou"] == pytest.approx((3 * quarter + 0.25) / 4)
    assert centered["gt_known_loc"] == 0.0
    whole = result["baselines"]["whole_image"]
    assert (whole["mean_iou"], whole["gt_known_loc"], whole["top1_loc"]) == ((3 * 0.25 + 1) / 4, 0.25, 0.25)
    assert [record["box"] for record in report.records] == [[0, 0, 30, 20]] * 2 + [[40, 30, 50, 38], None]
    assert [record["iou"] for record in report.best(2)] == [1.0, 1.0]
    assert report.worst(1)[0]["predicted"] == 1


def test_the_report_says_what_the_single_measures_say(report: LocalizationReport) -> None:
    data, result = random_batch(), report.result()
    known = GTKnownLoc(iou_threshold=0.3)
    known.update(data["heatmaps"], data["boxes"])
    for name in ("gt_known_loc", "best_threshold", "best_gt_known_loc"):
        assert result[name] == known.result()[name]
    assert result["curve"] == {
        "thresholds": known.result()["thresholds"],
        "gt_known_loc": known.result()["curve"],
    }
    top = TopKLoc(iou_threshold=0.3)
    top.update(data["heatmaps"], data["boxes"], data["scores"], data["labels"])
    assert result["top1_loc"] == top.result()["top1_loc"]
    assert result["top5_loc"] == top.result()["top5_loc"]
    assert report.at(0.4) == {
        "gt_known_loc": known.at(0.4),
        "top1_loc": top.totals["hits"][0, 40] / 8,
        "top5_loc": top.totals["hits"][1, 40] / 8,
    }
    pointing, energy = PointingGame(), EnergyPointingGame()
    pointing.update(data["heatmaps"], data["boxes"])
    energy.update(data["heatmaps"], data["boxes"])
    assert result["pointing_game"] == float(pointing.result())
    assert result["energy_pointing_game"] == pytest.approx(float(energy.result()), rel=1e-12)
    pxap = PxAP()
    pxap.update(data["heatmaps"], data["masks"])
    assert result["masks"]["pxap"] == float(pxap.result())
    assert set(result["masks"]["coverage"]) == {"object", "head"}
    assert set(result["masks"]["coverage"]["head"]["recall"]) == {"0.2", "0.5"}
    assert result["masks"]["mean_iou"] > 0
    assert result["baselines"]["centered_gaussian"]["masks"]["pxap"] != result["masks"]["pxap"]


def test_images_without_a_box_count_for_accuracy_alone(report: LocalizationReport) -> None:
    result = report.result()
    assert (result["images"], result["images_with_boxes"]) == (9, 8)
    place = np.array([record["place"] for record in report.records])
    assert result["top1_accuracy"] == (place == 0).mean()
    assert "iou" not in report.records[3]
    assert sum(group["images"] for group in result["by_size"].values()) == 8
    assert sum(group["images"] for group in result["by_class"].values()) == 9


def test_groups_average_to_the_whole(report: LocalizationReport) -> None:
    result = report.result()
    for groups in (result["by_class"], result["by_size"]):
        weights = [group["images_with_boxes"] for group in groups.values()]
        for name in ("gt_known_loc", "mean_iou", "pointing_game", "top1_loc"):
            values = [group[name] for group in groups.values()]
            assert np.average(values, weights=weights) == pytest.approx(result[name], rel=1e-12)


def test_relative_and_pixel_boxes_give_the_same() -> None:
    data = random_batch()
    pixels, relative = LocalizationReport(), LocalizationReport()
    pixels.update(**data, relative=False)
    fractions = [np.float32(box / [60, 40, 60, 40]) for box in data["boxes"]]
    relative.update(**data | {"boxes": fractions})
    assert relative.state() == pixels.state()


@pytest.mark.parametrize("protocol", ["kerasxai", "wsolevaluation"])
def test_halves_merge_to_the_whole_also_through_json(protocol: str) -> None:
    data = random_batch()
    parts = [LocalizationReport(protocol=protocol) for _ in range(3)]
    parts[0].update(**data, image_size=SIZE, relative=False)
    parts[1].update(**cut(data, slice(0, 4)), image_size=SIZE, relative=False)
    parts[2].update(**cut(data, slice(4, None)), image_size=SIZE, relative=False)
    state = json.loads(json.dumps(parts[2].state(), allow_nan=False))
    merged = parts[1].merge(LocalizationReport.from_state(state))
    one, two = merged.result(), parts[0].result()
    assert merged.records == parts[0].records
    for name in ("mean_iou", "pxap"):
        assert one["masks"].pop(name) == pytest.approx(two["masks"].pop(name), rel=1e-12)
    assert one["masks"]["coverage"]["head"]["recall"] == pytest.approx(two["masks"]["coverage"]["head"]["recall"])
    for result in (one, two):
        result.pop("masks")
        result["baselines"]["centered_gaussian"].pop("masks")
    assert one == two
    json.dumps(parts[0].result(), allow_nan=False)


def test_centered_gaussian_is_swept_like_a_heatmap() -> None:
    report = LocalizationReport()
    box = heatmap_to_boxes(centered_gaussian(SIZE))[0]
    report.update([block(0, 0, 5, 5)], [[1.0, 0.0]], [0], [[box]], relative=False)
    baseline = report.result()["baselines"]["centered_gaussian"]
    assert (baseline["gt_known_loc"], baseline["mean_iou"]) == (1.0, 1.0)
    assert report.result()["gt_known_loc"] == 0.0
    # Symmetric, and at 20 % of the maximum 1.79 sigma to each side, less than half a pixel off.
    assert (box[[0, 1]] + box[[2, 3]]).tolist() == [60, 40]
    np.testing.assert_allclose(box[2:] - box[:2], np.sqrt(2 * np.log(5)) * 0.5 * np.array([60, 40]), atol=1)


def test_whole_image_and_centered_box_are_what_they_say() -> None:
    assert centered_box(SIZE) == [15, 10, 45, 30]
    for protocol, expected in (("kerasxai", 1.0), ("wsolevaluation", 1.0)):
        report = LocalizationReport(protocol=protocol)
        end = 0 if protocol == "kerasxai" else 1
        boxes = [[[0, 0, 60 - end, 40 - end]], [[15, 10, 45, 30]]]
        report.update([block(0, 0, 5, 5)] * 2, np.eye(2), [0, 1], boxes, image_size=SIZE, relative=False)
        assert report.records[0]["baselines"]["whole_image"] == expected
        assert report.records[1]["baselines"]["centered_box"] == expected
        assert report.records[1]["baselines"]["whole_image"] < 0.5


@pytest.mark.parametrize("protocol", ["kerasxai", "wsolevaluation"])
def test_records_at_another_threshold_are_those_of_a_report_made_with_it(protocol: str) -> None:
    data, first = random_batch(), LocalizationReport(iou_threshold=0.3, protocol=protocol, class_names=["a", "b", "c"])
    truth = Truth(data["labels"], data["boxes"], relative=False)
    chosen = RecordsAt(0.45, 0.31, first.protocol, 0.3, first.class_names)
    batch = first.batch(data["heatmaps"], data["scores"], truth, SIZE)
    first.count(batch, data["names"])
    chosen.count(batch, first.records)
    expected = LocalizationReport(0.45, 0.3, protocol, ["a", "b", "c"])
    expected.count(batch, data["names"])
    assert [record | {"baselines": None} for record in chosen.records if "iou" in record] == [
        record | {"baselines": None} for record in expected.records if "iou" in record
    ]
    result, at = chosen.result(), expected.result()
    for name in ("gt_known_loc", "top1_loc", "mean_iou", "pointing_game", "top1_accuracy"):
        assert result[name] == at[name]
        assert {key: it[name] for key, it in result["by_size"].items()} == {
            key: it[name] for key, it in at["by_size"].items()
        }
    assert result["baselines"]["centered_gaussian"]["gt_known_loc"] == expected.gaussian.at(0.31)
    assert result["baselines"]["centered_box"] == at["baselines"]["centered_box"]


def test_a_threshold_without_boxes_is_chosen_by_a_rule() -> None:
    data, config = random_batch(), EvaluateConfig("photos", tune_split=None)
    report = LocalizationReport()
    thresholds = Thresholds(config, report.protocol)
    thresholds.look_at(report.batch(data["heatmaps"], data["scores"], Truth(data["labels"], [[]] * 9)))
    choice = thresholds.choose(None, ["a"])
    assert choice.best == common_threshold(data["heatmaps"])
    assert choice.records.threshold == choice.best and not choice.tuned
    with pytest.raises(KerasxaiError, match="'auto' or a number"):
        Thresholds(replace(config, threshold="otsu"), report.protocol)


def test_rows_are_named_after_method_and_refinements() -> None:
    figures = {"gt_known_loc": 0.5}
    evaluation = {"method": "cam", "refine": "best", "threshold": 0.2, **figures}
    evaluation["chosen"] = {"threshold": 0.34, "source": "boxes of validation", "baselines": {}, **figures}
    assert [row[:2] for row in evaluation_rows(evaluation)] == [
        ["cam + best", "0.340"],
        ["cam + best, at 20 %", "0.200"],
    ]


def test_records_hold_boxes_that_belong_to_their_iou(report: LocalizationReport) -> None:
    for record in report.best(20):
        assert box_iou([record["box"]], record["boxes"]).max() == record["iou"]
        assert record["name"].endswith(".png")
    assert [record["iou"] for record in report.best(20)] == [record["iou"] for record in report.worst(20)][::-1]


def test_bad_input_is_refused_and_leaves_the_report_alone(report: LocalizationReport) -> None:
    before, data = report.state(), random_batch()
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"labels": np.full(9, 8)}, "from 0 to 7"),
        ({"scores": data["scores"][:3]}, "expected scores"),
        ({"boxes": data["boxes"][:3]}, "boxes must have one entry"),
        ({"boxes": [[[9, 2, 1, 9]]] * 9}, "x0 <= x1"),
        ({"names": ["a"]}, "names must have"),
        ({"masks": np.ones((9, 5))}, "expected masks"),
        ({"masks": None, "parts": {"head": np.ones((9, 5))}}, "expected masks"),
        ({"masks": np.ones((9, 5, 5))}, "one size"),
        ({"relative": True}, r"fractions .*from 0 to 1, got \[\[.*; if these are pixels, divide .*give relative=False"),
    ]
    for change, message in wrong:
        with pytest.raises(KerasxaiError, match=message):
            report.update(**{"relative": False} | data | change)
    assert report.state() == before
    with pytest.raises(KerasxaiError, match="other must be"):
        report.merge(LocalizationReport())
    with pytest.raises(KerasxaiError, match="state must be one of"):
        LocalizationReport.from_state(PxAP().state())


def test_no_box_at_all_is_an_error() -> None:
    report = LocalizationReport()
    report.update([block(0, 0, 5, 5)], [[1.0, 0.0]], [0], [[]])
    with pytest.raises(KerasxaiError, match="one image with a box, got none"):
        report.result()


def test_a_config_is_made_of_the_keywords_of_evaluate() -> None:
    config = config_from("shapes", "validation", {"method": "lime", "samples": 10, "batch_size": 4})
    assert config == EvaluateConfig(
        "shapes", split="validation", method="lime", method_options={"samples": 10}, batch_size=4
    )
    assert config_from(config, None, {}) is config
    assert "batch_size" not in config.figure_settings()
    with pytest.raises(KerasxaiError, match="without further settings, got limit"):
        config_from(config, None, {"limit": 3})


def test_every_setting_of_an_evaluation_has_a_flag_with_a_description() -> None:
    given = vars(parser_of("evaluate").parse_args(["model.keras", "--data", "shapes"]))
    # `oracle` is for Python alone; two flags are those of all commands that take images, one that of all methods.
    elsewhere = {"oracle": "", "image_size": "image_size", "preprocess": "input_range", "method_options": "option"}
    rows = described(EvaluateConfig)
    for item in fields(EvaluateConfig):
        assert (elsewhere.get(item.name) or item.name) in given or item.name == "oracle"
        assert item.name in elsewhere or rows[item.name][1].help


@pytest.mark.parametrize(
    ("given", "marks"),
    [
        ({"source": "given", "threshold": 0.35}, ["given 35 %", "chosen on validation"]),
        ({"source": "boxes of validation", "threshold": 0.4}, ["fixed at 20 %", "chosen on validation"]),
    ],
)
def test_the_plot_names_the_fixed_threshold_by_its_value(
    given: dict[str, Any], marks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}
    plot = kerasxai.viz.plot_curves

    def watched(*args: Any, **more: Any) -> Any:
        drawn.update(more)
        return plot(*args, **more)

    monkeypatch.setattr(kerasxai.viz, "plot_curves", watched)
    fixed = 0.35 if given["source"] == "given" else 0.2
    curve = {"thresholds": [0.0, 0.2, 0.4, 0.8], "gt_known_loc": [0.1, 0.5, 0.6, 0.2]}
    evaluation = {"method": "cam", "curve": curve, "chosen": given, "threshold": fixed}
    picture = draw_curve(evaluation | {"tuned": {"split": "validation", "threshold": 0.4}})
    assert list(drawn["marks"]) == marks and list(drawn["marks"].values()) == [fixed, 0.4]
    assert drawn["x_label"] == "threshold, share of the maximum" and picture.shape[2] == 3


def test_an_error_about_boxes_in_pixels_comes_whole_from_another_process() -> None:
    error = PixelBoxesError(np.array([[1.0, 2, 30, 40]]), "relative=False")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and "or give relative=False" in str(again)

"""Metrics of several labels an image: average precision, F1, the pointing game by class, AP of boxes."""

import json
from typing import Any

import numpy as np
import pytest

from kerasxai.metrics import BoxAveragePrecision, ImageBoxes, MeanAveragePrecision, MultiLabelF1, PointingGameByClass
from kerasxai.metrics.classification import best_f1_threshold
from kerasxai.metrics.pointing import is_difficult_pair
from kerasxai.tools.errors import KerasxaiError

NAMES = ["cat", "dog", "owl", "fox"]
RNG = np.random.default_rng(0)
COUNT = 60
LABELS = (RNG.random((COUNT, 4)) < [0.5, 0.3, 0.1, 0.0]).astype(int)
# Rounded, so that there are equal scores.
SCORES = np.round(0.4 * LABELS + 0.6 * RNG.random((COUNT, 4)), 1)
UNKNOWN = np.where(RNG.random((COUNT, 4)) < 0.2, -1, LABELS)


def oracle_ap(scores: np.ndarray, positive: np.ndarray) -> float:
    """Returns the sum of recall steps times precision, at each different score."""
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        found = scores >= threshold
        now = (found & positive).sum() / positive.sum()
        total += (now - recall) * (found & positive).sum() / found.sum()
        recall = now
    return total


def test_average_precision_is_that_of_the_oracle_and_ignores_unknown_labels() -> None:
    metric = MeanAveragePrecision(NAMES)
    metric.update(SCORES, UNKNOWN)
    result = metric.result()
    expected = {}
    for number, name in enumerate(NAMES[:3]):
        known = UNKNOWN[:, number] >= 0
        expected[name] = oracle_ap(SCORES[known, number], UNKNOWN[known, number] == 1)
    assert result["average_precision"] == pytest.approx(expected, rel=1e-12)
    assert float(result) == pytest.approx(np.mean(list(expected.values())), rel=1e-12)
    assert result["classes_without_positives"] == ["fox"] and result["images"] == COUNT
    full = MeanAveragePrecision(NAMES)
    full.update(SCORES, LABELS)
    assert full.result()["average_precision"] != result["average_precision"]


def f1(scores: np.ndarray, positive: np.ndarray, threshold: float) -> float:
    found = scores >= threshold
    return 2 * (found & positive).sum() / (found.sum() + positive.sum())


def test_f1_thresholds_are_the_best_of_all() -> None:
    metric = MeanAveragePrecision()
    metric.update(SCORES, UNKNOWN)
    chosen = metric.f1_thresholds()
    grid = np.arange(-0.05, 1.1, 0.01)
    known = UNKNOWN >= 0
    assert f1(SCORES[known], UNKNOWN[known] == 1, chosen.common) == max(
        f1(SCORES[known], UNKNOWN[known] == 1, t) for t in grid
    )
    for number, threshold in enumerate(chosen.by_class[:3]):
        its = known[:, number], number
        assert f1(SCORES[its], UNKNOWN[its] == 1, threshold) == max(f1(SCORES[its], UNKNOWN[its] == 1, t) for t in grid)
    assert chosen.by_class[3] == chosen.common
    # Every image is predicted where all are positive.
    assert best_f1_threshold(np.array([0.2, 0.4]), np.array([True, True])) == 0.2


def test_f1_by_hand() -> None:
    metric = MultiLabelF1([0.5, 0.7], ["cat", "dog"])
    metric.update([[0.5, 0.6], [0.4, 0.8], [0.9, 0.9]], [[1, 1], [1, 1], [0, -1]])
    result = metric.result()
    # cat: 1 right, 1 wrong, 1 missed; dog: 1 right, 1 missed, and the unknown one does not count.
    assert result["by_class"] == {"cat": 0.5, "dog": pytest.approx(2 / 3)}
    assert float(result) == pytest.approx((0.5 + 2 / 3) / 2)
    assert result["micro_f1"] == pytest.approx(4 / (4 + 3))


def test_pointing_game_by_class_by_hand() -> None:
    metric = PointingGameByClass(tolerance=2)
    heatmap = np.zeros((8, 8))
    heatmap[1, 1] = 1.0
    near, far = [[2, 1, 4, 4]], [[3, 1, 4, 4]]
    metric.update([heatmap] * 5, [0, 0, 2, 2, 1], [True, False, True, True, True], [near, far, far, far, []])
    result = metric.result()
    assert (result["pairs"], result["pairs_difficult"], result["skipped"]) == (4, 3, 1)
    assert result["by_class"] == {0: 0.5, 2: 0.0} and result["by_class_difficult"] == {0: 1.0, 2: 0.0}
    assert (float(result), result["pointing_game_difficult"]) == (0.25, 0.5)


@pytest.mark.parametrize(("side", "distracted", "expected"), [(5, True, False), (4, True, True), (4, False, False)])
def test_difficult_pairs_are_small_and_not_alone(side: int, distracted: bool, expected: bool) -> None:
    boxes = np.array([[0, 0, side, 2], [0, 5, side, 8]], float)  # 25 % of 10x10 is not less than a quarter.
    assert is_difficult_pair(boxes, (10, 10), distracted) is expected


def oracle_box_ap(images: list[tuple[Any, Any]], number: int) -> float:
    """Returns AP50 as the devkit of VOC 2012 computes it, with NumPy loops over all images at once."""
    rows = sorted(
        (
            (float(score), image, np.asarray(box, float))
            for image, (found, _) in enumerate(images)
            for score, kind, box in zip(found.scores, found.classes, found.boxes, strict=True)
            if kind == number
        ),
        key=lambda row: -row[0],
    )
    taken: set[tuple[int, int]] = set()
    outcomes: list[bool] = []
    positives = 0
    for _, true in images:
        positives += sum(k == number and not d for k, d in zip(true.classes, true.difficult, strict=True))
    for _, image, box in rows:
        true = images[image][1]
        best, where = 0.0, -1
        for index, (kind, other) in enumerate(zip(true.classes, true.boxes, strict=True)):
            if kind != number:
                continue
            width = min(box[2], other[2]) - max(box[0], other[0])
            height = min(box[3], other[3]) - max(box[1], other[1])
            common = max(width, 0) * max(height, 0)
            area = (box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1])
            if common / (area - common) > best:
                best, where = common / (area - common), index
        if best >= 0.5 and true.difficult[where]:
            continue
        outcomes.append(best >= 0.5 and (image, where) not in taken)
        if best >= 0.5:
            taken.add((image, where))
    recall = np.concatenate([[0], np.cumsum(outcomes) / positives, [1]])
    precision = np.concatenate([[0], np.cumsum(outcomes) / np.arange(1, len(outcomes) + 1), [0]])
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return float(sum((recall[i + 1] - recall[i]) * precision[i + 1] for i in range(len(recall) - 1)))


def some_boxes(images: int) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(5)
    made: list[tuple[Any, Any]] = []
    for _ in range(images):
        count = rng.integers(0, 4)
        corner = rng.integers(0, 20, (count, 2))
        true = np.concatenate([corner, corner + rng.integers(5, 20, (count, 2))], axis=1)
        kinds = rng.integers(0, 2, count)
        # Found boxes lie near the true ones, some twice, with some more.
        found = np.concatenate([true + rng.integers(-2, 3, true.shape), true, [[0, 0, 9, 9]]])
        made.append(
            (
                ImageBoxes(found, np.concatenate([kinds, kinds, [1]]), rng.random(len(found))),
                ImageBoxes(true, kinds, difficult=rng.random(count) < 0.3),
            )
        )
    return made


def test_average_precision_of_boxes_is_that_of_the_devkit() -> None:
    images = some_boxes(30)
    metric, halves = BoxAveragePrecision(), [BoxAveragePrecision(), BoxAveragePrecision()]
    for number, (found, true) in enumerate(images):
        metric.update(found, true)
        halves[number % 2].update(found, true)
    result = metric.result()
    assert 0.2 < float(result) < 0.95
    for number in (0, 1):
        assert result["by_class"][str(number)] == pytest.approx(oracle_box_ap(images, number), rel=1e-9)
    assert halves[0].merge(halves[1]).result() == result


def test_a_second_find_is_wrong_and_a_difficult_one_does_not_count() -> None:
    true = ImageBoxes([[0, 0, 4, 4], [10, 0, 14, 4]], [0, 0], difficult=[False, True])
    boxes = [[10, 0, 14, 4], [0, 0, 4, 4], [0, 0, 4, 4]]
    metric = BoxAveragePrecision()
    metric.update(ImageBoxes(boxes, [0, 0, 0], [0.9, 0.8, 0.7]), true)
    assert float(metric.result()) == 1.0
    metric.update(ImageBoxes(boxes[1:], [0, 0], [0.6, 0.5]), ImageBoxes([[0, 0, 4, 4]], [0]))
    assert float(metric.result()) == pytest.approx(0.5 + 0.5 * 2 / 3)
    # A class without a true box is left out; a true class that is not found has 0.
    metric.update(ImageBoxes([[0, 0, 4, 4]], [2], [0.9]), ImageBoxes([[0, 0, 4, 4]], [1]))
    assert set(metric.result()["by_class"]) == {"0", "1"} and metric.result()["by_class"]["1"] == 0.0


def test_halves_merge_to_the_whole_also_through_json() -> None:
    for make in (MeanAveragePrecision, lambda: MultiLabelF1(0.6)):
        whole, one, two = (make() for _ in range(3))
        whole.update(SCORES, UNKNOWN)
        one.update(SCORES[:20], UNKNOWN[:20])
        two.update(SCORES[20:], UNKNOWN[20:])
        two = type(two).from_state(json.loads(json.dumps(two.state())))
        assert one.merge(two).result() == whole.result()


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, 0.2], [0, 1], "expected scores of shape"),
        ([[0.1, 0.2]], [[0, 1, 0]], "expected labels of shape"),
        ([[0.1, np.nan]], [[0, 1]], "finite"),
        ([[0.1, 0.2]], [[0, 2]], "1 present, 0 absent"),
    ],
)
def test_wrong_rows_are_refused(scores: Any, labels: Any, message: str) -> None:
    for metric in (MeanAveragePrecision(), MultiLabelF1()):
        with pytest.raises(KerasxaiError, match=message):
            metric.update(scores, labels)
        with pytest.raises(KerasxaiError, match="expected at least one image"):
            metric.result()

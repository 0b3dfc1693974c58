"""Mean IoU of label maps, and of seeds at all thresholds, against NumPy oracles and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from kerasxai.metrics import SegmentationIoU
from kerasxai.segmentation import SeedIoU, label_map
from kerasxai.segmentation.seeds import normalized, power_of, threshold_of
from kerasxai.tools.errors import KerasxaiError

CLASSES = 4
RANDOM = np.random.default_rng(0)


def label_maps(count: int, ignored: bool) -> np.ndarray:
    maps = RANDOM.integers(0, CLASSES, (count, 9, 11))  # The last class occurs nowhere.
    return np.where(RANDOM.random(maps.shape) < 0.1, 255, maps) if ignored else maps


def oracle(predicted: np.ndarray, truth: np.ndarray) -> list[float | None]:
    counted = truth != 255
    ious: list[float | None] = []
    for label in range(CLASSES + 1):
        one, other = (predicted == label) & counted, (truth == label) & counted
        ious.append((one & other).sum() / (one | other).sum() if (one | other).any() else None)
    return ious


def test_mean_iou_is_that_of_the_oracle_and_of_scikit_learn() -> None:
    predicted, truth = label_maps(3, False), label_maps(3, True)
    metric = SegmentationIoU(CLASSES)
    metric.update(predicted, truth)
    result, expected = metric.result(), oracle(predicted, truth)
    assert [result["background"], *result["by_class"]] == pytest.approx([*expected[:-1], None])
    assert expected[-1] is None, "a class that is nowhere is left out of the mean"
    assert float(result) == pytest.approx(np.mean([iou for iou in expected if iou is not None]))
    counted = truth != 255
    np.testing.assert_array_equal(
        metric.confusion, confusion_matrix(truth[counted], predicted[counted], labels=range(CLASSES + 1))
    )
    assert result["pixel_accuracy"] == pytest.approx((predicted == truth)[counted].mean())


def test_a_class_that_is_only_predicted_counts_with_zero() -> None:
    metric = SegmentationIoU(2)
    metric.update([np.array([[0, 2]])], [np.array([[0, 1]])])
    assert metric.result()["by_class"] == [0.0, 0.0]
    assert metric.result()["mean_iou"] == pytest.approx(1 / 3)


def test_shards_merge_exactly_and_a_state_is_loaded() -> None:
    predicted, truth = label_maps(4, False), label_maps(4, True)
    whole, one, other = (SegmentationIoU(CLASSES) for _ in range(3))
    whole.update(predicted, truth)
    one.update(predicted[:1], truth[:1])
    other.update(list(predicted[1:]), list(truth[1:]))
    merged = SegmentationIoU.from_state(one.state()).merge(other)
    assert merged.result() == whole.result()


@pytest.mark.parametrize(
    ("predicted", "masks", "message"),
    [
        ([[[9]]], [[[0]]], "predicted must be 0 for the background and 1 to 4"),
        ([[[255]]], [[[0]]], "predicted must be 0 for the background and 1 to 4"),
        ([[[0]]], [[[5]]], "class_masks must be 0 .* 255 for ignored, got 5"),
        ([[[0.0]]], [[[0]]], "predicted must be label maps"),
        ([[[0]]], [[[0, 0]]], "class mask of the same size"),
        (3, [[[0]]], "predicted must be label maps"),
    ],
)
def test_mistakes_are_refused_and_nothing_is_counted(predicted: object, masks: object, message: str) -> None:
    metric = SegmentationIoU(CLASSES)
    with pytest.raises(KerasxaiError, match=message):
        metric.update(predicted, masks)  # type: ignore[arg-type]
    with pytest.raises(KerasxaiError, match="expected at least one pixel that is not ignored"):
        metric.result()


def seeds_of(number: int) -> tuple[np.ndarray, list[int]]:
    """Return maps of another size than the masks, of which one image has none and one has a map without evidence."""
    classes = [[0, 2], [3], [], [1, 0, 2]][number]
    maps = RANDOM.normal(size=(len(classes), 5, 6))
    return maps if number != 1 else -np.abs(maps), classes


def test_the_sweep_is_that_of_label_maps_at_each_threshold() -> None:
    thresholds = [0.0, 0.2, 0.35, 0.9]
    metric, shard = SeedIoU(CLASSES, thresholds), SeedIoU(CLASSES, thresholds)
    measured = [SegmentationIoU(CLASSES) for _ in thresholds]
    for number, mask in enumerate(label_maps(4, True)):
        maps, classes = seeds_of(number)
        (metric if number % 2 else shard).update(maps, classes, mask)
        for threshold, one in zip(thresholds, measured, strict=True):
            one.update([label_map(maps, classes, threshold=threshold, size=mask.shape)], [mask])
    result = metric.merge(SeedIoU.from_state(shard.state())).result()
    assert result["curve"]["mean_iou"] == pytest.approx([float(one.result()) for one in measured])
    best = int(np.argmax(result["curve"]["mean_iou"]))
    assert result["threshold"] == thresholds[best]
    assert float(result) == max(result["curve"]["mean_iou"])
    for threshold, one in zip(thresholds, measured, strict=True):
        at = metric.result(threshold)
        assert [at["background"], *at["by_class"]] == pytest.approx(
            [one.result()["background"], *one.result()["by_class"]]
        )


def test_a_power_is_that_of_affinitynet() -> None:
    maps, classes, power = RANDOM.random((3, 7, 8)), [3, 0, 1], 4.0
    cams = maps / maps.max((1, 2), keepdims=True)
    scores = np.concatenate([(1 - cams.max(0, keepdims=True)) ** power, cams])
    expected = np.array([0, 4, 1, 2])[scores.argmax(0)]
    np.testing.assert_array_equal(label_map(maps, classes, power=power), expected)
    assert power_of(threshold_of(power)) == pytest.approx(power)


def test_maps_are_divided_by_their_maximum_after_resizing() -> None:
    scaled = normalized([[[0.0, 4.0], [-2.0, 0.0]]], (6, 6))
    assert scaled.shape == (1, 6, 6)
    assert (scaled.min(), scaled.max()) == (0.0, 1.0)
    assert not normalized([np.full((3, 3), 2.0)]).any(), "a constant map shows nothing"


@pytest.mark.parametrize(
    ("classes", "options", "message"),
    [
        ([0], {"threshold": 0.2}, "a different class for each of 2 maps"),
        ([1, 1], {"threshold": 0.2}, "a different class for each of 2 maps"),
        ([0, 300], {"threshold": 0.2}, "classes must be from 0 to 253"),
        ([0, 1], {}, "either threshold or power"),
        ([0, 1], {"threshold": 0.2, "power": 2}, "either threshold or power"),
        ([0, 1], {"threshold": 1.0}, r"thresholds must be a list of numbers in \[0, 1\)"),
        ([0, 1], {"power": 0}, "power must be above 0"),
    ],
)
def test_wrong_seeds_are_refused(classes: list[int], options: dict[str, float], message: str) -> None:
    with pytest.raises(KerasxaiError, match=message):
        label_map(np.ones((2, 3, 3)), classes, **options)  # type: ignore[arg-type]


def test_a_threshold_outside_the_sweep_is_refused() -> None:
    metric = SeedIoU(1, [0.5])
    metric.update([[[0.0, 1.0]]], [0], [[0, 1]])
    with pytest.raises(KerasxaiError, match=r"threshold must be one of \[0.5\], got 0.4"):
        metric.result(0.4)

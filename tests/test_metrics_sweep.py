"""The sweep over all thresholds against labeling each threshold alone, and against the reference's golden boxes."""

from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import skimage.measure
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import ArrayLike

from kerasxai.localization import heatmap_to_boxes, heatmap_to_mask
from kerasxai.metrics import box_iou, components
from kerasxai.metrics.box_protocol import BoxProtocol
from kerasxai.metrics.components import components_of, holes_of
from kerasxai.metrics.kerasxai_protocol import largest_by_pixels
from kerasxai.metrics.protocols import KERASXAI, WSOL
from kerasxai.metrics.resizing import LINEAR, Kernel, resize, resize_matrix
from kerasxai.metrics.wsol.contours import contour_area, largest_by_contour
from kerasxai.metrics.wsol.maps import CUBIC, reference_map

HIGHEST = 5
LEVELS = hnp.arrays(np.intp, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, HIGHEST))
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "data" / "localization.npz") as file:
        return dict(file)


def slow_components(mask: np.ndarray) -> list[dict]:
    """Every component from a labeling of this one mask."""
    labels = skimage.measure.label(mask, connectivity=2)
    found = []
    for region in skimage.measure.regionprops(labels):
        top, left, bottom, right = region.bbox
        component = labels == region.label
        filled = np.pad(scipy.ndimage.binary_fill_holes(component), 1).astype(int)
        blocks = filled[1:, 1:] + filled[1:, :-1] + filled[:-1, 1:] + filled[:-1, :-1]
        found.append(
            {
                "box": (left, top, right, bottom),
                "pixels": int(component.sum()),
                "area": 2 * (blocks == 4).sum() + (blocks == 3).sum(),
                "first": np.flatnonzero(component)[0],
                "holes": skimage.measure.label(~np.pad(component, 1), connectivity=1).max() - 1,
            }
        )
    return found


def slow_holes(mask: np.ndarray) -> list[tuple[int, int, int, int]]:
    """The boxes of 4-connected background that does not reach the outside."""
    labels = skimage.measure.label(~np.pad(mask, 1), connectivity=1)
    regions = skimage.measure.regionprops(np.where(labels == labels[0, 0], 0, labels))
    return [(r.bbox[1] - 1, r.bbox[0] - 1, r.bbox[3] - 1, r.bbox[2] - 1) for r in regions]


def slow_reference_boxes(mask: np.ndarray, every: bool) -> list[tuple[int, int, int, int]]:
    """The reference's boxes of one mask."""
    height, width = mask.shape
    found = slow_components(mask)
    if not found:
        return [(0, 0, 0, 0)]
    if every:
        boxes = [one["box"] for one in found]
        boxes += [(x0 - 1, y0 - 1, x1 + 1, y1 + 1) for x0, y0, x1, y1 in slow_holes(mask)]
    else:
        boxes = [max(found, key=lambda one: (one["area"], one["first"]))["box"]]
    return [(x0, y0, min(x1, width - 1), min(y1, height - 1)) for x0, y0, x1, y1 in boxes]


def rows(boxes: np.ndarray) -> list[tuple[int, ...]]:
    return sorted(tuple(box) for box in boxes.tolist())


def boxes_at(
    protocol: BoxProtocol, heatmap: ArrayLike, threshold: float, size: tuple[int, int], every: bool = False
) -> np.ndarray:
    """The boxes at one threshold, without a box for an empty mask unless the protocol has one."""
    levels = protocol.levels(heatmap, np.array([threshold]), size)
    if not (levels.steps > levels.index[0]).any():
        return np.zeros((int(protocol.always_has_box), 4), np.int64)
    if not every:
        return protocol.choose_boxes(levels)[levels.index]
    level, boxes = protocol.all_boxes(levels)
    return boxes[level == levels.index[0]]


def camlike(side: int, shape: tuple[int, int], seed: int) -> np.ndarray:
    raw = np.random.default_rng(seed).normal(size=(side, side))
    return reference_map(raw, shape)


@settings(max_examples=300, deadline=None)
@given(LEVELS)
def test_components_at_every_level_equal_those_of_a_labeling(levels: np.ndarray) -> None:
    found = components_of(levels, levels, HIGHEST, contour=True)
    counted = components_of(levels, levels, HIGHEST)
    for level in range(HIGHEST):
        expected = slow_components(levels > level)
        here, pixels = found.level == level, counted.level == level
        assert rows(found.boxes[here]) == sorted(one["box"] for one in expected)
        named = dict(zip(found.first[here].tolist(), found.holes[here].tolist(), strict=True))
        assert named == {one["first"]: one["holes"] for one in expected}
        sizes = dict(zip(counted.first[pixels].tolist(), counted.size[pixels].tolist(), strict=True))
        assert sizes == {one["first"]: one["pixels"] for one in expected}
        areas = dict(zip(found.first[here].tolist(), found.size[here].tolist(), strict=True))
        for one in expected:
            assert areas[one["first"]] <= one["area"]
            assert one["holes"] or areas[one["first"]] == one["area"]
    assert (np.diff(found.level) >= 0).all()


@settings(max_examples=300, deadline=None)
@given(LEVELS)
def test_holes_at_every_level_equal_those_of_a_labeling(levels: np.ndarray) -> None:
    found = holes_of(levels, levels, HIGHEST)
    for level in range(HIGHEST):
        assert rows(found.boxes[found.level == level]) == sorted(slow_holes(levels > level))
    assert (np.diff(found.level) >= 0).all()


@settings(max_examples=300, deadline=None)
@given(LEVELS)
def test_largest_at_every_level_equals_that_of_a_labeling(levels: np.ndarray) -> None:
    by_contour, by_pixels = largest_by_contour(levels, levels, HIGHEST), largest_by_pixels(levels, levels, HIGHEST)
    for level in range(HIGHEST):
        found = slow_components(levels > level)
        contour = max(found, key=lambda one: (one["area"], one["first"]), default={"box": (0, 0, 0, 0)})
        pixels = max(found, key=lambda one: (one["pixels"], -one["first"]), default={"box": (0, 0, 0, 0)})
        assert tuple(by_contour[level]) == contour["box"]
        assert tuple(by_pixels[level]) == pixels["box"]


@settings(max_examples=100, deadline=None)
@given(LEVELS, st.integers(0, 2**32 - 1))
def test_finer_heights_change_nothing(levels: np.ndarray, seed: int) -> None:
    heights = levels + np.random.default_rng(seed).random(levels.shape) * 0.9
    for function in (largest_by_contour, largest_by_pixels):
        np.testing.assert_array_equal(function(levels, heights, HIGHEST), function(levels, levels, HIGHEST))
    fine, coarse = holes_of(levels, heights, HIGHEST), holes_of(levels, levels, HIGHEST)
    assert sorted(zip(fine.level.tolist(), rows(fine.boxes), strict=True)) == sorted(
        zip(coarse.level.tolist(), rows(coarse.boxes), strict=True)
    )


def test_slices_of_levels_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    heights = camlike(20, (60, 45), 3)
    levels = (heights * 255).astype(np.intp)
    whole = components_of(levels, heights, 255, contour=True), holes_of(levels, heights, 255)
    monkeypatch.setattr(components, "MOST_CELLS", 1000)
    sliced = components_of(levels, heights, 255, contour=True), holes_of(levels, heights, 255)
    for one, two in zip(whole, sliced, strict=True):
        assert len(one.level) > 300
        orders = [np.lexsort((part.first, part.level)) for part in (one, two)]
        for name in ("level", "boxes", "first", "size", "holes"):
            np.testing.assert_array_equal(getattr(one, name)[orders[0]], getattr(two, name)[orders[1]])


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize(
    ("heatmap", "size"),
    [
        (np.random.default_rng(1).normal(size=(7, 7)), (45, 60)),
        (np.random.default_rng(2).gamma(1, size=(14, 14)), (60, 45)),
        (np.random.default_rng(3).random((32, 32)), (32, 32)),
        (np.random.default_rng(4).integers(0, 4, (24, 31)), (24, 31)),
        (np.maximum(np.random.default_rng(5).normal(size=(9, 9)) - 0.5, 0), (1, 40)),
        (np.hypot(*np.mgrid[-12:13, -12:13]) % 6 + np.eye(25), (25, 25)),
    ],
    ids=["normal", "gamma", "noise", "plateaus", "one row", "rings"],
)
def test_reference_sweep_equals_labeling_each_threshold(
    heatmap: np.ndarray, size: tuple[int, int], every: bool
) -> None:
    thresholds = np.arange(0, 1, 0.001)
    truth = np.array([[3, 0, 3 + size[1] // 2, 2 + size[0] // 2], [1, 0, 6, 4]])
    bits = (reference_map(heatmap, size) * 255).astype(np.uint8)
    expected, known = [], {}
    for threshold in thresholds:
        level = int(threshold * bits.max())
        if level not in known:
            known[level] = box_iou(slow_reference_boxes(bits > level, every), truth, inclusive=True).max()
        expected.append(known[level])
    np.testing.assert_array_equal(WSOL.best_ious(heatmap, truth, thresholds, size, every), expected)


@pytest.mark.parametrize("every", [False, True])
def test_own_sweep_equals_heatmap_to_boxes(every: bool) -> None:
    thresholds = np.arange(100) / 100
    truth = np.array([[3, 0, 30, 25]])
    for heatmap in (camlike(8, (40, 51), 5) - 0.3, RNG.random((30, 40)), RNG.integers(-3, 9, (30, 40)).astype(float)):
        expected = [
            box_iou(heatmap_to_boxes(heatmap, threshold, largest=not every), truth).max(initial=0)
            for threshold in thresholds
        ]
        found = KERASXAI.best_ious(heatmap, truth, thresholds, heatmap.shape, every)
        np.testing.assert_array_equal(found, expected)
        listed = KERASXAI.largest_boxes(heatmap, thresholds, heatmap.shape)
        np.testing.assert_array_equal(listed[20], heatmap_to_boxes(heatmap, 0.2)[0])
        np.testing.assert_array_equal(KERASXAI.mask_at(heatmap, 0.2, heatmap.shape), heatmap_to_mask(heatmap, 0.2))
        assert rows(boxes_at(KERASXAI, heatmap, 0.2, heatmap.shape, every=True)) == rows(
            heatmap_to_boxes(heatmap, 0.2, False)
        )


def test_protocols_agree_where_they_mean_the_same() -> None:
    """On an 8-bit map from 0 to 255 of solid blobs, away from the border, both find the same box."""
    heatmap = np.zeros((40, 50))
    heatmap[5:20, 10:30], heatmap[8:15, 12:20], heatmap[30:33, 40:44] = 100, 255, 120
    for threshold in (0.0, 0.25, 0.5):
        own = boxes_at(KERASXAI, heatmap, threshold, heatmap.shape)
        np.testing.assert_array_equal(own, boxes_at(WSOL, heatmap, threshold, heatmap.shape))


@pytest.mark.parametrize("version", [1, 2])
def test_golden_boxes(golden: dict[str, np.ndarray], version: int) -> None:
    compared = 0
    for key, expected in golden.items():
        if key.startswith(f"v{version}_boxes_"):
            raw, threshold = golden[f"raw_{key[9:12]}"], int(key[-3:]) / 1000
            found = boxes_at(WSOL, raw, threshold, (224, 224), every=version == 2)
            assert rows(found) == rows(expected), key
            compared += 1
    assert compared == 96


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("value", [0.0, 0.1, 2.0, -3.0, np.nan])
def test_reference_takes_the_first_pixel_where_nothing_stands(value: float, every: bool) -> None:
    """Whatever the ratio of sizes: rounding must not turn a constant into a map of objects."""
    for side in (3, 7, 24):
        found = WSOL.best_ious(np.full((side, side + 1), value), [[0, 0, 1, 1]], np.arange(10) / 10, (50, 47), every)
        assert found.tolist() == [0.25] * 10
        assert not reference_map(np.full((side, side + 1), value), (50, 47)).any()


FIXTURES = [
    (
        [[0, 0, 0, 0, 0], [0, 0.4, 0.4, 0.4, 0.6], [0, 0.4, 1, 0.8, 0.6], [0, 0.4, 0.4, 0.4, 0.6]],
        [[1, 1, 4, 3], [1, 1, 4, 3], [2, 1, 4, 3], [2, 2, 4, 3], [2, 2, 3, 3]],
    ),
    (
        [[0.4, 0, 0.2, 0.2, 0.2], [0.4, 0.4, 0, 0.4, 0], [0, 0, 0, 0.4, 0], [1, 0.6, 0.8, 0.2, 0.2]],
        [[0, 0, 4, 3], [0, 0, 2, 2], [0, 3, 3, 3], [2, 3, 3, 3], [0, 3, 1, 3]],
    ),
]


@pytest.mark.parametrize(("heatmap", "expected"), FIXTURES)
def test_the_reference_projects_own_fixtures(heatmap: list, expected: list) -> None:
    thresholds = np.array([0, 0.2, 0.4, 0.6, 0.8])
    assert WSOL.largest_boxes(heatmap, thresholds, (4, 5)).tolist() == expected
    assert [boxes_at(WSOL, heatmap, t, (4, 5)).tolist() for t in thresholds] == [[box] for box in expected]


def test_iou_inclusive_and_half_open() -> None:
    assert box_iou([[1, 2, 5, 6]], [[3, 1, 4, 5]], inclusive=True).tolist() == [[8 / 27]]
    assert box_iou([[0, 0, 0, 0]], [[0, 0, 0, 0]], inclusive=True).tolist() == [[1.0]]
    assert box_iou([[0, 0, 0, 0]], [[0, 0, 0, 0]]).tolist() == [[0.0]]
    assert box_iou([[0, 0, 4, 2]], [[2, 0, 6, 2], [4, 0, 6, 2], [0, 0, 4, 2]]).tolist() == [[4 / 12, 0.0, 1.0]]
    assert box_iou(np.zeros((0, 4)), [[0, 0, 1, 1]]).shape == (0, 1)


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.int64, (2, 4), elements=st.integers(0, 8)), st.booleans())
def test_iou_equals_counting_pixels(corners: np.ndarray, inclusive: bool) -> None:
    boxes = np.concatenate([np.sort(corners[:, :2]), np.sort(corners[:, 2:])], axis=1)[:, [0, 2, 1, 3]]
    sets = [
        {(x, y) for x in range(x0, x1 + inclusive) for y in range(y0, y1 + inclusive)}
        for x0, y0, x1, y1 in boxes.tolist()
    ]
    union = len(sets[0] | sets[1])
    expected = len(sets[0] & sets[1]) / union if union else 0.0
    assert box_iou(boxes[:1], boxes[1:], inclusive)[0, 0] == expected


def test_contour_area_fills_holes_for_four_neighbors() -> None:
    diamond = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)
    assert contour_area(diamond) == 4  # The square through the four centers has area 2.
    assert contour_area(np.ones((1, 7), bool)) == 0
    assert contour_area(np.ones((3, 4), bool)) == 12


@pytest.mark.parametrize("kind", [LINEAR, CUBIC], ids=["linear", "cubic"])
def test_resizing_is_exact_where_it_must_be(kind: Kernel) -> None:
    heatmap = RNG.normal(size=(5, 8))
    np.testing.assert_array_equal(resize(heatmap, (5, 8), kind), heatmap)
    np.testing.assert_array_equal(resize_matrix(9, 9, kind).toarray(), np.eye(9))
    np.testing.assert_allclose(resize_matrix(224, 14, kind).sum(axis=1), 1, rtol=1e-12)
    ramp = np.tile(np.arange(8.0), (5, 1))
    larger = resize(ramp, (10, 24), kind)
    assert larger.shape == (10, 24)
    if kind is LINEAR:  # A straight slope stays straight, with pixel centers at half; TensorFlow's rule.
        np.testing.assert_allclose(larger[0], np.clip((np.arange(24) + 0.5) / 3 - 0.5, 0, 7), atol=1e-12)


def test_cubic_weights_are_those_of_opencv() -> None:
    # Half-way between pixels, a = -0.75: -3/32, 19/32, 19/32, -3/32.
    np.testing.assert_array_equal(
        resize_matrix(4, 8, CUBIC).toarray()[1], [0, -3 / 32, 19 / 32, 19 / 32, -3 / 32, 0, 0, 0]
    )
    # In single precision; this is cv2.resize(np.eye(3), (3, 7), interpolation=cv2.INTER_CUBIC)[2] of OpenCV 5.0.0.
    expected = [0.4198249578475952, 0.6851311922073364, -0.10495615005493164]
    np.testing.assert_array_equal(resize_matrix(7, 3, CUBIC).toarray()[2], expected)

import numpy as np
import pytest
import skimage.measure
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kerasxai.localization import heatmap_to_boxes, heatmap_to_mask, mask_to_boxes
from kerasxai.tools.errors import KerasxaiError

MAPS = hnp.arrays(np.float64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-2, 6).map(float))


def slow_boxes(mask: np.ndarray) -> list[tuple[int, tuple[int, int, int, int]]]:
    """(size, box) of every component, by flood fill, in the order of their first pixels."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    found = []
    for start in sorted(left):
        if start not in left:
            continue
        component, frontier = {start}, [start]
        left.discard(start)
        while frontier:
            y, x = frontier.pop()
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            component |= near
            frontier += near
        ys, xs = zip(*component, strict=True)
        found.append((len(component), (min(xs), min(ys), max(xs) + 1, max(ys) + 1)))
    return found


def test_box_of_a_non_square_map_is_x_then_y() -> None:
    heatmap = np.zeros((4, 10))
    heatmap[1:3, 5:9] = 1.0
    assert heatmap_to_boxes(heatmap).tolist() == [[5, 1, 9, 3]]


def test_threshold_is_strict_and_a_fraction_of_the_maximum() -> None:
    heatmap = np.array([[-4.0, 0.0, 2.0, 2.1, 10.0]])
    assert heatmap_to_mask(heatmap, 0.2).tolist() == [[False, False, False, True, True]]
    assert heatmap_to_mask(heatmap, 0.0).tolist() == [[False, False, True, True, True]]
    # Min-max would put the threshold at -1.2 and take the zero too.
    assert heatmap_to_boxes(heatmap, 0.2).tolist() == [[3, 0, 5, 1]]


def test_only_the_ratio_to_the_maximum_counts() -> None:
    heatmap = np.random.default_rng(0).normal(size=(20, 30))
    expected = heatmap_to_mask(heatmap, 0.3)
    for scale in (2.0**-60, 2.0**40):
        np.testing.assert_array_equal(heatmap_to_mask(heatmap * scale, 0.3), expected)


@pytest.mark.parametrize(
    "heatmap",
    [
        np.zeros((5, 7)),
        np.full((5, 7), 3.0),
        np.full((5, 7), -3.0),
        -np.arange(35.0).reshape(5, 7),
        np.where(np.eye(5) > 0, np.nan, 1.0),
        np.full((5, 7), np.nan),
        np.where(np.eye(5) > 0, np.inf, 1.0),
        np.full((5, 7), np.inf),
        np.where(np.eye(5) > 0, -np.inf, 1.0),
        np.float32(0.3) + np.random.default_rng(0).normal(size=(5, 7)) * 1e-9,
    ],
    ids=[
        "zero",
        "constant",
        "negative",
        "nonpositive",
        "one nan",
        "all nan",
        "inf",
        "all inf",
        "-inf",
        "constant but for rounding",
    ],
)
def test_a_map_that_points_nowhere_gives_no_box(heatmap: np.ndarray) -> None:
    for threshold in (0.0, 0.2, 0.9):
        assert not heatmap_to_mask(heatmap, threshold).any()
        for largest in (True, False):
            boxes = heatmap_to_boxes(heatmap, threshold, largest=largest)
            assert boxes.shape == (0, 4)
            assert boxes.dtype == np.int64


def test_corners_connect() -> None:
    assert heatmap_to_boxes(np.eye(4)).tolist() == [[0, 0, 4, 4]]


def test_largest_by_pixels_and_all_from_large_to_small() -> None:
    heatmap = np.zeros((6, 12))
    heatmap[0, 0:6] = 1.0  # 6 pixels, first row by row
    heatmap[3:6, 7:10] = 1.0  # 9 pixels
    heatmap[3, 0] = 1.0
    assert heatmap_to_boxes(heatmap).tolist() == [[7, 3, 10, 6]]
    assert heatmap_to_boxes(heatmap, largest=False).tolist() == [[7, 3, 10, 6], [0, 0, 6, 1], [0, 3, 1, 4]]


def test_of_equals_the_first_row_by_row() -> None:
    heatmap = np.array([[0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0]])
    assert heatmap_to_boxes(heatmap).tolist() == [[3, 0, 4, 1]]


@settings(max_examples=200, deadline=None)
@given(MAPS, st.sampled_from([0.0, 0.2, 0.5, 0.99]))
def test_boxes_equal_a_flood_fill(heatmap: np.ndarray, threshold: float) -> None:
    highest = heatmap.max()
    speaks = highest > 0 and heatmap.min() < highest
    mask = np.array([[speaks and value > threshold * highest for value in row] for row in heatmap])
    found = sorted(slow_boxes(mask), key=lambda entry: -entry[0])
    np.testing.assert_array_equal(heatmap_to_mask(heatmap, threshold), mask)
    assert [tuple(box) for box in heatmap_to_boxes(heatmap, threshold, largest=False)] == [box for _, box in found]
    assert [tuple(box) for box in heatmap_to_boxes(heatmap, threshold)] == [box for _, box in found[:1]]


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_boxes_equal_those_of_scikit_image(mask: np.ndarray) -> None:
    regions = skimage.measure.regionprops(skimage.measure.label(mask, connectivity=2))
    expected = {(r.bbox[1], r.bbox[0], r.bbox[3], r.bbox[2]) for r in regions}
    assert {tuple(box) for box in mask_to_boxes(mask, largest=False)} == expected


def test_other_number_types_give_the_same() -> None:
    heatmap = np.random.default_rng(1).integers(0, 200, (9, 11)).astype(np.uint8)
    for dtype in (np.float16, np.float32, np.int64):
        np.testing.assert_array_equal(heatmap_to_boxes(heatmap.astype(dtype)), heatmap_to_boxes(heatmap))


@pytest.mark.parametrize("shape", [(5,), (2, 5, 5), (5, 5, 1), (0, 5), ()])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(KerasxaiError, match=r"\(H, W\)"):
        heatmap_to_boxes(np.ones(shape))


@pytest.mark.parametrize("threshold", [-0.1, 1.0, 20, float("nan")])
def test_wrong_thresholds_are_refused(threshold: float) -> None:
    with pytest.raises(KerasxaiError, match="fraction of the maximum"):
        heatmap_to_mask(np.eye(3), threshold)


@pytest.mark.parametrize("heatmap", [np.eye(3) * 1j, np.array([["a"]])])
def test_wrong_numbers_are_refused(heatmap: np.ndarray) -> None:
    with pytest.raises(KerasxaiError, match="real numbers"):
        heatmap_to_mask(heatmap)

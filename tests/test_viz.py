"""Heatmaps as colors, over images, with boxes: what the pixels mean, not only that there are some."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import keras
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kerasxai import viz
from kerasxai.tools.errors import KerasxaiError
from kerasxai.viz import scatter
from kerasxai.viz.overlays import lookup_table, strengths
from kerasxai.viz.pixels import resize_heatmap, to_pictures

RAMP = np.linspace(0, 1, 256, dtype=np.float32)[None]


@pytest.fixture(scope="module")
def cat() -> np.ndarray:
    return np.asarray(skimage.data.chelsea()[:200, :240])


def has_color(sheet: np.ndarray, color: tuple[int, ...]) -> bool:
    return bool((sheet == np.array(color, np.uint8)).all(-1).any())


def test_import_brings_neither_tensorflow_nor_pyplot() -> None:
    code = "import sys, kerasxai.viz; assert not {'tensorflow', 'keras', 'matplotlib.pyplot'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


# Colors


def test_evidence_runs_through_the_colormap() -> None:
    np.testing.assert_array_equal(viz.colorize(RAMP)[0], lookup_table("inferno"))
    np.testing.assert_array_equal(viz.colorize(RAMP, colormap="viridis")[0], lookup_table("viridis"))


@pytest.mark.parametrize("factor", [1e-20, 1e-9, 1.0, 1e9])
def test_color_does_not_depend_on_the_unit(factor: float) -> None:
    np.testing.assert_array_equal(viz.colorize(RAMP * np.float32(factor)), viz.colorize(RAMP))


def test_zero_keeps_its_color_whatever_the_range() -> None:
    shifted = viz.colorize(np.array([[3.0, 4.0]]))
    assert tuple(shifted[0, 0]) == tuple(lookup_table("inferno")[round(0.75 * 255)])


def test_signed_colors_are_symmetric_about_zero() -> None:
    values = np.array([[-2.0, -1.0, 0.0, 1.0, 2.0, 1.0]])
    colors = viz.colorize(values)[0].astype(int)
    table = lookup_table("RdBu_r").astype(int)
    np.testing.assert_array_equal(colors[0], table[0])
    np.testing.assert_array_equal(colors[4], table[-1])
    np.testing.assert_array_equal(viz.colorize(-values, signed=True)[0, ::-1][1:], colors[:5])
    assert np.ptp(colors[2]) < 6, "zero is neutral"
    assert colors[4, 0] > colors[4, 2] and colors[0, 2] > colors[0, 0], "red is for, blue against"


def test_the_larger_side_scales_both_signs() -> None:
    scaled, signed = strengths([[-4.0, 1.0]])
    assert signed and scaled.tolist() == [[-1.0, 0.25]]


def test_rounding_below_zero_is_not_evidence_against() -> None:
    assert not strengths([[-1e-9, 1.0]])[1]
    assert strengths([[-1e-3, 1.0]])[1]


@pytest.mark.parametrize("heatmap", [np.zeros((3, 4)), -np.ones((3, 4))])
def test_no_positive_evidence_is_flat(heatmap: np.ndarray) -> None:
    colors = viz.colorize(heatmap, signed=False)
    assert (colors == lookup_table("inferno")[0]).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e39])
def test_heatmaps_that_are_not_finite_are_refused(wrong: float, cat: np.ndarray) -> None:
    heatmap = np.eye(4)
    heatmap[2, 3] = wrong
    for draw in (viz.colorize, viz.robust_maximum, lambda one: viz.overlay(cat, one)):
        with pytest.raises(KerasxaiError, match=r"finite values, got NaN or infinity at 1 of 16; look"):
            draw(heatmap)
    if wrong < 1e38 or not np.isfinite(wrong):
        with pytest.raises(KerasxaiError, match="finite"):
            viz.draw_heatmap(cat, heatmap, relative=True)


@pytest.mark.parametrize("value", [3.0, -2.0, 0.1, 0.0])
def test_a_constant_map_prefers_no_place(value: float, cat: np.ndarray) -> None:
    heatmap = np.full((3, 5), value) * (1 + 1e-8 * np.arange(5))
    assert not strengths(heatmap)[0].any()
    for drawn in (viz.overlay(cat, heatmap), viz.draw_heatmap(cat, heatmap)):
        np.testing.assert_array_equal(drawn, viz.overlay(cat, np.zeros((3, 5)), signed=value < 0))
    alone = viz.draw_heatmap(cat, heatmap, pixelwise=True)
    assert np.ptp(alone, axis=(0, 1)).max() == 0
    if value > 0:
        assert (strengths(heatmap, maximum=2 * value)[0] > 0.49).all(), (
            "on a scale that is given, a constant has a place"
        )


def test_batch_equals_single_maps() -> None:
    maps = np.random.default_rng(0).normal(size=(3, 5, 7)) * np.array([1.0, 10.0, 0.1])[:, None, None]
    single = [viz.colorize(one, signed=True) for one in maps]
    np.testing.assert_array_equal(viz.colorize(maps), np.stack(single))


def test_a_common_maximum_makes_maps_comparable() -> None:
    colors = viz.colorize([[[1.0]], [[2.0]]], maximum=2.0)
    np.testing.assert_array_equal(colors[:, 0, 0], lookup_table("inferno")[[128, 255]])
    each = viz.colorize([[[1.0]], [[2.0]]], maximum=[1.0, 4.0])
    np.testing.assert_array_equal(each[:, 0, 0], lookup_table("inferno")[[255, 128]])


def test_robust_maximum_sets_few_bright_pixels_aside() -> None:
    maps = np.ones((2, 20, 20))
    maps[0, 0, 0] = 1000
    maps[1] = 0
    maps[1, 0, 0] = -7
    np.testing.assert_allclose(viz.robust_maximum(maps, 99), [1, 7])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heatmaps": np.zeros(3)}, "expected heatmaps"),
        ({"heatmaps": np.zeros((2, 3, 4, 3))}, "expected heatmaps"),
        ({"heatmaps": np.zeros((2, 0))}, "expected heatmaps"),
        ({"heatmaps": np.zeros((2, 2)), "colormap": "vridis"}, "nearest: viridis"),
        ({"heatmaps": np.zeros((2, 2)), "maximum": -1.0}, "maximum must be"),
        ({"heatmaps": np.zeros((2, 2, 2)), "maximum": [1.0, 2.0, 3.0]}, "maximum must be"),
    ],
)
def test_bad_heatmaps_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(KerasxaiError, match=message):
        viz.colorize(**arguments)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(width=32)),
    st.sampled_from([None, True, False]),
)
def test_any_finite_floats_can_be_drawn(heatmap: np.ndarray, signed: bool | None) -> None:
    if not np.isfinite(heatmap).all():
        with pytest.raises(KerasxaiError, match="finite"):
            viz.colorize(heatmap, signed=signed)
        return
    colors = viz.colorize(heatmap, signed=signed)
    assert colors.dtype == np.uint8 and colors.shape == (*heatmap.shape, 3)
    drawn = viz.overlay(np.full((11, 13, 3), 90.0), heatmap, signed=signed)
    assert drawn.dtype == np.uint8 and drawn.shape == (11, 13, 3)


# Overlays


def half_pixel_bilinear(heatmap: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    for axis in (0, 1):
        old, new = heatmap.shape[axis], size[axis]
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(at).astype(int)
        share = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        high = np.minimum(low + 1, old - 1)
        heatmap = np.take(heatmap, low, axis) * (1 - share) + np.take(heatmap, high, axis) * share
    return heatmap


@pytest.mark.parametrize("size", [(20, 30), (7, 50), (13, 5)])
def test_heatmaps_are_enlarged_half_pixel_bilinear(size: tuple[int, int]) -> None:
    heatmap = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(resize_heatmap(heatmap, size), half_pixel_bilinear(heatmap, size), atol=1e-5)


def test_uniform_overlay_is_the_plain_blend(cat: np.ndarray) -> None:
    heatmap = np.random.default_rng(2).random((200, 240))
    expected = np.rint(0.7 * cat.astype(np.float64) + 0.3 * viz.colorize(heatmap))
    drawn = viz.overlay(cat, heatmap, alpha=0.3, follow=False)
    np.testing.assert_allclose(drawn.astype(float), expected, atol=1)


def test_the_image_shows_where_there_is_no_evidence(cat: np.ndarray) -> None:
    drawn = viz.overlay(cat, np.zeros((7, 7))).astype(float)
    gray = cat @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(drawn @ np.array([0.299, 0.587, 0.114]), gray, atol=1.5)
    np.testing.assert_array_equal(viz.overlay(cat, np.eye(7), alpha=0), cat)


def test_color_grows_with_the_evidence() -> None:
    image = np.full((1, 256, 3), 200, np.uint8)
    distance = np.abs(viz.overlay(image, RAMP).astype(int) - 200).sum(-1)[0]
    assert distance[0] == 0 and distance[30] > 20
    signed = viz.overlay(image, np.linspace(-1, 1, 256)[None]).astype(int)[0]
    assert signed[0, 2] > signed[0, 0] and signed[-1, 0] > signed[-1, 2]
    np.testing.assert_allclose(signed[127], 200, atol=4)


def test_evidence_lies_where_the_heatmap_has_it() -> None:
    """A non-square image and a heatmap of one cell: no axis is swapped, nothing is mirrored."""
    heatmap = np.zeros((4, 8))
    heatmap[3, 1] = 1
    changed = np.abs(viz.overlay(np.full((40, 80, 3), 99.0), heatmap).astype(int) - 99).sum(-1)
    y, x = np.unravel_index(changed.argmax(), changed.shape)
    assert 30 <= y < 40 and 10 <= x < 20
    assert changed[:15].max() == 0 and changed[:, 40:].max() == 0


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.full((2, 2), 7, np.uint8), 7),
        (np.full((2, 2, 1), 7.4), 7),
        (np.full((2, 2, 3), 270.0), 255),
        (np.full((2, 2, 3), 0.5, np.float16), 128),
        (np.ones((2, 2), bool), 255),
        (np.full((2, 2), 65535, np.uint16), 255),
        (np.full((2, 2), 200, np.int32), 200),
        (np.full((2, 2, 3), -0.5), 64),
        (np.full((2, 2, 3), 3.0), 3),
        (np.full((2, 2, 4), [10, 10, 10, 0], np.uint8), 255),
        (np.full((2, 2, 4), [10, 10, 10, 255], np.uint8), 10),
        (Image.new("P", (2, 2)), 0),
        (keras.ops.cast(np.full((2, 2), 0.5), "bfloat16"), 128),
    ],
)
def test_images_of_any_kind(image: np.ndarray, expected: int) -> None:
    picture = viz.to_picture(image)
    assert picture.dtype == np.uint8 and picture.shape == (2, 2, 3) and (picture == expected).all()


def in_ranges(cat: np.ndarray) -> dict[str, np.ndarray]:
    share = cat / 255
    return {
        "[0, 255]": cat.astype(np.float32),
        "[0, 1]": share,
        "[0, 1], resampled with overshoot": np.clip(share * 1.1 - 0.05, -0.05, 1.05),
        "[-1, 1]": share * 2 - 1,
        "16 bits": np.rint(share * 65535).astype(np.uint16),
    }


def test_a_picture_looks_the_same_in_every_range_that_is_certain(cat: np.ndarray) -> None:
    expected = viz.overlay(cat, np.eye(7)).astype(int)
    for name, image in in_ranges(cat).items():
        tolerance = 16 if "overshoot" in name else 1
        np.testing.assert_allclose(viz.overlay(image, np.eye(7)), expected, atol=tolerance, err_msg=name)
        np.testing.assert_allclose(viz.draw_boxes(image, []), cat, atol=tolerance, err_msg=name)
        np.testing.assert_allclose(viz.grid([[image]]), viz.grid([[cat]]), atol=tolerance, err_msg=name)


@pytest.mark.parametrize(
    "change",
    [
        lambda share: (share - 0.45) / 0.23,
        lambda share: np.maximum(share - 0.45, 0) / 0.23,
        lambda share: share[..., ::-1] * 255 - 117,
        lambda share: np.rint(share * 4095).astype(np.uint16),
        lambda share: share * 65535,
    ],
    ids=["standardized", "standardized, rectified", "caffe", "12 bits", "16 bits as floats"],
)
def test_a_range_that_is_not_certain_is_stretched_with_a_warning(change: Any, cat: np.ndarray) -> None:
    image = change(cat / 255)
    with pytest.warns(UserWarning, match=r"got values from .* which are stretched"):
        picture = viz.to_picture(image)
    assert picture.min() == 0 and picture.max() == 255
    known = viz.to_picture(image, value_range=(float(image.min()), float(image.max())))
    np.testing.assert_array_equal(picture, known)


def test_a_range_that_is_given_is_taken() -> None:
    assert viz.to_picture(np.full((2, 2), 2048, np.uint16), value_range=(0, 4095)).max() == 128
    assert viz.to_picture(np.full((2, 2), 0.9), value_range=(0, 255)).max() == 1
    assert viz.to_picture(np.full((2, 2), 5, np.uint8), value_range=(0, 10)).max() == 128
    for wrong in ((1, 1), (255, 0), (0, np.nan)):
        with pytest.raises(KerasxaiError, match="value_range must be"):
            viz.to_picture(np.zeros((2, 2)), value_range=wrong)


def test_pictures_of_one_array_share_a_range(tmp_path: Path) -> None:
    images = np.stack([np.full((8, 8, 3), -1.0), np.full((8, 8, 3), 0.5)])
    dark, bright = to_pictures(images)
    assert dark.max() == 0 and bright.max() == 191
    path = viz.save_animation(tmp_path / "pair.webp", images)
    with Image.open(path) as frames:
        frames.seek(1)
        np.testing.assert_allclose(np.asarray(frames.convert("RGB")), 191, atol=2)
    sheet = scatter.sprite(images, 8)[0]
    assert sheet[0, 0, 0] == 0 and sheet[0, 8, 0] == 191


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((2, 2), np.nan), "NaN or infinity at 4 of 4"),
        (np.array([[np.inf, 1.0]]), "NaN or infinity at 1 of 2"),
        (np.ones((2, 2)) * 1j, "real numbers, got complex128"),
        ([[1, 2], [3]], "one array of numbers, got list"),
        ("cat.png", "real numbers"),
        (np.zeros((5, 8, 8, 3)), "one by one"),
    ],
)
def test_pixels_that_are_no_picture_are_refused(image: Any, message: str) -> None:
    with pytest.raises(KerasxaiError, match=message):
        viz.to_picture(image)
    with pytest.raises(KerasxaiError, match=message):
        viz.overlay(image, np.eye(2))


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2), (1, 4, 4, 3), (0, 4, 3)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(KerasxaiError, match="expected one image"):
        viz.to_picture(np.zeros(shape))


def test_bad_overlays_are_named(cat: np.ndarray) -> None:
    with pytest.raises(KerasxaiError, match="alpha"):
        viz.overlay(cat, np.eye(3), alpha=1.5)
    with pytest.raises(KerasxaiError, match="one heatmap"):
        viz.overlay(cat, np.zeros((1, 3, 3)))
    with pytest.raises(KerasxaiError, match="one by one"):
        viz.draw_heatmap(cat, np.zeros((4, 3, 3)))
    with pytest.raises(KerasxaiError, match=r"boxes \(K, 4\)"):
        viz.overlay(cat, np.eye(3), boxes=np.zeros((2, 5)))


# Boxes


def test_a_box_ends_before_its_end() -> None:
    drawn = viz.draw_boxes(np.full((20, 30, 3), 99), [[4, 5, 14, 12]], (255, 0, 0), width=2)
    red = (drawn == [255, 0, 0]).all(-1)
    expected = np.zeros((20, 30), bool)
    expected[5:12, 4:14] = True
    expected[7:10, 6:12] = False
    np.testing.assert_array_equal(red, expected)
    outside = np.ones((20, 30), bool)
    outside[4:13, 3:15] = False
    assert (drawn[outside] == 99).all(), "the rim is one pixel wide"


def test_dashes_have_gaps_and_reach_the_corners() -> None:
    drawn = viz.draw_boxes(np.zeros((100, 100, 3)), [[10, 10, 90, 80]], (255, 0, 0), width=2, dashed=True)
    red = (drawn == [255, 0, 0]).all(-1)
    assert red[10, 10] and red[10, 89] and red[79, 10] and red[79, 89]
    assert 0.4 < red[10, 10:90].mean() < 0.8
    assert not red[:, 90:].any() and not red[80:].any()


def test_boxes_at_and_beyond_the_border() -> None:
    whole = viz.draw_boxes(np.zeros((9, 9, 3)), [0, 0, 9, 9], (255, 0, 0), width=1)
    assert (whole[[0, -1]] == [255, 0, 0]).all() and (whole[:, [0, -1]] == [255, 0, 0]).all()
    beyond = viz.draw_boxes(np.zeros((9, 9, 3)), [[-50, -50, 50, 5]], (255, 0, 0), width=1)
    assert (beyond[4] == [255, 0, 0]).all() and not (beyond[:4] == [255, 0, 0]).all(-1).any()
    for nothing in (np.zeros((0, 4)), [[3, 3, 3, 8]], [[5, 5, 2, 2]], []):
        assert not viz.draw_boxes(np.zeros((9, 9, 3)), nothing).any()


def test_drawing_leaves_the_input_alone(cat: np.ndarray) -> None:
    before = cat.copy()
    viz.overlay(cat, np.eye(5), boxes=[[1, 1, 50, 50]], true_boxes=[[2, 2, 60, 60]])
    viz.draw_boxes(cat, [[1, 1, 50, 50]])
    np.testing.assert_array_equal(cat, before)


def test_predicted_and_true_boxes_differ_in_color_and_dashes(cat: np.ndarray) -> None:
    box = [[20, 20, 180, 180]]
    true = (viz.overlay(cat, np.eye(5), true_boxes=box) == viz.TRUE_COLOR).all(-1)
    predicted = (viz.overlay(cat, np.eye(5), boxes=box) == viz.PREDICTED_COLOR).all(-1)
    assert true[20, 20:180].all() and predicted[20, 20:180].any() and not predicted[20, 20:180].all()
    both = viz.overlay(cat, np.eye(5), boxes=box, true_boxes=box)
    assert has_color(both, viz.TRUE_COLOR) and has_color(both, viz.PREDICTED_COLOR), "where they agree, both show"


def test_heatmaps_are_drawn_the_way_that_suits_their_kind() -> None:
    image = np.full((12, 16, 3), 90, np.uint8)
    heatmap = np.linspace(5, 6, 12 * 16, dtype=np.float32).reshape(12, 16)
    np.testing.assert_array_equal(viz.draw_heatmap(image, heatmap), viz.overlay(image, heatmap))
    np.testing.assert_array_equal(viz.draw_heatmap(image, heatmap, relative=True), viz.overlay(image, heatmap - 5))
    alone = viz.draw_heatmap(image, heatmap[:6, :8], pixelwise=True)
    assert alone.shape == image.shape
    np.testing.assert_array_equal(alone, viz.draw_heatmap(255 - image, heatmap[:6, :8], pixelwise=True))


def test_large_images_are_drawn_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 30, 3), dtype=np.uint8)
    whole = viz.overlay(image, np.eye(6))
    monkeypatch.setattr("kerasxai.viz.overlays._BAND", 7 * 30 + 3)
    np.testing.assert_allclose(viz.overlay(image, np.eye(6)).astype(int), whole, atol=1)

"""Drawing: what the pixels mean, not only that there are some."""

import io
import subprocess
import sys
from pathlib import Path

import hypothesis.extra.numpy as hnp
import matplotlib
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kerasxai import viz
from kerasxai.core.errors import KerasxaiError
from kerasxai.viz.overlays import lookup_table, strengths
from kerasxai.viz.pixels import resize_heatmap
from kerasxai.viz.text import font, shorten, wrap

RAMP = np.linspace(0, 1, 256, dtype=np.float32)[None]


@pytest.fixture(scope="module")
def cat() -> np.ndarray:
    return np.asarray(skimage.data.chelsea()[:200, :240])


def contains(sheet: np.ndarray, picture: np.ndarray) -> bool:
    """Whether `picture` stands somewhere in `sheet`, pixel for pixel."""
    height, width = picture.shape[:2]
    corners = np.argwhere((sheet[: -height or None, : -width or None] == picture[0, 0]).all(-1))
    return any((sheet[y : y + height, x : x + width] == picture).all() for y, x in corners)


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


def test_what_is_not_finite_is_grey_and_harms_nothing_else() -> None:
    colors = viz.colorize([[np.nan, np.inf, -np.inf, 0.0, 1.0]])[0]
    assert (colors[:3] == 128).all()
    np.testing.assert_array_equal(colors[3:], lookup_table("inferno")[[0, 255]])


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
def test_any_floats_can_be_drawn(heatmap: np.ndarray, signed: bool | None) -> None:
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


@pytest.mark.parametrize("follow", [True, False])
def test_nan_leaves_the_image(follow: bool) -> None:
    heatmap = np.ones((4, 4))
    heatmap[0] = np.nan
    drawn = viz.overlay(np.full((4, 4, 3), 99.0), heatmap, follow=follow)
    assert (drawn[0] == 99).all() and (drawn[1:] != 99).any(-1).all()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.full((2, 2), 7, np.uint8), 7),
        (np.full((2, 2, 1), 7.4), 7),
        (np.full((2, 2, 3), 300.0), 255),
        (np.full((2, 2, 3), 0.9, np.float16), 1),
        (np.ones((2, 2), bool), 255),
        (np.full((2, 2, 4), [10, 10, 10, 0], np.uint8), 255),
        (np.full((2, 2, 4), [10, 10, 10, 255], np.uint8), 10),
        (np.full((2, 2, 3), np.nan), 0),
        (np.full((2, 2, 3), -5, np.int64), 0),
    ],
)
def test_images_of_any_kind(image: np.ndarray, expected: int) -> None:
    picture = viz.to_picture(image)
    assert picture.dtype == np.uint8 and picture.shape == (2, 2, 3) and (picture == expected).all()


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2), (1, 4, 4, 3), (0, 4, 3)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(KerasxaiError, match="expected one image"):
        viz.to_picture(np.zeros(shape))


def test_bad_overlays_are_named(cat: np.ndarray) -> None:
    with pytest.raises(KerasxaiError, match="alpha"):
        viz.overlay(cat, np.eye(3), alpha=1.5)
    with pytest.raises(KerasxaiError, match="one heatmap"):
        viz.overlay(cat, np.zeros((1, 3, 3)))
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


# Text and sheets


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.integers(40, 200), st.integers(1, 3))
def test_text_stays_within_its_cell(text: str, width: int, lines: int) -> None:
    wrapped = wrap(text, width, 12, lines)
    assert len(wrapped) <= lines
    assert all(font(12).getlength(line) <= width for line in wrapped)


def test_wrapping_breaks_at_spaces_and_marks_what_is_cut() -> None:
    assert wrap("tiger cat", 45, 12, lines=2) == ["tiger", "cat"]
    assert wrap("guided_backprop", 70, 12, lines=2) == ["guided_", "backprop"]
    assert wrap("one two three four five", 60, 12, lines=2)[-1].endswith("…")
    assert wrap("", 60, 12, lines=2) == []
    assert shorten("abc", 1000, 12) == "abc"


def test_a_grid_shows_every_picture_unchanged() -> None:
    rng = np.random.default_rng(3)
    rows = [[rng.integers(0, 255, (100, 120, 3), np.uint8) for _ in range(count)] for count in (3, 1)]
    sheet = viz.grid(rows, ["cat", "cup"], ["cam", "gradcam", "lime"], [["a", "b"]], "Title", "note")
    assert sheet.dtype == np.uint8
    for row in rows:
        for cell in row:
            assert contains(sheet, cell)
    assert not contains(sheet, rng.integers(0, 255, (100, 120, 3), np.uint8))


def test_every_text_of_a_grid_is_drawn() -> None:
    rows = [[np.zeros((100, 100, 3))] * 2]
    plain = viz.grid(rows)
    texts: dict[str, dict] = {
        "row_labels": {"row_labels": ["É"]},
        "column_labels": {"column_labels": ["→"]},
        "captions": {"captions": [["Ω"]]},
        "title": {"title": "T"},
        "note": {"note": "n"},
        "legend": {"legend": [("true box", (1, 2, 3)), ("evidence", "viridis")]},
    }
    for name, arguments in texts.items():
        sheet = viz.grid(rows, **arguments)
        assert sheet.size > plain.size, name
        assert (sheet < 120).any(-1).sum() > (plain < 120).any(-1).sum(), name
    assert has_color(viz.grid(rows, **texts["legend"]), (1, 2, 3))
    with_title = viz.grid(rows, title="T" * 300)
    assert with_title.shape[1] == plain.shape[1], "a long title is wrapped, the sheet grows no wider"


def test_captions_belong_to_their_pictures() -> None:
    cells = [np.full((100, 100, 3), 200, np.uint8)] * 3
    left, right = viz.grid([cells], captions=[["####", "", ""]]), viz.grid([cells], captions=[["", "", "####"]])
    ink = [np.flatnonzero((sheet < 100).any(axis=(0, 2))).mean() / sheet.shape[1] for sheet in (left, right)]
    assert ink[0] < 1 / 3 and ink[1] > 2 / 3


def test_cells_and_rows_are_a_gap_apart() -> None:
    cell = np.full((100, 100, 3), (255, 0, 0), np.uint8)
    red = (viz.grid([[cell, cell], [cell, cell]], gap=7) == [255, 0, 0]).all(-1)
    for axis in (0, 1):
        places = np.flatnonzero(red.any(axis))
        assert places.size == 200 and places[100] - places[99] == 8


def test_grids_fit_pictures_of_other_sizes() -> None:
    tall, wide = np.full((200, 50, 3), (255, 0, 0), np.uint8), np.full((60, 240, 3), (0, 0, 255), np.uint8)
    sheet = viz.grid([[tall, wide, None]], cell_size=(100, 120))
    red, blue = ((sheet == color).all(-1) for color in ([255, 0, 0], [0, 0, 255]))
    for mask, size in ((red, (100, 25)), (blue, (30, 120))):
        assert (np.ptp(np.flatnonzero(mask.any(1))) + 1, np.ptp(np.flatnonzero(mask.any(0))) + 1) == size
    assert viz.grid([[np.zeros((2000, 1000, 3))]]).shape[0] < 700
    assert viz.grid([[np.zeros((8, 8))]]).shape[0] > 96


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": []}, "at least one picture"),
        ({"rows": [[None]]}, "at least one picture"),
        ({"rows": [[np.zeros((9, 9))]], "row_labels": ["a", "b"]}, "one label a row"),
        ({"rows": [[np.zeros((9, 9))]], "column_labels": ["a", "b"]}, "one label a column"),
        ({"rows": [[np.zeros((9, 9))]], "captions": [["a", "b"]]}, "captions"),
        ({"rows": [[np.zeros((9, 9))]], "cell_size": 2}, "cell_size"),
    ],
)
def test_bad_grids_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(KerasxaiError, match=message):
        viz.grid(**arguments)


def test_a_timeline_thins_out_evenly_and_keeps_both_ends() -> None:
    colors = [(10 * epoch, 255 - 10 * epoch, 77) for epoch in range(21)]
    cells = [np.full((96, 96, 3), color, np.uint8) for color in colors]
    original = np.full((96, 96, 3), (3, 2, 1), np.uint8)
    sheet = viz.timeline([cells, cells[:20]], range(21), originals=[original] * 2, most_columns=5)
    assert [epoch for epoch, color in enumerate(colors) if has_color(sheet, color)] == [0, 5, 10, 15, 20]
    assert has_color(sheet, (3, 2, 1))
    few = viz.timeline([cells[:4]], ["a", "b", "c", "d"], captions=[["x"] * 4])
    assert all(has_color(few, color) for color in colors[:4])
    thinned, whole = (viz.timeline([cells[:5]], range(5), most_columns=most) for most in (4, 5))
    assert thinned.shape[0] > whole.shape[0], "a note says that epochs were left out"


def test_bad_timelines_are_named() -> None:
    cell = np.zeros((9, 9))
    with pytest.raises(KerasxaiError, match="2 epochs for 1 columns"):
        viz.timeline([[cell]], [1, 2])
    with pytest.raises(KerasxaiError, match="one original"):
        viz.timeline([[cell]], [1], originals=[cell, cell])
    with pytest.raises(KerasxaiError, match="most_columns"):
        viz.timeline([[cell]], [1], most_columns=1)


# Plots


def test_curves_lie_where_their_values_are() -> None:
    before = dict(matplotlib.rcParams)
    blue = (0, 114, 178)
    heights = []
    for value in (0.25, 0.75):
        pixels = viz.plot_curves([0.0, 0.3, 1.0], {"a long name": [value] * 3}, marks={"20 %": 0.2}, title="t")
        rows = np.flatnonzero((pixels == blue).all(-1).sum(1) > 500)
        heights.append(rows.mean() / pixels.shape[0])
    assert 0.6 < heights[0] < 0.8 and 0.15 < heights[1] < 0.4
    assert dict(matplotlib.rcParams) == before


def test_a_curve_keeps_its_gaps() -> None:
    places = np.linspace(0, 1, 201)
    whole, broken = np.full(201, 0.5), np.full(201, 0.5)
    broken[80:120] = np.nan
    blue = [(viz.plot_curves(places, {"x": line}) == (0, 114, 178)).all(-1).sum() for line in (whole, broken)]
    assert 0.7 * blue[0] < blue[1] < 0.9 * blue[0]


def test_history_sorts_its_series_into_panels() -> None:
    history = {
        "loss": [2.0, 1.0],
        "val_loss": [2.0, np.nan],
        "accuracy": [0.1, 0.9],
        "val_gt_known_loc": [0.3, 0.6],
        "learning_rate": [1e-3, 1e-3],
    }
    widths = [
        viz.plot_history({name: history[name] for name in names}).shape[1]
        for names in (["loss", "val_loss"], ["loss", "accuracy", "learning_rate"], list(history))
    ]
    assert widths[0] < widths[1] < widths[2]
    assert np.diff(widths)[0] == np.diff(widths)[1]
    assert viz.plot_history({"loss": [1.0]}, epochs=[7], title="t", marks={"fine-tuning": 7}).std() > 0
    assert viz.plot_history({"loss": [np.nan]}).shape[2] == 3


def test_bad_plots_are_named() -> None:
    with pytest.raises(KerasxaiError, match="0 curves"):
        viz.plot_curves([0.0], {})
    with pytest.raises(KerasxaiError, match="2 values for 'a'"):
        viz.plot_curves([0.0, 1.0], {"a": [1.0]})
    with pytest.raises(KerasxaiError, match="expected series"):
        viz.plot_history({})
    with pytest.raises(KerasxaiError, match="without"):
        viz.plot_history({"loss": [1.0]}, panels={"p": ["los"]})
    with pytest.raises(KerasxaiError, match="epochs of 'accuracy'"):
        viz.plot_history({"loss": [1.0, 2.0], "accuracy": [1.0]})


# Sinks


def test_png_keeps_every_pixel(tmp_path: Path, cat: np.ndarray) -> None:
    path = viz.save_png(tmp_path / "a" / "b.png", cat)
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), cat)
    assert [file.name for file in path.parent.iterdir()] == ["b.png"], "no temporary file stays"
    assert len(viz.encode_png(cat, 9)) < len(viz.encode_png(cat, 1)) < len(viz.encode_png(cat, 0))


def test_png_errors_leave_nothing(tmp_path: Path, cat: np.ndarray) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KerasxaiError, match="cannot write"):
        viz.save_png(tmp_path / "file" / "x.png", cat)
    with pytest.raises(KerasxaiError, match="ends in"):
        viz.save_png(tmp_path / "x.jpg", cat)
    with pytest.raises(KerasxaiError, match="compression"):
        viz.encode_png(cat, 10)
    with pytest.raises(KerasxaiError, match="one image"):
        viz.save_png(tmp_path / "x.png", np.zeros(3))
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_png_sink_names_files_by_tag_and_step(tmp_path: Path, cat: np.ndarray) -> None:
    with viz.PNGSink(tmp_path) as sink:
        paths = sink.image("gradcam/tabby, cat?", cat, step=3)
        paths += sink.image("two", np.stack([cat, cat[::-1]]), step=12)
        paths += sink.image("../../outside", cat, step=0)
        sink.scalar("loss", 1.0, step=3)
    names = [path.relative_to(tmp_path).as_posix() for path in paths]
    assert names[:3] == ["gradcam/tabby,_cat_/step_0003.png", "two/step_0012_00.png", "two/step_0012_01.png"]
    assert all(path.is_file() and ".." not in path.parts for path in paths)
    with Image.open(paths[2]) as image:
        np.testing.assert_array_equal(np.asarray(image), cat[::-1])
    with pytest.raises(KerasxaiError, match="empty batch"):
        sink.image("none", np.zeros((0, 4, 4, 3)), step=0)


# TensorBoard's reader imports TensorFlow, whose own imports may warn; what is tested is what it reads.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_pictures_and_numbers_back(tmp_path: Path, cat: np.ndarray) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    with viz.TensorBoardSink(tmp_path / "logs") as sink:
        assert sink.enabled
        for step in (1, 5):
            sink.image("gradcam/cat", cat[step:], step, description="the *cat*")
            sink.scalar("gt_known_loc", step / 4, step)
        sink.image("batch", np.stack([cat, cat[::-1]]), 2)
    sink.image("late", cat, 9)
    sink.scalar("late", 1.0, 9)

    events = EventAccumulator(str(tmp_path / "logs"), size_guidance={"tensors": 0}).Reload()
    assert set(events.PluginTagToContent("images")) == {"gradcam/cat", "batch"}
    assert set(events.PluginTagToContent("scalars")) == {"gt_known_loc"}
    assert events.SummaryMetadata("gradcam/cat").summary_description == "the *cat*"
    assert [event.step for event in events.Tensors("gradcam/cat")] == [1, 5]
    for event in events.Tensors("gradcam/cat"):
        width, height, png = tensor_util.make_ndarray(event.tensor_proto).tolist()
        assert (int(width), int(height)) == (240, 200 - event.step)
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), cat[event.step :])
    batch = tensor_util.make_ndarray(events.Tensors("batch")[0].tensor_proto).tolist()
    assert len(batch) == 4
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(batch[3]))), cat[::-1])
    values = [
        (event.step, float(tensor_util.make_ndarray(event.tensor_proto))) for event in events.Tensors("gt_known_loc")
    ]
    assert values == [(1, 0.25), (5, 1.25)]


def test_without_tensorboard_the_caller_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cat: np.ndarray
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(KerasxaiError, match=r"pip install 'kerasxai\[tensorboard\]'"):
        viz.TensorBoardSink(tmp_path / "logs")
    with viz.TensorBoardSink(tmp_path / "logs", required=False) as sink:
        assert not sink.enabled
        sink.image("a", cat, 1)
        sink.scalar("b", 1.0, 1)
        sink.flush()
    assert not (tmp_path / "logs").exists()


def test_a_log_folder_that_cannot_be_made(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("")
    with pytest.raises(KerasxaiError, match="cannot write"):
        viz.TensorBoardSink(tmp_path / "file" / "logs")

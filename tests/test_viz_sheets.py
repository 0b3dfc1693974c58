"""Contact sheets, plots and where pictures go."""

import io
import itertools
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import skimage.data
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from kerasxai import viz
from kerasxai.tools.errors import KerasxaiError
from kerasxai.viz import plots
from kerasxai.viz.text import drawable, font, shorten, wrap
from kerasxai.viz.words import with_probability


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
    assert wrap("gradcam: red 73 %, empty map", 100, 12, lines=3) == ["gradcam: red", "73 %, empty", "map"]
    caption = with_probability("black-footed albatross", 0.73)
    assert wrap(caption, 100, 12, lines=3) == ["black-footed", "albatross, 73 %"]
    assert wrap(with_probability("gray whale", 0.999), 90, 12, lines=3) == ["gray whale,", "> 99 %"]
    assert with_probability("gray whale", np.nan) == "gray whale, probability unknown"
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
    named: list[int | str] = ["before training", *range(1, 7), "epoch 7, kept", *range(8, 21)]
    kept = viz.timeline([cells], named, most_columns=5)
    assert [epoch for epoch, color in enumerate(colors) if has_color(kept, color)] == [0, 7, 10, 15, 20]
    three = viz.timeline([cells], named, most_columns=3)
    assert [epoch for epoch, color in enumerate(colors) if has_color(three, color)] == [0, 7, 20]


def test_the_legend_of_maps_takes_what_numpy_returns() -> None:
    values = np.array([0.5, -0.5])
    assert viz.map_legend(signed=(values < 0).any()) == viz.map_legend(signed=True)
    assert viz.map_legend(signed=values < 0) == viz.map_legend() + viz.map_legend(signed=True)


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


def test_a_legend_covers_no_curve_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    pixels = plots._pixels

    def measured(figure: Any) -> Any:
        figure.canvas.draw()
        for axes in figure.axes:
            legend, labels = axes.get_legend().get_window_extent(), axes.xaxis.get_tightbbox()
            found.append((legend.y1 < labels.y0, legend.y0 >= 0, 0 <= legend.x0 < legend.x1 <= figure.bbox.x1))
            assert axes.bbox.height > 0.45 * figure.bbox.height or len(found) == 2, "room for the curves"
        return pixels(figure)

    monkeypatch.setattr(plots, "_pixels", measured)
    names = [f"{word}{kind}_of_a_long_name" for word in ("", "val_") for kind in ("acc", "loss", "gt_known_loc")]
    viz.plot_curves([0.0, 1.0], {f"method number {number}": [0.0, 1.0] for number in range(7)})
    viz.plot_curves([0.0, 1.0], {f"{number} " + 38 * "W": [0.0, 1.0] for number in range(20)})
    viz.plot_history({f"{name}_{part}": [0.1, 0.9] for name in names for part in range(2)} | {"loss": [1.0, 0.5]})
    assert len(found) == 5 and all(all(one) for one in found)


def test_names_of_close_marks_do_not_cover_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[bool] = []
    pixels = plots._pixels

    def measured(figure: Any) -> Any:
        figure.canvas.draw()
        for axes in figure.axes:
            boxes = [text.get_window_extent() for text in axes.texts]
            found.extend(not one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
            found.extend(box.y0 > axes.bbox.y0 for box in boxes)
        return pixels(figure)

    monkeypatch.setattr(plots, "_pixels", measured)
    marks = {"average": 60.0, "probe": 1, "kept": 59, "best": 58}
    viz.plot_history({"loss": np.linspace(1, 0, 60), "accuracy": np.linspace(0, 1, 60)}, range(1, 61), marks=marks)
    viz.plot_curves([0.0, 1.0], {"a": [0.0, 1.0]}, marks={"fixed at 20 %": 0.2, "chosen on validation": 0.21})
    assert len(found) == 2 * (6 + 4) + 1 + 2 and all(found)


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


NAMES = [
    "$$",
    "$x^{\\frac$",
    "$5 and $10",
    "_nolegend_",
    "_",
    "a\nb\x00c",
    "x" * 5000,
    "\u732b \U0001f9ff",
    "",
    "\udcff",
]


def test_names_are_no_formulas_and_none_is_lost() -> None:
    """Warnings are errors here: of missing glyphs, of layouts that collapse, of legends that leave names out."""
    hostile: Any = {"text.parse_math": True, "axes.formatter.use_mathtext": True}
    with matplotlib.rc_context(hostile):
        scatter = viz.plot_scatter(np.eye(2).repeat(5, 0), np.arange(10), NAMES, title=NAMES[6], note="$n$")
        curves = {name: np.full(3, number / 10) for number, name in enumerate(NAMES)}
        plot = viz.plot_curves([0, 1e7, 2e7], curves, "$x$", "$y$", "$t$", marks={"$m$": 1e7, "_m": 0})
        history = viz.plot_history({f"_{name}_loss": [1.0, 2.0] for name in NAMES[:4]}, title="$$", marks={"$": 1})
    cell = np.zeros((96, 96, 3), np.uint8)
    sheet = viz.grid([[cell] * 10], ["$$"], NAMES, [NAMES], title=NAMES[5], note="$n$")
    assert all(picture.std() > 0 for picture in (scatter, plot, history, sheet))


@pytest.mark.parametrize("name", ["$5 and $10", "$x^2$", "_hidden", "a_b"])
def test_a_name_in_a_legend_takes_the_room_of_its_letters(name: str) -> None:
    """A formula would be narrower, and a name that is left out would leave its room to the axes."""
    widths = []
    for one in (name, "#" + name[1:].replace("$", "#")):
        picture = viz.plot_scatter(np.eye(2), [0, 1], [one, ""])
        axis = (picture == (0x86, 0x8E, 0x96)).all(-1).sum(1).max()
        widths.append(int(axis))
    assert abs(widths[0] - widths[1]) < 8


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
@example("0 \xad")
@example("\u200b a \u0301 b \u200d")
def test_any_text_becomes_one_line_with_glyphs(text: str) -> None:
    line = drawable(text, 40)
    assert len(line) <= 40 and "\n" not in line and line == drawable(line, 40)
    line.encode("utf-8")
    plain = drawable("tabby  cat\t$é")
    assert plain == "tabby cat $é" and drawable("\u732b") == "\u25a1" and drawable("e\u0301\u200d") == "é"


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


# TensorBoard's reader imports TensorFlow, whose own imports may warn; what is tested is what it reads.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_pictures_and_numbers_back(tmp_path: Path, cat: np.ndarray) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    with viz.TensorBoardSink(tmp_path / "logs") as sink:
        assert sink.enabled
        with pytest.raises(KerasxaiError, match="empty batch"):
            sink.image("none", np.zeros((0, 4, 4, 3)), step=0)
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

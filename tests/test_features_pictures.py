"""Scatter plots, the page that shows images under the pointer, the projector's files, animations."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, needs_chromium
from PIL import Image

from kerasxai import viz
from kerasxai.tools.errors import KerasxaiError
from kerasxai.viz.scatter import class_colors

COUNT = 30
POINTS = np.random.default_rng(0).normal(size=(COUNT, 2))
LABELS = np.arange(COUNT) % 3
NAMES = [f"image <{i}> & co.jpg" for i in range(COUNT)]


def thumbnails() -> np.ndarray:
    levels = np.linspace(0, 255, COUNT).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (COUNT, 8, 8, 3)).copy()


def test_points_have_the_colors_of_their_classes() -> None:
    picture = viz.plot_scatter([[0, 0], [1, 1]], [0, 2], ["cat", "dog", "cup"], title="title", note="note")
    for color, there in zip(class_colors(3), (True, True, True), strict=True):
        rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
        assert (np.abs(picture.astype(int) - rgb).max(-1) == 0).any() == there
    assert len(set(class_colors(40))) == 40


def test_thumbnails_are_drawn() -> None:
    red = np.zeros((COUNT, 8, 8, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    plain, drawn = viz.plot_scatter(POINTS, LABELS), viz.plot_scatter(POINTS, LABELS, thumbnails=red)
    assert (plain == (255, 0, 0)).all(-1).sum() == 0 < (drawn == (255, 0, 0)).all(-1).sum()


def page() -> str:
    return viz.scatter_page(POINTS, thumbnails(), NAMES, LABELS, ["a</script>", "b", "c"], note="<b>")


def test_the_page_holds_all_and_needs_nothing() -> None:
    html = page()
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", html) and "&lt;b&gt;" in html
    assert html.count("</script>") == 2
    (inside,) = re.findall(r'id="data">(.*?)</script>', html, re.S)
    data = json.loads(inside)
    assert data["names"] == NAMES and data["labels"] == ["a</script>", "b", "c"]
    assert data["classes"] == LABELS.tolist() and len(data["points"]) == COUNT
    # Distances keep their proportions, y points down.
    ratio = np.ptp(np.array(data["points"]), 0) / np.ptp(POINTS, 0)
    assert ratio[0] == pytest.approx(ratio[1], rel=1e-3)
    assert np.argmax(POINTS[:, 1]) == np.argmin(np.array(data["points"])[:, 1])


_POINT = """(() => {
  const [x, y] = place(29), box = plane.getBoundingClientRect();
  plane.dispatchEvent(new PointerEvent("pointermove", {clientX: box.left + x + 3, clientY: box.top + y - 3}));
})()"""


@needs_chromium
@pytest.mark.parametrize("way", ["address", "pointer", "pointer before the images"])
def test_a_browser_shows_the_point_and_its_image(way: str, tmp_path: Path) -> None:
    path, shot = tmp_path / "page.html", tmp_path / "shot.png"
    html = page()
    if way == "pointer before the images":
        html = re.sub('sheet.src = "(.*?)";', 'const later = "\\1"; draw();', html)
    path.write_text(html, encoding="utf-8")
    address = path.as_uri() + ("#point-29" if way == "address" else "")
    with Browser(tmp_path / "profile", address, (900, 600)) as browser:
        if way == "pointer before the images":
            browser.run(_POINT)
            browser.run("sheet.src = later")
        browser.until("sheet.complete && sheet.naturalWidth > 0")
        if way == "pointer":
            browser.run(_POINT)
        browser.until("current === 29 && name.textContent !== ''")
        # After the handler of the sheet, and a frame that was drawn.
        browser.run("sheet.decode().then(() => new Promise(done => requestAnimationFrame(() => setTimeout(done))))")
        browser.screenshot(shot)
    picture = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    aside, plane = picture[:, -240:], picture[:, :-240]
    # Image 29 is white on the tinted square where nothing was shown before; the classes' colors are on the plane.
    assert (aside[100:280, 30:200] == 255).all(-1).mean() > 0.9
    # The frame around the image is as high as it is wide: the last two lines of its color from the top down.
    lines = np.flatnonzero((aside[:, 120] == (217, 222, 227)).all(-1))
    assert abs(lines[-1] - lines[-2] - 207) < 3, lines
    for color in class_colors(3):
        rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
        shade = np.rint(0.8 * rgb + 0.2 * 255)
        assert (np.abs(plane - shade).max(-1) <= 2).sum() > 50, color
        assert (np.abs(aside - rgb).max(-1) <= 2).sum() > 30, color


def test_the_projector_reads_what_was_written(tmp_path: Path) -> None:
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    vectors = np.random.default_rng(1).normal(size=(COUNT, 5)).astype("float32")
    names = ["tab\tand\nline", *NAMES[1:]]
    path = viz.write_projector(tmp_path / "logs", vectors, names, LABELS.tolist(), thumbnails(), 16)
    config = text_format.Parse(path.read_text(), ProjectorConfig()).embeddings[0]
    np.testing.assert_allclose(np.loadtxt(path.parent / config.tensor_path, delimiter="\t"), vectors, rtol=1e-6)
    rows = [line.split("\t") for line in (path.parent / config.metadata_path).read_text().splitlines()]
    assert rows[0] == ["name", "label"] and rows[1] == ["tab and line", "0"] and len(rows) == COUNT + 1
    assert [row[0] for row in rows[2:]] == NAMES[1:]
    sheet = np.asarray(Image.open(path.parent / config.sprite.image_path))
    width, height = config.sprite.single_image_dim
    columns = sheet.shape[1] // width
    for i, thumbnail in enumerate(thumbnails()):
        y, x = divmod(i, columns)
        assert (sheet[y * height : (y + 1) * height, x * width : (x + 1) * width] == thumbnail[0, 0]).all()
    plain = viz.write_projector(tmp_path / "plain", vectors)
    assert not text_format.Parse(plain.read_text(), ProjectorConfig()).embeddings[0].HasField("sprite")


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_has_all_frames(tmp_path: Path, suffix: str) -> None:
    frames = [np.full((8, 10, 3), level, np.uint8) for level in (0, 120, 255)]
    path = viz.save_animation(tmp_path / f"film{suffix}", frames)
    with Image.open(path) as film:
        assert getattr(film, "n_frames", 1) == 3
        film.seek(1)
        assert abs(np.asarray(film.convert("RGB")).mean() - 120) < 3


def test_mistakes_are_told(tmp_path: Path) -> None:
    for wrong in (
        lambda: viz.plot_scatter(np.zeros((3, 3))),
        lambda: viz.plot_scatter(POINTS, [0]),
        lambda: viz.scatter_page(POINTS, thumbnails()[:2]),
        lambda: viz.scatter_page(POINTS, thumbnails(), ["a"]),
        lambda: viz.write_projector(tmp_path, POINTS, ["a"]),
        lambda: viz.save_animation(tmp_path / "x.png", [np.zeros((2, 2))]),
        lambda: viz.save_animation(tmp_path / "x.gif", []),
    ):
        with pytest.raises(KerasxaiError):
            wrong()

"""The report on runs in a real browser: every control works, and boxes are those of Python."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser, needs_chromium
from PIL import Image
from run_folders import HOSTILE, IMAGES, write_epochs, write_photos, write_run

from kerasxai.localization import heatmap_to_boxes, heatmap_to_mask
from kerasxai.metrics.boxes import box_iou
from kerasxai.report.build import write_report
from kerasxai.report.config import ReportConfig
from kerasxai.report.packing import eight_bits, enlarged, packed
from kerasxai.tools.printable import percent, unbroken

pytestmark = needs_chromium
CARDS = "document.querySelectorAll('#cards li')"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    boxes = write_photos(root / "photos")
    folders = [write_run(root / name, root / "photos", boxes, seed) for seed, name in enumerate(("one", "two"))]
    write_epochs(folders[0])
    return write_report(ReportConfig(runs=[str(run) for run in folders], out=root / "report.html"))


@pytest.fixture(scope="module")
def browser(report: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile"), report.as_uri(), (1280, 900)) as opened:
        yield opened


@pytest.fixture(autouse=True)
def no_message(browser: Browser) -> Iterator[None]:
    # Each test begins with the page as it opens.
    browser.messages.clear()
    browser.call("Page.reload")
    browser.until(
        f"document.readyState === 'complete' && {CARDS}.length > 0 && document.getElementById('status').textContent"
    )
    yield
    assert browser.messages == []


def settled(browser: Browser) -> str:
    """Return the text of the status once all images are measured."""
    browser.run("new Promise(done => setTimeout(done, 60))")
    return str(browser.run("document.getElementById('status').textContent"))


def order(browser: Browser) -> list[int]:
    return list(browser.run(f"[...{CARDS}].map(one => Number(one.dataset.image))"))


def pixels(browser: Browser, canvas: str) -> np.ndarray:
    """Return the pixels of a canvas, once it is painted."""
    browser.run("new Promise(done => requestAnimationFrame(() => setTimeout(done, 60)))")
    # A copy, because Chromium warns of canvases that are drawn on and read.
    script = (
        f"(() => {{ const it = document.querySelector({json.dumps(canvas)}); "
        "const pen = new OffscreenCanvas(it.width, it.height).getContext('2d', {willReadFrequently: true}); "
        "pen.drawImage(it, 0, 0); return [...pen.getImageData(0, 0, it.width, it.height).data]; })()"
    )
    return np.array(browser.run(script)).reshape(-1, 4)


def test_boxes_masks_and_ious_are_those_of_python(browser: Browser) -> None:
    chance = np.random.default_rng(0)
    maps = [chance.random((9, 12)), chance.normal(size=(7, 5)), chance.normal(size=(40, 40)), np.full((4, 4), 0.5)]
    maps += [-chance.random((3, 3)), np.eye(8), np.kron(np.eye(2), np.ones((2, 2)))]
    for heatmap in maps:
        for threshold in (0.0, 0.2, 0.51, 0.9):
            truth = np.array([[3, 4, 30, 41], [50.5, 2, 60, 20]])
            found: dict[str, Any] = browser.run(
                f"(() => {{ const map = heatmaps.enlarge(heatmaps.decode({json.dumps(packed(heatmap))}), 61, 43);"
                f"const inside = heatmaps.mask(map, {threshold}), box = heatmaps.largestBox(inside, 61, 43);"
                f"return {{values: [...map.values], inside: [...inside], box, "
                f"iou: heatmaps.bestIou(box, {json.dumps(truth.tolist())})}}; }})()"
            )
            expected = enlarged(eight_bits(heatmap), (43, 61))
            np.testing.assert_array_equal(np.reshape(found["values"], (43, 61)), expected)
            np.testing.assert_array_equal(np.reshape(found["inside"], (43, 61)), heatmap_to_mask(expected, threshold))
            boxes = heatmap_to_boxes(expected, threshold)
            assert (found["box"] is None) == (len(boxes) == 0)
            if len(boxes):
                assert found["box"] == boxes[0].tolist()
            assert found["iou"] == pytest.approx(box_iou(boxes, truth).max(initial=0))


def test_percentages_are_those_of_python(report: Path, tmp_path: Path) -> None:
    text = report.read_text(encoding="utf-8")
    (code,) = re.findall(r'<script type="application/json" id="content">(.*?)</script>', text, re.DOTALL)
    content = json.loads(code)
    shares = [1, 0.9996, 0.9951, 0.994, 0.5, 0.004, 0.0004, 0]
    for group in content["groups"]:
        for model in group["models"]:
            model["probability"] = [
                [shares[number % len(shares)]] * len(its) for number, its in enumerate(model["probability"])
            ]
    changed = tmp_path / "report.html"
    changed.write_text(text.replace(code, json.dumps(content).replace("<", "\\u003c")), encoding="utf-8")
    with Browser(tmp_path / "profile", changed.as_uri(), (1280, 900)) as opened:
        opened.until(f"document.readyState === 'complete' && {CARDS}.length > 0")
        shown = opened.run(f"[...{CARDS}].map(one => one.textContent)")
    assert len(shown) >= len(shares)
    for number, words in enumerate(shown):
        assert f", {unbroken(percent(shares[number % len(shares)]))}" in words


def test_filters_and_orders(browser: Browser) -> None:
    assert order(browser) == list(range(2 * IMAGES)) and f"{2 * IMAGES} of {2 * IMAGES} images" in settled(browser)
    browser.choose("right", "wrong")
    wrong = order(browser)
    browser.choose("right", "right")
    assert sorted(wrong + order(browser)) == list(range(2 * IMAGES))
    browser.choose("right", "all")
    browser.choose("label", "1")
    assert order(browser) == list(range(IMAGES, 2 * IMAGES))
    browser.choose("label", "all")
    browser.choose("size", "small")
    small = order(browser)
    browser.choose("size", "medium")
    assert small and sorted(small + order(browser)) == list(range(2 * IMAGES))
    browser.choose("size", "none")
    assert order(browser) == []
    browser.choose("size", "all")
    group = "JSON.parse(document.getElementById('content').textContent).groups[0]"
    for key, values in (
        ("size", f"{group}.images.map(i => i.share)"),
        ("sure", f"{group}.models[0].probability.map(p => p[0])"),
    ):
        known = np.array(browser.run(values))
        browser.choose("sort", f"{key}-down")
        assert np.all(np.diff(known[order(browser)]) <= 0)
        browser.choose("sort", f"{key}-up")
        assert np.all(np.diff(known[order(browser)]) >= 0)
    browser.choose("sort", "iou-down")
    texts = browser.run(f"[...{CARDS}].map(one => one.textContent.match(/IoU ([\\d.]+)/)?.[1])")
    ious = [float(text) for text in texts if text is not None]
    assert len(ious) > 3 and ious == sorted(ious, reverse=True) and texts[: len(ious)].count(None) == 0


def test_the_threshold_changes_boxes_and_ious_at_once(browser: Browser) -> None:
    before = settled(browser)
    own = browser.run("document.getElementById('threshold').value")
    browser.choose("threshold", "0.9")
    after = settled(browser)
    assert "threshold 0.90;" in after and before.split("mean IoU")[1][:6] != after.split("mean IoU")[1][:6]
    browser.run("document.getElementById('own').click()")
    assert settled(browser) == before and browser.run("document.getElementById('threshold').value") == own


def test_drawing_controls(browser: Browser) -> None:
    first = "#cards li canvas"
    shown = pixels(browser, first)
    for name, value, back in (("colors", "viridis", "auto"), ("opacity", "0.9", "0.6")):
        browser.choose(name, value)
        assert np.abs(pixels(browser, first) - shown).mean() > 2, name
        browser.choose(name, back)
        np.testing.assert_array_equal(pixels(browser, first), shown)
    # The map of highest peak looks the same on the common scale.
    peaks = browser.run(
        "JSON.parse(document.getElementById('content').textContent).groups[0].variants[0].steps[0].peaks.map(p => p[0])"
    )
    highest = int(np.argmax(peaks))
    canvases = [f"#cards li[data-image='{number}'] canvas" for number in (highest, int(np.argmin(peaks)))]
    own = [pixels(browser, canvas) for canvas in canvases]
    browser.run("document.getElementById('scale').click()")
    np.testing.assert_array_equal(pixels(browser, canvases[0]), own[0])
    assert np.abs(pixels(browser, canvases[1]) - own[1]).mean() > 1
    browser.run("document.getElementById('scale').click()")
    for name in ("box", "mask"):
        browser.run(f"document.getElementById('{name}').click()")
        assert np.abs(pixels(browser, first) - shown).sum() > 0, name
        browser.run(f"document.getElementById('{name}').click()")
        np.testing.assert_array_equal(pixels(browser, first), shown)


def test_a_color_means_the_same_for_all_images_of_a_method(browser: Browser) -> None:
    for variant in range(4):
        browser.choose("variant", str(variant))
        settled(browser)
        maps = f"JSON.parse(document.getElementById('content').textContent).groups[0].variants[{variant}].steps[0].maps"
        kinds = set(browser.run(f"{maps}.flat().map(([, text]) => text.split(':')[0].slice(-1))"))
        table = "signed" if "s" in kinds else "inferno"
        assert browser.run("document.getElementById('color-key').textContent").startswith(
            "red: evidence for the class" if table == "signed" else "dark: no evidence"
        )
        shown = [pixels(browser, f"#cards li[data-image='{number}'] canvas") for number in range(IMAGES)]
        browser.choose("colors", table)
        for number, before in enumerate(shown):
            np.testing.assert_array_equal(pixels(browser, f"#cards li[data-image='{number}'] canvas"), before)
        browser.choose("colors", "auto")
    browser.choose("variant", "0")


def test_methods_classes_and_runs(browser: Browser) -> None:
    options = browser.run("[...document.getElementById('variant').options].map(one => one.textContent)")
    assert options == ["one: cam", "one: gradient*input", "two: cam", "two: gradient*input"]
    first = settled(browser)
    browser.choose("variant", "3")
    assert settled(browser) != first
    browser.choose("variant", "0")
    browser.choose("mode", "true")
    texts = browser.run(f"[...{CARDS}].map(one => one.textContent)")
    assert all("heatmap of: " + text.split("true: ")[1].split("predicted")[0] in text for text in texts)
    assert HOSTILE in texts[0]
    browser.choose("mode", "0")
    texts = browser.run(f"[...{CARDS}].map(one => one.textContent)")
    assert all((f"heatmap of: {HOSTILE}" in text) != ("no heatmap of this class" in text) for text in texts)


def test_the_slider_of_epochs(browser: Browser) -> None:
    assert browser.run("document.getElementById('epochs').hidden")
    browser.choose("group", "1")
    assert not browser.run("document.getElementById('epochs').hidden") and len(order(browser)) == 4
    assert browser.run("document.getElementById('epoch-text').textContent") == "3"
    last = pixels(browser, "#cards li canvas")
    browser.choose("epoch", "0")
    assert browser.run("document.getElementById('epoch-text').textContent") == "1"
    assert np.abs(pixels(browser, "#cards li canvas") - last).mean() > 1
    browser.run("document.getElementById('play').click()")
    browser.until("document.getElementById('epoch-text').textContent === '2'")
    browser.run("document.getElementById('play').click()")
    assert browser.run("document.getElementById('play').getAttribute('aria-pressed')") == "false"


def test_the_large_picture_by_keyboard(browser: Browser) -> None:
    browser.run(f"{CARDS}[1].querySelector('button').focus()")
    browser.key("Enter", 13, "\r")
    browser.until("document.getElementById('large').open")
    title = "document.getElementById('large-title').textContent"
    assert browser.run(title) == f"test/{HOSTILE}/1.png"
    browser.key("ArrowRight", 39)
    assert browser.run(title) == f"test/{HOSTILE}/2.png"
    browser.run("document.getElementById('before').click()")
    browser.run("document.getElementById('before').click()")
    assert browser.run(title) == f"test/{HOSTILE}/0.png"
    command = browser.run("document.getElementById('command').textContent")
    assert command.startswith("kerasxai explain ") and "--method cam" in command and "--target " in command
    browser.choose("large-threshold", "0.95")
    assert browser.run("document.getElementById('threshold').value") == "0.95"
    assert len(pixels(browser, "#large-picture")) == (3 * 40) ** 2
    for chip in range(browser.run("document.querySelectorAll('#large-classes button').length")):
        browser.run(f"document.querySelectorAll('#large-classes button')[{chip}].click()")
        name = browser.run(f"document.querySelectorAll('#large-classes button')[{chip}].textContent")
        assert f"heatmap of: {name}" in browser.run("document.getElementById('large-text').textContent")
    browser.run("document.getElementById('copy').click()")
    browser.until("document.getElementById('copied').textContent")
    browser.key("Escape", 27)
    browser.until("!document.getElementById('large').open")
    # The event that moves the focus follows the closing.
    browser.until(f"document.activeElement === {CARDS}[0].querySelector('button')")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(browser: Browser, tmp_path: Path, width: int) -> None:
    browser.resize(width, 844)
    assert browser.run("document.documentElement.scrollWidth") <= width
    shown = "[...document.querySelectorAll('button, select')].filter(one => one.offsetWidth)"
    assert browser.run(f"{shown}.filter(one => one.offsetHeight < 36).length") == 0, "too small for a finger"
    browser.screenshot(tmp_path / "shot.png")
    with Image.open(tmp_path / "shot.png") as image:
        assert image.size == (width, 844)
    browser.resize(1280, 900)


def test_commands_are_wrapped_on_a_narrow_screen(browser: Browser) -> None:
    browser.resize(390, 844)
    browser.run(f"{CARDS}[0].querySelector('button').click()")
    for text in ("kerasxai " + "x" * 90, "import kerasxai"):
        browser.run(f"document.getElementById('command').textContent = {json.dumps(text)}")
        box = "document.querySelector('#large pre')"
        assert browser.run(f"{box}.scrollWidth <= {box}.clientWidth"), text
    browser.key("Escape", 27)
    browser.resize(1280, 900)


def test_all_pictures_are_painted_for_printing(browser: Browser) -> None:
    browser.resize(390, 300)
    browser.call("Page.reload")
    browser.until(
        f"document.readyState === 'complete' && {CARDS}.length > 0 && document.getElementById('status').textContent"
    )
    last = f"#cards li:nth-child({2 * IMAGES}) canvas"
    assert pixels(browser, last).std() == 0, "out of view"
    browser.run("dispatchEvent(new Event('beforeprint'))")
    browser.until(f"document.querySelector({json.dumps(last)}).getContext('2d').getImageData(0, 0, 1, 1).data[3] > 0")
    assert pixels(browser, last).std() > 0
    browser.resize(1280, 900)


def test_every_control_has_a_name(browser: Browser) -> None:
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "combobox", "slider", "checkbox", "image", "img")
    unnamed = [
        node
        for node in nodes
        if not node.get("ignored") and node["role"]["value"] in roles and not node.get("name", {}).get("value")
    ]
    assert unnamed == [], [node.get("properties") for node in unnamed]

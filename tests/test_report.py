"""The report: one file, nothing from outside, nothing unescaped, and readable in a real browser."""

import base64
import io
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from browser import Browser, needs_chromium
from PIL import Image

from kerasxai import viz
from kerasxai.audit.measures import DEFAULT_MEASURES, MEASURES
from kerasxai.tools.errors import KerasxaiError

HOSTILE = "<script>alert('x')</script> & \"quotes\" {{ 1 + 1 }}"
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Reads a page into elements, text and style, and notes tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.style = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def cat() -> np.ndarray:
    return np.asarray(skimage.data.chelsea()[:120, :200])


@pytest.fixture(scope="module")
def report(cat: np.ndarray) -> viz.Report:
    report = viz.Report("Where does it look?", "The lead.", command="kerasxai demo --out x", versions={"keras": "3.15"})
    report.add_section("In short", "First.\n\nSecond, with `code`.")
    report.add_figures([("accuracy", 0.98765), ("images", 12345, "of the test split")])
    report.add_heading("In short")
    report.add_table([["gap", 0.5, True], ["acol", None, False]], header=["head", "loc", "done"], note="A note.")
    report.add_section("Pictures")
    report.add_picture(cat, "A cat.", "The head of a cat")
    report.add_pictures([(cat, "one"), (cat[::-1], "two", "upside down")], columns=2)
    with report.details("More"):
        report.add_code("line 1\n  line 2")
        report.add_table([["x" * 300, 1]])
    report.add_details("Raw", "raw text")
    return report


def test_the_page_needs_nothing_from_outside(report: viz.Report) -> None:
    page = Page(report.render())
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), "no script"
            if name in ("src", "href", "srcset", "action", "data", "poster"):
                assert value and value.startswith(("data:image/", "#")), value
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert "url(" not in page.style and "@import" not in page.style and "font-family" not in page.style
    policies = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_pictures_are_the_arrays(report: viz.Report, cat: np.ndarray) -> None:
    images = Page(report.render()).all("img")
    assert [image["alt"] for image in images] == ["The head of a cat", "one", "upside down"]
    for image, expected in zip(images, (cat, cat, cat[::-1]), strict=True):
        kind, data = str(image["src"]).split(",")
        assert kind == "data:image/png;base64" and (image["width"], image["height"]) == ("200", "120")
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), expected)


def test_contents_lead_to_every_heading(report: viz.Report) -> None:
    page = Page(report.render())
    anchors = [attributes["id"] for tag, attributes in page.elements if tag in ("h2", "h3")]
    assert anchors == ["in-short", "in-short-2", "pictures"]
    assert [link["href"] for link in page.all("a")] == [f"#{anchor}" for anchor in anchors]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_all_text_is_there(report: viz.Report) -> None:
    html = report.render()
    text = Page(html).text
    for part in ("Where does it look?", "The lead.", "0.988", "12,345", "of the test split", "0.500", "—", "yes", "no"):
        assert part in text
    for part in ("A note.", "line 1\n  line 2", "raw text", "More", "kerasxai demo --out x", "keras 3.15", "A cat."):
        assert part in text
    assert "<p>First.</p>\n<p>Second, with <code>code</code>.</p>" in html
    assert '<td class="number">0.500</td>' in html and "<td>gap</td>" in html


def test_nothing_is_taken_as_markup(cat: np.ndarray) -> None:
    report = viz.Report(HOSTILE, HOSTILE, command=HOSTILE, versions={HOSTILE: HOSTILE})
    report.add_section(HOSTILE, HOSTILE)
    report.add_heading(HOSTILE)
    report.add_section(HOSTILE)
    report.add_text(f"`{HOSTILE}`")
    report.add_code(HOSTILE)
    report.add_picture(cat, HOSTILE, HOSTILE)
    report.add_table([[HOSTILE]], header=[HOSTILE], note=HOSTILE, caption=HOSTILE)
    report.add_figures([(HOSTILE, HOSTILE, HOSTILE)])
    report.add_details(HOSTILE, HOSTILE)
    page = Page(report.render())
    assert not page.all("script")
    assert page.all("img")[0]["alt"] == HOSTILE
    # Title (twice) and lead, three contents, three headings and a text, code twice, caption, four of the table, three
    # figures, two details, command, version twice.
    assert page.text.count(HOSTILE) == 3 + 3 + 4 + 2 + 1 + 4 + 3 + 2 + 3


def test_percentages_do_not_break_but_commands_are_unchanged(cat: np.ndarray) -> None:
    said, kept = "of 20 % or > 99 %", "of\N{SPACE}20\N{NO-BREAK SPACE}% or >\N{NO-BREAK SPACE}99\N{NO-BREAK SPACE}%"
    report = viz.Report(said, said, command=f"echo {said}", versions={})
    report.add_section(said, f"{said}, `{said}`")
    report.add_code(said)
    report.add_picture(cat, said)
    report.add_table([[said]], header=[said], note=said, caption=said)
    report.add_figures([(said, said, said)])
    report.add_details(said, said)
    page = Page(report.render())
    # As in the test above, but for the code: that of a line, a block, the details and the command.
    assert page.text.count(kept) == 3 + 1 + 1 + 1 + 4 + 3 + 1 and page.text.count(said) == 4
    assert page.all("img")[0]["alt"] == kept


def test_large_photographs_become_smaller_files(cat: np.ndarray) -> None:
    photo = np.tile(skimage.data.chelsea(), (2, 2, 1)) ^ np.arange(902, dtype=np.uint8)[None, :, None] % 8
    sizes, kinds = [], []
    for lossless in (True, None, False):
        report = viz.Report("x")
        report.add_picture(photo, lossless=lossless)
        source = str(Page(report.render()).all("img")[0]["src"])
        sizes.append(len(source))
        kinds.append(source.split(";")[0])
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).convert("RGB")).astype(float)
        assert np.abs(shown - photo).mean() < 6
    assert kinds == ["data:image/png", "data:image/webp", "data:image/webp"]
    assert sizes[1] < sizes[0] / 2


def test_pictures_from_bytes_and_files(tmp_path: Path, cat: np.ndarray) -> None:
    path = viz.save_png(tmp_path / "cat.png", cat)
    report = viz.Report("x")
    for source in (path, str(path), path.read_bytes()):
        report.add_picture(source)
    assert len({image["src"] for image in Page(report.render()).all("img")}) == 1
    with pytest.raises(KerasxaiError, match="cannot read"):
        report.add_picture(tmp_path / "none.png")
    with pytest.raises(KerasxaiError, match="PNG, JPEG, WebP or GIF"):
        report.add_picture(b"<svg></svg>")
    with pytest.raises(KerasxaiError, match="one image"):
        report.add_picture(np.zeros(3))


def test_tables_from_mappings_with_the_best_in_bold() -> None:
    report = viz.Report("x")
    rows = [
        {"head": "gap", "loc": 0.71234, "loss": 2},
        {"head": "acol", "loc": 0.8},
        {"head": "box", "loc": float("nan")},
    ]
    report.add_table(rows, best={"loc": "max", "loss": "min"}, digits={"loc": 1})
    html = report.render()
    assert [part.split("</strong>")[0] for part in html.split("<strong>")[1:]] == ["2", "0.8"]
    assert ">0.7<" in html and html.count(">—<") == 3
    with pytest.raises(KerasxaiError, match="best"):
        report.add_table(rows, best={"los": "max"})
    with pytest.raises(KerasxaiError, match="expected 2 cells a row"):
        report.add_table([["a", 1], ["b"]])
    report.add_table([], header=["a"])
    Page(report.render())


def test_details_hold_no_headings_and_end_after_an_error() -> None:
    report = viz.Report("x")
    with pytest.raises(KerasxaiError, match="outside"), report.details("more"):
        report.add_section("inside")
    report.add_section("after")
    assert [attributes["id"] for attributes in Page(report.render()).all("h2")] == ["after"]


def test_an_empty_report_and_its_own_foot() -> None:
    page = Page(viz.Report("x").render())
    assert not page.all("nav") and "kerasxai" in page.text and "Python 3." in page.text


def test_writing_is_whole_or_not_at_all(tmp_path: Path, report: viz.Report) -> None:
    path = report.write(tmp_path / "out" / "report.html")
    assert Page(path.read_text(encoding="utf-8")).text
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    with pytest.raises(KerasxaiError, match="cannot write"):
        report.write(path / "report.html")


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: the page is not looked at in a real browser")
@pytest.mark.parametrize("width", [1200, 420])
def test_a_browser_shows_pictures_and_no_sideways_scrolling(tmp_path: Path, width: int) -> None:
    report = viz.Report(
        "Where does it look? " + "unbroken" * 12, "The lead.", command="kerasxai " + "x" * 400, versions={}
    )
    report.add_section("Pictures", "word_" * 60)
    report.add_picture(np.full((300, 3000, 3), (255, 0, 200), np.uint8), "caption" * 40)
    report.add_section("Tables")
    report.add_table([[f"cell {number}" for number in range(60)]], caption="wide")
    report.add_code("long " * 200)
    path = report.write(tmp_path / "report.html")
    shot = tmp_path / "shot.png"
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1800", f"--screenshot={shot}"]
    subprocess.run([*command, path.as_uri()], check=True, capture_output=True, timeout=120)
    with Image.open(shot) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape[1] == width
    pink = (np.abs(pixels - [255, 0, 200]).sum(-1) < 12).any(0)
    assert pink.sum() > 0.6 * width, "the picture is drawn, and as wide as the text"
    paper = pixels[0, 0]
    assert (np.abs(pixels[:, -8:] - paper) < 3).all(), "what runs into the right margin runs out of the page"


@needs_chromium
def test_a_table_of_an_audit_fits_next_to_the_contents(tmp_path: Path) -> None:
    report = viz.Report("An audit")
    header = ["", "against edges", *(one.heading for one in MEASURES.values() if one.name in DEFAULT_MEASURES)]
    cells = ["0.13 [0.10,\u00a00.19]"] * (len(header) - 3) + ["-0.13 [-0.19,\u00a0-0.10]"]
    for number in range(3):
        report.add_section(f"Methods {number}")
        report.add_table(
            [[name, "no better", *cells] for name in ("integrated_gradients", "a centered Gaussian")], header
        )
    page = report.write(tmp_path / "page.html")
    hidden = "Math.max(...[...document.querySelectorAll('.table')].map(one => one.scrollWidth - one.clientWidth))"
    with Browser(tmp_path / "profile", page.as_uri(), (1280, 900)) as browser:
        assert browser.run(hidden) == 0
        browser.resize(390, 900)
        assert browser.run("document.documentElement.scrollWidth") <= 390, "the table scrolls, not the page"

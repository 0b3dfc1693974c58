"""The whole demo on a few of its images and with a tiny backbone: real data, real files, one report."""

import functools
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tiny_backbone import in_backbones

from kerasxai.cli import main
from kerasxai.data.shapes import builder
from kerasxai.training import demo
from kerasxai.training.config import TrainConfig
from kerasxai.training.demo import HEADS


class Page(HTMLParser):
    """Collects what a page shows and what it would have to fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures, self.fetched, self.words = 0, [], []  # type: ignore[var-annotated]
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        source = values.get("src") or ""
        self.pictures += tag == "img" and source.startswith("data:")
        outside = [source, values.get("href") or ""] if tag in {"img", "script", "link", "iframe"} else []
        self.fetched += [url for url in outside if url and not url.startswith(("data:", "#"))]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Train three convolutions on small images; the photographs are explained by the real network."""
    with in_backbones(64):
        monkeypatch.setattr(demo, "FEATURES", 4)
        monkeypatch.setattr(demo, "TrainConfig", functools.partial(TrainConfig, backbone="Tiny", image_size=64))
        yield


def test_the_demo_ends_in_a_report_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # With weights of the same seed it is the first one's function, and takes as long as the others.
    monkeypatch.delitem(HEADS, "conv1x1")
    monkeypatch.setattr(builder, "COUNTS", {"train": 16, "validation": 8, "test": 16})
    monkeypatch.setattr("kerasxai.cli.demo.IMAGES", 2)
    words = ["demo", "--out", str(tmp_path / "demo"), "--data-dir", str(tmp_path / "data")]
    words += ["--head-epochs", "1", "--epochs", "1"]
    assert main(words) == 0
    assert str(tmp_path / "demo" / "report.html") in capsys.readouterr().out.replace("\n", "")
    page = Page((tmp_path / "demo" / "report.html").read_text())
    assert not page.fetched, "the report opens from disk, without a network"
    gallery = (tmp_path / "demo" / "gallery.html").read_text()
    assert all(f"{head}: cam" in gallery for head in HEADS), "one to explore"
    text = " ".join(page.words)
    for head in HEADS:
        folder = tmp_path / "demo" / head
        assert (folder / "model.keras").exists()
        assert (folder / "heatmaps" / "gradcam" / "timeline.png").exists()
        assert f"Head {head}" in text
    # Photographs, data, curves; and for each head its history, two timelines and its cases.
    assert page.pictures >= 3 + 4 * len(HEADS)
    evaluations = json.loads((tmp_path / "demo" / "evaluations.json").read_text())
    for evaluation in evaluations.values():
        assert evaluation["images"] == 16
        assert f"{evaluation['gt_known_loc']:.3f}" in text
        assert 0 <= evaluation["masks"]["coverage"]["body"]["recall"]["0.5"] <= 1
    written = (tmp_path / "demo" / "gap" / "model.keras").stat().st_mtime_ns
    assert main(words) == 0
    assert (tmp_path / "demo" / "gap" / "model.keras").stat().st_mtime_ns == written
    assert json.loads((tmp_path / "demo" / "evaluations.json").read_text()) == evaluations


def test_the_quick_demo_trains_one_head_on_a_folder_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "QUICK_COUNTS", {"train": 16, "validation": 8, "test": 16})
    monkeypatch.setattr("kerasxai.cli.demo.QUICK_IMAGES", 2)
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--quick", "--head-epochs", "0", "--epochs", "1"]) == 0
    folder = tmp_path / "runs" / "demo_quick"
    assert str(folder / "report.html") in capsys.readouterr().out.replace("\n", "")
    assert len(list((folder / "shapes").rglob("*.png"))) == 40
    evaluations = json.loads((folder / "evaluations.json").read_text())
    assert set(evaluations) == {"gap"} and evaluations["gap"]["images"] == 16
    text = " ".join(Page((folder / "report.html").read_text()).words)
    assert "A classifier learns" in text and "Head gap" in text and "body recall" not in text
    assert f"{evaluations['gap']['chosen']['gt_known_loc']:.3f}" in text

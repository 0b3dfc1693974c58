"""The page of a report: templates, and a policy under which nothing but its own style and script runs."""

import base64
import hashlib
import importlib.resources
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2
from markupsafe import Markup

from kerasxai.report.data_card import DataCard
from kerasxai.report.packing import packed_colors
from kerasxai.report.sections import Section, Table
from kerasxai.tools.files import json_text, read_text
from kerasxai.viz.report import unbroken_text

_SCRIPTS = ("maps.js", "drawing.js", "gallery.js")
GENERATOR = '<meta name="generator" content="kerasxai report">'
"""The element by which a report is recognized."""


@dataclass
class Page:
    """What a page shows.

    Attributes:
        title: The title.
        command: The command that made it.
        versions: Versions by name.
        overview: Runs side by side.
        groups: The content of the galleries.
        notes: Remarks on the gallery, such as missing maps of epochs.
        figures: Sections of evaluations.
        trainings: Sections of trainings.
        cards: The data.
    """

    title: str
    command: str
    versions: Mapping[str, str]
    overview: Table
    groups: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = ()
    figures: Sequence[Section] = ()
    trainings: Sequence[Section] = ()
    cards: Sequence[DataCard] = field(default_factory=list)


def render(page: Page) -> str:
    """Return the page as HTML: one file that needs no network."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kerasxai.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=unbroken_text,
    )
    style = _resource("kerasxai.viz", "report.css") + _resource("kerasxai.report", "gallery.css")
    script = "".join(_resource("kerasxai.report", name) for name in _SCRIPTS) if page.groups else ""
    policy = f"default-src 'none'; img-src data:; style-src '{_hash(style)}'"
    if script:
        policy += f"; script-src '{_hash(script)}'"
    content = {"groups": list(page.groups), "colors": packed_colors()}
    return environment.get_template("page.html.j2").render(
        page=page,
        style=Markup(style),
        script=Markup(script),
        policy=Markup(policy),
        generator=Markup(GENERATOR),
        # A name with "</script>" would end the script.
        content=Markup(json_text(content, "the gallery").replace("<", "\\u003c")),
        made=time.strftime("%Y-%m-%d %H:%M"),
    )


def _resource(package: str, name: str) -> str:
    with importlib.resources.as_file(importlib.resources.files(package) / "templates" / name) as path:
        return read_text(path)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

"""The page of an audit: `audit.html`, one file that opens from disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasxai.audit.audit import Audit
from kerasxai.audit.confusions import Confusion
from kerasxai.audit.measures import MEASURES, Measure
from kerasxai.audit.verdicts import MARGIN, SAME_RANKS, WORDS, joined, shown
from kerasxai.methods import METHODS
from kerasxai.tools.printable import percent
from kerasxai.viz import Report, draw_heatmap, plot_curves
from kerasxai.viz.words import are_signed, color_key, with_probability

_EXAMPLES = 4
_FEW = 300
"""Fewer images than this make the expected calibration error of 15 bins too high."""
_DIRECTION = {True: "higher is better", False: "lower is better", None: "neither good nor bad"}


def audit_page(audit: Audit, model: str) -> Report:
    """Return the page of an audit.

    Args:
        audit: The audit.
        model: The name or path of the model; the title has the end of a path.
    """
    figures = audit.figures
    report = Report(f"Audit of {'/'.join(Path(model).parts[-2:])}", "\n\n".join(summary(figures)), figures["command"])
    _overview(report, figures)
    _methods(report, figures)
    _sanity(report, figures)
    _recommendation(report, figures)
    _examples(report, audit)
    _confusions(report, audit)
    _shortcuts(report, audit)
    _calibration(report, figures)
    _settings(report, figures)
    return report


def summary(figures: Mapping[str, Any]) -> list[str]:
    """Return the findings of an audit as sentences, for the page and the terminal."""
    sentences = [figures["recommendation"]["sentence"]]
    insane = [row["method"] for row in figures["sanity"] if not row["passed"]]
    if insane:
        whose = "its" if len(insane) == 1 else "their"
        sentences.append(
            f"Do not trust {joined(insane)}: {whose} maps stay the same after the upper half of the network is random."
        )
    sentences += [one["sentence"] for one in figures["shortcuts"]]
    if figures["accuracy"] is not None and not figures["shortcuts"]:
        sentences.append("No shortcut was confirmed.")
    if figures["accuracy"] is None:
        sentences += figures["shortcut_notes"]
    worst = figures["confusions"][0] if figures["confusions"] else {"images": 0}
    # A single mistake is no pattern.
    if worst["images"] > 1:
        sentences.append(
            f"Most confused: {worst['true']} taken for {worst['predicted']} in {worst['images']} images "
            f"({percent(worst['share'])} of its class)."
        )
    return sentences


def method_table(figures: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of the table of methods and references."""
    names = list(dict.fromkeys(name for row in figures["methods"] for name in row["figures"]))
    rows = []
    for row in figures["methods"]:
        label = row["name"] if row["kind"] == "method" else WORDS[row["name"]]
        status = row["verdict"]["status"] if row["verdict"] else ""
        cells = [shown(row["figures"][name]) if name in row["figures"] else "" for name in names]
        rows.append([label, status, *cells])
    return ["", "against edges", *(MEASURES[name].heading for name in names)], rows


def _overview(report: Report, figures: Mapping[str, Any]) -> None:
    shown_figures: list[tuple[str, object, str]] = []
    if figures["accuracy"] is not None:
        top1, calibrated = figures["accuracy"]["top1"], figures["calibration"]
        shown_figures = [
            ("top-1 accuracy", top1["value"], f"{shown(top1)} over {figures['accuracy']['images']} images"),
            ("calibration error", calibrated["ece"], f"mean confidence {calibrated['mean_confidence']:.2f}"),
        ]
    if "mean_average_precision" in figures:
        shown_figures.append(("mean average precision", figures["mean_average_precision"], "of several labels"))
    recommended = figures["recommendation"]["name"] if figures["recommendation"]["is_better"] else "none"
    shown_figures.append(("recommended method", recommended, ""))
    if figures["accuracy"] is not None:
        shown_figures.append(("shortcuts", len(figures["shortcuts"]), "confirmed by intervention"))
    report.add_figures(shown_figures)


def _methods(report: Report, figures: Mapping[str, Any]) -> None:
    report.add_section(
        "Methods",
        f"Heatmaps of the predicted classes of {figures['images']} images of {figures['data']}, {figures['split']}"
        f"{', all that there are' if figures['images'] < figures['settings'].get('images', 0) else ''}. "
        "Each figure is a mean with its 95 % interval over images; maps that no model made show what it is worth.",
    )
    header, rows = method_table(figures)
    # Lines break before an interval and not within it.
    rows = [[cell.replace(", ", ",\u00a0") for cell in row] for row in rows]
    used = [MEASURES[name] for name in dict.fromkeys(name for row in figures["methods"] for name in row["figures"])]
    report.add_table(rows, header)
    with report.details("What the figures are"):
        meanings = [[one.heading, one.meaning, _DIRECTION[one.higher_is_better], _most(one, figures)] for one in used]
        report.add_table(meanings, ["figure", "what it is", "", "images"])
    report.add_heading("Verdicts")
    report.add_text("Differences are positive where the method is better, also where lower figures are.")
    for row in figures["methods"]:
        if row["verdict"]:
            layer = f" at `{row['layer']}`" if row["layer"] else ""
            report.add_text(f"`{row['name']}`{layer}: {'; '.join(row['verdict']['sentences']) or 'not compared'}.")
    if figures["skipped"]:
        skipped = "; ".join(f"`{one['method']}`: {one['reason']}" for one in figures["skipped"])
        report.add_text(f"Not audited: {skipped}")
    _curves(report, figures)


def _most(measure: Measure, figures: Mapping[str, Any]) -> int:
    return figures["images"] if measure.images is None else min(measure.images, figures["images"])


def _curves(report: Report, figures: Mapping[str, Any]) -> None:
    pictures = []
    for name, x_label in (("deletion", "share removed"), ("insertion", "share brought back")):
        curves = {row["name"]: row["curves"][name] for row in figures["methods"] if name in row["curves"]}
        if curves:
            steps = np.linspace(0, 1, len(next(iter(curves.values()))))
            picture = plot_curves(steps, curves, x_label, "probability of the class", name.capitalize())
            pictures.append((picture, f"Mean probability of the predicted class, most relevant pixels first: {name}."))
    if pictures:
        report.add_pictures(pictures, columns=2)


def _sanity(report: Report, figures: Mapping[str, Any]) -> None:
    if not figures["sanity"]:
        return
    first = figures["sanity"][0]
    steps = len(first["layers"])
    report.add_section(
        "Sanity",
        "Layers are randomized from the top, neighbors in groups. A method whose maps stay similar explains the image "
        f"and not the model. It fails if the HOG correlation exceeds that of plain gradients by {MARGIN} or more once "
        f"the upper half is random, step {(steps + 1) // 2} of {steps}: how much structure random layers leave depends "
        "on the network. Methods that only see scores draw windows or superpixels, a structure of their own; their "
        f"ranks are compared instead, and they fail from a rank correlation of {SAME_RANKS} on.",
    )
    shares = np.linspace(0, 1, steps + 1)
    for kind, name, heading in (("hog", "hog", "HOG correlation"), ("ranks", "spearman", "rank correlation")):
        own = [row for row in figures["sanity"] if row[kind] is not None]
        if own:
            curves = {row["method"]: [1.0, *row["curves"][name]] for row in own}
            picture = plot_curves(shares, curves, "share of the layers that are random", heading, y_limits=(-0.1, 1))
            report.add_picture(picture, "Similarity of the maps to those of the trained model.")
    rows = [
        [
            row["method"],
            "-" if row["hog"] is None else shown(row["hog"]),
            "-" if row["gradients"] is None else shown(row["gradients"]),
            "-" if row["hog"] is None else shown(row["excess"], signed=True),
            "-" if row["ranks"] is None else shown(row["ranks"]),
            "passes" if row["passed"] else "fails",
        ]
        for row in figures["sanity"]
    ]
    report.add_table(rows, ["method", "HOG correlation", "of plain gradients", "difference", "rank correlation", ""])
    with report.details("All similarities"):
        rows = [
            [row["method"], number + 1, layer, *(row["curves"][name][number] for name in row["curves"])]
            for row in figures["sanity"]
            for number, layer in enumerate(row["layers"])
        ]
        report.add_table(rows, ["method", "step", "random down to", *first["curves"]])


def _recommendation(report: Report, figures: Mapping[str, Any]) -> None:
    found = figures["recommendation"]
    report.add_section("Recommendation", found["sentence"])
    rows = [
        [one["name"], shown(one["chosen_on"]), shown(one["measured_on"]), "fails sanity" if one["insane"] else ""]
        for one in found["candidates"]
    ]
    if rows:
        report.add_table(
            rows,
            ["method", "half of the choice", "other half", ""],
            note="Insertion minus deletion, 1 at best; the table of methods has both for maps that no model made. The "
            "method is chosen on one half of the images and its figures are those of the other.",
        )


def drawn(
    pixels: NDArray[np.uint8], heatmap: NDArray[np.float32], method: str, signed: bool | None = None
) -> NDArray[np.uint8]:
    """Draw a heatmap as the method is best read."""
    row = METHODS[method]
    return draw_heatmap(pixels, heatmap, row.pixelwise, row.relative, signed)


def _examples(report: Report, audit: Audit) -> None:
    if not np.isfinite(audit.scores).any():
        return
    order = [int(i) for i in np.argsort(-audit.scores, kind="stable") if np.isfinite(audit.scores[i])]
    method = audit.shown.split(" at ")[0]
    ends = {"Best": order[:_EXAMPLES], "Worst": order[::-1][:_EXAMPLES]}
    signed = are_signed((audit.heatmaps[i] for its in ends.values() for i in its), METHODS[method].relative)
    report.add_section(
        "Best and worst explained images",
        f"By insertion minus deletion of `{audit.shown}`, for the predicted class. Colors: {color_key(signed)}.",
    )
    images = audit.images
    for title, chosen in ends.items():
        pictures = []
        for i in chosen:
            true, predicted = images.class_names[images.labels[i]], images.class_names[images.predicted[i]]
            words = with_probability(predicted, images.probabilities[i].max())
            words += "" if true == predicted else f", in truth {true}"
            caption = f"{words}; insertion minus deletion {audit.scores[i]:.2f}. {images.names[i]}"
            pictures.append(
                (np.hstack([images.pixels[i], drawn(images.pixels[i], audit.heatmaps[i], method, signed)]), caption)
            )
        report.add_heading(title)
        report.add_pictures(pictures, columns=2, lossless=False)


def _confusions(report: Report, audit: Audit) -> None:
    if audit.figures["accuracy"] is None:
        return
    report.add_section("When it is wrong")
    if not audit.confusions:
        report.add_text("No image was misclassified.")
        return
    method = audit.shown.split(" at ")[0]
    maps = (heatmap for row in audit.confusions for one in row for heatmap in one.maps)
    signed = are_signed(maps, METHODS[method].relative)
    report.add_text(
        f"The most frequent confusions, surest mistakes first, by `{audit.shown}`: the evidence for the predicted and "
        "for the true class, and the smallest region, most relevant pixels first, that changes the decision when it is "
        f"blurred. Colors: {color_key(signed)}."
    )
    names = audit.images.class_names
    for pair, row in zip(audit.figures["confusions"], audit.confusions, strict=True):
        report.add_heading(f"{pair['true']} taken for {pair['predicted']}")
        count = "1 image" if pair["images"] == 1 else f"{pair['images']} images"
        report.add_text(f"{count}, {percent(pair['share'])} of the class.")
        for one in row:
            report.add_pictures(_confusion(one, method, names, signed), columns=2, lossless=False)


def _confusion(one: Confusion, method: str, names: Sequence[str], signed: bool) -> list[tuple[NDArray[np.uint8], str]]:
    of_predicted, of_true = (drawn(one.pixels, heatmap, method, signed) for heatmap in one.maps)
    pictures = [
        (one.pixels, one.name),
        (of_predicted, f"for {with_probability(names[one.predicted], one.probabilities[0])}"),
        (of_true, f"for {with_probability(names[one.true], one.probabilities[1])}, the true class"),
    ]
    if one.becomes is None:
        return [*pictures, (one.pixels, "no region changes the decision")]
    # What is removed is gray and dark, what remains keeps its colors.
    dark = (one.pixels.mean(-1, keepdims=True) * 0.35).astype(np.uint8)
    marked = np.where(one.region[..., None], dark, one.pixels).astype(np.uint8)
    return [
        *pictures,
        (marked, f"predicted {names[one.becomes]} once the dark {percent(one.region.mean())} is blurred"),
    ]


def _shortcuts(report: Report, audit: Audit) -> None:
    figures = audit.figures
    if figures["accuracy"] is None:
        return
    report.add_section(
        "Shortcuts",
        "What many images of a class have in common away from the object. It is named only if the model takes it for "
        "the class in images of other classes.",
    )
    for one in figures["shortcuts"]:
        report.add_text(one["sentence"])
    if not figures["shortcuts"]:
        report.add_text("None was confirmed by intervention.")
    for sheet in audit.sheets:
        report.add_picture(sheet.picture, sheet.caption, lossless=False)
    for note in figures["shortcut_notes"]:
        report.add_text(note)
    if figures["suspects"]:
        with report.details(f"Suspected and not confirmed: {len(figures['suspects'])}"):
            for one in figures["suspects"]:
                report.add_text(" ".join(filter(None, [one.get("sentence"), one.get("reason")])))


def _calibration(report: Report, figures: Mapping[str, Any]) -> None:
    found = figures["calibration"]
    if found is None:
        return
    gap = found["overconfidence"]
    sure = "too sure" if gap["low"] > 0 else "not sure enough" if gap["high"] < 0 else "neither too sure nor too unsure"
    report.add_section(
        "Calibration",
        f"Expected calibration error {found['ece']:.3f} over {found['images']} images. Mean confidence minus accuracy "
        f"is {shown(gap, signed=True)}: the model is {sure}."
        + (" So few images make the error too high." if found["images"] < _FEW else ""),
    )
    rows = found["reliability"]
    confidence = [row["confidence"] for row in rows]
    if len(rows) > 1:
        curves = {"model": [row["accuracy"] for row in rows], "calibrated": confidence}
        report.add_picture(plot_curves(confidence, curves, "confidence", "accuracy"), "Reliability diagram.")
    with report.details("Bins"):
        report.add_table(rows, digits=2)


def _settings(report: Report, figures: Mapping[str, Any]) -> None:
    report.add_section("Settings")
    with report.details("What the figures depend on"):
        rows = [[name, str(value)] for name, value in figures["settings"].items() if value is not None]
        report.add_table(rows, ["setting", "value"])

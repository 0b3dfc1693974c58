"""`audit`: can the heatmaps of a model be trusted, and does the model look at the right things?"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai.audit.calibration import accuracy, calibration, overconfidence
from kerasxai.audit.config import AuditConfig
from kerasxai.audit.confusions import Confusion, confused_pairs, explain_confusions, figures_of
from kerasxai.audit.images import AuditImages
from kerasxai.audit.intervals import mean_interval
from kerasxai.audit.measures import Measure
from kerasxai.audit.opening import Opened, images_digest, open_audit
from kerasxai.audit.recommendation import Candidate, recommend, scores_of
from kerasxai.audit.rows import (
    Measurements,
    Row,
    cheap_measures,
    chosen_measures,
    explained_row,
    finer_rows,
    method_rows,
    parts_of,
    reference_rows,
)
from kerasxai.audit.shortcuts import Sheet, ShortcutSettings, find_shortcuts
from kerasxai.audit.store import Store
from kerasxai.audit.verdicts import Verdict, sanity_of, verdict
from kerasxai.evaluation.saved_results import folder_of_figures, settings_of_figures
from kerasxai.explainer import Explainer
from kerasxai.methods import METHODS
from kerasxai.metrics import MeanAveragePrecision
from kerasxai.metrics.faithfulness import Scorer
from kerasxai.tools.commands import command_line
from kerasxai.tools.files import null_for_nan, write_json
from kerasxai.tools.progress import Bar

_LOG = logging.getLogger(__name__)

FILES = ("audit.json", "audit.html")
"""The files of `kerasxai audit`; the first contains the settings."""
PARTS = "parts"
"""The folder of the stored parts, in the folder of an audit; it may be removed."""
NOT_SEARCHED = "Shortcuts and confusions are searched only where each image has one known class."


@dataclass
class Audit:
    """A finished audit: its figures, and what its page shows.

    Attributes:
        figures: As in `audit.json`.
        images: The explained images.
        rows: Methods first, then references.
        shown: The name of the method whose maps the page shows.
        heatmaps: Its maps `(N, H, W)`.
        scores: `(N,)` insertion minus deletion of these maps; NaN without.
        confusions: For each pair of classes its explained mistakes.
        sheets: Pictures of shortcuts and suspects.
    """

    figures: dict[str, Any]
    images: AuditImages
    rows: list[Row]
    shown: str
    heatmaps: NDArray[np.float32]
    scores: NDArray[np.float64]
    confusions: list[list[Confusion]] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)

    def failures(self) -> set[str]:
        """Return what is wrong: `"shortcut"` and `"insane"`."""
        found = {"shortcut"} if self.figures["shortcuts"] else set()
        return found | ({"insane"} if any(not row["passed"] for row in self.figures["sanity"]) else set())


def audit(model: keras.Model, config: AuditConfig, *, out: str | Path | None = None) -> Audit:
    """Audit a classifier and the methods that explain it.

    The images are explained once by each method, for the predicted classes, and all measures use these maps. With
    `out`, every part is kept in `out/parts` under a digest of the model, the images and its settings: a stopped audit
    continues, and one more method costs only its own time.

    Args:
        model: A Keras classifier. Of one that ends in a sigmoid per class, confusions and shortcuts are not searched.
        config: The settings.
        out: The folder of `audit.json`; None keeps no file. Figures that were made with other settings are never
            overwritten.

    Returns:
        The audit. Its `figures`: `methods`, rows with intervals by measure and a `verdict`; `sanity` by method;
        `accuracy` and `calibration` (None if labels are ignored; with several labels per image there is
        `mean_average_precision` instead); `recommendation`; `confusions`; `shortcuts` and `suspects`; `skipped`
        methods; `settings`, `command`, `data`, `split`, `images`.

    Raises:
        KerasxaiError: The model, the data and the settings do not fit together, or the folder has other figures.

    Example:
        >>> found = audit(model, AuditConfig(data="shapes", methods=("gradcam", "saliency")))
        >>> found.figures["recommendation"]["sentence"]
    """
    folder = None if out is None else Path(out)
    settings = settings_of_figures(model, config.figure_settings())
    with contextlib.ExitStack() as stack:
        stack.enter_context(folder_of_figures(folder, settings, FILES))
        opened = open_audit(model, config)
        about = {"weights": settings["weights_sha256"], "images": images_digest(opened.images), "form": 2}
        # The maps of all methods may not fit into memory, and which are shown is known only at the end.
        parts = stack.enter_context(tempfile.TemporaryDirectory()) if folder is None else folder / PARTS
        store = Store(Path(parts), about)
        found = _audited(opened, config, store)
        found.figures |= {"settings": settings, "command": command_line()}
        found.figures = null_for_nan(found.figures)
        if folder is not None:
            write_json(folder / FILES[0], found.figures)
    return found


def _audited(opened: Opened, config: AuditConfig, store: Store) -> Audit:
    images = opened.images
    measures = chosen_measures(config, images)
    methods, skipped = method_rows(images, config)
    candidates = finer_rows(images, methods, config.batch_size) if _are_ranked(measures) else []
    references = reference_rows(images, config.seed)
    ranking = cheap_measures(measures)
    scorer = Scorer(images.model, {"outputs": config.outputs, "batch_size": config.batch_size})
    _LOG.info("%d images, %d methods, %d measures", len(images), len(methods), len(measures))
    parts = sum(parts_of(row, measures) for row in [*methods, *(row for row, _ in references)])
    with Bar(parts + sum(parts_of(row, ranking) for row in candidates), "auditing", unit="part") as bar:
        work = Measurements(images, scorer, store, bar)
        for row in methods:
            work.measure(row, work.explain(row), measures)
        for row, heatmaps in references:
            work.measure(row, heatmaps, measures)
        for row in candidates:
            work.measure(row, work.explain(row), ranking)
    compared = [row for row, _ in references]
    recommendation = _recommendation([*methods, *candidates], compared, config.seed)
    chosen = shown_row([*methods, *candidates], recommendation)
    heatmaps = work.heatmaps_of(chosen)
    scores = scores_of(chosen.figures)
    figures = _figures(opened, config, methods, compared, skipped)
    figures["recommendation"] = recommendation
    found = Audit(
        figures,
        images,
        [*methods, *compared],
        chosen.name,
        heatmaps,
        np.full(len(images), np.nan) if scores is None else scores,
    )
    _add_decisions(found, opened, chosen)
    if opened.single_label:
        _add_shortcuts(found, chosen, config, store)
    return found


def _are_ranked(measures: list[Measure]) -> bool:
    return {"deletion", "insertion"} <= {measure.name for measure in measures}


def _recommendation(methods: list[Row], references: list[Row], seed: int) -> dict[str, Any]:
    candidates = []
    for row in methods:
        scores = scores_of(row.figures)
        if scores is not None:
            sanity, layer, options = sanity_of(row.figures), row.layer, dict(row.settings["options"])
            insane, near_limit = (False, False) if sanity is None else (sanity.is_insane, sanity.is_near_limit)
            candidates.append(Candidate(row.name, row.method, layer, options, insane, scores, near_limit))
    compared = {row.name: scores for row in references if (scores := scores_of(row.figures)) is not None}
    return recommend(candidates, compared, seed)


def shown_row(rows: list[Row], recommendation: dict[str, Any]) -> Row:
    """Return the recommended row; without one Grad-CAM, or else the first."""
    by_name = {row.name: row for row in rows}
    return by_name.get(recommendation["name"]) or by_name.get("gradcam") or rows[0]


def region_explainer(images: AuditImages, row: Row, batch_size: int) -> Explainer:
    """Return a method of few passes whose maps show regions: the given one if it explains a layer, else Grad-CAM."""
    assert row.explainer is not None
    if METHODS[row.method].takes_layer:
        return row.explainer
    settings = {**row.settings, "method": "gradcam", "layer": None, "options": {}}
    explainer = explained_row(images, "gradcam", settings, batch_size).explainer
    assert explainer is not None
    return explainer


def _figures(
    opened: Opened, config: AuditConfig, methods: list[Row], references: list[Row], skipped: list[dict[str, str]]
) -> dict[str, Any]:
    by_reference = {row.name: row.figures for row in references}
    figures: dict[str, Any] = {
        "data": opened.images.dataset.info.name,
        "split": config.split,
        "images": len(opened.images),
        "methods": [
            *(
                _row_figures(row, "method", config.seed, verdict(row.figures, by_reference, config.seed))
                for row in methods
            ),
            *(_row_figures(row, "reference", config.seed) for row in references),
        ],
        "sanity": [_sanity_figures(row) for row in methods if "sanity" in row.figures],
        "skipped": skipped,
        "accuracy": None,
        "calibration": None,
    }
    if not opened.single_label and not config.ignore_labels and opened.labels.ndim == 2:
        ranking = MeanAveragePrecision(opened.images.class_names)
        ranking.update(opened.outputs.scores, opened.labels)
        figures |= dict(ranking.result())
    if opened.single_label:
        outputs, labels = opened.outputs, opened.labels
        figures["accuracy"] = accuracy(outputs.scores, labels, config.seed)
        figures["calibration"] = calibration(outputs.probabilities, labels)
        figures["calibration"]["overconfidence"] = overconfidence(outputs.probabilities, labels, config.seed)
    return figures


def _row_figures(row: Row, kind: str, seed: int, found: Verdict | None = None) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": kind,
        "layer": row.layer,
        "options": row.settings.get("options"),
        "figures": {name: mean_interval(figures["values"], seed) for name, figures in row.figures.items()},
        "curves": {name: figures["curve"] for name, figures in row.figures.items() if "curve" in figures},
        "verdict": None if found is None else asdict(found),
    }


def _sanity_figures(row: Row) -> dict[str, Any]:
    figures, found = row.figures["sanity"], sanity_of(row.figures)
    assert found is not None
    return {
        "method": row.name,
        "passed": not found.is_insane,
        "hog": found.similarity if found.kind == "hog" else None,
        "ranks": found.similarity if found.kind == "spearman" else None,
        "gradients": found.control,
        "excess": found.excess,
        "limit": found.limit,
        "layers": figures["layers"],
        "curves": figures["curves"],
    }


def _add_decisions(found: Audit, opened: Opened, chosen: Row) -> None:
    """Add confusions and shortcuts, for which the true classes must be known."""
    found.figures |= {"confusions": [], "shortcuts": [], "suspects": [], "shortcut_notes": []}
    if not opened.single_label:
        found.figures["shortcut_notes"].append(NOT_SEARCHED)
        return
    assert chosen.explainer is not None
    pairs = confused_pairs(opened)
    if pairs:
        _LOG.info("explaining the most frequent confusions: %d", len(pairs))
    found.confusions = explain_confusions(opened, pairs, chosen.explainer)
    names = found.images.class_names
    found.figures["confusions"] = [
        {
            **{key: value for key, value in pair.items() if key != "numbers"},
            "examples": [figures_of(one, names) for one in row],
        }
        for pair, row in zip(pairs, found.confusions, strict=True)
    ]


def _add_shortcuts(found: Audit, chosen: Row, config: AuditConfig, store: Store) -> None:
    """Add the shortcuts that interventions confirm, and what was only suspected."""
    _LOG.info("searching for shortcuts")
    explainer = region_explainer(found.images, chosen, config.batch_size)
    report = find_shortcuts(found.images, explainer, settings=ShortcutSettings(seed=config.seed), store=store)
    found.figures |= {
        "shortcuts": report.shortcuts,
        "suspects": report.suspects,
        "shortcut_notes": list(report.notes),
    }
    found.sheets = list(report.sheets)

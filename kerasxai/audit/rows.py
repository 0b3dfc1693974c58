"""The rows of an audit: methods and reference maps, explained once and measured part by part."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasxai.audit.config import DEFAULT_METHODS, AuditConfig
from kerasxai.audit.images import AuditImages
from kerasxai.audit.measures import DEFAULT_MEASURES, MEASURES, REFERENCE_IMAGES, Measure
from kerasxai.audit.measuring import Figures, Maps, chunks
from kerasxai.audit.store import Store
from kerasxai.audit.verdicts import EDGES
from kerasxai.engine.layer_table import LayerInfo, list_layers
from kerasxai.engine.layers import input_specs
from kerasxai.evaluation.config import EvaluateConfig
from kerasxai.evaluation.method_rows import rows_of
from kerasxai.explainer import Explainer
from kerasxai.methods import METHODS
from kerasxai.metrics.baselines import reference_maps
from kerasxai.metrics.faithfulness import Scorer
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.progress import Bar

_LOG = logging.getLogger(__name__)
_KEPT = 20
"""Images that are explained between two writes."""


@dataclass
class Row:
    """One method or reference with its figures.

    Attributes:
        name: As it is shown.
        settings: What its maps depend on besides model and images, ready for JSON.
        explainer: None for a reference.
        layer: The explained layer, None if it uses none.
        figures: Measure -> figures, see `measuring`.
    """

    name: str
    settings: Mapping[str, Any]
    explainer: Explainer | None = None
    layer: str | None = None
    figures: dict[str, Figures] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """The name in `kerasxai.METHODS`, or of the reference."""
        return str(self.settings["method"])


def method_rows(images: AuditImages, config: AuditConfig) -> tuple[list[Row], list[dict[str, str]]]:
    """Return a row for each method, and the methods that cannot explain the model with the reason.

    Each method explains one image, so that a mistake shows before anything long begins.

    Raises:
        KerasxaiError: A method that the user named cannot explain the model, or an option is wrong.
    """
    rows, skipped = [], []
    names = DEFAULT_METHODS if config.methods is None else config.methods
    options = dict(config.method_options)
    shared = EvaluateConfig(config.data, layer=config.layer, score=config.score, method_options=options)
    for given in rows_of(shared, names, [None]):
        settings = {
            "method": given.method,
            "layer": given.layer,
            "score": given.score,
            "outputs": config.outputs,
            "options": dict(given.method_options),
        }
        try:
            rows.append(explained_row(images, given.method, settings, config.batch_size))
        except KerasxaiError as error:
            if config.methods is not None:
                raise
            skipped.append({"method": given.method, "reason": str(error)})
    if not rows:
        raise KerasxaiError(f"expected a method that explains the model, got none: {skipped[0]['reason']}")
    return rows, skipped


def explained_row(images: AuditImages, name: str, settings: Mapping[str, Any], batch_size: int) -> Row:
    """Return the row of a method, which has explained one image."""
    options = dict(settings["options"])
    explainer = Explainer(
        images.model,
        settings["method"],
        layer=settings["layer"],
        score=settings["score"],
        outputs=settings["outputs"],
        batch_size=batch_size,
        **options,
    )
    layer = explainer(images.inputs(slice(0, 1)), images.predicted[:1]).layer
    return Row(name, settings, explainer, layer)


def finer_rows(images: AuditImages, rows: Sequence[Row], batch_size: int) -> list[Row]:
    """Return a row for each layer-based method at the last layer of the next finer map, as a candidate."""
    if images.taken.channels_first or any(row.settings.get("layer") for row in rows):
        return []
    listed: list[LayerInfo] | None = None
    found = []
    for row in rows:
        if row.layer is None or not METHODS[row.method].takes_layer:
            continue
        if listed is None:
            sample = images.inputs(slice(0, 1)) if input_specs(images.model) is None else None
            listed = list_layers(images.model, sample)
        layer = finer_layer(listed, row.layer)
        if layer is not None:
            settings = {**row.settings, "layer": layer}
            found.append(explained_row(images, f"{row.name} at {layer}", settings, batch_size))
    return found


def finer_layer(layers: Sequence[LayerInfo], layer: str) -> str | None:
    """Return the last layer whose map has the next higher resolution; None without one.

    Args:
        layers: As `list_layers` returns them.
        layer: The path of the present one.
    """
    areas = {
        row.path: row.shape[1] * row.shape[2]
        for row in layers
        if row.is_feature_map and row.shape is not None and len(row.shape) == 4 and row.shape[1] and row.shape[2]
    }
    if layer not in areas:
        return None
    finer = sorted({area for area in areas.values() if area > areas[layer]})
    return None if not finer else [path for path, area in areas.items() if area == finer[0]][-1]


def reference_rows(images: AuditImages, seed: int) -> list[tuple[Row, NDArray[np.float32]]]:
    """Return the rows of the maps that no model made, with the maps."""
    maps = reference_maps(images.pixels, images.objects, seed)
    return [(Row(name, {"method": name, "seed": seed}), heatmaps) for name, heatmaps in maps.items()]


@dataclass(frozen=True)
class Measurements:
    """Explains and measures rows; each finished part is stored, and advances the bar by 1.

    Attributes:
        images: The audited images.
        scorer: Of the model, for measures that need its scores.
        store: Of the parts.
        bar: Its total is the sum of `parts_of` over the rows.
    """

    images: AuditImages
    scorer: Scorer
    store: Store
    bar: Bar

    def explain(self, row: Row) -> NDArray[np.float32]:
        """Return the heatmaps of a row as a part of the work, which is counted once."""
        made = self.store.made
        heatmaps = self.heatmaps_of(row)
        self._advance(made)
        return heatmaps

    def heatmaps_of(self, row: Row) -> NDArray[np.float32]:
        """Explain the predicted classes of all images, or read the stored maps; a killed run loses a few images."""
        explainer, images = row.explainer, self.images
        assert explainer is not None
        parts = []
        with Bar(len(images), f"explaining by {row.name}") as bar:
            for part in chunks(len(images), _KEPT):

                def explain(part: slice = part) -> dict[str, NDArray[Any]]:
                    return {"heatmaps": explainer(images.inputs(part), images.predicted[part]).heatmaps}

                stored = self.store.arrays(
                    f"maps/{row.name}/{part.start}", explain, **row.settings, rows=[part.start, part.stop]
                )
                parts.append(stored["heatmaps"])
                bar.reach(part.stop)
        return np.concatenate(parts)

    def measure(self, row: Row, heatmaps: NDArray[np.float32], measures: Sequence[Measure]) -> None:
        """Add the figures of a row, measured or read from the store."""
        begun = time.monotonic()
        for measure in applicable(measures, row):
            count = len(self.images) if measure.images is None else min(measure.images, len(self.images))
            if row.explainer is None and row.name != EDGES and measure.cost != "none":
                count = min(count, REFERENCE_IMAGES)
            part, made = slice(0, count), self.store.made
            maps = Maps(row.name, heatmaps[part], row.explainer, row.settings.get("outputs"))

            def make(measure: Measure = measure, part: slice = part, maps: Maps = maps) -> Figures:
                return measure.function(self.images.part(part), maps, self.scorer)

            row.figures[measure.name] = self.store.json(
                f"{measure.name}/{row.name}", make, **row.settings, measure=measure.name, images=count
            )
            self._advance(made)
        _LOG.info("%s: measured in %.0f s", row.name, time.monotonic() - begun)

    def _advance(self, made: int) -> None:
        """Advance the bar by a part, which was stored before if no more results are made than so many."""
        (self.bar.skip if self.store.made == made else self.bar.advance)(1)


def applicable(measures: Sequence[Measure], row: Row) -> list[Measure]:
    """Return the measures that a row has: some need a method and not just maps."""
    return [measure for measure in measures if row.explainer is not None or not measure.needs_explainer]


def parts_of(row: Row, measures: Sequence[Measure]) -> int:
    """Return how many parts a row has: its maps, unless it is a reference, and its measures."""
    return int(row.explainer is not None) + len(applicable(measures, row))


def chosen_measures(config: AuditConfig, images: AuditImages) -> list[Measure]:
    """Return the measures of an audit.

    Raises:
        KerasxaiError: A measure that the user named needs boxes or masks, which the data do not have.
    """
    chosen = [MEASURES[name] for name in (DEFAULT_MEASURES if config.measures is None else config.measures)]
    if images.boxes is not None or images.masks is not None:
        return chosen
    needing = [measure.name for measure in chosen if measure.needs_objects]
    if needing and config.measures is not None:
        raise KerasxaiError(
            f"expected data with boxes or masks for {needing[0]}, got {config.data} without; give --boxes FILE"
        )
    return [measure for measure in chosen if not measure.needs_objects]


def cheap_measures(measures: Sequence[Measure]) -> list[Measure]:
    """Return the measures by which candidates are compared."""
    return [replace(measure) for measure in measures if measure.name in ("deletion", "insertion", "sanity")]

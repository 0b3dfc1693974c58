"""The functions of MEASURES: the values of one row of an audit, image by image."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasxai.audit.images import AuditImages
from kerasxai.explainer import Explainer
from kerasxai.metrics import faithfulness
from kerasxai.metrics.complexity import Gini
from kerasxai.metrics.faithfulness import Scorer
from kerasxai.metrics.pointing import hits
from kerasxai.metrics.sanity import ModelRandomization, RandomClass
from kerasxai.metrics.sanity.similarity import SIMILARITIES
from kerasxai.metrics.stability import MaxSensitivity
from kerasxai.tools.errors import KerasxaiError

CHUNK = 32
"""Images that are converted to floats at once."""
CURVE_STEPS = 10
ROAD_SHARES = (0.1, 0.3, 0.5)
STABILITY_SAMPLES = 2
SANITY_STEPS = 4
_TOLERANCE = 15
"""Pixels next to the object that still are a hit of the pointing game, as in `PointingGame`."""

Figures = dict[str, Any]


@dataclass(frozen=True)
class Maps:
    """One row of an audit.

    Attributes:
        name: Of the method or of the reference.
        heatmaps: `(N, H, W)` for the predicted classes.
        explainer: The method; None for a reference.
        outputs: What the model returns, as for `kerasxai.Explainer`.
    """

    name: str
    heatmaps: NDArray[np.float32]
    explainer: Explainer | None = None
    outputs: str | None = None


def chunks(count: int, size: int = CHUNK) -> Iterator[slice]:
    """Cut images into parts.

    Example:
        >>> [(part.start, part.stop) for part in chunks(3, 2)]
        [(0, 2), (2, 3)]
    """
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _faithfulness(name: str, **options: Any) -> Callable[[AuditImages, Maps, Scorer], Figures]:
    def measured(images: AuditImages, maps: Maps, scorer: Scorer) -> Figures:
        metric = getattr(faithfulness, name)(scorer, **options)
        values, curves = [], []
        for part in chunks(len(images)):
            values.append(metric(images.inputs(part), images.predicted[part], maps.heatmaps[part]))
            if metric.curves is not None:
                curves.append(metric.curves)
        figures: Figures = {"values": np.concatenate(values).tolist()}
        if curves:
            figures["curve"] = np.concatenate(curves).mean(0).tolist()
        return figures

    return measured


deletion = _faithfulness("Deletion", steps=CURVE_STEPS)
insertion = _faithfulness("Insertion", steps=CURVE_STEPS)
road = _faithfulness("ROAD", shares=ROAD_SHARES)
average_drop = _faithfulness("AverageDrop")
average_gain = _faithfulness("AverageGain")
comprehensiveness = _faithfulness("Comprehensiveness")
sufficiency = _faithfulness("Sufficiency")
infidelity = _faithfulness("Infidelity")
mufidelity = _faithfulness("MuFidelity")
sensitivity_n = _faithfulness("SensitivityN")


def stability(images: AuditImages, maps: Maps, scorer: Scorer) -> Figures:
    """Measure `MaxSensitivity` with few samples."""
    metric = MaxSensitivity(maps.explainer, samples=STABILITY_SAMPLES)
    return {"values": metric(images.inputs(), images.predicted, maps.heatmaps).tolist()}


def gini(images: AuditImages, maps: Maps, scorer: Scorer) -> Figures:
    """Measure the sparseness of heatmaps."""
    return {"values": Gini()(maps.heatmaps).tolist()}


def energy(images: AuditImages, maps: Maps, scorer: Scorer) -> Figures:
    """Measure the share of the positive evidence on the object; NaN for images without one, 0 without evidence."""
    objects = images.objects
    assert objects is not None
    return {"values": [energy_on(one, mask) for one, mask in zip(maps.heatmaps, objects, strict=True)]}


def energy_on(heatmap: NDArray[np.floating], mask: NDArray[np.bool_]) -> float:
    """Return the share of the positive part of a heatmap that is on an object; NaN without an object."""
    positive = np.maximum(np.asarray(heatmap, np.float64), 0)
    total = positive.sum()
    return float("nan") if not mask.any() else float(positive[mask].sum() / total) if total > 0 else 0.0


def pointing(images: AuditImages, maps: Maps, scorer: Scorer) -> Figures:
    """Measure whether the highest pixel is on the object; NaN for images without one."""
    objects = images.objects
    assert objects is not None
    return {
        "values": [
            float(hits(one.astype(np.float64), mask.astype(np.uint8), _TOLERANCE)) if mask.any() else float("nan")
            for one, mask in zip(maps.heatmaps, objects, strict=True)
        ]
    }


def sanity(images: AuditImages, maps: Maps, scorer: Scorer) -> Figures:
    """Measure `ModelRandomization`, cascading in four steps, with plain gradients as the control."""
    control = None
    with contextlib.suppress(KerasxaiError):  # A model without gradients has no control.
        control = Explainer(images.model, "saliency", outputs=maps.outputs, progress=False)
        control(images.inputs(slice(0, 1)), images.predicted[:1])
    check = ModelRandomization(maps.explainer, steps=SANITY_STEPS, control=control)
    values = check(images.inputs(), images.predicted)
    assert check.curves is not None
    curves = zip(SIMILARITIES, check.curves.mean(0).T.tolist(), strict=True)
    controls = None if check.control_values is None else check.control_values.tolist()
    about = {"layers": check.layers, "curves": dict(curves), "similarity": check.options["similarity"]}
    return {"values": values.tolist(), "control": controls, **about}


def random_class(images: AuditImages, maps: Maps, scorer: Scorer) -> Figures:
    """Measure `RandomClass`."""
    return {"values": RandomClass(maps.explainer)(images.inputs(), images.predicted).tolist()}

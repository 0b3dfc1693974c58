"""Where the maximum of a heatmap lies: on the object that its word speaks of, on the other one, or on neither."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasxai.data.shapes.language import NOBODY

OBJECT, OTHER, BACKGROUND = "on_object", "on_other", "on_background"
PLACES = (OBJECT, OTHER, BACKGROUND)


@dataclass(frozen=True)
class Case:
    """One heatmap and what is known of it.

    Attributes:
        group: What it is counted with, such as "noun".
        correct: Whether the model's prediction was right.
        where: One of `PLACES`.
        area: The share of the image that is the object; 0 where the word speaks of no object in the image.
    """

    group: str
    correct: bool
    where: str
    area: float


def point(heatmap: np.ndarray, masks: np.ndarray, spoken_of: int) -> tuple[str, float]:
    """Tells where a heatmap's maximum lies.

    Args:
        heatmap: `(H, W)`. A map without a positive value points nowhere and counts as background; of several highest
            pixels the first row by row is taken.
        masks: `(2, H, W)`, not 0 on each object.
        spoken_of: 0 or 1; or `NOBODY`, then no place is right: an object that is hit is the other one.

    Returns:
        One of `PLACES`, and the share of the image that is the object.

    Example:
        >>> point(np.array([[0.0, 1.0]]), np.array([[[0, 1]], [[1, 0]]]), 0)
        ('on_object', 0.5)
    """
    area = 0.0 if spoken_of == NOBODY else float((masks[spoken_of] != 0).mean())
    if not heatmap.max() > 0:
        return BACKGROUND, area
    top, left = np.unravel_index(heatmap.argmax(), heatmap.shape)
    hit = np.nonzero(masks[:, top, left])[0]
    if len(hit) == 0:
        return BACKGROUND, area
    return (OBJECT if spoken_of in hit else OTHER), area


def counted(cases: Sequence[Case]) -> dict[str, Any]:
    """Counts cases, those with a correct prediction apart.

    Returns:
        For "correct" and "all": `cases`, how many maxima lay where, as counts and shares; `chance`, how many would lie
        on the object if they were thrown onto the image at random; and `of_hits`, the share on the right object among
        those on any, where one half is chance.

    Example:
        >>> counted([Case("noun", True, "on_object", 0.1)])["correct"]["share_on_object"]
        1.0
    """
    return {"correct": _shares([case for case in cases if case.correct]), "all": _shares(cases)}


def _shares(cases: Sequence[Case]) -> dict[str, Any]:
    counts: dict[str, Any] = {place: sum(case.where == place for case in cases) for place in PLACES}
    total, hits = len(cases), counts[OBJECT] + counts[OTHER]
    shares = {f"share_{place}": round(counts[place] / total, 4) if total else None for place in PLACES}
    return {
        "cases": total,
        **counts,
        **shares,
        "of_hits": round(counts[OBJECT] / hits, 4) if hits else None,
        "chance": round(float(np.mean([case.area for case in cases])), 4) if total else None,
        "chance_of_hits": 0.5,
    }


def by_group(cases: Sequence[Case]) -> dict[str, dict[str, Any]]:
    """Returns what `counted` says of each group, in the order in which they came."""
    names = dict.fromkeys(case.group for case in cases)
    return {name: counted([case for case in cases if case.group == name]) for name in names}


def rows(measured: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Returns what `by_group` returned as the rows of a table."""
    return [
        [
            group,
            which,
            str(one["cases"]),
            *("" if one[f"share_{place}"] is None else f"{one[f'share_{place}']:.3f}" for place in PLACES),
            "" if one["of_hits"] is None else f"{one['of_hits']:.3f}",
            "" if one["chance"] is None else f"{one['chance']:.3f}",
        ]
        for group, both in measured.items()
        for which, one in both.items()
    ]


COLUMNS = ["", "predictions", "cases", "on object", "on other", "on background", "of hits", "chance"]
